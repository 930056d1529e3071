"""Why a map is blank, in words: the cause and the remedy."""

from __future__ import annotations

import numpy as np

NON_FINITE_IMAGE = "the image holds NaN or infinite values: check how it was loaded and scaled"
NON_FINITE_MAP = (
    "the map holds NaN or infinite values though the image does not: the model overflows in its precision or has "
    "non-finite weights; check model.predict, or load the model in float32"
)
ONE_CELL = (
    "layer '{layer}' has a single cell per image, so its map cannot show where: choose an earlier layer, see "
    "list_layers(model)"
)
SATURATED = (
    "the score is saturated: it is a probability of {probability:.6f} whose gradient has vanished, because what the "
    "model does last cannot be opened; end it with a softmax or sigmoid layer, or let it return logits"
)
ZERO_GRADIENT = (
    "the gradient is zero everywhere: the score does not change with layer '{layer}' here (units behind it are dead "
    "or clipped, the target ignores this layer, or behind a transformer's last attention its class token alone is "
    "read); choose another layer or target, in a transformer a layer before the last attention"
)
ALL_NEGATIVE = (
    "every cell speaks against '{label}': all contributions in layer '{layer}' are negative or zero (the score is "
    "{score:.4g}); explain the predicted class, choose an earlier layer, or look at explanation.raw"
)


def diagnose(
    raw: np.ndarray,
    *,
    gradient_peak: float,
    finite_image: bool,
    saturated_probability: float | None,
    layer: str,
    label: str,
    score: float,
) -> str | None:
    """None for a map that can be read, else a sentence on why not and what to do.

    Args:
        raw: (H, W) float32, one image's map before relu and normalising.
        gradient_peak: largest absolute gradient of the score.
        finite_image: whether all pixels are finite.
        saturated_probability: the score, where it is a probability whose logit is out of reach, else None.
        layer, label, score: what was explained, for the sentence.
    """
    if not finite_image:
        return NON_FINITE_IMAGE
    if not (np.isfinite(raw).all() and np.isfinite(gradient_peak)):
        return NON_FINITE_MAP
    if raw.size == 1:
        return ONE_CELL.format(layer=layer)
    if raw.max() > 0:
        return None
    if gradient_peak == 0 and saturated_probability is not None:
        return SATURATED.format(probability=saturated_probability)
    if gradient_peak == 0:
        return ZERO_GRADIENT.format(layer=layer)
    return ALL_NEGATIVE.format(label=label, layer=layer, score=score)
