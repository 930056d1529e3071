"""The pieces of the web page that are not controls, as HTML. Whatever a user or a file names is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple
from urllib.parse import urlencode

from tf_gradcam._app.apppicture import Look, css_gradient


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
