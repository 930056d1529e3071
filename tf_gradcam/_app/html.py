"""HTML and pictures of the web page.

Axis legend: H0 x W0 pixels.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode

import numpy as np

from tf_gradcam.image.opencv import opencv
from tf_gradcam.image.overlay import Look, colors_of, paint

if TYPE_CHECKING:
    from tf_gradcam._results.explanation import Explanation
    from tf_gradcam._results.verdict import Verdict
    from tf_gradcam.image.io import Photo


FAST_PNG = 1  # of PNG's ten levels: three times as fast as OpenCV's default, a tenth larger


def overlay_picture(explanation: Explanation, photo: Photo, look: Look, index: int = 0) -> Photo:
    """Paint the map on a photo of any size; (H0, W0, 3) uint8 RGB."""
    return explanation.overlay_of(index, photo, look.alpha, look.colormap, look.threshold)


def map_picture(explanation: Explanation, size: Sequence[int], look: Look, index: int = 0) -> Photo:
    """Paint the map alone, white below the threshold; (H0, W0, 3) uint8 RGB."""
    return paint(None, explanation.shown_at(index, size), explanation.signed, look)


def png_bytes(photo: Photo, level: int | None = None) -> bytes:
    """Encode a photo as PNG, with a compression level from 0 to 9; None for OpenCV's default."""
    cv2 = opencv()
    options = [] if level is None else [cv2.IMWRITE_PNG_COMPRESSION, level]
    _, data = cv2.imencode(".png", np.ascontiguousarray(photo[..., ::-1]), options)
    return bytes(data.tobytes())


def data_uri(photo: Photo) -> str:
    """Encode a photo as the `src` of an image, so that the page needs no file for it."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(photo, FAST_PNG)).decode("ascii")


def css_gradient(signed: bool, colormap: str | None) -> str:
    """Return the colours of `paint` from left to right, as CSS."""
    colors = colors_of(signed, Look(colormap=colormap))
    steps = colors[np.linspace(0, len(colors) - 1, 24).round().astype(int)]
    return "linear-gradient(to right, " + ", ".join("rgb({}, {}, {})".format(*color) for color in steps) + ")"


def name_html(name: str) -> str:
    """Return the name of a file or a layer, which breaks behind an underscore first."""
    return escape(name).replace("_", "_<wbr>")


class Figure(NamedTuple):
    """A picture on the page.

    Attributes:
        title: above it.
        source: its `data:` address, "" for none.
        alt: its alternative text.
        caption: below it.
        over: HTML that lies over the picture.
        pick: what a click on the picture chooses, "" for nothing.
        data: of `map_data`, of a map that can be looked at closely, else "".
        more: the address of the picture in more pixels, "" for none.
    """

    title: str
    source: str
    alt: str
    caption: str
    over: str = ""
    pick: str = ""
    data: str = ""
    more: str = ""


def figures_html(figures: Iterable[Figure], layout: str) -> str:
    """Lay out pictures in a grid; `layout` is "three" for one row, "two", or "many" for as many as fit."""
    return f'<div class="tg-grid tg-{layout}">{"".join(map(_figure, figures))}</div>'


def _figure(figure: Figure) -> str:
    pick = f' data-pick="{escape(figure.pick)}"' if figure.pick else ""
    image = f'<img src="{figure.source}" alt="{escape(figure.alt)}"{of_map(figure)}>' if figure.source else ""
    image = f'<div class="tg-picture"{pick}>{image}{figure.over}</div>' if image else ""
    empty = "" if figure.source else " tg-empty"
    name = escape(f"Look closely at {figure.title}")
    look = f'<button type="button" class="tg-look" data-look aria-label="{name}">Look closely</button>'
    return (
        f'<figure class="tg-figure{empty}"><h3>{escape(figure.title)}</h3>{image}'
        f"<figcaption>{escape(figure.caption)}</figcaption>{look if figure.data else ''}</figure>"
    )


def of_map(figure: Figure) -> str:
    """Return the attributes of an image from which the viewer's script reads its map."""
    data = f' data-map="{escape(figure.data)}"' if figure.data else ""
    return data + (f' data-more="{escape(figure.more)}"' if figure.more else "")


def point_html(point: tuple[float, float]) -> str:
    """Mark a point (x, y), in shares of the width and the height, over a picture."""
    return f'<span class="tg-point" style="left:{point[0]:.2%};top:{point[1]:.2%}"></span>'


def cover_html(pick: str, name: str) -> str:
    """Draw a button over all of a picture: what a click on it chooses, and its name."""
    return f'<button type="button" class="tg-cover" data-pick="{escape(pick)}" aria-label="{escape(name)}"></button>'


class PageBox(NamedTuple):
    """A box over a picture: its name, its sides (x1, y1, x2, y2) as shares, its choice, whether it is explained."""

    name: str
    sides: Sequence[float]
    pick: str
    is_explained: bool


