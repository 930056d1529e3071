"""OpenCV: imported here and nowhere else, when first needed."""

from __future__ import annotations

from types import ModuleType


def opencv() -> ModuleType:
    """Return the module `cv2`.

    Raises:
        ImportError: OpenCV is not installed, or lacks a system library, as on a server without a display; the message
            has the command that installs it.
    """
    try:
        import cv2
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "cv2":
            raise ImportError("OpenCV is not installed. Get it with `pip install opencv-python-headless`.") from error
        if any(sign in str(error) for sign in ("libGL", "libgthread", "shared object file")):
            raise ImportError(
                f"OpenCV is installed but misses a system library ({error}). Install it with "
                "`apt-get install libgl1 libglib2.0-0`, or take the build without it: "
                "`pip uninstall opencv-python`, then `pip install --force-reinstall --no-deps opencv-python-headless`."
            ) from error
        raise
    return cv2
