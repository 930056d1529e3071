"""The results of a session as HTML of the open tab and as downloads; no model runs here."""

from __future__ import annotations

import io
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tf_gradcam._app import html as apphtml
from tf_gradcam._app.html import Figure, Look, data_uri, map_picture, overlay_picture, png_bytes
from tf_gradcam._app.script import figure_lines, python_lines
from tf_gradcam._app.session import Answer, Session, Snapshot
from tf_gradcam._errors import for_page
from tf_gradcam._explain.compare import Comparison
from tf_gradcam._results.explanation import Explanation
from tf_gradcam.image.io import Photo, read_picture

_BUTTONS = {"compare": "Compare", "layers": "Explain these layers"}


class WindowContent(NamedTuple):
    """The content of the open tab: HTML, and the Python code that makes it."""

    html: str
    lines: str


def view_of(session: Session) -> WindowContent:
    """Return the open tab of a session, built again only if something has changed."""
    now, before = session.snapshot(), session.shown
    if before is not None and all(new is old for new, old in zip(now, before[0], strict=True)):
        view: WindowContent = before[1]
    else:
        view = _view(now)
        session.shown = (now, view)
    return view


def _view(now: Snapshot) -> WindowContent:
    if now.tab == "batch":
        return WindowContent(_report(now), "")
    if now.answer is None:
        return WindowContent(_photo_alone(now), "")
    if now.tab == "explore":
        return WindowContent(_explore(now, now.answer), python_lines(now.answer, now.look))
    return WindowContent(_many(now, now.answer), figure_lines(now.answer, now.tab))


def _photo_alone(now: Snapshot) -> str:
    picture = now.picture
    if picture is None:
        return '<p class="tg-hint">Drop a picture to see where the model looks.</p>'
    hint = f'<p class="tg-hint">Press "{_BUTTONS[now.tab]}".</p>' if now.tab in _BUTTONS else ""
    photo = Figure("Photo", data_uri(picture.shown), f"Photo {picture.name}", picture.name)
    return hint + apphtml.figures_html([photo], "three")


def _explore(now: Snapshot, answer: Answer) -> str:
    """Show photo, map and overlay with the model's most probable classes."""
    explanation, look = answer.first, now.look
    notices = apphtml.notice_html(answer.note or "") + apphtml.notice_html(for_page(explanation.diagnosis[0] or ""))
    figures = apphtml.figures_html(_three(answer, explanation, look), "three")
    scale = apphtml.scale_html(explanation.signed, look.colormap, look.threshold)
    stem = Path(answer.picture.name).stem
    files = [
        ("overlay.png", f"{stem}.overlay.png", "Overlay (PNG)"),
        ("map.png", f"{stem}.map.png", "Map (PNG)"),
        ("heatmap.npy", f"{stem}.heatmap.npy", "Map (NPY)"),
        ("explain.py", f"{stem}.py", "Python code"),
    ]
    links = apphtml.links_html(now.token, files, look)
    return notices + figures + scale + _top(answer, explanation) + links


def _three(answer: Answer, explanation: Explanation, look: Look) -> list[Figure]:
    picture, label = answer.picture, explanation.labels[0]
    height, width = picture.size
    caption = f"{picture.name}, {width} x {height}"
    if picture.sample is not None:
        caption += f"; true class: {picture.sample.label}"
    over = f"{label}, {_score(explanation)}"
    share = None if picture.sample is None or explanation.signed else picture.sample.heat_share(explanation)
    if share is not None:
        over += f"; {share[0]:.0%} of the heat is on the true tumour, {share[1]:.0%} of the picture"
    colors = map_picture(explanation, picture.shown.shape[:2], look)
    overlay = overlay_picture(explanation, picture.shown, look)
    where = f"{explanation.method} at {explanation.layer_name}"
    return [
        Figure("Photo", data_uri(picture.shown), f"Photo {picture.name}", caption),
        Figure("Map", data_uri(colors), f"Map of {label} by {where}", f"{where}, {_cells(explanation)} cells"),
        Figure("Overlay", data_uri(overlay), f"Map of {label} painted on {picture.name}", over),
    ]


def _cells(explanation: Explanation) -> str:
    return " x ".join(str(side) for side in explanation.heatmaps.shape[1:])


def _top(answer: Answer, explanation: Explanation) -> str:
    if explanation.probabilities is not None and explanation.probabilities.ndim == 2:
        rows, target = explanation.top(5)[0], answer.question.target
        return apphtml.top_html(rows, rows[0][0] if target is None else answer.model.labels[target])
    values = explanation.outputs[0].ravel()[:5]
    return apphtml.values_html([(answer.model.labels[index], float(value)) for index, value in enumerate(values)])


