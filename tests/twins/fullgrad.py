"""FullGrad a second time, in float64 and loops: contributions scaled layer by layer, upsampled, added."""

from __future__ import annotations

import numpy as np

from tf_gradcam.image.resize import interpolation_matrix


def fullgrad(contributions: list[np.ndarray]) -> np.ndarray:
    """(B, H0, W0) map of contributions (B, H, W, C), the first of them at the size of the result."""
    batch, height, width = contributions[0].shape[:3]
    heat = np.zeros((batch, height, width))
    for terms in contributions:
        for b in range(batch):
            magnitudes = np.abs(terms[b].astype(np.float64))
            span = magnitudes.max() - magnitudes.min()
            if span == 0:
                continue
            summed = sum((magnitudes[..., k] - magnitudes.min()) / span for k in range(terms.shape[-1]))
            rows = interpolation_matrix(summed.shape[0], height)
            columns = interpolation_matrix(summed.shape[1], width)
            heat[b] += rows @ summed @ columns.T
    return heat


TWINS = {"fullgrad": fullgrad}
