"""HTML and pictures of the web page.

Axis legend: H0 x W0 pixels.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode

import numpy as np

from tf_gradcam.image.opencv import opencv
from tf_gradcam.image.overlay import colors_of, paint
from tf_gradcam.image.regions import hot_pixels

if TYPE_CHECKING:
    from tf_gradcam._results.explanation import Explanation
    from tf_gradcam.image.io import Photo


_FAST = 1  # of PNG's ten levels: three times as fast as the usual one, a tenth larger


@dataclass(frozen=True)
class Look:
    """How a map is painted.

    alpha: weight of the map, in [0, 1].
    threshold: part of the map's maximum below which the photo is left as it is, in [0, 1]; 0 for none.
    colormap: a name that `colormap_colors` knows; None for the usual one, of a signed map another than of a heatmap.
    """

    alpha: float = 0.4
    threshold: float = 0.0
    colormap: str | None = None


def overlay_picture(explanation: Explanation, photo: Photo, look: Look, index: int = 0) -> Photo:
    """(H0, W0, 3) uint8 RGB: the map painted on a photo of any size, where it is above the threshold."""
    values = explanation.shown_at(index, photo.shape[:2])
    overlay = paint(photo, values, explanation.signed, look.alpha, look.colormap)
    return np.where(_is_shown(values, look)[..., None], overlay, photo)


def map_picture(explanation: Explanation, size: Sequence[int], look: Look, index: int = 0) -> Photo:
    """(H0, W0, 3) uint8 RGB: the colours alone, white below the threshold."""
    values = explanation.shown_at(index, size)
    white = np.full((*values.shape, 3), 255, np.uint8)
    colors = paint(white, values, explanation.signed, 1.0, look.colormap)
    return np.where(_is_shown(values, look)[..., None], colors, white)


def _is_shown(values: np.ndarray, look: Look) -> np.ndarray:
    """(H0, W0) bool; of a signed map both sides count."""
    if look.threshold <= 0:
        return np.ones(values.shape, bool)
    return hot_pixels(np.abs(values), look.threshold)


def png_bytes(photo: Photo, level: int | None = None) -> bytes:
    """A photo as a PNG file, which keeps every pixel.

    Args:
        photo: (H0, W0, 3) uint8 RGB.
        level: of packing, 0 to 9; None for OpenCV's own.
    """
    cv2 = opencv()
    options = [] if level is None else [cv2.IMWRITE_PNG_COMPRESSION, level]
    _, data = cv2.imencode(".png", np.ascontiguousarray(photo[..., ::-1]), options)
    return bytes(data.tobytes())


def data_uri(photo: Photo) -> str:
    """A photo for the `src` of an image, so that the page needs no file for it."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(photo, _FAST)).decode("ascii")


def css_gradient(signed: bool, colormap: str | None) -> str:
    """The colours of `paint` from left to right, as CSS."""
    colors = colors_of(signed, colormap)
    steps = colors[np.linspace(0, len(colors) - 1, 24).round().astype(int)]
    return "linear-gradient(to right, " + ", ".join("rgb({}, {}, {})".format(*color) for color in steps) + ")"


class Figure(NamedTuple):
    """A picture with its words.

    title: above it.
    source: `data:` address of the picture; "" where there is only the caption.
    alt: what it shows, for who does not see it.
    caption: below it.
    """

    title: str
    source: str
    alt: str
    caption: str


def figures_html(figures: Iterable[Figure], layout: str) -> str:
    """Pictures in a grid; `layout` is "three" for one line, "many" for as many as fit."""
    return f'<div class="tg-grid tg-{layout}">{"".join(map(_figure, figures))}</div>'


def _figure(figure: Figure) -> str:
    image = f'<img src="{figure.source}" alt="{escape(figure.alt)}">' if figure.source else ""
    empty = "" if figure.source else " tg-empty"
    return (
        f'<figure class="tg-figure{empty}"><h3>{escape(figure.title)}</h3>{image}'
        f"<figcaption>{escape(figure.caption)}</figcaption></figure>"
    )


def scale_html(signed: bool, colormap: str | None, threshold: float) -> str:
    """The colour bar, one for all pictures above it."""
    ends = ("against", "for") if signed else ("0", "1")
    what = "share of the largest value, either way" if signed else "share of each map's maximum"
    if threshold > 0:
        what += f"; below {threshold:.0%} the photo is left as it is"
    return (
        f'<div class="tg-scale"><span>{ends[0]}</span>'
        f'<span class="tg-bar" role="img" aria-label="colour scale from {ends[0]} to {ends[1]}" '
        f'style="background:{css_gradient(signed, colormap)}"></span><span>{ends[1]}</span>'
        f'<span class="tg-what">{what}</span></div>'
    )


def notice_html(text: str, kind: str = "note") -> str:
    """A sentence that must be seen: kind "note" or "error"."""
    words = {"note": "Note", "error": "Not done"}[kind]
    return f'<p class="tg-notice tg-{kind}"><strong>{words}:</strong> {escape(text)}</p>' if text else ""


def progress_html(part: float | None, what: str) -> str:
    """How far the work is."""
    value = "" if part is None else f' value="{part:.3f}"'
    told = what if part is None else f"{what}: {part:.0%}"
    return (
        f'<div class="tg-progress"><progress max="1"{value} aria-label="progress"></progress>'
        f"<span>{escape(told)}</span></div>"
    )


def top_html(rows: Sequence[tuple[str, float]], explained: str) -> str:
    """The most probable classes as a table with bars; the one that is explained is marked."""
    lines = "".join(_top_row(label, share, label == explained) for label, share in rows)
    return f'<table class="tg-top"><caption>Most probable classes</caption><tbody>{lines}</tbody></table>'


def _top_row(label: str, share: float, is_explained: bool) -> str:
    mark = ' class="tg-explained"' if is_explained else ""
    note = ' <span class="tg-mark">explained</span>' if is_explained else ""
    return (
        f'<tr{mark}><th scope="row">{escape(label)}{note}</th>'
        f'<td class="tg-cell"><span class="tg-fill" style="width:{max(share, 0.002):.1%}"></span></td>'
        f'<td class="tg-number">{share:.1%}</td></tr>'
    )


def values_html(values: Sequence[tuple[str, float]]) -> str:
    """Outputs that are no probabilities."""
    lines = "".join(
        f'<tr><th scope="row">{escape(label)}</th><td class="tg-number">{value:.4g}</td></tr>'
        for label, value in values
    )
    return f'<table class="tg-top"><caption>Outputs</caption><tbody>{lines}</tbody></table>'


def links_html(token: str, names: Sequence[tuple[str, str, str]], look: Look) -> str:
    """Links that download what is on the page: (file, what it is saved as, words)."""
    query = urlencode({"alpha": look.alpha, "threshold": look.threshold, "colormap": look.colormap or ""})
    links = "".join(
        f'<a class="tg-link" href="download/{token}/{file}?{escape(query)}" download="{escape(saved)}">'
        f"{escape(words)}</a>"
        for file, saved, words in names
    )
    return f'<nav class="tg-links" aria-label="Downloads">{links}</nav>'


def table_html(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A plain table."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f'<div class="tg-scroll" tabindex="0"><table class="tg-table"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
