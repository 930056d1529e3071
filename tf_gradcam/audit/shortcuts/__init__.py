"""Suspects, the interventions that test them, and findings."""
