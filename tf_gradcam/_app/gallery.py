"""The pictures of a batch as HTML: cards that the browser sorts and filters, and the strip above one that is open."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from typing import NamedTuple

from tf_gradcam._app.batch import BatchReport
from tf_gradcam._app.html import name_html, notice_html
from tf_gradcam._errors import for_page
from tf_gradcam._explain.batch import Result
from tf_gradcam._files.manifest import FAILED, Row

SCRIPT, DROP_SCRIPT = (
    (files("tf_gradcam") / "_app" / name).read_text(encoding="utf-8") for name in ("gallery.js", "drop.js")
)
_MAX_LINES = 4  # of explained labels or boxes on a card
_CHANGED = "The model was changed since. A picture that is opened now is explained by the new one, as its controls say."
_STATES = {"failed": "failed", "blank": "blank map", "noted": "with a note", "plain": "without remark"}


class PictureCard(NamedTuple):
    """The texts of a card of the gallery, and what it is sorted and found by.

    Attributes:
        name: of its file.
        lines: what was explained, with probability, value or score.
        number: its largest probability, else its first value or score; None for a picture that failed.
        classes: names by which the picture can be found.
        state: a key of `_STATES`.
        remark: the error, or the notes.
    """

    name: str
    lines: Sequence[str]
    number: float | None
    classes: Sequence[str]
    state: str
    remark: str


def card_of(result: Result) -> PictureCard:
    """Return what the result of a picture says on its card."""
    row = result.row
    if row.status == FAILED:
        return PictureCard(row.file, [], None, [], "failed", row.error)
    lines = [f"{each.label}, {_text(each, number)}" for each, number in zip(result.rows, result.numbers, strict=True)]
    left = len(lines) - _MAX_LINES
    lines = [*lines[:_MAX_LINES], *([f"and {left} more"] if left > 0 else [])]
    classes = list(dict.fromkeys(each.label for each in result.rows))
    if result.top and row.task != "multilabel":
        top, share = result.top[0]
        if row.task == "segmentation":
            lines.append(f"largest class: {top}, {share:.1%}")
        elif top not in classes:
            lines.append(f"most probable: {top}, {share:.1%}")
        classes = [top]
    notes = " ".join(dict.fromkeys(map(for_page, result.notes)))
    state = "blank" if any(each.diagnosis for each in result.rows) else "noted" if notes else "plain"
    shares = [float(each.probability) for each in result.rows if each.probability]
    number = max(shares) if shares else float(result.numbers[0].split()[0])
    return PictureCard(row.file, lines, number, classes, state, notes)


def _text(row: Row, number: str) -> str:
    if row.task in ("regression", "detection"):  # a value with its unit, a score of two digits
        return number
    return f"{float(row.probability):.1%}" if row.probability else f"score {number}"


def gallery_html(report: BatchReport, token: str, current: int | None) -> str:
    """Return all pictures of a batch, each as a button that opens it.

    Args:
        token: of the session, in the addresses of thumbnails.
        current: number of the picture that *Explore* shows, or None.
    """
    cards = [card_of(result) for result in report.results]
    count = f"{len(cards)} picture{'s' if len(cards) > 1 else ''}"
    notes = [report.note or "", "" if report.question else _CHANGED]
    done = sum(card.state != "failed" for card in cards)
    items = "".join(
        _card(card, number, thumbnail_source(report, token, number), number == current)
        for number, card in enumerate(cards)
    )
    return (
        f'<p class="tg-headline">{done} of {count} explained</p>{"".join(map(notice_html, notes))}'
        f'<div class="tg-gallery" data-batch="{report.folder.name}">{_sieve(cards, _noun(report))}'
        f'<ul class="tg-cards" role="list">{items}</ul></div>'
    )


class Thumb(NamedTuple):
    """A picture in a strip: its name, the address of its thumbnail, what a click opens, whether it is shown now."""

    name: str
    source: str
    data: str
    is_current: bool


def strip_html(label: str, thumbs: Sequence[Thumb]) -> str:
    """Return a row of pictures, of which one is reached by the Tab key and the others by arrows; "" for one alone."""
    if len(thumbs) < 2:
        return ""
    reached = next((place for place, thumb in enumerate(thumbs) if thumb.is_current), 0)
    items = []
    for place, thumb in enumerate(thumbs):
        state = f'tabindex="{0 if place == reached else -1}"' + (' aria-current="true"' if thumb.is_current else "")
        name = escape(thumb.name)
        items.append(
            f'<button type="button" class="tg-thumb" {thumb.data} {state} title="{name}">'
            f'<img loading="lazy" src="{escape(thumb.source)}" alt="{name}"></button>'
        )
    return f'<nav class="tg-strip" aria-label="{escape(label)}">{"".join(items)}</nav>'


def batch_strip(report: BatchReport, token: str, current: int | None) -> str:
    """Return the pictures of a batch that have a map, as a strip; arguments as `gallery_html`."""
    thumbs = [
        Thumb(result.row.file, thumbnail_source(report, token, number), f'data-open="{number}"', number == current)
        for number, result in enumerate(report.results)
        if result.row.status != FAILED
    ]
    return strip_html("Pictures of the batch, arrow keys go through them", thumbs)


def thumbnail_source(report: BatchReport, token: str, number: int) -> str:
    """Return the address of a thumbnail; it names the batch, so that a browser can keep it."""
    return f"download/{token}/thumbnail-{number}.jpg?{report.folder.name}"


def _noun(report: BatchReport) -> str:
    rows = [result.row for result in report.results if result.row.status != FAILED]
    if rows and rows[0].task == "regression":
        return "value"
    return "probability" if all(row.probability for row in rows) else "score"


def _card(card: PictureCard, number: int, source: str, is_current: bool) -> str:
    is_failed = card.state == "failed"
    image = "" if is_failed else f'<img loading="lazy" src="{escape(source)}" alt="">'
    lines = "".join(f"<span>{escape(line)}</span>" for line in card.lines)
    remark = f'<span class="tg-remark">{escape(card.remark)}</span>' if card.remark else ""
    content = f"{image}<strong>{name_html(card.name)}</strong>{lines}{remark}"
    if is_failed:
        content = f'<div class="tg-card tg-failed">{content}</div>'
    else:
        current = ' aria-current="true"' if is_current else ""
        content = f'<button type="button" class="tg-card" data-open="{number}"{current}>{content}</button>'
    value = "" if card.number is None else f"{card.number:.9g}"
    return (
        f'<li data-name="{escape(card.name)}" data-number="{value}" data-state="{card.state}" '
        f'data-classes="{escape(json.dumps(card.classes))}">{content}</li>'
    )


def _sieve(cards: Sequence[PictureCard], noun: str) -> str:
    """Return the lists that sort and filter, of choices that make a difference."""
    if len(cards) < 2:
        return ""
    orders = [("", "as chosen"), ("-", f"{noun}, highest first"), ("+", f"{noun}, lowest first"), ("name", "file name")]
    classes = Counter(name for card in cards for name in card.classes)
    states = Counter(card.state for card in cards)
    named = [(state, f"{text} ({states[state]})") for state, text in _STATES.items() if states[state]]
    lists = [_list("Sort by", "order", orders)]
    if len(classes) > 1:
        counted = [(name, f"{name} ({count})") for name, count in sorted(classes.items())]
        lists.append(_list("Class", "label", [("", "all"), *counted]))
    if len(named) > 1:
        lists.append(_list("Show", "state", [("", "all"), *named]))
    count = f"{len(cards)} of {len(cards)} shown"
    return f'<div class="tg-sieve">{"".join(lists)}<span role="status">{count}</span></div>'


def _list(label: str, name: str, choices: Iterable[tuple[str, str]]) -> str:
    options = "".join(f'<option value="{escape(value)}">{escape(text)}</option>' for value, text in choices)
    return f'<label>{label} <select data-sieve="{name}">{options}</select></label>'


CSS = """
.tg-sieve { display: flex; flex-wrap: wrap; align-items: center; gap: 8px 16px; margin: 12px 0; font-size: .85rem; }
.tg-sieve label { display: flex; align-items: center; gap: 6px; min-width: 0; }
.tg-sieve select { font: inherit; max-width: 15rem; min-width: 0; padding: 6px 8px; border-radius: 6px;
  border: 1px solid var(--border-color-primary); background: var(--input-background-fill);
  color: var(--body-text-color); text-overflow: ellipsis; appearance: auto; }
