"""Every probing rule a second time: slow loops over single images, from the papers and from nothing of the package.

Axis legend: b image, y x pixel, k channel. A twin takes activations (B, H, W, C), images (B, H0, W0, 3) and two
functions: `confidence(image, b)`, that of the whole model in a changed copy (H0, W0, 3) of image b, and
`score(activations, b)`, that of the tail on changed activations (H, W, C). It gives the weights (B, C) float64. `TWINS`
has the names of the rules; a test compares them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Array = np.ndarray
Score = Callable[[Array, int], float]


def cell_at(pixel: int, pixels: int, cells: int) -> tuple[int, int, float]:
    """The two cells between whose centres that of the pixel lies, and how far along it lies."""
    position = (pixel + 0.5) * cells / pixels - 0.5
    position = min(max(position, 0.0), cells - 1.0)
    first = min(int(position), max(cells - 2, 0))
    return first, min(first + 1, cells - 1), position - first


def upsampled(channel: Array, height: int, width: int) -> Array:
    pixels = np.zeros((height, width))
    for y in range(height):
        top, bottom, down = cell_at(y, height, channel.shape[0])
        for x in range(width):
            left, right, along = cell_at(x, width, channel.shape[1])
            upper = (1 - along) * channel[top, left] + along * channel[top, right]
            lower = (1 - along) * channel[bottom, left] + along * channel[bottom, right]
            pixels[y, x] = (1 - down) * upper + down * lower
    return pixels


def mask_of(channel: Array, height: int, width: int) -> Array:
    if channel.min() == channel.max():
        return np.zeros((height, width))
    pixels = upsampled(channel, height, width)
    return (pixels - pixels.min()) / (pixels.max() - pixels.min())


def softmax(values: list[float]) -> list[float]:
    total = math.fsum(math.exp(value) for value in values)
    return [math.exp(value) / total for value in values]


def masked_scores(
    activations: Array, images: Array, b: int, k: int, confidence: Score, variants: Callable[[Array], list[Array]]
) -> float:
    """Mean confidence over the variants of the mask of one channel."""
    image = images[b].astype(np.float64)
    mask = mask_of(activations[b, :, :, k].astype(np.float64), *image.shape[:2])
    values = []
    for variant in variants(mask):
        shown = np.zeros_like(image)
        for y in range(image.shape[0]):
            for x in range(image.shape[1]):
                shown[y, x] = variant[y, x] * image[y, x]
        values.append(confidence(shown, b))
    return math.fsum(values) / len(values)


def by_mask(activations: Array, images: Array, confidence: Score, variants: Callable[[Array], list[Array]]) -> Array:
    weights = np.zeros((activations.shape[0], activations.shape[-1]))
    for b in range(weights.shape[0]):
        channels = range(weights.shape[1])
        weights[b] = softmax([masked_scores(activations, images, b, k, confidence, variants) for k in channels])
    return weights


def scorecam(activations: Array, images: Array, confidence: Score, score: Score) -> Array:
    return by_mask(activations, images, confidence, lambda mask: [mask])


def faster_scorecam(activations: Array, images: Array, confidence: Score, score: Score, channels: int = 32) -> Array:
    weights = np.zeros((activations.shape[0], activations.shape[-1]))
    for b in range(weights.shape[0]):
        spread = {k: float(np.std(activations[b, :, :, k].astype(np.float64))) for k in range(weights.shape[1])}
        chosen = sorted(spread, key=lambda k: -spread[k])[:channels]
        values = [masked_scores(activations, images, b, k, confidence, lambda mask: [mask]) for k in chosen]
        for k, weight in zip(chosen, softmax(values), strict=True):
            weights[b, k] = weight
    return weights


def sscam(activations: Array, images: Array, confidence: Score, score: Score, **options: float) -> Array:
    noise, size = options["noise"], (int(options["samples"]), *images.shape[1:3])
    pictures = np.random.default_rng(int(options["seed"])).standard_normal(size, np.float32)
    return by_mask(activations, images, confidence, lambda mask: [mask + noise * picture for picture in pictures])


def iscam(activations: Array, images: Array, confidence: Score, score: Score, steps: int = 10) -> Array:
    return by_mask(activations, images, confidence, lambda mask: [mask * i / steps for i in range(1, steps + 1)])


def ablationcam(activations: Array, images: Array, confidence: Score, score: Score) -> Array:
    weights = np.zeros((activations.shape[0], activations.shape[-1]))
    for b in range(weights.shape[0]):
        whole = score(activations[b], b)
        for k in range(weights.shape[1]):
            rest = activations[b].copy()
            rest[..., k] = 0.0
            weights[b, k] = (whole - score(rest, b)) / abs(whole)
    return weights


TWINS = {twin.__name__: twin for twin in (scorecam, faster_scorecam, sscam, iscam, ablationcam)}
