"""The results of a session as HTML of the open tab and as downloads; no model runs here."""

from __future__ import annotations

import dataclasses
import io
import itertools
import re
import threading
import zipfile
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tf_gradcam._app import html as apphtml
from tf_gradcam._app.gallery import batch_strip, gallery_html
from tf_gradcam._app.html import (
    FAST_PNG,
    Figure,
    PageBox,
    TableRow,
    data_uri,
    map_picture,
    overlay_picture,
    png_bytes,
)
from tf_gradcam._app.question import box_number
from tf_gradcam._app.script import figure_lines, python_lines, suffix_of
from tf_gradcam._app.session import Answer, Session, Snapshot
from tf_gradcam._app.viewer import MAX_SIDE, Lens, cell_axes, in_picture_order, lens_html, map_data
from tf_gradcam._errors import for_page
from tf_gradcam._explain.compare import Comparison
from tf_gradcam._results.detections import Detections
from tf_gradcam._results.explanation import Explanation
from tf_gradcam._results.segmentation import Segmentation
from tf_gradcam.image.io import Photo, read_picture
from tf_gradcam.image.masks import class_colors, colored, encoded_mask
from tf_gradcam.image.overlay import HEAT, Look
from tf_gradcam.image.resize import Placement
from tf_gradcam.image.thumbnails import shown_photo
from tf_gradcam.targets.outputs import Distance
from tf_gradcam.targets.regions import Region

_NUMBERS, _NUMBERING = itertools.count(), threading.Lock()  # of answers, in the order of what they show
_BUTTONS = {"compare": "Compare", "layers": "Explain these layers"}


class WindowContent(NamedTuple):
    """The content of the open tab: HTML, and the Python code that makes it."""

    html: str
    lines: str


def view_of(session: Session) -> WindowContent:
    """Return the open tab of a session, built again only if something has changed.

    Its HTML begins with a number that grows with each call, by which the page keeps the newest of its answers.
    """
    with _NUMBERING:
        number, now, before = next(_NUMBERS), session.snapshot(), session.shown
    if before is not None and all(new is old for new, old in zip(now, before[0], strict=True)):
        view: WindowContent = before[1]
    else:
        view = _view(now)
        session.shown = (now, view)
    return view._replace(html=f"<!--{number}-->{view.html}")


def _view(now: Snapshot) -> WindowContent:
    if now.tab == "batch":
        return WindowContent(_report(now), "")
    strip = batch_strip(now.batch, now.token, now.place) if now.tab == "explore" and now.batch is not None else ""
    if now.answer is None:
        return WindowContent(strip + _photo_alone(now), "")
    if now.tab == "explore":
        return WindowContent(strip + _explore(now, now.answer), python_lines(now.answer, now.look))
    return WindowContent(_many(now, now.answer), figure_lines(now.answer, now.tab))


def _photo_alone(now: Snapshot) -> str:
    picture = now.picture
    if picture is None:
        return '<p class="tg-hint">Drop a picture to see where the model looks.</p>'
    hint = f'<p class="tg-hint">Press "{_BUTTONS[now.tab]}".</p>' if now.tab in _BUTTONS else ""
    photo = Figure("Photo", data_uri(picture.shown), f"Photo {picture.name}", picture.name)
    return hint + apphtml.figures_html([photo], "three")


def _explore(now: Snapshot, answer: Answer) -> str:
    """Show the photo, the maps, and what else the model says of the picture."""
    look, names = now.look, list(answer.explanations)
    notices = apphtml.notice_html(answer.note or "")
    if not names:
        over = _clicks(answer)[0]
        return notices + apphtml.figures_html([_photo_figure(answer)._replace(over=over)], "three") + _table(answer)
    reasons = (for_page(each.diagnosis[0] or "") for each in answer.explanations.values())
    notices += "".join(map(apphtml.notice_html, dict.fromkeys(reasons)))
    if answer.verdict is not None:
        notices += apphtml.verdict_html(answer.verdict, f"{names[0]}: " if len(names) > 1 else "")
    overlays = [_overlay_figure(now, answer, name) for name in names]
    figures = [_photo_figure(answer), *(overlays if len(overlays) > 1 else [_map_figure(answer, look)])]
    if answer.first.segmentation is not None:
        figures.insert(1, _mask_figure(answer, answer.first.segmentation))
    scale = apphtml.scale_html(answer.first.signed, look.colormap, look.threshold, _ends(answer, look))
    small = apphtml.figures_html(figures, "two")
    return (
        f'{notices}<div class="tg-closely"><div>{_lens(now, answer, overlays)}{scale}</div>'
        f"<div>{small}{_table(answer)}{_place(answer)}</div></div>{_links(now, answer)}"
    )


