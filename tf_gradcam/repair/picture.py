"""The picture of a repair: maps of the same held-out images before and after.

Axis legend: B images, H0 x W0 pixels.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tf_gradcam.audit.mapper import AuditMapper
from tf_gradcam.audit.shortcuts.evidence import intervene
from tf_gradcam.repair.measure import HeldOut
from tf_gradcam.repair.samples import RepairSamples

_COUNT = 3  # images that show it, and as many with it pasted in


class ShownMaps(NamedTuple):
    """Maps for the class of the finding.

    Attributes:
        photos: (B, H0, W0, 3) uint8, first those that show the suspect, then others with it pasted in.
        overlays: (B, H0, W0, 3) uint8, the maps on them.
        probabilities: (B,) of the class.
        shown: number of the first kind.
        label: name of the class.
    """

    photos: np.ndarray
    overlays: np.ndarray
    probabilities: np.ndarray
    shown: int
    label: str


def maps_of(
    mapper: AuditMapper,
    inputs: Callable[[np.ndarray, np.ndarray], Any],
    samples: RepairSamples,
    chosen: HeldOut,
) -> ShownMaps:
    """Return maps of some held-out images, by the model as it is now; the same images at each call."""
    own, others = chosen.own[:_COUNT], chosen.others[:_COUNT]
    photos, foreign = (samples.photos[rows].astype(np.float32) for rows in (own, others))
    pasted = intervene(samples.of(own), photos, foreign, np.random.default_rng(0)).pasted()
    shown = np.concatenate([photos, pasted])
    explanation = mapper.explainer(inputs(shown, np.concatenate([own, others])), samples.class_index)
    pictures = np.clip(np.round(shown), 0, 255).astype(np.uint8)
    assert explanation.probabilities is not None
    return ShownMaps(
        pictures,
        np.stack(list(explanation.overlay(pictures))),
        explanation.probabilities[:, samples.class_index],
        len(own),
        mapper.class_names[samples.class_index],
    )


def draw_maps(before: ShownMaps, after: ShownMaps) -> bytes:
    """Draw a column for each image: the photo, its map before, and its map after. Returns a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count, height, width = before.photos.shape[:3]
    figure = Figure(figsize=(1.6 * count + 0.4, 3 * (1.5 * height / width + 0.25)), dpi=110, layout="constrained")
    panels = figure.subplots(3, count, squeeze=False)
    for row, (words, pictures, maps) in enumerate(
        (("photo", before.photos, None), ("before", before.overlays, before), ("after", after.overlays, after))
    ):
        for column, panel in enumerate(panels[row]):
            panel.imshow(pictures[column], interpolation="nearest")
            panel.set(xticks=[], yticks=[])
            panel.spines[:].set_visible(False)
            if maps is None:
                panel.set_title("shows it" if column < before.shown else "pasted in", fontsize=8)
            else:
                panel.set_title(f"{before.label} {maps.probabilities[column]:.2f}", fontsize=8)
        panels[row, 0].set_ylabel(words, fontsize=9)
    canvas, buffer = FigureCanvasAgg(figure), io.BytesIO()
    canvas.print_png(buffer)
    return buffer.getvalue()
