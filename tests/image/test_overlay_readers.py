"""The order of values along a colour map, for readers with every kind of sight and in grey print."""

from __future__ import annotations

import numpy as np
import pytest

from tf_gradcam.image.overlay import Look, colors_of

pytestmark = pytest.mark.core

# Dichromats' vision in linear RGB: Machado, Oliveira and Fernandes 2009, table 1, severity 1.0,
# https://doi.org/10.1109/TVCG.2009.113.
SIGHT = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_LUMINANCE = [0.2126, 0.7152, 0.0722]  # of linear sRGB, IEC 61966-2-1
TO_GREY = [0.299, 0.587, 0.114]  # of the stored values, as printers and Pillow convert: ITU-R BT.601


def lightness(colors: np.ndarray, sight: str) -> np.ndarray:
    """Return CIELAB L* of colours (N, 3) uint8 as they are seen, (N,)."""
    stored = colors / 255
    linear = np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)
    luminance = np.clip(linear @ np.transpose(SIGHT[sight]), 0, 1) @ TO_LUMINANCE
    return 116 * np.where(luminance > (6 / 29) ** 3, np.cbrt(luminance), luminance * (29 / 6) ** 2 / 3 + 4 / 29) - 16


def smallest_step(colors: np.ndarray, sight: str) -> float:
    """Return the smallest change of lightness, or of grey in hundredths, over 8 colours, so that rounding is small."""
    light = colors @ TO_GREY / 2.55 if sight == "grey print" else lightness(colors, sight)
    return float((light[8:] - light[:-8]).min() / 8)


@pytest.mark.parametrize("sight", [*SIGHT, "grey print"])
def test_default_is_the_lighter_the_hotter_and_jet_is_not(sight: str) -> None:
    assert smallest_step(colors_of(False), sight) > 0
    assert smallest_step(colors_of(False, Look(colormap="jet")), sight) < 0


@pytest.mark.parametrize("sight", [*SIGHT, "grey print"])
def test_signed_default_is_the_darker_the_further_from_zero(sight: str) -> None:
    against, favour = np.split(colors_of(True), [127])
    assert smallest_step(against, sight) > 0
    assert smallest_step(favour[::-1], sight) > 0
