"""Every rule a second time: slow loops over Python floats, from the paper's formula and from nothing of the package.

Axis legend: b image, cell a tuple of spatial indices (i, j, ...), k channel. A twin takes float64 arrays (B, *cells, C)
and gives the map before relu, (B, *cells). `TWINS` has the keys of `METHODS`; a test compares them.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable

import numpy as np

Array = np.ndarray


def images_of(array: Array) -> range:
    return range(array.shape[0])


def cells_of(array: Array) -> list[tuple[int, ...]]:
    return list(np.ndindex(array.shape[1:-1]))


def channels_of(array: Array) -> range:
    return range(array.shape[-1])


def channel(array: Array, b: int, k: int) -> list[float]:
    """The values of one channel of one image, cell by cell."""
    return [float(array[(b, *cell, k)]) for cell in cells_of(array)]


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def summed(activations: Array, weight: Callable[[int, tuple[int, ...], int], float]) -> Array:
    """sum_k weight(b, cell, k) * A_k, cell by cell."""
    heat = np.zeros(activations.shape[:-1])
    for b in images_of(activations):
        for cell in cells_of(activations):
            terms = [weight(b, cell, k) * activations[(b, *cell, k)] for k in channels_of(activations)]
            heat[(b, *cell)] = math.fsum(terms)
    return heat


def by_channel(activations: Array, weight: Callable[[int, int], float]) -> Array:
    """sum_k weight(b, k) * A_k, each weight worked out once."""
    weights = {(b, k): weight(b, k) for b in images_of(activations) for k in channels_of(activations)}
    return summed(activations, lambda b, cell, k: weights[b, k])


def cam(activations: Array, gradients: Array) -> Array:
    return by_channel(activations, lambda b, k: math.fsum(channel(gradients, b, k)))


def gradcam(activations: Array, gradients: Array) -> Array:
    return by_channel(activations, lambda b, k: mean(channel(gradients, b, k)))


def gradcam_pp(activations: Array, gradients: Array) -> Array:
    """The powers as the paper writes them."""

    def weight(b: int, k: int) -> float:
        total = 0.0
        for gradient in channel(gradients, b, k):
            numerator = gradient**2
            denominator = 2.0 * gradient**2 + math.fsum(channel(activations, b, k)) * gradient**3
            alpha = numerator / denominator if denominator != 0.0 else 0.0
            total += alpha * max(gradient, 0.0)
        return total

    return by_channel(activations, weight)


def xgradcam(activations: Array, gradients: Array) -> Array:
    """The paper's weighted mean, the plain one where nine tenths or more of the activations cancel."""

    def weight(b: int, k: int) -> float:
        values, slopes = channel(activations, b, k), channel(gradients, b, k)
        if abs(math.fsum(values)) <= 0.1 * math.fsum(abs(value) for value in values):
            return mean(slopes)
        return math.fsum(slope * value for slope, value in zip(slopes, values, strict=True)) / math.fsum(values)

    return by_channel(activations, weight)


def hirescam(activations: Array, gradients: Array) -> Array:
    return summed(activations, lambda b, cell, k: gradients[(b, *cell, k)])


def gradcam_elementwise(activations: Array, gradients: Array) -> Array:
    heat = np.zeros(activations.shape[:-1])
    for b in images_of(activations):
        for cell in cells_of(activations):
            for k in channels_of(activations):
                product = gradients[(b, *cell, k)] * activations[(b, *cell, k)]
                if product > 0.0:
                    heat[(b, *cell)] += product
    return heat


def layercam(activations: Array, gradients: Array) -> Array:
    return summed(activations, lambda b, cell, k: max(gradients[(b, *cell, k)], 0.0))


def shapleycam(activations: Array, gradients: Array, curvature: Array) -> Array:
    def weight(b: int, k: int) -> float:
        slopes, bends = channel(gradients, b, k), channel(curvature, b, k)
        return mean([slope - bend / 2.0 for slope, bend in zip(slopes, bends, strict=True)])

    return by_channel(activations, weight)