.tg-cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 12px; list-style: none;
  margin: 0; padding: 0; }
.tg-cards li { display: flex; min-width: 0; margin: 0; } .tg-cards li[hidden] { display: none; }
.tg-card { display: flex; flex-direction: column; gap: 2px; width: 100%; min-width: 0; padding: 8px; font: inherit;
  font-size: .8rem; text-align: left; overflow-wrap: anywhere; color: var(--body-text-color);
  background: var(--background-fill-secondary); border: 1px solid var(--border-color-primary); border-radius: 6px; }
button.tg-card { cursor: pointer; } button.tg-card:hover, .tg-card[aria-current] { border-color: #2b6cb0; }
.tg-card[aria-current] { box-shadow: inset 0 0 0 1px #2b6cb0; }
.tg-card img { width: 100%; aspect-ratio: 1; object-fit: contain; border-radius: 4px; margin: 0 0 4px; }
#tg-veil { position: fixed; inset: 12px; z-index: 9999; display: grid; place-items: center; pointer-events: none;
  border: 3px dashed #fff; border-radius: 12px; background: rgb(15 23 42 / .82); color: #fff; }
#tg-veil[hidden] { display: none; } #tg-veil p { margin: 0; font-size: 1.6rem; text-align: center; }
#tg-veil small { font-size: 1rem; }
.tg-strip { position: relative; display: flex; gap: 6px; overflow-x: auto; padding: 5px; margin: 0 0 10px; }
.tg-thumb { flex: 0 0 auto; width: 60px; height: 60px; padding: 2px; border: 1px solid var(--border-color-primary);
  border-radius: 6px; background: var(--background-fill-secondary); cursor: pointer; }
.tg-thumb img { width: 100%; height: 100%; object-fit: contain; border-radius: 3px; margin: 0; }
.tg-thumb:hover { border-color: #2b6cb0; }
.tg-thumb[aria-current] { border-color: #2b6cb0; box-shadow: 0 0 0 2px #2b6cb0; }
.tg-card strong { font-weight: 600; } .tg-failed { border-left: 4px solid #c53030; }
.tg-remark { margin-top: 4px; padding-top: 4px; border-top: 1px solid var(--border-color-primary); }
"""
