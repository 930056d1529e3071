"""The report of an audit: one HTML page without outside resources, and its numbers as JSON.

A data set cannot run code in the page: names are escaped and shown without control characters, pictures are encoded
anew, and a Content-Security-Policy allows only one style and one script, by their hashes.

Axis legend: K classes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import re
from dataclasses import fields, is_dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from tf_gradcam._errors import for_page, require
from tf_gradcam._files.atomic import write_bytes
from tf_gradcam.audit.report.listing import LargerPhotos, listing, write_pictures
from tf_gradcam.audit.report.text import escape_invisible, format_count, format_interval, format_number, format_percent
from tf_gradcam.audit.report.view import PageView, stage_bars, title_of
from tf_gradcam.audit.result import AuditResult, ClassLook, Finding, SanityCheck
from tf_gradcam.metrics.intervals import Interval

__all__ = ["write_numbers", "write_report"]


def write_report(result: AuditResult, path: str | os.PathLike[str], larger: LargerPhotos | None = None) -> Path:
    """Write the report as one HTML page, whole or not at all; the same result gives the same bytes.

    The page is smaller than 15 MB for any data set: it lists the worst 10,000 images, and states the total. It stands
    on its own; what the folder `images` beside it adds are the pictures of the list, and larger ones. Existing files
    are replaced.

    Args:
        result: of the audit.
        path: of the page.
        larger: rows -> (row, JPEG), larger pictures of some rows; None for the thumbnails.

    Raises:
        ImportError: Jinja2 is not installed.
        OSError: as `write_bytes`.
    """
    path = Path(path)
    sizes = write_pictures(result, path.parent, larger) if path.parent.is_dir() else {}  # `write_bytes` refuses
    write_bytes(path, _page(result, sizes).encode("utf-8"))
    return path


def write_numbers(result: AuditResult, path: str | os.PathLike[str]) -> Path:
    """Write the numbers of the report as JSON, whole or not at all; unknown values are null.

    Keys: about, task, class_names, images (counts and accuracy), confusion (K rows of true classes, K columns of
    predicted ones; null without classes), labels (`LabelScore`) of a multi-label model, errors (`ErrorScore`) and unit
    of a regression, segmentation (`SegmentationScore`), classes (`ClassLook`), findings, duplicates (`DuplicateGroup`),
    label_errors (`LabelError`), metrics, sanity. Images are named by their position in the table.
    An existing file is replaced; raises as `write_bytes`.
    """
    return write_json(_numbers(result), path)


def write_json(numbers: dict[str, Any], path: str | os.PathLike[str]) -> Path:
    """Write numbers as JSON with a line for each item of a list, whole or not at all; NaN becomes null."""
    path = Path(path)
    parts = ",\n".join(f"{json.dumps(key)}: {_json(value)}" for key, value in numbers.items())
    # A file name that is not UTF-8 contains lone surrogates; written as \udcff they are valid JSON.
    write_bytes(path, f"{{\n{parts}\n}}\n".encode("utf-8", "backslashreplace"))
    return path


def page_environment(package: str) -> Any:
    """Return the Jinja2 environment of a page whose templates lie in a package.

    Raises:
        ImportError: Jinja2 is not installed.
    """
    jinja2, markup = require("jinja2", extra="audit"), require("markupsafe", extra="audit")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: escape_invisible(value) if type(value) is str else value,
    )

    def split(interval: Interval, digits: int) -> Any:
        value, _, reaches = format_interval(interval, digits).partition(" ")
        return markup.Markup('{} <span class="reaches">{}</span>').format(value, reaches.strip("()"))

    def ticked(sentence: str) -> Any:
        """Set `names` in bold."""
        escaped = str(markup.escape(escape_invisible(sentence)))
        return markup.Markup(re.sub("`([^`]+)`", r'<b class="name">\1</b>', escaped))

    def place(value: float, low: float, high: float = 1) -> float:
        """Return where a value lies on an axis, in pixels."""
        return round(4 + 192 * (min(max(value, low), high) - low) / (high - low), 1)

    environment.filters.update(
        count=format_count,
        fact=for_page,
        interval=format_interval,
        is_known=lambda interval: all(map(math.isfinite, (interval.low, interval.value, interval.high))),
        is_number=math.isfinite,
        number=lambda value, digits=1: format_number(value, digits),
        percent=format_percent,
        place=place,
        split=split,
        stages=stage_bars,
        tick=lambda value, digits: f"{value:g}" if value in (-1, 0, 1) else format_number(value, digits),
        ticked=ticked,
    )
    return environment


def _page(result: AuditResult, sizes: dict[int, tuple[int, int]]) -> str:
    markup = require("markupsafe", extra="audit")
    style, script = (asset(name) for name in ("report.css", "report.js"))
    model, data = title_of(result.about)
    view = PageView(result)
    return str(
        page_environment("tf_gradcam.audit.report")
        .get_template("report.html.j2")
        .render(
            view=view,
            listing=markup.Markup(listing(result, view.cards, sizes)),
            model=model,
            data=data,
            style=markup.Markup(style),
            style_hash=content_hash(style),
            script=markup.Markup(script),
            script_hash=content_hash(script),
        )
    )


def asset(name: str) -> str:
    """Return the text of a style or script of the report."""
    text = files("tf_gradcam.audit.report").joinpath("templates").joinpath(name).read_text(encoding="utf-8")
    return text.replace("\r\n", "\n")  # as a browser reads it, and so hashes it


def content_hash(text: str) -> str:
    """Return the hash by which a Content-Security-Policy allows a style or a script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _numbers(result: AuditResult) -> dict[str, Any]:
    rows = result.rows
    done, known = rows.is_done, result.is_labelled
    confusion = result.confusion
    return {
        "about": {
            str(key): for_page(value) if isinstance(value, str) else value for key, value in result.about.items()
        },
        "task": result.task,
        "class_names": list(result.class_names),
        "images": {
            "count": len(done),
            "explained": int(done.sum()),
            "failed": int((~done).sum()),
            "labelled": int(known.sum()),
            "right": int(np.trace(confusion)) if result.task == "classification" else None,
            "accuracy": result.accuracy,
            "blank_maps": int((done & (rows.diagnosis != "")).sum()),
        },
        "confusion": confusion.tolist() if known.any() and result.task == "classification" else None,
        **_scores(result),
        "classes": [_look(look, result) for look in result.looks],
        "findings": [_finding(finding) for finding in result.findings],
        "duplicates": [_fields(group) for group in result.duplicates],
        "label_errors": [_fields(error) for error in result.label_errors],
        "metrics": [
            {"name": one.name, "method": one.method, **vars(one.interval), "count": one.count, "better": one.better}
            for one in result.metrics
        ],
        "sanity": [_check(check) for check in result.sanity],
    }


