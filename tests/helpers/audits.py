"""Results of audits that never were: any number of rows, classes and findings, the same for the same seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tf_gradcam._errors import Message
from tf_gradcam.audit.result import AuditResult, ClassLook, Finding, Metric, SanityCheck
from tf_gradcam.audit.rows import Rows, nothing_mapped, ragged
from tf_gradcam.audit.shortcuts.search import look_at
from tf_gradcam.image.thumbnails import thumbnail
from tf_gradcam.metrics.intervals import Interval

H, W = 5, 7
SIZE = (60, 84)


def near(value: float, reach: float = 0.03) -> Interval:
    return Interval(value, value - reach, value + reach)


def result_of(
    count: int = 60,
    names: tuple[str, ...] = ("glioma", "meningioma", "no tumor", "pituitary"),
    *,
    labelled: bool = True,
    failed: int = 2,
    blank: int = 3,
    files: list[str] | None = None,
    findings: tuple[bool, ...] = (True, False),
    error: str = "The image file is truncated: its picture is not complete. Copy or download it again.",
    diagnosis: str = "the gradient is zero everywhere",
    about: dict[str, Any] | None = None,
) -> AuditResult:
    """An audit of `count` images, the last `failed` of them failed and the first `blank` of them without heat.

    Args:
        findings: whether each is a shortcut.
        files: names of the files; else of folders by class.
    """
    folders = [names[row % len(names)] if labelled else names[0] for row in range(count)]
    files = files or [f"/data/scans/{folder}/img_{row:05d}.jpg" for row, folder in enumerate(folders)]
    rows = rows_of(files, len(names), labelled, failed, blank, error, diagnosis)
    return AuditResult(
        rows,
        list(names),
        looks_of(rows, len(names)),
        [finding_of(number, names, is_shortcut, count - failed) for number, is_shortcut in enumerate(findings)],
        METRICS if count > failed else [],
        CHECKS if count > failed else [],
        about or ABOUT,
        SIZE,
        Path("report"),
    )


def labels_result(count: int = 60, names: tuple[str, ...] = ("cat", "dog", "ball"), **given: Any) -> AuditResult:
    """An audit of labels: probabilities of random numbers, which most labels follow; the last two images failed."""
    base = result_of(count, names, **given)
    generator, width = np.random.default_rng(3), len(names)
    truth = (generator.random((count, width)) < 0.4).astype(float)
    truth[generator.random(truth.shape) < 0.05] = np.nan
    scores = np.clip(np.nan_to_num(truth) * 0.5 + generator.normal(0.3, 0.2, truth.shape), 0.001, 0.999)
    done = base.rows.is_done
    probabilities = np.where(done[:, None], scores, np.nan)
    best = np.where(done, scores.argmax(axis=1), -1)
    above = [np.flatnonzero(row > 0.5) if is_done else [] for row, is_done in zip(scores, done, strict=True)]
    maps = [generator.random((len(indices), H, W)) for indices in above]
    rows = replace(
        base.rows,
        label=np.full(count, -1),
        truth=truth,
        predicted=best,
        probability=np.where(done, scores.max(axis=1), np.nan),
        probabilities=probabilities,
        mapped=ragged(above, np.int32),
        maps=ragged(maps, np.float16),
    )
    about = {**ABOUT, "task": Message("multilabel, as its output is 3 sigmoid units.", "Say task=.", "Say --task.")}
    result = replace(base, rows=rows, task="multilabel", thresholds=(0.5,) * width, about=about, looks=[])
    return replace(result, looks=look_at(result.answers) if width < 10 else [])  # a second for each


def values_result(
    count: int = 60, name: str = "age", unit: str = "years", is_known: bool = True, **given: Any
) -> AuditResult:
    """An audit of values from 20 to 80, with errors of a standard deviation of 4; the last two images failed."""
    base = result_of(count, ("a", "b", "c"), **given)
    generator, done = np.random.default_rng(3), base.rows.is_done
    truth = generator.uniform(20, 80, count)
    truth[:2] = np.nan
    rows = replace(
        base.rows,
        label=np.full(count, -1),
        truth=truth[:, None] if is_known else np.full((count, 1), np.nan),
        predicted=np.where(done, 0, -1),
        probability=np.full(count, np.nan),
        probabilities=np.zeros((count, 0)),
        score=np.where(done, np.nan_to_num(truth, nan=50) + generator.normal(0, 4, count), np.nan),
        heatmap=np.where(done[:, None, None], generator.uniform(-1, 1, (count, H, W)), 0),
    )
    result = replace(base, rows=rows, task="regression", unit=unit, class_names=[name], looks=[])
    numbers = {"before": 70.0, "erased": 52.0, "control": 69.0, "pasted": 48.0, "pasted_control": 31.0, "others": 30.0}
    findings = [
        replace(one, class_index=0, label=f"high {name}", **{key: near(value, 2) for key, value in numbers.items()})
        for one in base.findings
    ]
    return replace(result, looks=look_at(result.answers), findings=findings)


def rows_of(
    files: list[str], classes: int, labelled: bool, failed: int, blank: int, error: str, diagnosis: str
) -> Rows:
    generator, count = np.random.default_rng(7), len(files)
    done = np.arange(count) < count - failed
    label = np.arange(count) % classes
    logits = generator.normal(0, 1.2, (count, max(classes, 2)))
    logits[np.arange(count), label] += 3.5
    logits = logits[:, :classes] if classes > 1 else logits[:, :1]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    predicted = probabilities.argmax(axis=1)
    return Rows(
        index=np.arange(count),
        file=np.array(files, object),
        label=label if labelled else np.full(count, -1),
        truth=np.zeros((count, 0)),
        status=np.where(done, "done", "failed"),
        error=np.where(done, "", error),
        predicted=np.where(done, predicted, -1),
        probability=np.where(done, probabilities.max(axis=1), np.nan),
        probabilities=np.where(done[:, None], probabilities, np.nan),
        score=np.where(done, logits.max(axis=1), np.nan),
        heatmap=heatmaps_of(label, done & (np.arange(count) >= blank), generator),
        **nothing_mapped(count, (H, W)),
        diagnosis=np.where(done & (np.arange(count) < blank), diagnosis, ""),
        thumbnail=np.array([photo_of(row, int(label[row])) if done[row] else b"" for row in range(count)], object),
        note=np.full(count, "", object),
        digest=np.full(count, "", object),
    )


def plain_rows(labels: np.ndarray, predicted: np.ndarray, heatmaps: np.ndarray, classes: int = 4) -> Rows:
    """Explained rows of which only the classes and the maps count."""
    count = len(labels)
    nothing, unknown = np.full(count, "", object), np.full(count, np.nan)
    return Rows(
        index=np.arange(count),
        file=nothing,
        label=labels,
        truth=np.zeros((count, 0)),
        status=np.full(count, "done", object),
        error=nothing,
        predicted=predicted,
        probability=unknown,
        probabilities=np.full((count, classes), np.nan),
        score=unknown,
        heatmap=heatmaps,
        **nothing_mapped(count, heatmaps.shape[1:]),
        diagnosis=nothing,
        thumbnail=np.full(count, b"", object),
        note=nothing,
        digest=nothing,
    )


def heatmaps_of(label: np.ndarray, shown: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A blob whose place depends on the class, and moves a little."""
    ys, xs = np.mgrid[:H, :W]
    middle = np.stack([label % H, (3 * label) % W], axis=1) + generator.normal(0, 0.7, (len(label), 2))
    squares = (ys - middle[:, 0, None, None]) ** 2 + (xs - middle[:, 1, None, None]) ** 2
    maps = np.exp(-squares / 3)
    return (maps / maps.max(axis=(1, 2), keepdims=True) * shown[:, None, None]).astype(np.float16)


