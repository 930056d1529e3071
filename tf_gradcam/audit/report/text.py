"""Texts and numbers of the report: without control characters and NaN, and with few digits."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from tf_gradcam.metrics.intervals import Interval

NOTHING = "–"  # noqa: RUF001

# Characters that a browser hides or drops, or that reverse the text around them: controls, marks of direction, lone
# surrogates (from file names that are not UTF-8) and code points without a character. Joiners stay: emoji and some
# scripts need them.
_UNSHOWN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufdd0-\ufdef\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def escape_invisible(text: str) -> str:
    """Write out invisible characters: a newline as \\n, others as \\x1b or \\u202e."""
    return _UNSHOWN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def format_number(value: float, digits: int = 3) -> str:
    """Round a number; a dash if it is unknown."""
    if not math.isfinite(value):
        return NOTHING
    text = f"{value:,.{digits}f}"
    return text if float(text.replace(",", "")) else text.lstrip("-")


def format_probability(value: float) -> str:
    """Round a probability to two decimals, or more if it would round to 1.00 although it is less."""
    if not math.isfinite(value):
        return NOTHING
    for digits in (2, 3, 4):
        text = f"{value:.{digits}f}"
        if float(text) < 1 or value >= 1:
            return text
    return ">0.9999"


def format_percent(share: float, digits: int = 1) -> str:
    """Write a share in [0, 1] as a percentage, such as 97.3%."""
    return f"{100 * share:.{digits}f}%" if math.isfinite(share) else NOTHING


def format_count(value: int, noun: str = "", plural: str = "") -> str:
    """Write a count with its noun, such as "1,311 images" or "1 image"."""
    if not noun:
        return f"{value:,}"
    return f"{value:,} {noun if value == 1 else plural or noun + 's'}"


def format_interval(value: Interval, digits: int = 3) -> str:
    """Write an interval, such as 0.983 (0.971 to 0.992)."""
    if not math.isfinite(value.value):
        return NOTHING
    if not (math.isfinite(value.low) and math.isfinite(value.high)):
        return format_number(value.value, digits)
    mean, low, high = (format_number(number, digits) for number in (value.value, value.low, value.high))
    return f"{mean} ({low} to {high})"


def base_name(path: str) -> str:
    """Return the last part of a path of any operating system."""
    return re.split(r"[\\/]", path.rstrip("\\/"))[-1] or path


def common_folder(paths: Sequence[str]) -> str:
    """Return the folder that all paths begin with, with its slash; "" if there is none."""
    folders = {path[: path.rfind("/") + 1] for path in paths}
    if not folders:
        return ""
    first, last = min(folders), max(folders)
    length = next((at for at, letter in enumerate(first) if letter != last[at]), len(first))
    return first[: first.rfind("/", 0, length) + 1]
