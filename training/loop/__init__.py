"""Stages, their callbacks, and the folder of a run."""
