"""Drop-in functions: code written for the published Grad-CAM recipes runs after changing only the import."""

from __future__ import annotations

import os
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_gradcam._explain.explainer import Explainer
from tf_gradcam._models.layers import LayerLike
from tf_gradcam._models.reader import Images
from tf_gradcam._rules.contract import Rule
from tf_gradcam._rules.table import MethodName
from tf_gradcam.image.io import Interpolation, Photo, load_image, save_image
from tf_gradcam.image.overlay import overlay_heatmap
from tf_gradcam.targets.base import TargetLike

# Loops call with the same model again and again: its explainers live as long as it does.
_EXPLAINERS: weakref.WeakKeyDictionary[Any, OrderedDict[Any, Explainer]] = weakref.WeakKeyDictionary()
_KEPT_EXPLAINERS = 32  # of one model, the oldest dropped first: a new lambda is a new method each time


def make_gradcam_heatmap(
    img_array: Images,
    model: keras.Model,
    last_conv_layer_name: LayerLike | Sequence[LayerLike] | None = None,
    classifier_layers: Sequence[LayerLike] | None = None,
    pred_index: TargetLike = None,
    *,
    method: MethodName | Rule = "gradcam",
) -> NDArray[np.float32]:
    """Compute the heatmap of one image.

    Both published call styles work: `(img_array, model, "block5_conv3", ["block5_pool", "flatten", "fc1", "fc2",
    "predictions"])` and keras.io's `(img_array, model, "block5_conv3", pred_index=260)`.

    Args:
        img_array: (1, H0, W0, 3) as the model expects it.
        model: any built Keras 3 model; it is not changed.
        last_conv_layer_name: layer name, path, index or object; None for the last spatial layer.
        classifier_layers: names of the layers behind it in order; None cuts the tail out of the graph.
        pred_index: class index, or a callable outputs -> (B,); None for the top class.
        method: a key of `METHODS`, or a callable of the same contract. Defaults to "gradcam".

    Returns:
        (H, W) float32 in [0, 1]; zero if nothing speaks for the class (`Explainer` gives the diagnosis).

    Raises:
        TypeError, ValueError: as `Explainer`; more than one image.

    Source: https://keras.io/examples/vision/grad_cam/. Deviations: the score before the softmax, also where the model
    ends in one and without changing it; a blank map is zero, not NaN.
    """
    explanation = _explainer(model, last_conv_layer_name, classifier_layers, method)(img_array, pred_index)
    if len(explanation) != 1:
        raise ValueError(
            f"Expected one image, (1, H0, W0, 3), received {len(explanation)}: "
            "use Explainer(model)(images) for a batch."
        )
    return explanation.heatmaps[0]


def _explainer(
    model: keras.Model,
    layer: LayerLike | Sequence[LayerLike] | None,
    classifier_layers: Sequence[LayerLike] | None,
    method: MethodName | Rule,
) -> Explainer:
    """Return the explainer of an earlier call with the same arguments, if the model still has the same parts."""
    if isinstance(classifier_layers, Integral):
        raise TypeError(
            f"Expected classifier_layers as a list of layer names, received {classifier_layers}. "
            f"For the class, pass pred_index={classifier_layers}."
        )
    try:
        known = _EXPLAINERS.setdefault(model, OrderedDict())
        names = None if classifier_layers is None else tuple(classifier_layers)
        key = (type(layer), layer, names, method)  # the type, because 1 == True
        explainer = known.get(key)
    except TypeError:  # not a model, or arguments that cannot be hashed: Explainer raises the error
        return Explainer(model, layer, method, classifier_layers=classifier_layers)
    if explainer is None or not explainer.fits(model):
        explainer = Explainer(model, layer, method, classifier_layers=classifier_layers)
        explainer.release_model()  # else the entry would keep its own key alive
        known[key] = explainer
    if len(known) > _KEPT_EXPLAINERS:
        known.popitem(last=False)
    return explainer


def get_img_array(
    img_path: str | os.PathLike[str], size: tuple[int, int], interpolation: Interpolation = "nearest"
) -> NDArray[np.float32]:
    """Read a picture as a batch of one.

    Args:
        img_path: JPEG, PNG, WebP, BMP or TIFF file.
        size: (height, width) in pixels.
        interpolation: "nearest" for the pixels of `keras.utils.load_img(img_path, target_size=size)`, as in keras.io's
            example; "area" for the pixels of `explain`, the command line and the web page: averages where the picture
            shrinks, bilinear where it grows. Defaults to "nearest".

    Returns:
        (1, H0, W0, 3) float32, RGB, 0..255.

    Raises:
        OSError, ValueError: a file that is missing or not a picture, a bad size, or as `load_image`.
    """
    return load_image(img_path, size, interpolation)[None].astype(np.float32)


def save_and_display_gradcam(
    img_path: str | os.PathLike[str],
    heatmap: np.ndarray,
    cam_path: str | os.PathLike[str] = "cam.jpg",
    alpha: float = 0.4,
) -> Photo:
    """Write the heatmap painted on the picture at its own size, and show it in a notebook.

    Args:
        img_path: the picture.
        heatmap: (H, W) float32 in [0, 1].
        cam_path: path of the overlay; its ending is its format. Defaults to "cam.jpg".
        alpha: weight of the heatmap in [0, 1]. Defaults to 0.4.

    Returns:
        (H0, W0, 3) uint8 RGB, the overlay it wrote.

    Raises:
        OSError, ValueError: a file that cannot be read or written, a heatmap outside [0, 1], `alpha` outside [0, 1].

    Source: https://keras.io/examples/vision/grad_cam/. Deviation: a convex blend, not a sum scaled back into range.
    """
    overlay = overlay_heatmap(load_image(img_path), heatmap, alpha)
    save_image(cam_path, overlay)
    _display(cam_path)
    return overlay


def _display(path: str | os.PathLike[str]) -> None:
    """Show the file in a running notebook."""
    import sys

    ipython = sys.modules.get("IPython")
    if ipython is not None and ipython.get_ipython() is not None:
        from IPython.display import Image, display

        display(Image(filename=os.fspath(path)))
