"""Diagnosis of maps that show nothing, blank or the same everywhere: the cause and the remedy."""

from __future__ import annotations

import numpy as np

from tf_gradcam._errors import Message, joined_messages

NON_FINITE_IMAGE = "the image holds NaN or infinite values: check how it was loaded and scaled"
NON_FINITE_MAP = (
    "the map holds NaN or infinite values although the image does not: the model overflows in its precision or has "
    "non-finite weights; check model.predict, or load the model in float32"
)
_LISTED = ("(list_layers(model) lists them)", "(`tf-gradcam layers MODEL` lists them)")
OTHER_LAYER = Message("choose another layer", *_LISTED)
EARLIER_LAYER = Message("choose an earlier layer, such as '{earlier}'", *_LISTED)
DETAIL_LAYER = Message("choose the layer for detail", "(layer='{detail}')", "(--layer {detail})")
_PREDICTED = Message("explain the predicted class", "(target=None)", "(without --target)")
_OTHER_METHOD = "choose another method"
_NO_EARLIER = "no earlier layer of the model has several cells"
_RAW = Message("", "or look at explanation.raw", "or look at explanation.raw in Python")
ONE_CELL = "layer '{layer}' has a single cell per image, so its map cannot show a place"
SATURATED = (
    "the score is saturated: it is a probability of {probability:.6f} whose gradient has vanished, because the model's "
    "last operation is not a known softmax or sigmoid; end it with such a layer, or let it return logits"
)
ZERO_GRADIENT = (
    "the gradient is zero everywhere: the score does not change with layer '{layer}' here (units behind it are dead "
    "or clipped, the target ignores this layer, or the layer is behind a transformer's last attention, where the model "
    "reads only its class token); choose another layer or target, in a transformer a layer before the last attention"
)
NO_ACTIVATIONS = (
    "all activations of layer '{layer}' are zero here (its units are dead, or this picture does not activate them)"
)
NO_WEIGHTS = "no channel of layer '{layer}' changes the score when the model runs again: choose another layer or target"
ALL_NEGATIVE = (
    "every cell speaks against '{label}': all contributions in layer '{layer}' are negative or zero (the score is "
    "{score:.4g})"
)
CANCELLED = "no cell of layer '{layer}' speaks for or against '{label}': its contributions cancel out, up to rounding"
NONE_FOR = Message(
    "every cell speaks against '{label}' and none for it, so the heatmap is blank; the signed picture shows how much",
    "(see explanation.signed_heatmaps)",
    "(see explanation.signed_heatmaps in Python)",
)
NONE_POSITIVE = (
    "no cell of layer '{layer}' is above zero; this method reads the activations only, not '{label}': choose another "
    "method"
)
FLAT = (
    "the map is the same everywhere: all cells of layer '{layer}' count alike for '{label}', so it cannot show a "
    "place (is the picture of one colour, or was the layer's value pooled before?)"
)
FLAT_TOGETHER = (
    "the map is the same everywhere: combined, the maps have one value in all cells; look at each map by itself"
)

EMPTY_REGION = Message(
    "no pixel of this image is predicted as '{label}', so its region is empty; explain the whole picture, or one pixel",
    "(target=Region({name}, 'all') or Region({name}, point=(x, y)))",
    "(--target '{text}@everywhere' or '{text}@X,Y')",
)
EMPTY_MASK = (
    "The mask has no pixel at the centre of any of the {cells} cells of the output, so nothing is inside. Paint a "
    "larger one."
)

_FLATNESS = 1e-5  # of the largest value: about eighty roundings of float32


def diagnose(
    raw: np.ndarray,
    *,
    gradient_peak: float,
    finite_image: bool,
    saturated_probability: float | None,
    layer: str,
    label: str,
    score: float,
    signed: bool = False,
    needs: str = "gradients",
    activation_peak: float = np.inf,
    rounding: float = 0.0,
    is_predicted: bool = False,
    earlier_layer: str | None = None,
    detail_layer: str | None = None,
) -> str | None:
    """Return None for a map that can be read, else a sentence with the cause and the remedy.

    Args:
        raw: (H, W) float32, one image's map before relu and normalising.
        gradient_peak: largest absolute gradient, or value that a rule without gradients reads instead.
        finite_image: whether all its pixels are finite.
        saturated_probability: the score, if it is a probability of 0 or 1 that could not be opened; else None.
        layer, label, score: what was explained, for the sentence.
        signed: whether pictures show negative cells too.
        needs: what the rule declares; rules that use no gradient get no message about gradients.
        activation_peak: largest absolute activation of the layer.
        rounding: error of a cell's sum: differences below it mean nothing.
        is_predicted: whether the explained class is the predicted one already.
        earlier_layer: path of an earlier layer of several cells; None for the earliest one.
        detail_layer: path of a segmentation's layer for detail, named in place of the earlier one; None elsewhere.
    """
    values = {"layer": layer, "label": label, "score": score, "earlier": earlier_layer, "detail": detail_layer}

    def found(cause: str, *remedies: str) -> Message:
        if detail_layer is not None:
            remedies = tuple(DETAIL_LAYER if one is EARLIER_LAYER else one for one in remedies)
        possible = [one for one in remedies if earlier_layer or one is not EARLIER_LAYER]
        if remedies and not possible:
            possible = [_NO_EARLIER]
        return joined_messages([cause, *possible]).format(**values)

    if not finite_image:
        return NON_FINITE_IMAGE
    if not (np.isfinite(raw).all() and np.isfinite(gradient_peak)):
        return NON_FINITE_MAP
    if raw.size == 1:
        return found(ONE_CELL, EARLIER_LAYER)
    largest = np.abs(raw).max()
    if largest > rounding and (raw.max() > 0 or signed):
        if is_flat(raw, rounding):
            return found(FLAT, EARLIER_LAYER)
        return None if raw.max() > 0 else found(NONE_FOR)
    if needs == "activations":
        return found(NO_ACTIVATIONS, OTHER_LAYER) if gradient_peak == 0 else found(NONE_POSITIVE, OTHER_LAYER, _RAW)
    if activation_peak == 0:
        return found(NO_ACTIVATIONS, OTHER_LAYER)
    if gradient_peak == 0 and saturated_probability is not None:
        return SATURATED.format(probability=saturated_probability)
    if gradient_peak == 0:
        return found(NO_WEIGHTS if needs == "probing" else ZERO_GRADIENT)
    if 0 < largest <= rounding:
        return found(CANCELLED, EARLIER_LAYER, _OTHER_METHOD)
    return found(ALL_NEGATIVE, _OTHER_METHOD if is_predicted else _PREDICTED, EARLIER_LAYER, _RAW)


def is_flat(raw: np.ndarray, rounding: float = 0.0) -> bool:
    """Return whether a map of finite numbers has one value in all its cells, up to rounding."""
    return bool(np.ptp(raw) <= max(_FLATNESS * np.abs(raw).max(), rounding))


def may_be_blank(raw: np.ndarray, count: int) -> bool:
    """Return whether one of `count` maps may need a diagnosis, for which an earlier layer is then looked up."""
    maps = raw.reshape(count, -1)
    with np.errstate(invalid="ignore"):
        return bool(((maps.max(axis=1) <= 0) | (np.ptp(maps, axis=1) <= 0.01 * np.abs(maps).max(axis=1))).any())