def _scores(result: AuditResult) -> dict[str, Any]:
    """Return what is right and wrong in a model of labels or values."""
    if result.task == "multilabel":
        return {"labels": [_fields(score) for score in result.label_scores]}
    if result.task == "regression":
        errors = result.error_score
        return {"unit": result.unit, "errors": None if errors is None else _fields(errors)}
    if result.task == "segmentation":
        found = result.segmentation_score
        return {"segmentation": None if found is None else _fields(found)}
    return {}


def _fields(value: Any) -> Any:
    """Return dataclasses as dicts of their fields."""
    if is_dataclass(value):
        return {one.name: _fields(getattr(value, one.name)) for one in fields(value)}
    return [_fields(one) for one in value] if isinstance(value, list) else value


def _look(look: ClassLook, result: AuditResult) -> dict[str, Any]:
    return {
        "class_index": look.class_index,
        "label": result.answers[look.class_index].name,
        "count": look.count,
        "repetition": look.repetition,
        "clusters": list(look.clusters),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    plain = {
        key: getattr(finding, key)
        for key in (
            "class_index",
            "label",
            "kind",
            "is_shortcut",
            "is_unsure",
            "sentence",
            "reason",
            "heat_share",
            "area_share",
            "effect",
        )
    }
    intervals = {
        key: vars(getattr(finding, key)) for key in ("before", "erased", "control", "pasted", "pasted_control")
    }
    if finding.others is not None:
        intervals["others"] = vars(finding.others)
    return {**plain, **intervals, "box": _box(finding.region), "images": list(finding.images)}


def _box(region: np.ndarray | None) -> dict[str, int] | None:
    """Return the smallest box around the region, in pixels of the model input; bottom and right are outside."""
    if region is None or not (region > 0).any():
        return None
    ys, xs = (np.flatnonzero((region > 0).any(axis=axis)) for axis in (1, 0))
    return {"top": int(ys[0]), "left": int(xs[0]), "bottom": int(ys[-1]) + 1, "right": int(xs[-1]) + 1}


def _check(check: SanityCheck) -> dict[str, Any]:
    return {
        "name": check.name,
        "is_passed": check.is_passed,
        "sentence": check.sentence,
        "stages": [
            {"stage": stage, **vars(similarity)}
            for stage, similarity in zip(check.stages, check.similarities, strict=True)
        ],
    }


def _json(value: Any) -> str:
    """Return JSON with one item of a list per line."""
    found = plain(value)
    if isinstance(found, list) and found:
        return "[\n  " + ",\n  ".join(json.dumps(item, ensure_ascii=False, allow_nan=False) for item in found) + "\n]"
    return json.dumps(found, ensure_ascii=False, allow_nan=False)


def plain(value: Any) -> Any:
    """Convert to plain Python numbers and texts; None for NaN and infinity."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (str, bool, int)) else str(value)