def strongest_pattern(features: Array) -> Array:
    """sigma_1 u_1 of each image's cells x channels, signed to a positive sum."""
    heat = np.zeros(features.shape[:-1])
    for b in images_of(features):
        matrix = np.array([[features[(b, *cell, k)] for k in channels_of(features)] for cell in cells_of(features)])
        left, values, _ = np.linalg.svd(matrix, full_matrices=False)
        pattern = values[0] * left[:, 0]
        if pattern.sum() < 0.0:
            pattern = -pattern
        for cell, value in zip(cells_of(features), pattern, strict=True):
            heat[(b, *cell)] = value
    return heat


def eigencam(activations: Array, gradients: Array) -> Array:
    return strongest_pattern(activations)


def eigengradcam(activations: Array, gradients: Array) -> Array:
    return strongest_pattern(gradients * activations)


def fem(activations: Array, gradients: Array) -> Array:
    heat = np.zeros(activations.shape[:-1])
    for b in images_of(activations):
        for k in channels_of(activations):
            values = channel(activations, b, k)
            mu = mean(values)
            sigma = math.sqrt(mean([(value - mu) ** 2 for value in values]))
            for cell, value in zip(cells_of(activations), values, strict=True):
                if value > mu + 2.0 * sigma:
                    heat[(b, *cell)] += mu
    return heat


def random(activations: Array, gradients: Array) -> Array:
    """Weights from Philox; bit k of an image's key: is the sum of channel k above that of channel k - 1 (cyclic)?"""
    draws = []
    for b in images_of(activations):
        sums = [math.fsum(channel(activations, b, k)) for k in channels_of(activations)]
        key = sum(1 << k for k in range(min(len(sums), 31)) if sums[k] > sums[k - 1])
        draws.append(philox_uniform(key, 0, len(sums)))
    return by_channel(activations, lambda b, k: 2.0 * draws[b][k] - 1.0)


def philox_block(key: list[int], counter: list[int]) -> list[int]:
    """Philox4x32-10: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"."""
    (key0, key1), (c0, c1, c2, c3) = key, counter
    for _ in range(10):
        product0, product2 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (
            (product2 >> 32) ^ c1 ^ key0,
            product2 & 0xFFFFFFFF,
            (product0 >> 32) ^ c3 ^ key1,
            product0 & 0xFFFFFFFF,
        )
        key0, key1 = (key0 + 0x9E3779B9) & 0xFFFFFFFF, (key1 + 0xBB67AE85) & 0xFFFFFFFF
    return [c0, c1, c2, c3]


def philox_uniform(seed: int, stream: int, count: int) -> list[float]:
    """TensorFlow's stateless uniforms in [0, 1): one block under a fixed key mixes the seed, 23 bits make a float."""
    mixed = philox_block([0x3EC8F720, 0x02461E29], [seed, 0, stream, 0])
    words: list[int] = []
    for block in range(-(-count // 4)):
        words += philox_block(mixed[:2], [block, 0, *mixed[2:]])
    return [(word & 0x7FFFFF) / 2.0**23 for word in words[:count]]


TWINS: dict[str, Callable[..., Array]] = {
    twin.__name__: twin
    for twin in (
        gradcam,
        gradcam_pp,
        xgradcam,
        hirescam,
        gradcam_elementwise,
        layercam,
        shapleycam,
        cam,
        eigencam,
        eigengradcam,
        fem,
        random,
    )
}


def twin_map(name: str, arrays: dict[str, Array]) -> Array:
    """The map of a method before relu, from "activations", "gradients" and "curvature"."""
    count = len(inspect.signature(TWINS[name]).parameters)
    return TWINS[name](*[array.astype(np.float64) for array in list(arrays.values())[:count]])


def assert_close(actual: Array, expected: Array, tolerance: float = 2e-6) -> None:
    """Equal to within `tolerance` of the largest expected value, which must not be zero: a few roundings of float32."""
    scale = np.abs(expected).max()
    assert scale > 0.0
    np.testing.assert_allclose(actual, expected, rtol=0.0, atol=tolerance * scale)