def _many(now: Snapshot, answer: Answer) -> str:
    """Show all maps of *Compare* or *Layers* on one scale, and the reasons for missing ones."""
    tab, look, picture = now.tab, now.look, answer.picture
    figures = [Figure("Photo", data_uri(picture.shown), f"Photo {picture.name}", picture.name)]
    for name, explanation in answer.explanations.items():
        overlay = data_uri(overlay_picture(explanation, picture.shown, look))
        alt = f"Map of {explanation.labels[0]} by {explanation.method} at {explanation.layer_name}"
        figures.append(Figure(name, overlay, alt, _caption(explanation, tab)))
    figures += [Figure(name, "", "", f"Not available here: {reason}") for name, reason in answer.refused.items()]
    html = _outdated(now, answer) + apphtml.figures_html(figures, "many")
    if not answer.explanations:
        return html
    first = answer.first
    common = first.layer_name if tab == "compare" else first.method
    title = f'<p class="tg-headline">{escape(f"{first.labels[0]}, {_score(first)}, {common}")}</p>'
    files = [(f"{tab}.{kind}", f"{tab}.{kind}", f"Figure ({kind.upper()})") for kind in ("png", "pdf")]
    scale = apphtml.scale_html(first.signed, look.colormap, look.threshold)
    return title + html + scale + apphtml.links_html(now.token, files, look)


def _outdated(now: Snapshot, answer: Answer) -> str:
    """Return a note if the controls have changed since the maps were made, else ""."""
    asked, new = answer.question, now.question
    pairs = [(asked.target, new.target), (asked.against, new.against), (asked.mode, new.mode)]
    pairs.append((asked.layer, new.layer) if now.tab == "compare" else (asked.method, new.method))
    if all(before == after for before, after in pairs):
        return ""
    return apphtml.notice_html(f'The controls have changed. Press "{_BUTTONS[now.tab]}" again.')


def _caption(explanation: Explanation, tab: str) -> str:
    reason = explanation.diagnosis[0]
    where = f"{_cells(explanation)} cells" if tab == "layers" else f"at {explanation.layer_name}"
    return f"{where}; {for_page(reason)}" if reason else where


def _score(explanation: Explanation) -> str:
    """Return the probability of the explained class as text, or the score of another target."""
    index, probabilities = int(explanation.class_indices[0]), explanation.probabilities
    if probabilities is not None and probabilities.ndim == 2 and index >= 0:
        return f"{probabilities[0, index]:.1%}"
    return f"score {explanation.scores[0]:.4g}"


def _report(now: Snapshot) -> str:
    """Show the result of *Batch* as a table of its pictures."""
    report = now.batch
    if report is None:
        return '<p class="tg-hint">Drop pictures above, then press "Explain all".</p>'
    rows = []
    for result in report.results:
        share = f"{result.top[0][0]}, {result.top[0][1]:.1%}" if result.top else ""
        rows.append((result.row.file, result.row.label, share, result.row.error or for_page(" ".join(result.notes))))
    links = apphtml.links_html(now.token, [("heatmaps.zip", "heatmaps.zip", "All maps (ZIP)")], now.look)
    done = len(rows) - report.failed
    heads = ("file", "explained class", "most probable", "remark")
    return links + apphtml.table_html(f"{done} of {len(rows)} pictures explained", heads, rows)


MEDIA = {
    ".png": "image/png",
    ".npy": "application/octet-stream",
    ".py": "text/x-python",
    ".pdf": "application/pdf",
    ".zip": "application/zip",
}


def download(session: Session, name: str, look: Look) -> bytes:
    """Return the bytes of a file made of the session's results, at the size of the photo.

    Args:
        session: the session.
        name: "overlay.png", "map.png", "heatmap.npy", "explain.py" of *Explore*; "compare.png" or .pdf, "layers.png"
            or .pdf; "heatmaps.zip" of *Batch*.
        look: the colours of the map; figures have their own.

    Raises:
        ValueError: the file does not exist, or not yet.
    """
    stem, _, kind = name.rpartition(".")
    if name == "heatmaps.zip" and session.batch is not None:
        return session.batch.archive.read_bytes()
    answer = session.answers.get(stem if stem in _BUTTONS else "explore")
    if answer is None or not answer.explanations:
        raise ValueError(f"There is no '{name}' yet: explain a picture first.")
    if stem in _BUTTONS and kind in ("png", "pdf"):
        buffer = io.BytesIO()
        figure = Comparison(answer.explanations, answer.refused, _photo(answer)).figure
        figure.savefig(buffer, format=kind, dpi=200)
        return buffer.getvalue()
    if name == "explain.py":
        return python_lines(answer, look).encode()
    if name == "heatmap.npy":
        buffer = io.BytesIO()
        np.save(buffer, answer.first.shown[0], allow_pickle=False)
        return buffer.getvalue()
    if name == "map.png":
        return png_bytes(map_picture(answer.first, answer.picture.size, look))
    if name == "overlay.png":
        return png_bytes(overlay_picture(answer.first, _photo(answer), look))
    raise ValueError(f"There is no file '{name}'.")


def _photo(answer: Answer) -> Photo:
    picture = answer.picture
    return read_picture(picture.path, picture.size).photo
