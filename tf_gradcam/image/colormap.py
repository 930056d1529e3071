"""Colour maps by name: 256 colours, from a heat of 0 to a heat of 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tf_gradcam._errors import unknown_name
from tf_gradcam.image.opencv import opencv

_PREFIX = "COLORMAP_"


def colormap_colors(name: str) -> NDArray[np.uint8]:
    """The 256 colours of a map: row 0 paints a heat of 0, row 255 a heat of 1.

    Where OpenCV and Matplotlib share a name, OpenCV's colours count: its jet is the one of most published
    Grad-CAM pictures, and it costs no import of Matplotlib. The two agree within 2 of 255 levels, except jet
    (the same ends, other steps), hot, hsv, ocean, pink, and rainbow, which OpenCV runs from red to violet.

    Args:
        name: one of OpenCV's in lower case ("jet", "turbo", "viridis", ...), or any of Matplotlib's as it is
            spelled there ("Reds", "coolwarm", "viridis_r", ...).

    Returns:
        (256, 3) uint8 RGB.

    Raises:
        TypeError: if `name` is no string.
        ValueError: if neither library knows the name; the nearest ones are listed.
    """
    if not isinstance(name, str):
        raise TypeError(f"Expected the name of a colour map, such as 'jet', received {type(name).__name__}.")
    cv2 = opencv()
    code = getattr(cv2, _PREFIX + name.upper(), None) if name.islower() else None
    if code is not None:
        levels = np.arange(256, dtype=np.uint8)[:, None]
        bgr = cv2.applyColorMap(levels, code)[:, 0]
        return np.ascontiguousarray(bgr[:, ::-1])

    from matplotlib import colormaps  # not above: importing it takes longer than drawing an overlay

    if name in list(colormaps):
        rgb = colormaps[name](np.linspace(0.0, 1.0, 256))[:, :3]
        return np.rint(255 * rgb).astype(np.uint8)
    of_opencv = sorted(key[len(_PREFIX) :].lower() for key in dir(cv2) if key.startswith(_PREFIX))
    raise ValueError(unknown_name("colour map", name, [*of_opencv, *colormaps]))
