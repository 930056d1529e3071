"""Targets beyond a class; each is a callable from outputs to scores (B,)."""

from tf_gradcam.targets.boxes import Box
from tf_gradcam.targets.classes import ClassScore, Contrast, Counterfactual, Finer, MultiLabel, Unit
from tf_gradcam.targets.outputs import Distance, Element, OutputOf, Similarity, Value
from tf_gradcam.targets.regions import Region

__all__ = [
    "Box",
    "ClassScore",
    "Contrast",
    "Counterfactual",
    "Distance",
    "Element",
    "Finer",
    "MultiLabel",
    "OutputOf",
    "Region",
    "Similarity",
    "Unit",
    "Value",
]
