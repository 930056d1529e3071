"""The images of an audit and the model's answers to them, as interventions need both: photos in, probabilities out.

Axis legend: n images, H0 x W0 pixels, C channels, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tf_gradcam._explain.explainer import Explainer
from tf_gradcam.audit.mapper import AuditMapper
from tf_gradcam.audit.sources import Samples

_BATCH = 32


class Subject:
    """Reads images of the data set again, and asks the model about changed ones.

    Args:
        mapper: that explained the data set.
        source: `Samples`, or a `DatasetSource`, whose images are in the model's own range and are scaled to 0..255 by
            the extremes of those that are read first.
    """

    def __init__(self, mapper: AuditMapper, source: Any):
        self._mapper = mapper
        self._source = source
        self._range: tuple[float, float] | None = None
        is_cheap = mapper.explainer.method == "gradcam"
        # A prediction alone is wanted: by Grad-CAM's pass, whatever the audited method costs.
        self._explainer = mapper.explainer if is_cheap else Explainer(mapper.model, mapper.arguments["layer"])

    def images(self, rows: Sequence[int]) -> np.ndarray:
        """(n, H0, W0, C) float32 as the model takes them."""
        if isinstance(self._source, Samples):
            return self._mapper.load_images([self._source.files[row] for row in rows])
        return np.asarray(self._source.images(rows), np.float32)

    def photos(self, rows: Sequence[int]) -> np.ndarray:
        """(n, H0, W0, 3) float32 in 0..255."""
        if isinstance(self._source, Samples):
            return self._mapper.load_photos([self._source.files[row] for row in rows]).astype(np.float32)
        images = self.images(rows)
        if self._range is None:
            least, most = float(images.min()), float(images.max())
            is_raw = least >= 0 and 1.5 < most <= 255
            self._range = (0.0, 255.0) if is_raw else (least, max(most, least + 1e-6))
        least, most = self._range
        scaled = (images - least) * (255 / (most - least))
        return np.broadcast_to(scaled, (*scaled.shape[:3], 3)).astype(np.float32)

    def predict(self, photos: np.ndarray) -> np.ndarray:
        """(n, K) probabilities of photos (n, H0, W0, 3), 0..255."""
        if isinstance(self._source, Samples):
            return self.predict_images(self._mapper.images.of_photos(photos))
        assert self._range is not None
        least, most = self._range
        channels = self._mapper.images.channels
        return self.predict_images(photos[..., :channels] * ((most - least) / 255) + least)

    def predict_images(self, images: np.ndarray) -> np.ndarray:
        """(n, K) probabilities of images as the model takes them."""
        found = []
        for start in range(0, len(images), _BATCH):
            probabilities = self._explainer(images[start : start + _BATCH]).probabilities
            assert probabilities is not None
            found.append(probabilities)
        return np.concatenate(found)
