"""Diagnosis of maps that show nothing, blank or the same everywhere: the cause and the remedy."""

from __future__ import annotations

import numpy as np

from tf_gradcam._errors import Message

NON_FINITE_IMAGE = "the image holds NaN or infinite values: check how it was loaded and scaled"
NON_FINITE_MAP = (
    "the map holds NaN or infinite values although the image does not: the model overflows in its precision or has "
    "non-finite weights; check model.predict, or load the model in float32"
)
_LAYERS = ("list_layers(model)", "`tf-gradcam layers MODEL`")
_RAW = ("explanation.raw", "explanation.raw in Python")
ONE_CELL = Message(
    "layer '{layer}' has a single cell per image, so its map cannot show a place: choose an earlier layer, see",
    *_LAYERS,
)
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
    "all activations of layer '{layer}' are zero here (its units are dead, or this picture does not "
    "activate them): choose another layer"
)
NO_WEIGHTS = "no channel of layer '{layer}' changes the score when the model runs again: choose another layer or target"
ALL_NEGATIVE = Message(
    "every cell speaks against '{label}': all contributions in layer '{layer}' are negative or zero (the score is "
    "{score:.4g}); explain the predicted class, choose an earlier layer, or look at",
    *_RAW,
)
NONE_FOR = (
    "every cell speaks against '{label}' and none for it, so the heatmap is blank; the signed picture shows how much, "
    "see explanation.signed_heatmaps"
)
NONE_POSITIVE = Message(
    "no cell of layer '{layer}' is above zero; this method reads the activations only, not '{label}': choose "
    "another method or layer, or look at",
    *_RAW,
)
FLAT = Message(
    "the map is the same everywhere: all cells of layer '{layer}' count alike for '{label}', so it cannot show a "
    "place (is the picture of one colour, or was the layer's value pooled before?); choose an earlier layer, see",
    *_LAYERS,
)
FLAT_TOGETHER = (
    "the map is the same everywhere: combined, the maps have one value in all cells; look at each map by itself"
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
) -> str | None:
    """Return None for a map that can be read, else a sentence with the cause and the remedy.

    Args:
        raw: (H, W) float32, one image's map before relu and normalising.
        gradient_peak: largest absolute gradient of the score, or of what a rule without gradients reads instead.
        finite_image: whether all pixels are finite.
        saturated_probability: the score if it is a probability whose logit cannot be computed, else None.
        layer, label, score: what was explained, for the sentence.
        signed: whether pictures show negative cells too.
        needs: what the rule declares; rules that use no gradient get no message about gradients.
    """
    if not finite_image:
        return NON_FINITE_IMAGE
    if not (np.isfinite(raw).all() and np.isfinite(gradient_peak)):
        return NON_FINITE_MAP
    if raw.size == 1:
        return ONE_CELL.format(layer=layer)
    if raw.max() > 0 or (signed and raw.min() < 0):
        if is_flat(raw):
            return FLAT.format(layer=layer, label=label)
        return None if raw.max() > 0 else NONE_FOR.format(label=label)
    if needs == "activations":
        return (NO_ACTIVATIONS if gradient_peak == 0 else NONE_POSITIVE).format(layer=layer, label=label)
    if gradient_peak == 0 and saturated_probability is not None:
        return SATURATED.format(probability=saturated_probability)
    if gradient_peak == 0:
        return (NO_WEIGHTS if needs == "probing" else ZERO_GRADIENT).format(layer=layer)
    return ALL_NEGATIVE.format(label=label, layer=layer, score=score)


def is_flat(raw: np.ndarray) -> bool:
    """Return whether a map of finite numbers has one value in all its cells, up to rounding."""
    return bool(np.ptp(raw) <= _FLATNESS * np.abs(raw).max())