def _lens(now: Snapshot, answer: Answer, overlays: Sequence[Figure]) -> str:
    """Show the photo and the first overlay in one place, with what can be clicked on them."""
    picture, first = answer.picture, overlays[0]
    over, pick, hint = _clicks(answer)
    title = first.title if len(overlays) > 1 else "Overlay"
    lens = Lens(
        _photo_figure(answer)._replace(more=_more(now, answer, "photo")),
        first._replace(title=title, caption=f"{first.caption}{hint}", over=over, pick=pick),
        picture.size,
        picture.shown.shape[1],
        f"{picture.path.parent.name}/{picture.name}",
        "/".join([*answer.explanations, answer.first.method, answer.first.layer_name]),
    )
    return lens_html(lens)


def _more(now: Snapshot, answer: Answer, part: str) -> str:
    """Return the address of a picture in more pixels than the page shows, "" where it shows them all."""
    picture = answer.picture
    return "" if picture.shown.shape[:2] == picture.size else apphtml.address_of(now.token, f"{part}.closely", now.look)


def _links(now: Snapshot, answer: Answer) -> str:
    stem = Path(answer.picture.name).stem
    files = [
        ("overlay.png", f"{stem}.overlay.png", "Overlay (PNG)"),
        ("map.png", f"{stem}.map.png", "Map (PNG)"),
        ("heatmap.npy", f"{stem}.heatmap.npy", "Map (NPY)"),
    ]
    if len(answer.explanations) > 1:
        files = [("maps.zip", f"{stem}.maps.zip", "All overlays and maps (ZIP)")]
    if answer.first.segmentation is not None:
        files.append(("mask.png", f"{stem}.mask.png", "Predicted classes (PNG)"))
    return apphtml.links_html(now.token, [*files, ("explain.py", f"{stem}.py", "Python code")], now.look)


def _photo_figure(answer: Answer) -> Figure:
    picture = answer.picture
    height, width = picture.size
    caption = f"{picture.name}, {width} x {height}"
    if picture.sample is not None:
        caption += f"; true class: {picture.sample.label}"
    return Figure("Photo", data_uri(picture.shown), f"Photo {picture.name}", caption)


def _clicks(answer: Answer) -> tuple[str, str, str]:
    """Return what lies over the picture to be clicked, what a click beside it chooses, and words on both."""
    if answer.found is not None:
        count = len(answer.found.found)
        return apphtml.boxes_html(_page_boxes(answer.found)), "", f"; {count} boxes, click one" if count else ""
    if answer.model.has_places:
        noun = "value" if answer.model.task.name == "regression" else "class"
        return _point(answer), "point", f"; click a point to explain the {noun} there"
    if answer.model.task.name in ("classification", "multilabel"):
        cost = "" if answer.place else ": the first click runs the model once more"
        mark = apphtml.point_html(answer.place.point) if answer.place else ""
        return mark, "place", f"; click a place to see which class it speaks for{cost}"
    return "", "", ""


def _page_boxes(found: Detections) -> list[PageBox]:
    height, width = found.image_size
    sides = (width, height, width, height)
    return [
        PageBox(
            f"{number}: {item.label} {item.score:.2f}",
            [value / side for value, side in zip(item.box, sides, strict=True)],
            f"box {number}",
            number in found.chosen,
        )
        for number, item in enumerate(found.found)
    ]


def _point(answer: Answer) -> str:
    target = answer.asked.target
    return apphtml.point_html(target.point) if isinstance(target, Region) and isinstance(target.point, tuple) else ""


