"""Probing rules of the CAM family: the weight of a channel, measured on changed images or activations.

Axis legend: B images, H x W cells of the layer, C channels, k selected channels, H0 x W0 pixels. A rule is one function
`probe -> weights`, NumPy in and out, see `Probe`. Set a parameter with functools.partial:
`Explainer(model, method=partial(faster_scorecam, channels=16))`. All rules but ablationcam raise ValueError unless the
layer is (B, H, W, C), the input (B, H0, W0, 3), and the cells are places in it: a mask hides what its map would show.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tf_gradcam._rules.contract import Probe, declares
from tf_gradcam.image.resize import Placement, Unplaced, place_maps

# Smaller scores count as zero: a division by them would leave the range of float32.
_ZERO_SCORE = 1e-30


@declares(needs="probing")
def scorecam(probe: Probe) -> np.ndarray:
    """Weigh each channel by the model's confidence in the class when the channel masks the image.

    The channel, upsampled and stretched to [0, 1], multiplies the image. Hidden pixels become 0 in the model's own
    units: grey for a range of -1 to 1, black for 0 to 255. A channel without contrast hides all pixels.

    Returns:
        (B, 1, 1, C) float32, positive, sum 1 over the channels.

    Source: Wang et al. 2020, https://arxiv.org/abs/1910.01279. Deviation: the baseline's score is not subtracted, as it
    cancels in the softmax over channels. The score is the probability of the class, as in the authors' code; that code
    leaves out the softmax over channels, and skips channels without contrast, where the paper divides 0 by 0.
    Probabilities differ by at most 1, so weights by at most a factor e: the map stays near the sum of the channels.
    Cost: 1 forward pass and C more.
    """
    return _softmax(probe, _all_channels(probe), _confidences(probe, _all_channels(probe)))


@declares(needs="probing")
def faster_scorecam(probe: Probe, *, channels: int = 32) -> np.ndarray:
    """Apply Score-CAM to the channels that vary most from cell to cell; the others have weight 0.

    Args:
        probe: the batch.
        channels: number of channels, at least 1; all channels if the layer has fewer. Defaults to 32.

    Returns:
        (B, 1, 1, C) float32: the softmax over these channels, 0 for the others.

    Raises:
        ValueError: `channels` below 1.

    Source: practice, https://github.com/tabayashi0117/Score-CAM. Deviation: each image has its own channels, of
    largest standard deviation; others take the union over the batch.
    Cost: 1 forward pass and `channels` more.
    """
    _check_count("channels", channels)
    _check_pictures(probe)
    spread = probe.activations.std(axis=(1, 2), dtype=np.float64)
    chosen = np.argsort(-spread, axis=1, kind="stable")[:, :channels]
    return _softmax(probe, chosen, _confidences(probe, chosen))


@declares(needs="probing")
def sscam(probe: Probe, *, samples: int = 10, noise: float = 0.2, seed: int = 0) -> np.ndarray:
    """Apply Score-CAM with scores averaged over noisy masks.

    Args:
        probe: the batch.
        samples: noisy copies of each mask, at least 1. Defaults to 10.
        noise: standard deviation of the Gaussian noise added to the mask of 0 to 1; 0 gives `scorecam`. Defaults to
            0.2.
        seed: of the noise. Defaults to 0.

    Returns:
        (B, 1, 1, C) float32, positive, sum 1 over the channels.

    Raises:
        ValueError: `samples` below 1, `noise` below 0.

    Source: Wang et al. 2020, https://arxiv.org/abs/2006.14255, the first of two variants: noise on the feature map (the
    second adds it to the masked image). Deviation: the noise is added after the map is stretched to [0, 1], so that its
    size means the same for every layer. It is smaller than the paper's 2, at which nothing is recognised (one dog, 48
    channels, MobileNet: mean confidence 0.71 without noise, 0.42 at 0.2, 0.04 at 0.5, 0.000 at 2). All channels and
    images share the same noise, so that they differ by their masks alone.
    Cost: 1 forward pass and `samples` * C more.
    """
    _check_count("samples", samples)
    if not noise >= 0:
        raise ValueError(f"Expected noise of 0 or more, received {noise}.")
    _check_pictures(probe)
    noises = noise * np.random.default_rng(seed).standard_normal((samples, *probe.placement.image_size), np.float32)
    chosen = _all_channels(probe)
    return _softmax(probe, chosen, _confidences(probe, chosen, samples, lambda masks, sample: masks + noises[sample]))


@declares(needs="probing")
def iscam(probe: Probe, *, steps: int = 10) -> np.ndarray:
    """Apply Score-CAM with scores averaged over masks from dark to full.

    Args:
        probe: the batch.
        steps: masks per channel, at least 1: the full mask times 1/n, 2/n, ... 1. 1 gives `scorecam`. Defaults to 10.

    Returns:
        (B, 1, 1, C) float32, positive, sum 1 over the channels.

    Raises:
        ValueError: `steps` below 1.

    Source: Naidu et al. 2020, https://arxiv.org/abs/2010.03023. Deviation: the factors are i/n, at most 1; others sum
    them up to (n + 1) / 2, which makes the images brighter than the model's own.
    Cost: 1 forward pass and `steps` * C more.
    """
    _check_count("steps", steps)

    def scaled(masks: np.ndarray, step: np.ndarray) -> np.ndarray:
        return masks * ((step + 1) / steps).astype(np.float32)[:, None, None]

    return _softmax(probe, _all_channels(probe), _confidences(probe, _all_channels(probe), steps, scaled))


@declares(needs="probing")
def ablationcam(probe: Probe) -> np.ndarray:
    """Weigh each channel by the fraction of the score that is lost without it; any number of spatial axes.

    Returns:
        (B, 1, 1, C) float32: (y - y_k) / |y| of the score y and of the score y_k with channel k set to 0. If y is 0,
        the drops y - y_k themselves: a heatmap is divided by its maximum, so |y| does not change it.

    Source: Desai & Ramaswamy 2020, WACV, https://doi.org/10.1109/WACV45572.2020.9093360. Deviation: |y| in place of y,
    which would invert the map of a negative score; y is the score before the softmax.
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
    """Return (B, C) int, after a check of the shapes."""
    _check_pictures(probe)
    count, channel_count = probe.activations.shape[0], probe.activations.shape[-1]
    return np.tile(np.arange(channel_count), (count, 1))


