"""Phantom brain slices with true tumour masks: pictures whose correct map is known to the pixel.

Every slice is drawn from formulas and random numbers; no picture of a person was used. The anatomy is drawn before the
tumour and in the same way for all classes, so only the tumour distinguishes them:

    glioma       irregular, blurred and mixed: dark core, patchy bright rim, dim oedema; inside one hemisphere
    meningioma   bright, even, round and well bordered; broad against the inside of the skull
    notumor      no tumour; the mask is empty
    pituitary    small, bright, round; in the midline below the centre, in the cistern that every slice has

All classes also have misleading details: small bright vessels, and often a dark cyst without a rim.
Axis letters: N slices, S pixels a side. Lengths are in half heights of the head; `r` is 1 at the scalp's outer edge.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CLASS_NAMES = ("glioma", "meningioma", "notumor", "pituitary")


class Phantom(NamedTuple):
    """Slices with their true classes and masks.

    images: (N, S, S, 3) float32, RGB 0..255 in whole grey levels, so `images.astype("uint8")` loses nothing.
    labels: (N,) int64, index into `CLASS_NAMES`.
    masks: (N, S, S) bool, the whole tumour (for a glioma with its oedema); empty for "notumor".
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    masks: NDArray[np.bool_]


def phantom_slices(count: int, seed: int, size: int = 224) -> Phantom:
    """Draw axial slices like a T1 scan with contrast agent, each with its class and its true tumour mask.

        phantom_slices(8, seed=1)             # two of each class
        phantom_slices(8, seed=1, size=64)    # the same eight heads, coarser

    Slice `i` depends on `seed` and `i` alone: the first 10 of 100 equal a call for 10. Classes cycle: slice `i` is of
    class `i % 4`, so every multiple of four is balanced; shuffle before training.

    Args:
        count: number of slices, at least 1.
        seed: non-negative integer.
        size: S, pixels a side, at least 32. Defaults to 224.

    Raises:
        ValueError: if `count < 1`, `seed < 0` or `size < 32`.
    """
    for name, value, least in (("count", count, 1), ("seed", seed, 0), ("size", size, 32)):
        if value < least:
            raise ValueError(f"`{name}` must be at least {least}; received {value}.")
    images = np.empty((count, size, size, 3), np.float32)
    masks = np.empty((count, size, size), bool)
    labels = np.arange(count) % len(CLASS_NAMES)
    for i in range(count):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(i,)))
        grey, masks[i] = _draw_slice(rng, CLASS_NAMES[labels[i]], size)
        images[i] = grey[..., None]
    return Phantom(images, labels, masks)