def _map_figure(answer: Answer, look: Look) -> Figure:
    explanation = answer.first
    colors = map_picture(explanation, answer.picture.shown.shape[:2], look)
    where = f"{explanation.method} at {explanation.layer_name}"
    role = answer.model.roles.get(explanation.layer_name, "")
    cells = f"{where}, {_cells(explanation)} cells{f' ({role})' if role else ''}"
    return Figure("Map", data_uri(colors), f"Map of {explanation.labels[0]} by {where}", cells)


def _overlay_figure(now: Snapshot, answer: Answer, name: str) -> Figure:
    """Show one map painted on the photo, with its box if it is of a detector."""
    picture, explanation = answer.picture, answer.explanations[name]
    overlay, label = _overlay(answer, name, picture.shown, now.look), explanation.labels[0]
    over = f"{label}, {_score(explanation, answer)}"
    share = None if picture.sample is None or explanation.signed else picture.sample.heat_share(explanation)
    if share is not None:
        over += f"; {share[0]:.0%} of the heat is on the true tumour, {share[1]:.0%} of the picture"
    place = _place_of(answer, name)
    if place is not None and answer.found is not None and np.isfinite(answer.found.energy[place]):
        found = answer.found
        over += (
            f"; {found.energy[place]:.0%} of the heat in its box ({found.box_shares[place]:.0%} of the picture), "
            f"{found.energy_of_others[place]:.0%} in other boxes"
        )
    more = _more(now, answer, str(list(answer.explanations).index(name)))
    alt = f"Map of {label} painted on {picture.name}"
    return Figure(name, data_uri(overlay), alt, over, data=map_data(explanation), more=more)


def _place_of(answer: Answer, name: str) -> int | None:
    """Return the place of a map among the explained boxes of a detector, None for others."""
    if answer.found is None or answer.found.maps is None:
        return None
    names = list(answer.explanations)
    return names.index(name) if len(names) == len(answer.found) else 0


def _overlay(answer: Answer, name: str, photo: Photo, look: Look) -> Photo:
    explanation, place = answer.explanations[name], _place_of(answer, name)
    overlay = overlay_picture(explanation, photo, look)
    if explanation.values is not None:
        return explanation.picture_of(0, overlay, 0.0)  # with the value
    return overlay if place is None or answer.found is None else answer.found.with_boxes(place, overlay)


def _mask_figure(answer: Answer, masks: Segmentation) -> Figure:
    picture = answer.picture
    cells = " x ".join(map(str, masks.predicted.shape[1:]))
    source = data_uri(colored(masks.values(0, picture.shown.shape[:2])))
    caption = f"the class of each pixel, at {cells}"
    return Figure("Predicted classes", source, f"Predicted classes of {picture.name}", caption)


def _cells(explanation: Explanation) -> str:
    return " x ".join(str(side) for side in explanation.heatmaps.shape[1:])


def _ends(answer: Answer, look: Look) -> tuple[str, str] | None:
    """Return what the two ends of the colours of a value mean, with their names where they are blue and red."""
    if answer.model.task.name != "regression":
        return None
    low, high = "lowers the value", "raises the value"
    if isinstance(answer.asked.target, Distance):
        reference = f"{answer.asked.target.value:g} {answer.model.said.unit}".rstrip()
        low, high = f"takes it away from {reference}", f"brings it to {reference}"
    return (low, high) if look.colormap not in (None, HEAT) else (f"blue {low}", f"red {high}")


_MAX_ROWS = 20  # of labels without a map


def _table(answer: Answer) -> str:
    """Show what the model says of the picture: probabilities, values, shares of classes, or boxes."""
    task = answer.model.task.name
    if answer.found is not None:
        rows = [_box_row(answer.found, number) for number in range(len(answer.found.found))]
        return apphtml.rows_html("Boxes, the best first", rows) if rows else ""
    explanation = answer.first
    explained = [each.labels[0] for each in answer.explanations.values()]
    if explanation.segmentation is not None:
        return _shares(answer, explanation.segmentation)
    if task == "multilabel" and explanation.probabilities is not None:
        return _labels(answer, explanation.probabilities[0], explained)
    if explanation.probabilities is not None and explanation.probabilities.ndim == 2:
        return _classes(answer, explanation.probabilities[0], explained)
    return _values(answer, explained)


_BEST = 5  # most probable classes that are shown