def _confidences(
    probe: Probe,
    channels: np.ndarray,
    variants: int = 1,
    vary: Callable[[np.ndarray, np.ndarray], np.ndarray] = lambda masks, variant: masks,
) -> np.ndarray:
    """Return (B, k) float64: confidences in the images masked by `channels` (B, k), averaged over the variants."""
    shape = (*channels.shape, variants)
    assert isinstance(probe.placement, Placement)
    placement = probe.placement
    channels_axis = -1 if placement.image_size == probe.images.shape[1:3] else 1

    def masked(rows: np.ndarray) -> np.ndarray:
        # The variants of a mask are adjacent, so it is upsampled once.
        pairs, inverse = np.unique(rows // variants, return_inverse=True)
        images, places = np.unravel_index(pairs, channels.shape)
        masks = _masks(probe.activations[images, :, :, channels[images, places]], placement)[inverse]
        return probe.images[images[inverse]] * np.expand_dims(vary(masks, rows % variants), channels_axis)

    owners = np.arange(np.prod(shape)) // (shape[1] * variants)
    return probe.score_images(owners, masked).reshape(shape).mean(axis=2, dtype=np.float64)


def _masks(maps: np.ndarray, placement: Placement) -> np.ndarray:
    """Draw maps (n, H, W) and stretch them to [0, 1], (n, H0, W0) float32; zero for flat or non-finite maps.

    Pixels that do not reach the layer are 0, as in the map.
    """
    is_finite = np.isfinite(maps).all(axis=(1, 2), keepdims=True)
    pixels = place_maps(np.where(is_finite, maps, 0.0), placement)
    seen = place_maps(np.ones((1, *maps.shape[1:])), placement) > 0
    pixels -= pixels.min(axis=(1, 2), keepdims=True, where=seen, initial=np.inf)
    peak = pixels.max(axis=(1, 2), keepdims=True, where=seen, initial=0)
    return np.divide(pixels, peak, out=np.zeros_like(pixels), where=seen & (peak > 0))


def _softmax(probe: Probe, channels: np.ndarray, confidences: np.ndarray) -> np.ndarray:
    """Return (B, 1, 1, C) float32: the softmax over `channels` (B, k), 0 for the others."""
    powers = np.exp(confidences - confidences.max(axis=1, keepdims=True))
    weights = np.zeros((len(channels), probe.activations.shape[-1]))
    np.put_along_axis(weights, channels, powers / powers.sum(axis=1, keepdims=True), axis=1)
    return weights.astype(np.float32)[:, None, None, :]


def _check_pictures(probe: Probe) -> None:
    remedy = "Use ablationcam, which takes any number of axes."
    if probe.activations.ndim != 4 or probe.images.ndim != 4:
        raise ValueError(
            "Expected a layer (B, H, W, C) and images (B, H0, W0, 3), which the layer can mask, received "
            f"{probe.activations.shape} and {probe.images.shape}. {remedy}"
        )
    if isinstance(probe.placement, Unplaced):
        reason = probe.placement.reason
        raise ValueError(f"Expected cells that are places in the images, to mask them: {reason}. {remedy}")


def _check_count(name: str, value: int) -> None:
    if not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"Expected {name} as a whole number of at least 1, received {value!r}.")
