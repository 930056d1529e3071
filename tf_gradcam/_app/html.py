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


_FAST_PNG = 1  # of PNG's ten levels: three times as fast as OpenCV's default, a tenth larger


@dataclass(frozen=True)
class Look:
    """The colours of a map.

    Attributes:
        alpha: weight of the map, in [0, 1].
        threshold: value relative to the map's maximum below which only the photo is shown, in [0, 1]; 0 for none.
        colormap: a name that `colormap_colors` knows; None for the default of heatmaps, or of signed maps.
    """

    alpha: float = 0.4
    threshold: float = 0.0
    colormap: str | None = None


def overlay_picture(explanation: Explanation, photo: Photo, look: Look, index: int = 0) -> Photo:
    """Paint the map on a photo of any size, where it is above the threshold; (H0, W0, 3) uint8 RGB."""
    values = explanation.shown_at(index, photo.shape[:2])
    overlay = paint(photo, values, explanation.signed, look.alpha, look.colormap)
    return np.where(_is_shown(values, look)[..., None], overlay, photo)


def map_picture(explanation: Explanation, size: Sequence[int], look: Look, index: int = 0) -> Photo:
    """Paint the map alone, white below the threshold; (H0, W0, 3) uint8 RGB."""
    values = explanation.shown_at(index, size)
    white = np.full((*values.shape, 3), 255, np.uint8)
    colors = paint(white, values, explanation.signed, 1.0, look.colormap)
    return np.where(_is_shown(values, look)[..., None], colors, white)


def _is_shown(values: np.ndarray, look: Look) -> np.ndarray:
    return hot_pixels(np.abs(values), look.threshold) if look.threshold > 0 else np.ones(values.shape, bool)


def png_bytes(photo: Photo, level: int | None = None) -> bytes:
    """Encode a photo as PNG, with a compression level from 0 to 9; None for OpenCV's default."""
    cv2 = opencv()
    options = [] if level is None else [cv2.IMWRITE_PNG_COMPRESSION, level]
    _, data = cv2.imencode(".png", np.ascontiguousarray(photo[..., ::-1]), options)
    return bytes(data.tobytes())


def data_uri(photo: Photo) -> str:
    """Encode a photo as the `src` of an image, so that the page needs no file for it."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(photo, _FAST_PNG)).decode("ascii")


def css_gradient(signed: bool, colormap: str | None) -> str:
    """Return the colours of `paint` from left to right, as CSS."""
    colors = colors_of(signed, colormap)
    steps = colors[np.linspace(0, len(colors) - 1, 24).round().astype(int)]
    return "linear-gradient(to right, " + ", ".join("rgb({}, {}, {})".format(*color) for color in steps) + ")"


class Figure(NamedTuple):
    """A picture with its title, its `data:` address ("" for none), its alternative text and its caption."""

    title: str
    source: str
    alt: str
    caption: str


def figures_html(figures: Iterable[Figure], layout: str) -> str:
    """Lay out pictures in a grid; `layout` is "three" for one row, "many" for as many as fit."""
    return f'<div class="tg-grid tg-{layout}">{"".join(map(_figure, figures))}</div>'


def _figure(figure: Figure) -> str:
    image = f'<img src="{figure.source}" alt="{escape(figure.alt)}">' if figure.source else ""
    empty = "" if figure.source else " tg-empty"
    return (
        f'<figure class="tg-figure{empty}"><h3>{escape(figure.title)}</h3>{image}'
        f"<figcaption>{escape(figure.caption)}</figcaption></figure>"
    )


def scale_html(signed: bool, colormap: str | None, threshold: float) -> str:
    """Draw the colour bar of all pictures above it."""
    ends = ("against", "for") if signed else ("0", "1")
    caption = "relative to the map's maximum"
    if threshold > 0:
        caption += f"; below {threshold:.0%} only the photo is shown"
    return (
        f'<div class="tg-scale"><span>{ends[0]}</span>'
        f'<span class="tg-bar" role="img" aria-label="colour scale from {ends[0]} to {ends[1]}" '
        f'style="background:{css_gradient(signed, colormap)}"></span><span>{ends[1]}</span>'
        f"<span>{caption}</span></div>"
    )


def notice_html(text: str, kind: str = "note") -> str:
    """Highlight a sentence of kind "note" or "error"; "" for no text."""
    head = "<strong>Note:</strong> " if kind == "note" else ""
    return f'<p class="tg-notice tg-{kind}">{head}{escape(text)}</p>' if text else ""


def progress_html(part: float | None, label: str) -> str:
    """Draw a progress bar; one without an end if the part that is done is None."""
    value, text = ("", label) if part is None else (f' value="{part:.3f}"', f"{label}: {part:.0%}")
    bar = f'<progress max="1"{value} aria-label="progress"></progress>'
    return f'<div class="tg-progress">{bar}<span>{escape(text)}</span></div>'


def top_html(rows: Sequence[tuple[str, float]], explained: str) -> str:
    """Draw the most probable classes as a table with bars; the explained class is marked."""
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
    """Draw a table of outputs that are not probabilities."""
    row = '<tr><th scope="row">{}</th><td class="tg-number">{:.4g}</td></tr>'
    lines = "".join(row.format(escape(label), value) for label, value in values)
    return f'<table class="tg-top"><caption>Outputs</caption><tbody>{lines}</tbody></table>'


def links_html(token: str, names: Sequence[tuple[str, str, str]], look: Look) -> str:
    """Draw the links of downloads, each given as (file, name to save it as, text)."""
    query = urlencode({"alpha": look.alpha, "threshold": look.threshold, "colormap": look.colormap or ""})
    links = "".join(
        f'<a class="tg-link" href="download/{token}/{file}?{escape(query)}" download="{escape(saved)}">'
        f"{escape(text)}</a>"
        for file, saved, text in names
    )
    return f'<nav class="tg-links" aria-label="Downloads">{links}</nav>'


def table_html(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Draw a plain table."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f'<div class="tg-scroll" tabindex="0"><table class="tg-table"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
