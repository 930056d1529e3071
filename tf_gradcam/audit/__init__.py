"""The audit: tests over a whole data set whether a model looks at the objects or at a shortcut."""

from tf_gradcam.audit.run import audit

__all__ = ["audit"]