def _classes(answer: Answer, probabilities: np.ndarray, explained: list[str]) -> str:
    """Show the most probable classes, and the explained one with its rank if it is not among them."""
    model, target = answer.model, answer.question.target
    order = list(map(int, np.argsort(-probabilities, kind="stable")))
    chosen = order[0] if target is None else int(target)
    named = explained if len(explained) > 1 else [model.labels[chosen]]
    rows = []
    for index in dict.fromkeys([*order[:_BEST], chosen]):
        label, share, rank = model.labels[index], float(probabilities[index]), order.index(index) + 1
        marks = [f"rank {rank} of {len(order)}"] if rank > _BEST else []
        rows.append(TableRow(label, f"{share:.1%}", share, marks + _marks(label in named), f"class {index}"))
    return apphtml.rows_html("Most probable classes", rows)


def _place(answer: Answer) -> str:
    """Show which classes the clicked place speaks for most, by the values of their maps there, "" without a place."""
    if answer.place is None:
        return ""
    if answer.place.maps is None:
        return apphtml.notice_html(answer.place.reason)
    maps, (x, y) = answer.place.maps, answer.place.point
    placement = maps.of_class(0).placement
    assert isinstance(placement, Placement)  # or no overlay could be painted
    rows, columns = cell_axes(placement, maps.raw.shape[2:])
    values = in_picture_order(maps.raw[0], placement)[:, rows.nearest(y), columns.nearest(x)]
    where = f"cell (row {rows.nearest(y)}, column {columns.nearest(x)})"
    count, total = len(values), len(answer.model.labels)
    among = f"all {total}" if count == total else f"the {count} most probable of {total}"
    best = [int(index) for index in np.argsort(-values, kind="stable")[:_BEST] if values[index] > 0]
    if not (rows.sees(y) and columns.sees(x)):
        return apphtml.notice_html("The layer does not see this place.")
    if not best:
        return apphtml.notice_html(f"This place, {where}, speaks for none of {among} classes.")
    explained = [each.class_indices[0] for each in answer.explanations.values()]
    shown = []
    for place in best:
        index, value = int(maps.class_indices[0, place]), float(values[place])
        marks = _marks(index in explained)
        share = value / float(values[best[0]])
        shown.append(TableRow(answer.model.labels[index], f"{value:.3g}", share, marks, f"class {index}"))
    return apphtml.rows_html(f"This place, {where}, speaks most for (of {among} classes)", shown)


def _marks(is_explained: bool) -> list[str]:
    return ["explained"] if is_explained else []


def _box_row(found: Detections, number: int) -> TableRow:
    item = found.found[number]
    box = ", ".join(f"{side:.0f}" for side in item.box)
    marks = [f"at ({box}) of {found.image_size[1]} x {found.image_size[0]}", *_marks(number in found.chosen)]
    return TableRow(f"{number}: {item.label}", f"{item.score:.2f}", item.score, marks, f"box {number}")


def _labels(answer: Answer, probabilities: np.ndarray, explained: list[str]) -> str:
    """Show the probabilities of all labels, those above the threshold marked."""
    model, threshold = answer.model, answer.question.above
    threshold = model.threshold if threshold is None else threshold
    order = np.argsort(-probabilities, kind="stable")
    above = int((probabilities > threshold).sum())
    rows = []
    for index in map(int, order[: max(_MAX_ROWS, above)]):
        label, share = model.labels[index], float(probabilities[index])
        marks = [f"above {threshold:g}"] if share > threshold else []
        rows.append(TableRow(label, f"{share:.1%}", share, marks + _marks(label in explained), f"class {index}"))
    left = len(order) - len(rows)
    return apphtml.rows_html(f"Probabilities{f'; {left} lower ones are left out' if left else ''}", rows)


def _values(answer: Answer, explained: list[str]) -> str:
    """Show the outputs that are not probabilities, with their unit."""
    model, values = answer.model, answer.first.outputs[0].ravel()
    if model.has_places and answer.first.values is not None:  # their mean, or the one at the point
        values = answer.first.values
    target = answer.asked.target
    chosen = target.index if isinstance(target, Distance) else (target or 0) if isinstance(target, int | None) else None
    rows = []
    for index, value in enumerate(values[: max(_MAX_ROWS, len(model.labels))]):
        label = model.labels[index] if index < len(model.labels) else f"output {index}"
        is_explained = label in explained or (model.task.name == "regression" and index == chosen)
        text = f"{value:.4g} {model.said.unit}".rstrip()
        pick = f"class {index}" if len(model.labels) > 1 else ""
        rows.append(TableRow(label, text, None, _marks(is_explained), pick))
    return apphtml.rows_html("Values" if model.task.name == "regression" else "Outputs", rows)


