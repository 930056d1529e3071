"""Repairs: a shortcut that an audit found is trained away, and the proof that it is gone."""

from tf_gradcam.repair.measure import RepairNumbers
from tf_gradcam.repair.run import RepairResult, repair

__all__ = ["RepairNumbers", "RepairResult", "repair"]
