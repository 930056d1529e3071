"""Examples of an intervention in one picture: as they are, erased, erased elsewhere, pasted into others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_TITLES = ("as it is", "erased", "random region erased", "another class, pasted into")


def draw_examples(examples: Sequence[np.ndarray], fill: str) -> np.ndarray:
    """A row for each example, a column for each version.

    Args:
        examples: four arrays (e, H0, W0, 3) float32, 0..255.
        fill: what it was erased with.

    Returns:
        uint8 RGB (h, w, 3).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count, height, width = examples[0].shape[:3]
    figure = Figure(figsize=(7.2, 0.35 + 1.8 * count * height / width), dpi=100, layout="constrained")
    panels = figure.subplots(count, len(examples), squeeze=False)
    for column, (title, photos) in enumerate(zip(_TITLES, examples, strict=True)):
        panels[0, column].set_title(f"{title} ({fill})" if column == 1 else title, fontsize=8)
        for row, photo in enumerate(photos):
            panels[row, column].imshow(np.clip(np.round(photo), 0, 255).astype(np.uint8))
    for panel in panels.flat:
        panel.set_axis_off()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