def _shares(answer: Answer, masks: Segmentation) -> str:
    """Show the predicted classes of a segmentation with their colours and shares of the pixels."""
    rows = []
    for index, share in masks.shares(0):
        name = "none" if index < 0 else answer.model.labels[index]
        marks = _marks(index == masks.explained[0])
        color = class_colors()[(index + int(masks.has_none)) % 256].tolist()
        rows.append(TableRow(name, f"{share:.1%}", share, marks, f"class {index}" if index >= 0 else "", color))
    return apphtml.rows_html("Predicted classes, by their share of the pixels", rows)


def _many(now: Snapshot, answer: Answer) -> str:
    """Show all maps of *Compare* or *Layers* on one scale, and the reasons for missing ones."""
    tab, look, picture = now.tab, now.look, answer.picture
    figures = [Figure("Photo", data_uri(picture.shown), f"Photo {picture.name}", picture.name)]
    for name, explanation in answer.explanations.items():
        overlay = data_uri(_overlay(answer, name, picture.shown, look))
        alt = f"Map of {explanation.labels[0]} by {explanation.method} at {explanation.layer_name}"
        over = apphtml.cover_html(f"layer {name}", f"Explain the layer {name}") if tab == "layers" else ""
        figures.append(Figure(name, overlay, alt, _caption(explanation, tab), over))
    figures += [Figure(name, "", "", f"Not available here: {reason}") for name, reason in answer.refused.items()]
    html = _outdated(now, answer) + apphtml.figures_html(figures, "many")
    if not answer.explanations:
        return html
    first = answer.first
    common = first.layer_name if tab == "compare" else first.method
    title = f'<p class="tg-headline">{escape(f"{first.labels[0]}, {_score(first, answer)}, {common}")}</p>'
    files = [(f"{tab}.{kind}", f"{tab}.{kind}", f"Figure ({kind.upper()})") for kind in ("png", "pdf")]
    scale = apphtml.scale_html(first.signed, look.colormap, look.threshold, _ends(answer, look))
    hint = '<p class="tg-hint">Click a map to explain its layer in Explore.</p>' if tab == "layers" else ""
    return title + _one_of(answer, tab) + hint + html + scale + apphtml.links_html(now.token, files, look)


def _one_of(answer: Answer, tab: str) -> str:
    """Say which map is compared where *Explore* shows several."""
    model, question = answer.model, answer.question
    is_usual = question.target is None and question.against is None
    is_several = isinstance(question.target, str) and box_number(question.target) is None
    chosen = {"multilabel": "the most probable label", "detection": "the best box", "regression": "the first value"}
    text = chosen.get(model.task.name, "the predicted side" if model.is_pair else "")
    if not text or not (is_several or (is_usual and (model.is_pair or model.task.name == "multilabel"))):
        return ""
    other = "" if model.task.name == "regression" else " unless one is chosen"
    return f'<p class="tg-hint">{tab.capitalize()} shows {text}{other}.</p>'


def _outdated(now: Snapshot, answer: Answer) -> str:
    """Return a note if the controls have changed since the maps were made, else ""."""
    asked, new = answer.question, now.question
    varied = {"method": new.method} if now.tab == "compare" else {"layer": new.layer}
    if dataclasses.replace(asked, is_one=new.is_one, **varied) == new:
        return ""
    return apphtml.notice_html(f'The controls have changed. Press "{_BUTTONS[now.tab]}" again.')


def _caption(explanation: Explanation, tab: str) -> str:
    reason = explanation.diagnosis[0]
    where = f"{_cells(explanation)} cells" if tab == "layers" else f"at {explanation.layer_name}"
    return f"{where}; {for_page(reason)}" if reason else where


