"""The search for shortcuts: suspects, interventions, findings."""