def photo_of(row: int, label: int) -> bytes:
    """A grey disc with a spot, drawn with a little noise."""
    generator = np.random.default_rng(row % 97)
    ys, xs = np.mgrid[: SIZE[0], : SIZE[1]]
    disc = ((ys - 30) / 26) ** 2 + ((xs - 42) / 34) ** 2 < 1
    y, x = generator.uniform(18, 42), generator.uniform(24, 60)
    spot = (ys - y) ** 2 + (xs - x) ** 2 < 40
    grey = 20 + 90 * disc + 70 * spot * (label != 2) + generator.normal(0, 6, SIZE)
    return thumbnail(np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2), 96)


def looks_of(rows: Rows, classes: int) -> list[ClassLook]:
    looks = []
    for index in range(classes):
        members = np.flatnonzero(rows.predicted == index)
        if not len(members):
            continue
        maps = rows.heatmap[members].astype(np.float32)
        groups = (
            [members]
            if len(members) < 10 or index % 2
            else [members[: len(members) // 4], members[len(members) // 4 :]]
        )
        looks.append(
            ClassLook(
                index,
                len(members),
                maps.mean(axis=0),
                float("nan") if len(members) < 2 else 0.3 + 0.6 / (index + 1),
                [len(group) for group in groups],
                np.stack([rows.heatmap[group].astype(np.float32).mean(axis=0) for group in groups]),
                [group.tolist() for group in groups],
            )
        )
    return looks


def finding_of(number: int, names: tuple[str, ...], is_shortcut: bool, explained: int = 58) -> Finding:
    index = (len(names) - 1 - number) % len(names)
    kind = ("place", "place", "mark", "tint")[number % 4]
    region = np.zeros(SIZE, np.float32)
    region[-14:, -16:] = 1
    return Finding(
        index,
        names[index],
        kind,
        is_shortcut,
        f"`{names[index]}`: 83% of the heat of 41 images lies in the lower right corner (4.4% of the image); "
        f"erasing it (blur) takes the class from 0.98 to 0.37 (an equally large random region: 0.97); "
        f"pasting it into images of other classes turns 62% of them into `{names[index]}` "
        "(an equally large random region: 3%).",
        "The same pixels, to a few grey levels, are in these images and not in images of other classes."
        if is_shortcut
        else "Erasing or pasting it changes predictions hardly more than a random region does.",
        list(range(min(8, explained), min(49, explained))),
        float("nan") if kind == "tint" else 0.83,
        1.0 if kind == "tint" else 0.044,
        near(0.98, 0.01),
        near(0.37, 0.08) if is_shortcut else near(0.95),
        near(0.97, 0.015),
        near(0.62, 0.12) if is_shortcut else near(0.04),
        near(0.03, 0.03),
        None if kind == "tint" else region,
        np.full((40, 120, 3), 200, np.uint8),
    )


def _rows_of(name: str, better: str, own: float, random: float, centre: float, reach: float = 0.03) -> list[Metric]:
    values = {"gradcam": own, "random": random, "centre": centre}
    return [Metric(name, method, near(value, reach), 48, better) for method, value in values.items()]


METRICS = [
    *_rows_of("insertion AUC", "higher", 0.871, 0.702, 0.815),
    *_rows_of("deletion AUC", "lower", 0.312, 0.455, 0.33),
    *_rows_of("average drop %", "lower", 21.4, 55.3, 18.2, 4),
    *_rows_of("increase in confidence %", "higher", 12.5, 4.2, 14.6, 9),
    *_rows_of("sparsity", "higher", 0.71, 0.41, 0.52),
]
CHECKS = [
    SanityCheck(
        "weights",
        ["head", "block5", "block3", "block1"],
        [near(0.81), near(0.44), near(0.12), near(-0.04)],
        True,
        "The maps of 'gradcam' change when all its weights are random: rank correlation -0.04 (-0.07 to -0.01).",
    ),
    SanityCheck(
        "logits",
        ["head"],
        [near(0.81)],
        False,
        "The maps of 'gradcam' stay the same when its head is random: rank correlation 0.81 (0.78 to 0.84). They show "
        "the image rather than what the model has learned: do not trust them.",
    ),
]
ABOUT = {
    "model": "/models/best.keras",
    "layer": "block5_conv3",
    "method": "gradcam",
    "size": "60 x 84",
    "preprocessing": "tf",
    "tf_gradcam": "0.1.0",
    "keras": "3.15.1",
    "tensorflow": "2.21.0",
    "data": "/data/scans",
    "date": "2026-01-31 12:00",
}