def _score(explanation: Explanation, answer: Answer) -> str:
    """Return as text: the probability of the explained class, the value with its unit, or another target's score."""
    probability, target = explanation.probability(0), answer.asked.target
    if explanation.values is not None:
        value = f"{explanation.values[0]:.4g} {explanation.unit}".rstrip()
        is_near = isinstance(target, Distance)
        return f"{value}, {-explanation.scores[0]:.4g} away" if is_near else value
    place = next((name for name, each in answer.explanations.items() if each is explanation), "")
    position = _place_of(answer, place)
    if position is not None and answer.found is not None:
        return f"{answer.found[position].score:.2f}"
    return f"score {explanation.scores[0]:.4g}" if probability is None else f"{probability:.1%}"


def _report(now: Snapshot) -> str:
    """Show the result of *Batch* as a gallery of its pictures."""
    report = now.batch
    if report is None:
        return '<p class="tg-hint">Drop pictures above, then press "Explain all".</p>'
    links = apphtml.links_html(now.token, [("heatmaps.zip", "heatmaps.zip", "All maps (ZIP)")], now.look)
    return links + gallery_html(report, now.token, now.place)


MEDIA = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".npy": "application/octet-stream",
    ".py": "text/x-python",
    ".pdf": "application/pdf",
    ".zip": "application/zip",
    ".closely": "image/png",
}


def download(session: Session, name: str, look: Look) -> bytes:
    """Return the bytes of a file made of the session's results, at the size of the photo.

    Args:
        session: the session.
        name: "overlay.png", "map.png", "heatmap.npy" (of the first map), "maps.zip", "mask.png", "explain.py" of
            *Explore*; "photo.closely", "0.closely" (the first overlay), ...: pictures to zoom in, no larger than
            `MAX_SIDE`, as PNG; "compare.png" or .pdf, "layers.png" or .pdf; "heatmaps.zip" and "thumbnail-0.jpg" (of
            the first picture) of *Batch*.
        look: the colours of the map; figures have their own.

    Raises:
        ValueError: the file does not exist, or not yet.
    """
    stem, _, kind = name.rpartition(".")
    if name == "heatmaps.zip" and session.batch is not None:
        return session.batch.archive.read_bytes()
    if (found := re.fullmatch(r"thumbnail-(\d{1,3})\.jpg", name)) and session.batch is not None:
        return session.batch.thumbnail(int(found[1]))
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
    if name == "maps.zip":
        return _archive(answer, look)
    if name == "mask.png" and answer.first.segmentation is not None:
        return encoded_mask(answer.first.segmentation.values(0, answer.picture.size))
    if name == "heatmap.npy":
        buffer = io.BytesIO()
        np.save(buffer, answer.first.shown[0], allow_pickle=False)
        return buffer.getvalue()
    if kind == "closely":
        return _closely(answer, stem, look)
    if name == "map.png":
        return png_bytes(map_picture(answer.first, answer.picture.size, look))
    if name == "overlay.png":
        return png_bytes(_overlay(answer, next(iter(answer.explanations)), _photo(answer), look))
    raise ValueError(f"There is no file '{name}'.")


def _closely(answer: Answer, part: str, look: Look) -> bytes:
    photo, names = shown_photo(_photo(answer), MAX_SIDE), list(answer.explanations)
    if part != "photo" and not (part.isdecimal() and int(part) < len(names)):
        raise ValueError(f"Expected the photo or one of {len(names)} overlays, received '{part}'.")
    return png_bytes(photo if part == "photo" else _overlay(answer, names[int(part)], photo, look), FAST_PNG)


def _archive(answer: Answer, look: Look) -> bytes:
    """Return all overlays and maps as a zip file, under the names that the Python code gives them."""
    buffer, photo, stem = io.BytesIO(), _photo(answer), Path(answer.picture.name).stem
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, explanation in answer.explanations.items():
            own = f"{stem}.{suffix_of(answer, name)}"
            archive.writestr(f"{own}.overlay.png", png_bytes(_overlay(answer, name, photo, look)))
            array = io.BytesIO()
            np.save(array, explanation.shown[0], allow_pickle=False)
            archive.writestr(f"{own}.heatmap.npy", array.getvalue())
    return buffer.getvalue()


def _photo(answer: Answer) -> Photo:
    picture = answer.picture
    return read_picture(picture.path, picture.size).photo