def _draw_slice(rng: np.random.Generator, class_name: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the head, its tumour, the scanner: grey (S, S) float32 0..255 and mask (S, S) bool."""
    head = _draw_head(rng, size)
    tissue = _draw_tissue(rng, head)
    scanner = rng.spawn(1)[0]  # drawn apart, so that a tumour does not change the noise
    mask = np.zeros((size, size), bool)
    if class_name in TUMOURS:
        tissue, mask = TUMOURS[class_name](rng, head, tissue)
    return _scan(scanner, tissue), mask


class _Head(NamedTuple):
    """Coordinates of a head: (S, S) maps `u` to its left, `v` to its back, `r` from centre to scalp; borders."""

    u: np.ndarray
    v: np.ndarray
    r: np.ndarray
    aspect: float
    bone_out: float
    bone_in: float
    brain: float
    edge: float  # width of one soft border, about a pixel

    def inside(self, border: float) -> np.ndarray:
        """Return 1 inside the contour r = border, 0 outside, soft between."""
        return _soft((border - self.r) / self.edge)

    def ellipse(
        self, u: float, v: float, half_u: float, half_v: float, tilt: float = 0.0, blur: float = 0.0
    ) -> np.ndarray:
        """Return 1 inside a tilted ellipse, 0 outside."""
        across, along = self.u - u, self.v - v
        cos, sin = float(np.cos(tilt)), float(np.sin(tilt))
        distance = np.hypot((cos * across + sin * along) / half_u, (cos * along - sin * across) / half_v)
        return _soft((1 - distance) * min(half_u, half_v) / (self.edge + blur))


def _draw_head(rng: np.random.Generator, size: int) -> _Head:
    """Draw a head of random size, place, turn and shape."""
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1
    scale, turn = rng.uniform(0.66, 0.9), rng.normal(0, 0.12)
    room = 1 - 1.05 * scale
    left, down = rng.uniform(-room, room), rng.uniform(-room, room)
    cos, sin = float(np.cos(turn)), float(np.sin(turn))
    across, along = np.meshgrid((axis - left) / scale, (axis - down) / scale)
    u, v = cos * across + sin * along, cos * along - sin * across
    aspect, egg = rng.uniform(0.76, 0.88), rng.uniform(0.04, 0.12)
    narrowed = u / (aspect * (1 + egg * v))
    angle = np.arctan2(v, narrowed)
    bumps = sum(rng.normal(0, 0.008) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 4, 5))
    r = np.hypot(narrowed, v) / (1 + bumps)
    bone_out = 1 - rng.uniform(0.04, 0.08)
    bone_in = bone_out - rng.uniform(0.04, 0.07)
    return _Head(u, v, r, aspect, bone_out, bone_in, bone_in - rng.uniform(0.015, 0.03), 2 / size / scale)


def _draw_tissue(rng: np.random.Generator, head: _Head) -> np.ndarray:
    """Draw scalp, bone, fluid, folded cortex, white matter, nuclei, ventricles, vessels: (S, S), 0 to about 1."""
    size = len(head.r)
    fluid, grey = rng.uniform(0.06, 0.12), rng.uniform(0.32, 0.42)
    white = grey * rng.uniform(1.25, 1.5)
    scalp = rng.uniform(0.6, 0.95) * (1 + 0.1 * _field(rng, size, 24))
    tissue = head.inside(1) * scalp
    tissue = _blend(tissue, rng.uniform(0.04, 0.1), head.inside(head.bone_out))
    third = 0.3 * (head.bone_out - head.bone_in)
    marrow = head.inside(head.bone_out - third) - head.inside(head.bone_in + third)
    tissue = _blend(tissue, rng.uniform(0.15, 0.5), marrow)
    tissue = _blend(tissue, fluid, head.inside(head.bone_in))

    depth = head.brain - head.r
    length = rng.uniform(0.08, 0.16) + 0.08 * _field(rng, size, 13)
    waves = int(rng.integers(9, 14))  # a fold runs inwards from the skull and meanders
    phase = waves * np.arctan2(head.v, head.u) + 1.7 * _field(rng, size, 9) + 0.8 * _field(rng, size, 24)
    sulcus = np.abs(np.sin(phase)) * head.r / waves + 0.3 * np.maximum(0, depth - length)
    cortex = _soft((rng.uniform(0.028, 0.042) - np.minimum(sulcus, depth)) / 0.012)
    brain = _blend(white * (1 + 0.03 * _field(rng, size, 20)), grey * (1 + 0.04 * _field(rng, size, 30)), cortex)
    for side in (-1, 1):
        brain = _blend(brain, grey, 0.8 * head.ellipse(side * 0.27, -0.03, 0.09, 0.2, side * 0.25, 0.01))
        brain = _blend(brain, grey, 0.8 * head.ellipse(side * 0.12, 0.1, 0.08, 0.12, side * 0.5, 0.01))
    brain = _blend(brain, fluid, 0.85 * _soft((rng.uniform(0.003, 0.01) - sulcus) / 0.006))
    tissue = _blend(tissue, brain, head.inside(head.brain))
    for value, shape in _details(rng, head, fluid):
        tissue = _blend(tissue, value, shape * head.inside(head.brain))
    return tissue


def _details(rng: np.random.Generator, head: _Head, fluid: float) -> list[tuple[float, np.ndarray]]:
    """Return intensity and shape of fissure, ventricles, cistern, pineal body, sinus, vessels and cysts."""
    wobble = head.u + 0.012 * _field(rng, len(head.u), 8)
    cleft = _soft((rng.uniform(0.004, 0.01) - np.abs(wobble)) / 0.006) * (np.abs(head.v) > rng.uniform(0.3, 0.4))
    details = [(fluid, 0.8 * cleft)]
    width = rng.uniform(0.7, 1.4)
    for side in (-1, 1):
        own = width * rng.uniform(0.85, 1.15)
        front = head.ellipse(side * 0.085, -0.18, 0.042 * own, 0.16 * own**0.5, side * 0.3)
        back = head.ellipse(side * 0.17, 0.2, 0.042 * own, 0.17 * own**0.5, side * -0.4)
        waist = head.ellipse(side * 0.06, 0.0, 0.024 * own, 0.13)
        details.append((fluid, np.maximum(np.maximum(front, back), waist)))
    cistern = np.maximum(head.ellipse(0, 0.43, 0.1, 0.035), head.ellipse(0, 0.43, 0.035, 0.09))
    details.append((fluid, 0.8 * cistern))
    details.append((rng.uniform(0.5, 0.9), head.ellipse(0, 0.17, 0.02, 0.025)))
    details.append((rng.uniform(0.5, 0.9), head.ellipse(0, head.brain - 0.02, 0.04, 0.03)))
    for _ in range(rng.integers(3, 9)):
        u, v = _inside_brain(rng, head, 0.9)
        details.append((rng.uniform(0.5, 0.9), head.ellipse(u, v, 0.012, rng.uniform(0.012, 0.05), rng.uniform(0, 3))))
    if rng.random() < 0.5:
        u, v = _inside_brain(rng, head, 0.7)
        half_u, half_v = rng.uniform(0.04, 0.12), rng.uniform(0.04, 0.12)
        details.append((rng.uniform(fluid, 0.25), 0.9 * head.ellipse(u, v, half_u, half_v, rng.uniform(0, 3), 0.01)))
    return details


def _inside_brain(rng: np.random.Generator, head: _Head, reach: float) -> tuple[float, float]:
    """Return a random point (u, v) of the brain, up to `reach` of its radius."""
    angle, r = rng.uniform(0, 2 * np.pi), head.brain * reach * rng.uniform(0, 1) ** 0.5
    return r * head.aspect * float(np.cos(angle)), r * float(np.sin(angle))


def _glioma(rng: np.random.Generator, head: _Head, tissue: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draw a dark core, patchy rim and oedema; ragged and blurred, on one side of the midline."""
    size, radius, side = len(tissue), rng.uniform(0.17, 0.27), int(rng.choice([-1, 1]))
    u, v = side * rng.uniform(0.3, 0.42), rng.uniform(-0.45, 0.45)
    distance = np.hypot((head.u - u) / rng.uniform(0.85, 1.1), (head.v - v) / rng.uniform(0.85, 1.25)) / radius
    ragged = 0.22 * _field(rng, size, 11) + 0.08 * _field(rng, size, 26)
    distance = distance + ragged
    room = head.inside(head.brain) * _soft((side * head.u - 0.02) / 0.02)
    whole = _soft((1.15 - distance) / 0.1) * room
    tissue = _blend(tissue, tissue * rng.uniform(0.55, 0.75), whole)
    patchy = rng.uniform(0.6, 0.85) * (1 + 0.3 * _field(rng, size, 24))
    tissue = _blend(tissue, patchy, 0.9 * _soft((0.8 - distance) / 0.08) * room)
    core = rng.uniform(0.08, 0.2) * (1 + 0.3 * _field(rng, size, 20))
    dead = rng.uniform(0.35, 0.6) + 0.2 * _field(rng, size, 16) - distance
    tissue = _blend(tissue, core, _soft(dead / 0.08) * room)
    return tissue, whole > 0.5


def _meningioma(rng: np.random.Generator, head: _Head, tissue: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draw an even bright ball against the dura, clipped by the skull, with a short tail along it."""
    size, radius, angle = len(tissue), rng.uniform(0.15, 0.24), rng.uniform(0, 2 * np.pi)
    r = head.bone_in - radius * rng.uniform(0.45, 0.8)
    distance = np.hypot(head.u - r * head.aspect * float(np.cos(angle)), head.v - r * float(np.sin(angle))) / radius
    ball = _soft((1 + 0.04 * _field(rng, size, 9) - distance) * radius / head.edge)
    room, value = head.inside(head.bone_in), rng.uniform(0.75, 0.95)
    tail = _soft((1.5 - distance) / 0.1) * (room - head.inside(head.brain - 0.01))
    tissue = _blend(tissue, 0.9 * value, np.clip(tail, 0, 1))
    tissue = _blend(tissue, value * (1 + 0.02 * _field(rng, size, 30)), ball * room)
    return tissue, ball * room > 0.5


def _pituitary(rng: np.random.Generator, head: _Head, tissue: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draw a small bright ball in the cistern, in the midline."""
    half_u, half_v = rng.uniform(0.085, 0.13), rng.uniform(0.085, 0.12)
    u, v = rng.normal(0, 0.008), 0.43 + rng.normal(0, 0.015)
    distance = np.hypot((head.u - u) / half_u, (head.v - v) / half_v) + 0.05 * _field(rng, len(tissue), 14)
    ball = _soft((1 - distance) * half_u / head.edge)
    value = rng.uniform(0.7, 0.95) * (1 + 0.03 * _field(rng, len(tissue), 30))
    return _blend(tissue, value, ball), ball > 0.5


TUMOURS: dict[str, Callable[[np.random.Generator, _Head, np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "glioma": _glioma,
    "meningioma": _meningioma,
    "pituitary": _pituitary,
}


def _scan(rng: np.random.Generator, tissue: np.ndarray) -> np.ndarray:
    """Add bias field, Rician noise (magnitude of a complex signal) and window; whole grey levels 0..255."""
    size = len(tissue)
    signal = np.maximum(tissue, 0) * np.exp(0.1 * _field(rng, size, 4))
    noise = rng.uniform(0.01, 0.035) * rng.standard_normal((2, size, size), np.float32)
    signal = np.hypot(signal + noise[0], noise[1])
    window = rng.uniform(0.75, 1.05) * np.clip(signal, 0, 1.2) ** rng.uniform(0.85, 1.2)
    return np.round(255 * np.clip(window, 0, 1)).astype(np.float32)


def _field(rng: np.random.Generator, size: int, cells: int) -> np.ndarray:
    """Return a smooth random field (S, S) of unit variance, `cells` bumps a side; the same at every size."""
    basis = _spline(size, cells)
    return basis @ rng.standard_normal((cells, cells), np.float32) @ basis.T


@lru_cache(maxsize=64)
def _spline(size: int, cells: int) -> np.ndarray:
    """Return a cubic B-spline basis (S, cells), rows of unit length, so that white noise keeps its variance."""
    place = (np.arange(size) + 0.5) / size * (cells - 1)
    t = np.abs(place[:, None] - np.arange(cells))
    basis = np.where(t < 1, 2 / 3 - t**2 + t**3 / 2, np.maximum(0, 2 - t) ** 3 / 6)
    return (basis / np.linalg.norm(basis, axis=1, keepdims=True)).astype(np.float32)


def _soft(signed: np.ndarray) -> np.ndarray:
    """Return 0 for signed distances below -1, 1 above 1, linear between."""
    return np.clip(signed / 2 + 0.5, 0, 1)


def _blend(below: np.ndarray, above: np.ndarray | float, weight: np.ndarray) -> np.ndarray:
    """Return `above` where the weight is 1, `below` where it is 0."""
    return below + (above - below) * weight
