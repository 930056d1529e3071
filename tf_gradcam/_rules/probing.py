"""Probing rules of the CAM family: what a channel counts, found by changing the picture or the layer and asking again.

Axis legend: B images, H x W cells of the layer, C channels, k of them looked at, H0 x W0 pixels. A rule is one function
`probe -> weights`, NumPy in and out; what it may look at and ask is `Probe`. A parameter is set with functools.partial:
`Explainer(model, method=partial(faster_scorecam, channels=16))`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tf_gradcam._rules.contract import Probe, declares
from tf_gradcam.image.resize import resize_heatmaps

# A score this near to zero is zero: dividing by it would leave the range of float32.
_ZERO_SCORE = 1e-30


@declares(needs="probing")
def scorecam(probe: Probe) -> np.ndarray:
    """Each channel counts by how sure the model stays of the class when the image shows where the channel is active.

    The channel, upsampled and stretched to [0, 1], multiplies the image: what it hides becomes 0 in the model's own
    units, grey where it takes -1 to 1, black where it takes 0 to 255. A channel without contrast hides all.

    Args:
        probe: pictures: activations (B, H, W, C), images (B, H0, W0, 3).

    Returns:
        (B, 1, 1, C) float32, positive; those of an image sum to 1.

    Raises:
        ValueError: the layer or the input is no picture.

    Source: Wang et al. 2020, https://arxiv.org/abs/1910.01279. Deviation: the baseline's score is not subtracted, as it
    cancels in the softmax over channels. The score is the probability of the class, as in the authors' code; that code
    leaves out the softmax over channels, and skips channels without contrast, where the paper divides 0 by 0.
    Probabilities differ by at most 1, so weights by at most a factor e: the map stays near the sum of the channels.
    Cost: 1 forward pass and C more.
    """
    return _softmax(probe, _all_channels(probe), _confidences(probe, _all_channels(probe)))


@declares(needs="probing")
def faster_scorecam(probe: Probe, *, channels: int = 32) -> np.ndarray:
    """Score-CAM of the channels that vary most from cell to cell; the others count nothing.

    Args:
        probe: as `scorecam`.
        channels: how many, at least 1; all where the layer has fewer. Defaults to 32.

    Returns:
        (B, 1, 1, C) float32: the softmax over the channels looked at, 0 for the others.

    Raises:
        ValueError: as `scorecam`; `channels` below 1.

    Source: practice, https://github.com/tabayashi0117/Score-CAM. Deviation: each image has its own channels, those of
    largest standard deviation, where others take the union over the batch.
    Cost: 1 forward pass and `channels` more.
    """
    _check_count("channels", channels)
    _check_pictures(probe)
    spread = probe.activations.std(axis=(1, 2), dtype=np.float64)
    chosen = np.argsort(-spread, axis=1, kind="stable")[:, :channels]
    return _softmax(probe, chosen, _confidences(probe, chosen))


@declares(needs="probing")
def sscam(probe: Probe, *, samples: int = 10, noise: float = 0.2, seed: int = 0) -> np.ndarray:
    """Score-CAM whose scores are means over noisy masks.

    Args:
        probe: as `scorecam`.
        samples: noisy copies of each mask, at least 1. Defaults to 10.
        noise: standard deviation of the Gaussian noise, in units of the mask, which reaches from 0 to 1; 0 gives
            `scorecam`. Defaults to 0.2.
        seed: of the noise. Defaults to 0.

    Returns:
        (B, 1, 1, C) float32, positive; those of an image sum to 1.

    Raises:
        ValueError: as `scorecam`; `samples` below 1, `noise` below 0.

    Source: Wang et al. 2020, https://arxiv.org/abs/2006.14255, the first of two variants: noise on the feature map (the
    second adds it to the masked image). Deviation: the noise is added when the map is stretched to [0, 1] already, so
    that its size means the same for every layer. It is smaller than the paper's 2, at which nothing is recognised (one
    dog, 48 channels, MobileNet: mean confidence 0.71 without noise, 0.42 at 0.2, 0.04 at 0.5, 0.000 at 2). The same
    noises serve all channels and images, so that these differ by their masks alone.
    Cost: 1 forward pass and `samples` * C more.
    """
    _check_count("samples", samples)
    if not noise >= 0:
        raise ValueError(f"Expected noise of 0 or more, received {noise}.")
    size = probe.images.shape[1:3]
    noises = noise * np.random.default_rng(seed).standard_normal((samples, *size), np.float32)
    chosen = _all_channels(probe)
    return _softmax(probe, chosen, _confidences(probe, chosen, samples, lambda masks, sample: masks + noises[sample]))


@declares(needs="probing")
def iscam(probe: Probe, *, steps: int = 10) -> np.ndarray:
    """Score-CAM whose scores are means over the way from a dark mask to the full one.

    Args:
        probe: as `scorecam`.
        steps: masks a channel, at least 1: the full one times 1/n, 2/n, ... 1. 1 gives `scorecam`. Defaults to 10.

    Returns:
        (B, 1, 1, C) float32, positive; those of an image sum to 1.

    Raises:
        ValueError: as `scorecam`; `steps` below 1.

    Source: Naidu et al. 2020, https://arxiv.org/abs/2010.03023. Deviation: the factors are i/n, at most 1, where others
    add them up to (n + 1) / 2 and show the model images brighter than its own.
    Cost: 1 forward pass and `steps` * C more.
    """
    _check_count("steps", steps)

    def scaled(masks: np.ndarray, step: np.ndarray) -> np.ndarray:
        return masks * ((step + 1) / steps).astype(np.float32)[:, None, None]

    return _softmax(probe, _all_channels(probe), _confidences(probe, _all_channels(probe), steps, scaled))


@declares(needs="probing")
def ablationcam(probe: Probe) -> np.ndarray:
    """Each channel counts by the part of the score that is lost without it.

    Args:
        probe: activations (B, H, W, C), any number of spatial axes.

    Returns:
        (B, 1, 1, C) float32: (y - y_k) / |y| of the score y and of y_k, what it is when channel k is set to 0. Where y
        is 0, the drops y - y_k themselves: a heatmap is divided by its maximum, so |y| makes no difference to it.

    Source: Desai & Ramaswamy 2020, WACV, https://doi.org/10.1109/WACV45572.2020.9093360. Deviation: |y| in place of y,
    which for a negative score would turn the map into its opposite; y is the score before the softmax.
    Cost: 1 forward pass and C tail passes.
    """
    activations = probe.activations
    count, channel_count = activations.shape[0], activations.shape[-1]
    owners, channels = np.divmod(np.arange(count * channel_count), channel_count)

    def ablated(rows: np.ndarray) -> np.ndarray:
        changed = activations[owners[rows]]
        changed[np.arange(len(rows)), ..., channels[rows]] = 0.0
        return changed

    without = probe.score_activations(owners, ablated).reshape(count, channel_count).astype(np.float64)
    scores = probe.scores.astype(np.float64)[:, None]
    size = np.abs(scores)
    weights = (scores - without) / np.where(size > _ZERO_SCORE, size, 1.0)
    return weights.astype(np.float32).reshape(count, *[1] * (activations.ndim - 2), channel_count)


def _all_channels(probe: Probe) -> np.ndarray:
    """(B, C) int."""
    _check_pictures(probe)
    count, channel_count = probe.activations.shape[0], probe.activations.shape[-1]
    return np.tile(np.arange(channel_count), (count, 1))


def _confidences(
    probe: Probe,
    channels: np.ndarray,
    variants: int = 1,
    vary: Callable[[np.ndarray, np.ndarray], np.ndarray] = lambda masks, variant: masks,
) -> np.ndarray:
    """(B, k) float64: mean confidence in the image times the mask of each of `channels` (B, k), over its variants."""
    shape = (*channels.shape, variants)
    size = probe.images.shape[1:3]

    def masked(rows: np.ndarray) -> np.ndarray:
        # The variants of a mask come one after the other, so it is upsampled once.
        pairs, inverse = np.unique(rows // variants, return_inverse=True)
        images, places = np.unravel_index(pairs, channels.shape)
        masks = _masks(probe.activations[images, :, :, channels[images, places]], size)[inverse]
        return probe.images[images[inverse]] * vary(masks, rows % variants)[..., None]

    owners = np.arange(np.prod(shape)) // (shape[1] * variants)
    return probe.score_images(owners, masked).reshape(shape).mean(axis=2, dtype=np.float64)


def _masks(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(n, H0, W0) float32: maps (n, H, W) upsampled and stretched to [0, 1]; zero where flat or not finite."""
    is_finite = np.isfinite(maps).all(axis=(1, 2), keepdims=True)
    pixels = resize_heatmaps(np.where(is_finite, maps, 0.0), size)
    pixels -= pixels.min(axis=(1, 2), keepdims=True)
    peak = pixels.max(axis=(1, 2), keepdims=True)
    return np.divide(pixels, peak, out=np.zeros_like(pixels), where=peak > 0)


def _softmax(probe: Probe, channels: np.ndarray, confidences: np.ndarray) -> np.ndarray:
    """(B, 1, 1, C) float32: softmax over `channels` (B, k), 0 for the others."""
    powers = np.exp(confidences - confidences.max(axis=1, keepdims=True))
    weights = np.zeros((len(channels), probe.activations.shape[-1]))
    np.put_along_axis(weights, channels, powers / powers.sum(axis=1, keepdims=True), axis=1)
    return weights.astype(np.float32)[:, None, None, :]


def _check_pictures(probe: Probe) -> None:
    if probe.activations.ndim != 4 or probe.images.ndim != 4:
        raise ValueError(
            "Expected a layer (B, H, W, C) and images (B, H0, W0, 3), which the layer can mask, received "
            f"{probe.activations.shape} and {probe.images.shape}. Use ablationcam, which takes any number of axes."
        )


def _check_count(name: str, value: int) -> None:
    if not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"Expected {name} as a whole number of at least 1, received {value!r}.")
