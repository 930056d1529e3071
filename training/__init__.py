"""Trainings that use tf_gradcam, each from data to heatmaps.

The package is `training` in a clone and `tf_gradcam.training` when installed. Its modules import each other by relative
names, so both work, and so does a copy under another name.
"""

from __future__ import annotations


def help_text(text: str | None) -> str:
    """Return the help of a program with commands that name this package as it was imported."""
    return (text or "").replace("python -m training.", f"python -m {__name__}.")
