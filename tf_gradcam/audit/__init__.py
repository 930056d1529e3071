"""Audits: tests over a whole data set whether a model looks at the objects or at a shortcut."""

from tf_gradcam.audit.duplicates import DuplicateGroup
from tf_gradcam.audit.label_errors import LabelError
from tf_gradcam.audit.quantities import failures
from tf_gradcam.audit.result import AuditResult, ClassLook, Finding, Metric, SanityCheck
from tf_gradcam.audit.rows import Rows
from tf_gradcam.audit.run import audit
from tf_gradcam.audit.scores import ErrorScore, LabelScore, RegionScore, SegmentationScore, ValueBin

__all__ = [
    "AuditResult",
    "ClassLook",
    "DuplicateGroup",
    "ErrorScore",
    "Finding",
    "LabelError",
    "LabelScore",
    "Metric",
    "RegionScore",
    "Rows",
    "SanityCheck",
    "SegmentationScore",
    "ValueBin",
    "audit",
    "failures",
]