def boxes_html(boxes: Iterable[PageBox]) -> str:
    """Draw boxes as buttons over a picture, the smallest in front."""
    drawn = []
    for box in boxes:
        x1, y1, x2, y2 = (min(max(side, 0.0), 1.0) for side in box.sides)
        own = " tg-own" if box.is_explained else ""
        style = f"left:{x1:.2%};top:{y1:.2%};width:{max(x2 - x1, 0):.2%};height:{max(y2 - y1, 0):.2%}"
        text = escape(box.name)
        drawn.append(
            (
                (x2 - x1) * (y2 - y1),
                f'<button type="button" class="tg-box{own}" style="{style}" data-pick="{escape(box.pick)}" '
                f'aria-label="explain {text}"><span>{text}</span></button>',
            )
        )
    return "".join(text for _, text in sorted(drawn, key=lambda pair: -pair[0]))


def scale_html(signed: bool, colormap: str | None, threshold: float, ends: tuple[str, str] | None = None) -> str:
    """Draw the colour bar of all pictures, hatched below the threshold; `ends` are the words at its ends."""
    ends = ends or (("against", "for") if signed else ("0", "1"))
    name, caption, cut = f"colour scale from {ends[0]} to {ends[1]}", "relative to the map's maximum", ""
    if threshold > 0:
        name += f", cut below {threshold:.0%}"
        caption += f"; below {threshold:.0%} only the photo is shown"
        left, width = (50 * (1 - threshold), 100 * threshold) if signed else (0, 100 * threshold)
        cut = f'<span class="tg-cut" style="left:{left:g}%;width:{width:g}%"></span>'
    return (
        f'<div class="tg-scale"><span>{ends[0]}</span>'
        f'<span class="tg-bar" role="img" aria-label="{name}" '
        f'style="background:{css_gradient(signed, colormap)}">{cut}</span><span>{ends[1]}</span>'
        f"<span>{caption}</span></div>"
    )


def notice_html(text: str, kind: str = "note") -> str:
    """Highlight a sentence of kind "note" or "error"; "" for no text."""
    head = "<strong>Note:</strong> " if kind == "note" else ""
    return f'<p class="tg-notice tg-{kind}">{head}{escape(text)}</p>' if text else ""


def verdict_html(verdict: Verdict, name: str) -> str:
    """Show the words of a verdict, as a warning unless the map holds."""
    kind = "sure" if verdict.holds else "note"
    return f'<p class="tg-notice tg-{kind}">{escape(name + verdict.words)}</p>'


def progress_html(part: float | None, label: str) -> str:
    """Draw a progress bar; one without an end if the part that is done is None."""
    value, text = ("", label) if part is None else (f' value="{part:.3f}"', f"{label}: {part:.0%}")
    bar = f'<progress max="1"{value} aria-label="progress"></progress>'
    return f'<div class="tg-progress">{bar}<span>{escape(text)}</span></div>'


class TableRow(NamedTuple):
    """A row of a table of classes, labels, values or boxes.

    Attributes:
        name: of the class.
        text: its number, as it is shown.
        share: the length of its bar, in [0, 1]; None for no bar.
        marks: words behind the name, such as "explained".
        pick: what a click on the row chooses, "" for nothing; the name is a button for keyboards.
        color: RGB of its colour in the picture, or None.
    """

    name: str
    text: str
    share: float | None = None
    marks: Sequence[str] = ()
    pick: str = ""
    color: Sequence[int] | None = None


def rows_html(caption: str, rows: Iterable[TableRow]) -> str:
    """Draw a table of names, bars and numbers; the explained ones are in bold."""
    lines = "".join(map(_row, rows))
    return f'<table class="tg-top"><caption>{escape(caption)}</caption><tbody>{lines}</tbody></table>'


def _row(row: TableRow) -> str:
    mark = ' class="tg-explained"' if "explained" in row.marks else ""
    notes = "".join(f' <span class="tg-mark">{escape(text)}</span>' for text in row.marks)
    name = escape(row.name)
    if row.pick:
        pick = f' data-pick="{escape(row.pick)}"'
        name, mark = f'<button type="button" class="tg-choose"{pick}>{name}</button>', mark + pick
    if row.color is not None:
        name = f'<span class="tg-color" style="background:rgb({", ".join(map(str, row.color))})"></span>{name}'
    bar = ""
    if row.share is not None:
        bar = (
            f'<td class="tg-cell"><span class="tg-fill" style="width:{min(max(row.share, 0.002), 1):.1%}"></span></td>'
        )
    return f'<tr{mark}><th scope="row">{name}{notes}</th>{bar}<td class="tg-number">{escape(row.text)}</td></tr>'


def address_of(token: str, file: str, look: Look) -> str:
    """Return the address of a download."""
    query = urlencode({"alpha": look.alpha, "threshold": look.threshold, "colormap": look.colormap or ""})
    return f"download/{token}/{file}?{query}"


def links_html(token: str, names: Sequence[tuple[str, str, str]], look: Look) -> str:
    """Draw the links of downloads, each given as (file, name to save it as, text)."""
    links = "".join(
        f'<a class="tg-link" href="{escape(address_of(token, file, look))}" download="{escape(saved)}">'
        f"{escape(text)}</a>"
        for file, saved, text in names
    )
    return f'<nav class="tg-links" aria-label="Downloads">{links}</nav>'
