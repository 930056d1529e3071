"""The Explainer and what wraps it."""
