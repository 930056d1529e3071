"""Grad-CAM for any Keras 3 model on TensorFlow: see what a prediction rests on."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tf_gradcam.around import augment as augment
    from tf_gradcam.around import smooth as smooth
    from tf_gradcam.attention import AttentionExplainer as AttentionExplainer
    from tf_gradcam.comparison import compare as compare
    from tf_gradcam.eigensmooth import eigen_smooth as eigen_smooth
    from tf_gradcam.explainer import Explainer as Explainer
    from tf_gradcam.explanation import Explanation as Explanation
    from tf_gradcam.fusion import fuse as fuse
    from tf_gradcam.gradcam import get_img_array as get_img_array
    from tf_gradcam.gradcam import make_gradcam_heatmap as make_gradcam_heatmap
    from tf_gradcam.gradcam import save_and_display_gradcam as save_and_display_gradcam
    from tf_gradcam.guided import GuidedBackprop as GuidedBackprop
    from tf_gradcam.guided import guided_gradcam as guided_gradcam
    from tf_gradcam.image import overlay_heatmap as overlay_heatmap
    from tf_gradcam.layerlist import list_layers as list_layers
    from tf_gradcam.layerplot import plot_layers as plot_layers
    from tf_gradcam.methods import METHODS as METHODS
    from tf_gradcam.split import SplitModel as SplitModel
    from tf_gradcam.split import split_model as split_model

# Where each public name lives; TensorFlow is imported with the first name that needs it.
_HOMES = {
    "AttentionExplainer": "attention",
    "Explainer": "explainer",
    "Explanation": "explanation",
    "GuidedBackprop": "guided",
    "METHODS": "methods",
    "SplitModel": "split",
    "augment": "around",
    "compare": "comparison",
    "eigen_smooth": "eigensmooth",
    "fuse": "fusion",
    "get_img_array": "gradcam",
    "guided_gradcam": "guided",
    "list_layers": "layerlist",
    "make_gradcam_heatmap": "gradcam",
    "overlay_heatmap": "image",
    "plot_layers": "layerplot",
    "save_and_display_gradcam": "gradcam",
    "smooth": "around",
    "split_model": "split",
}
__all__ = sorted(_HOMES)
__version__ = "0.1.0"


# Modules that are public as they are, as keras.callbacks is.
_MODULES = ("audit", "callbacks", "demo", "targets")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"tf_gradcam.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'tf_gradcam' has no attribute {name!r}")
    return getattr(importlib.import_module(f"tf_gradcam.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES, *_MODULES]
