"""The slices that the web page begins with: generated, with their true class and the true border of the tumour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tf_gradcam.demo.phantom import CLASS_NAMES, phantom_slices
from tf_gradcam.image.io import save_image

if TYPE_CHECKING:
    from tf_gradcam._results.explanation import Explanation

_COUNT, _SEED = 8, 2026  # two of each class, none of which the bundled model was trained on


@dataclass(frozen=True)
class Sample:
    """A generated slice.

    path: of its file.
    label: its true class.
    mask: (S, S) bool, the true tumour; empty where there is none.
    expression: what makes its array in Python, once `phantom_slices` is imported.
    """

    path: Path
    label: str
    mask: np.ndarray
    expression: str

    def heat_share(self, explanation: Explanation) -> tuple[float, float] | None:
        """(share of the heat inside the tumour, share of the picture that it covers); None without tumour or heat."""
        heat = explanation.resized(self.mask.shape)[0]
        total = float(heat.sum(dtype=np.float64))
        if not self.mask.any() or total <= 0:
            return None
        return float(heat[self.mask].sum(dtype=np.float64)) / total, float(self.mask.mean())


def write_samples(folder: Path) -> Sequence[Sample]:
    """Draw the slices and write them into a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    phantom = phantom_slices(_COUNT, _SEED)
    samples = []
    for index, (image, label, mask) in enumerate(zip(phantom.images, phantom.labels, phantom.masks, strict=True)):
        name = CLASS_NAMES[label]
        path = folder / f"slice-{index + 1}-{name}.png"
        save_image(path, image.astype(np.uint8))
        expression = f'phantom_slices({_COUNT}, seed={_SEED}).images[{index}].astype("uint8")'
        samples.append(Sample(path, name, mask, expression))
    return samples
