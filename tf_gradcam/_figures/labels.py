"""A text inside a picture, for files that do not have a caption."""

from __future__ import annotations

import numpy as np

_PART = 14  # heights of a letter in a picture
_SMALLEST, _LARGEST = 9, 64  # pixels of a letter
_PAD = 0.25  # around the text, in letters
_MOST = 1 / 3  # of the picture's height that the text may cover
_DARK = 0.3  # of the picture's light behind the text


def with_text(photo: np.ndarray, text: str) -> np.ndarray:
    """Return a photo (H0, W0, 3) uint8 with white text on dark in its upper left corner, a long one in several lines.

    A picture that is too small for it is returned unchanged.
    """
    height, width = photo.shape[:2]
    size = int(np.clip(min(height, width) / _PART, _SMALLEST, _LARGEST))
    pad = max(1, round(_PAD * size))
    lines = [_letters(words, size) for words in _lines(text, size, width - 2 * pad)]
    across = max(line.shape[1] for line in lines)
    rows = [np.pad(line, ((pad if number else 0, 0), (0, across - line.shape[1]))) for number, line in enumerate(lines)]
    letters = np.vstack(rows)
    down, right = letters.shape[0] + 2 * pad, across + 2 * pad
    if right > width or down > _MOST * height:
        return photo
    drawn = photo.copy()
    ink = np.pad(letters, pad)[..., None] / 255.0
    drawn[:down, :right] = np.rint(drawn[:down, :right] * _DARK * (1 - ink) + 255 * ink)
    return drawn


def _lines(text: str, size: int, width: int) -> list[str]:
    """Return the words of a text in lines of at most `width` pixels; a word that is wider has its own."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        lines[-1:] = [longer] if not lines[-1] or _letters(longer, size).shape[1] <= width else [lines[-1], word]
    return lines


def _letters(text: str, size: int) -> np.ndarray:
    """Return the ink of a line of text, (rows, columns) uint8; letters that the font lacks are question marks."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties(weight="bold")))  # of this thread
    font.set_size(size, 72)
    font.set_text("".join(letter if font.get_char_index(ord(letter)) else "?" for letter in text), 0.0)
    font.draw_glyphs_to_bitmap(antialiased=True)
    return np.asarray(font.get_image())
