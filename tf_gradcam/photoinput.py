"""A photo as the image that a model takes: its size, its channels, its values.

Axis legend: H0 x W0 pixels, C channels.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from tf_gradcam.image import load_image
from tf_gradcam.preprocessing import Preprocessing

if TYPE_CHECKING:
    from tf_gradcam.inputs import ModelInputs

_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # Rec. 601, as JPEG and OpenCV weigh
# Where the model leaves the size free: the side that the family was trained at, 224 for others.
_SIDES = {"inception_v3": 299, "inception_resnet_v2": 299, "xception": 299}


class PhotoInput:
    """Reads photos for one model.

    Args:
        inputs: of a model with one image input, of one or three channels.
        preprocessing: what the model wants.

    Attributes:
        size: (height, width) of the images: what the model fixes, else what suits its family.
        channels: 1 or 3.

    Raises:
        ValueError: for a model of several inputs, or of no such images.
    """

    def __init__(self, inputs: ModelInputs, preprocessing: Preprocessing):
        if len(inputs.names) != 1:
            raise ValueError(
                f"Expected a model of one input, received one of {len(inputs.names)} ({', '.join(inputs.names)}). "
                "Explain it in Python: Explainer(model)([images, ...])."
            )
        shape = inputs.image_shape
        if len(shape) != 4 or shape[-1] not in (1, 3, None):
            raise ValueError(
                f"Expected a model of images (B, height, width, 1 or 3), received one that takes {shape}. Explain it "
                "in Python: Explainer(model)(images)."
            )
        side = _SIDES.get(preprocessing.architecture or "", 224)
        self.size = (shape[1] or side, shape[2] or side)
        self.channels = shape[-1] or 3

    def read(self, path: str | os.PathLike[str], preprocessing: Preprocessing) -> np.ndarray:
        """(H0, W0, C) float32 as the model wants it.

        Args:
            path: of the photo.
            preprocessing: what is done to its values.

        Raises:
            OSError, ValueError: as `load_image` and `Preprocessing`.
        """
        photo = load_image(path, self.size)
        if self.channels == 1:
            return preprocessing((photo.astype(np.float32) @ _GREY)[..., None])
        return preprocessing(photo)
