"""Grad-CAM for any Keras 3 model on TensorFlow: see what a prediction rests on."""

import importlib as _importlib
import typing as _typing  # with an underscore, so that `from tf_gradcam import <Tab>` offers public names alone

from tf_gradcam._version import __version__ as __version__

if _typing.TYPE_CHECKING:
    from tf_gradcam import audit as audit
    from tf_gradcam import callbacks as callbacks
    from tf_gradcam import demo as demo
    from tf_gradcam import guidance as guidance
    from tf_gradcam import image as image
    from tf_gradcam import metrics as metrics
    from tf_gradcam import repair as repair
    from tf_gradcam import targets as targets
    from tf_gradcam._diff.evidence import assert_same_evidence as assert_same_evidence
    from tf_gradcam._diff.result import ModelDiff as ModelDiff
    from tf_gradcam._diff.run import compare_models as compare_models
    from tf_gradcam._explain.attention import AttentionExplainer as AttentionExplainer
    from tf_gradcam._explain.averaging import augment as augment
    from tf_gradcam._explain.averaging import smooth as smooth
    from tf_gradcam._explain.batch import explain as explain
    from tf_gradcam._explain.compare import compare as compare
    from tf_gradcam._explain.compare import plot_layers as plot_layers
    from tf_gradcam._explain.drop_in import get_img_array as get_img_array
    from tf_gradcam._explain.drop_in import make_gradcam_heatmap as make_gradcam_heatmap
    from tf_gradcam._explain.drop_in import save_and_display_gradcam as save_and_display_gradcam
    from tf_gradcam._explain.explainer import Explainer as Explainer
    from tf_gradcam._explain.fusion import fuse as fuse
    from tf_gradcam._explain.guided import GuidedBackprop as GuidedBackprop
    from tf_gradcam._explain.guided import guided_gradcam as guided_gradcam
    from tf_gradcam._models.description import Description as Description
    from tf_gradcam._models.description import describe as describe
    from tf_gradcam._models.layer_list import list_layers as list_layers
    from tf_gradcam._models.loading import load_model as load_model
    from tf_gradcam._models.open_model import find_preprocessing as find_preprocessing
    from tf_gradcam._models.preprocessing import Preprocessing as Preprocessing
    from tf_gradcam._models.scaling import ScalingRanking as ScalingRanking
    from tf_gradcam._models.scaling import rank_scalings as rank_scalings
    from tf_gradcam._models.split import SplitModel as SplitModel
    from tf_gradcam._models.split import split_model as split_model
    from tf_gradcam._results.explanation import Explanation as Explanation
    from tf_gradcam._rules.eigen_smooth import eigen_smooth as eigen_smooth
    from tf_gradcam._rules.table import METHODS as METHODS
    from tf_gradcam.image.overlay import overlay_heatmap as overlay_heatmap

# Where each public name lives; TensorFlow is imported with the first name that needs it.
_HOMES = {
    "AttentionExplainer": "_explain.attention",
    "Description": "_models.description",
    "Explainer": "_explain.explainer",
    "Explanation": "_results.explanation",
    "GuidedBackprop": "_explain.guided",
    "METHODS": "_rules.table",
    "ScalingRanking": "_models.scaling",
    "ModelDiff": "_diff.result",
    "Preprocessing": "_models.preprocessing",
    "SplitModel": "_models.split",
    "assert_same_evidence": "_diff.evidence",
    "augment": "_explain.averaging",
    "compare": "_explain.compare",
    "compare_models": "_diff.run",
    "describe": "_models.description",
    "eigen_smooth": "_rules.eigen_smooth",
    "explain": "_explain.batch",
    "find_preprocessing": "_models.open_model",
    "fuse": "_explain.fusion",
    "get_img_array": "_explain.drop_in",
    "guided_gradcam": "_explain.guided",
    "list_layers": "_models.layer_list",
    "load_model": "_models.loading",
    "make_gradcam_heatmap": "_explain.drop_in",
    "overlay_heatmap": "image.overlay",
    "plot_layers": "_explain.compare",
    "rank_scalings": "_models.scaling",
    "save_and_display_gradcam": "_explain.drop_in",
    "smooth": "_explain.averaging",
    "split_model": "_models.split",
}
__all__ = sorted(_HOMES)

# Modules that are public as they are, as keras.callbacks is.
_MODULES = ("audit", "callbacks", "demo", "guidance", "image", "metrics", "repair", "targets")

if not _typing.TYPE_CHECKING:  # a type checker that saw it would let every misspelt name pass

    def __getattr__(name):
        if name in _MODULES:
            return _importlib.import_module(f"tf_gradcam.{name}")
        if name not in _HOMES:
            raise AttributeError(f"module 'tf_gradcam' has no attribute {name!r}")
        return getattr(_importlib.import_module(f"tf_gradcam.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_MODULES})
