"""The content of the report, as data for its template.

Axis legend: K classes, H x W cells, H0 x W0 pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tf_gradcam.audit.report.cards import (
    Card,
    CardMaker,
    Gallery,
    blank_rows,
    confusion_cells,
    failed_rows,
    most_confused,
    right_rows,
    take_turns,
    uncertain_rows,
    unlabelled_rows,
    wrong_rows,
)
from tf_gradcam.audit.report.pictures import Picture, PictureStore, RowPictures, mark_region, paint_map
from tf_gradcam.audit.report.text import base_name
from tf_gradcam.audit.result import AuditResult, ClassLook, Finding, Metric, SanityCheck
from tf_gradcam.metrics.intervals import Interval, wilson_interval

BASELINES = ("random", "centre")

_PICTURE_BUDGET = 11_000_000  # bytes of pictures: a page below 15 MB with its text
_SHORTCUTS_BUDGET, _HARMLESS_BUDGET = 4_000_000, 2_000_000  # bytes of pictures of findings
_GALLERY_CARDS, _FINDING_CARDS, _CLUSTER_CARDS, _CELL_CARDS = 24, 8, 4, 12  # most cards of each
_MATRIX_CLASSES = 30  # more classes have a list of pairs in place of a matrix
_LISTED_PAIRS = 40
_LISTED_FAILURES = 100  # files per error, and errors
_CELL_SHADES = 8
_SHOWN_HARMLESS = 3  # suspects that are not shortcuts and are shown with their pictures, the strongest
_WORDS = {
    "place": ("a fixed place", "region erased", "random region erased", "region pasted", "random region pasted"),
    "mark": ("a mark that moves", "mark erased", "random region erased", "mark pasted", "random region pasted"),
    "tint": ("a tint of the whole image", "tint removed", "another tint", "tint added", "another tint added"),
}


class MetricRow(NamedTuple):
    """A metric of the method, beside the baselines.

    Attributes:
        name, better: of the metric.
        images: number of images.
        method: interval of the method; None if only the baselines were measured.
        baselines: interval of each baseline by name.
        digits: decimals to show: fewer for percentages.
        best: "method", or the baseline with the best mean; "" if two are equal.
        verdict: the comparison of the method with the baselines, as text.
    """

    name: str
    better: str
    images: int
    method: Interval | None
    baselines: dict[str, Interval]
    digits: int
    best: str
    verdict: str


def metric_rows(metrics: Sequence[Metric]) -> list[MetricRow]:
    """Return a row per metric name, in their order."""
    rows = []
    for name in dict.fromkeys(metric.name for metric in metrics):
        same = [metric for metric in metrics if metric.name == name]
        own = next((metric.interval for metric in same if metric.method not in BASELINES), None)
        baselines = {metric.method: metric.interval for metric in same if metric.method in BASELINES}
        sign = 1 if same[0].better == "higher" else -1
        values = {
            key: sign * value.value
            for key, value in {"method": own, **baselines}.items()
            if value is not None and math.isfinite(value.value)
        }
        best = [key for key, value in values.items() if value == max(values.values())]
        verdict = "" if own is None or not baselines else _verdict(own, baselines, same[0].better)
        digits = 1 if name.endswith("%") else 3
        winner = best[0] if len(best) == 1 else ""
        rows.append(MetricRow(name, same[0].better, same[0].count, own, baselines, digits, winner, verdict))
    return rows


def _verdict(own: Interval, baselines: dict[str, Interval], better: str) -> str:
    """Compare the method with each baseline; intervals that overlap are not different."""
    groups: dict[str, list[str]] = {"better than": [], "not different from": [], "worse than": []}
    for name, other in baselines.items():
        if not all(map(math.isfinite, (own.low, own.high, other.low, other.high))):
            continue
        is_above, is_below = own.low > other.high, own.high < other.low
        is_better, is_worse = (is_above, is_below) if better == "higher" else (is_below, is_above)
        groups["better than" if is_better else "worse than" if is_worse else "not different from"].append(name)
    return "; ".join(f"{words} {' and '.join(names)}" for words, names in groups.items() if names)


class Bar(NamedTuple):
    """A named number with its interval."""

    name: str
    interval: Interval
    is_main: bool


class FindingView(NamedTuple):
    finding: Finding
    kind: str
    bars: list[Bar]
    picture: Picture | None
    region: Picture | None
    cards: list[Card]


class Cell(NamedTuple):
    """A cell of the confusion matrix; `shade`, 0 to 8, grows with its share of the true class."""

    key: str
    images: int
    shade: int
    truth: str
    predicted: str
    is_right: bool


class Panel(NamedTuple):
    """The images of a cell."""

    cell: Cell
    share: float
    gallery: Gallery


class ClusterView(NamedTuple):
    images: int
    picture: Picture | None
    cards: list[Card]


class ClassView(NamedTuple):
    name: str
    look: ClassLook
    true: int
    recall: float
    precision: float
    picture: Picture | None
    clusters: list[ClusterView]


class PageView:
    """The content of the page; the most important pictures are stored first, until the page is full."""

    def __init__(self, result: AuditResult):
        self.result = result
        self.store = PictureStore(_PICTURE_BUDGET)
        self._pictures = RowPictures(result.rows, self.store)
        self._cards = CardMaker(result, self._pictures)
        self._confusion = result.confusion
        self._count()
        self.shortcuts = self._findings(True, _SHORTCUTS_BUDGET)
        self.metrics: list[MetricRow] = metric_rows(result.metrics)
        self.baselines = [name for name in BASELINES if any(one.method == name for one in result.metrics)]
        self._galleries()
        maps = {look.class_index: self._map(f"m{look.class_index}", look.mean_map) for look in result.looks}
        self.harmless = self._findings(False, _HARMLESS_BUDGET)
        self.weaker = [one for one in result.findings if not one.is_shortcut][_SHOWN_HARMLESS:]
        self.classes = [self._class(look, maps[look.class_index]) for look in result.looks]
        self._matrix()

    def _count(self) -> None:
        rows = self.result.rows
        done = rows.is_done
        self.total, self.done = len(done), int(done.sum())
        self.labelled = int(self.result.is_labelled.sum())
        self.hits = int(np.trace(self._confusion))
        self.accuracy = wilson_interval(self.hits, self.labelled)
        self.tested = sorted({one.label for one in self.result.findings})
        self.few = self.result.untested
        self.unsure = sum(one.is_unsure for one in self.result.findings)

    def _findings(self, is_shortcut: bool, budget: int) -> list[FindingView]:
        before, found = self.store.spent, list[FindingView]()
        for number, finding in enumerate(self.result.findings):
            if finding.is_shortcut == is_shortcut and (is_shortcut or len(found) < _SHOWN_HARMLESS):
                found.append(self._finding(number, finding, self.store.spent - before < budget))
        return found

    def _finding(self, number: int, finding: Finding, has_picture: bool) -> FindingView:
        kind, erased, control, pasted, pasted_control = _WORDS[finding.kind]
        bars = [
            Bar("as the images are", finding.before, False),
            Bar(erased, finding.erased, True),
            Bar(control, finding.control, False),
            Bar(pasted, finding.pasted, True),
            Bar(pasted_control, finding.pasted_control, False),
        ]
        picture = None
        if has_picture and finding.picture is not None:
            picture = self.store.add_photo(f"f{number}", finding.picture, 86)
        cards = self._cards.with_pictures(finding.images[:_FINDING_CARDS]) if has_picture else []
        return FindingView(finding, kind, bars, picture, self._region(number, finding), cards)

    def _region(self, number: int, finding: Finding) -> Picture | None:
        """Mark the region on the first image that shows it."""
        if finding.region is None:
            return None
        photo = self._pictures.photo(finding.images[0]) if finding.images else None
        if photo is None:
            photo = np.full((*finding.region.shape, 3), 255, np.uint8)
        return self.store.add_photo(f"l{number}", mark_region(photo, finding.region))

    def _galleries(self) -> None:
        gallery, result = self._cards.gallery, self.result
        self.wrong = gallery(wrong_rows(result), _GALLERY_CARDS)
        self.right = gallery(right_rows(result), _GALLERY_CARDS)
        self.confident = gallery(unlabelled_rows(result), _GALLERY_CARDS)
        self.uncertain = gallery(uncertain_rows(result), _GALLERY_CARDS)
        blank, failed = blank_rows(result), failed_rows(result)
        limit = max(4, _GALLERY_CARDS // max(1, len(blank)))
        self.blank = [(text, gallery(rows, limit)) for text, rows in list(blank.items())[:_GALLERY_CARDS]]
        self.blank_count = sum(map(len, blank.values()))
        self.failed_left = max(0, len(failed) - _LISTED_FAILURES)
        self.failed = [
            (text, [self._cards.file(int(row)) for row in rows[:_LISTED_FAILURES]], len(rows))
            for text, rows in list(failed.items())[:_LISTED_FAILURES]
        ]

    def _map(self, key: str, heatmap: np.ndarray) -> Picture | None:
        return self.store.add_photo(key, paint_map(heatmap, self.result.image_size))

    def _class(self, look: ClassLook, picture: Picture | None) -> ClassView:
        index = look.class_index
        true, predicted = int(self._confusion[index].sum()), int(self._confusion[:, index].sum())
        hits = int(self._confusion[index, index])
        clusters = []
        if len(look.clusters) > 1 and look.cluster_maps is not None:
            for number, count in enumerate(look.clusters):
                rows = look.cluster_rows[number][:_CLUSTER_CARDS] if number < len(look.cluster_rows) else []
                shown = self._map(f"c{index}_{number}_", look.cluster_maps[number])
                clusters.append(ClusterView(count, shown, self._cards.with_pictures(rows)))
        name = self.result.class_names[index]
        return ClassView(name, look, true, _share(hits, true), _share(hits, predicted), picture, clusters)

    def _matrix(self) -> None:
        """Fill the matrix, or the list of its largest cells, and the images of each."""
        confusion, count = self._confusion, len(self.result.class_names)
        self.has_matrix = count <= _MATRIX_CLASSES
        members = confusion_cells(self.result)
        errors = most_confused(confusion, count * count if self.has_matrix else _LISTED_PAIRS)
        shown = errors + ([(index, index) for index in range(count)] if self.has_matrix else [])
        shown = [cell for cell in shown if cell in members]
        cards: dict[int, list[Card]] = {}
        for number, row in take_turns([members[cell] for cell in shown], _CELL_CARDS):
            cards.setdefault(number, []).extend(self._cards.with_pictures([row]))
        panels = [
            Panel(self._cell(*cell), _share(len(members[cell]), int(confusion[cell[0]].sum())), gallery)
            for number, cell in enumerate(shown)
            for gallery in [Gallery(cards.get(number, []), len(members[cell]))]
        ]
        self.errors = [panel for panel in panels if not panel.cell.is_right]
        self.error_count = int(((confusion > 0) & ~np.eye(count, dtype=bool)).sum())
        self.panels = panels
        self.matrix = (
            [[self._cell(row, column) for column in range(count)] for row in range(count)] if self.has_matrix else []
        )
        self.recalls = [_share(int(confusion[row, row]), int(confusion[row].sum())) for row in range(count)]
        self.precisions = [_share(int(confusion[row, row]), int(confusion[:, row].sum())) for row in range(count)]

    def _cell(self, row: int, column: int) -> Cell:
        number, names = int(self._confusion[row, column]), self.result.class_names
        share = _share(number, int(self._confusion[row].sum()))
        # The root of the share for errors, which are all small with many classes.
        shade = math.ceil((share if row == column else math.sqrt(share)) * _CELL_SHADES) if number else 0
        return Cell(f"cell-{row}-{column}", number, shade, names[row], names[column], row == column)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def stage_bars(check: SanityCheck) -> list[Bar]:
    """Return a bar per stage of a sanity check; the last stage decides."""
    last = len(check.stages) - 1
    return [
        Bar(stage, similarity, number == last)
        for number, (stage, similarity) in enumerate(zip(check.stages, check.similarities, strict=True))
    ]


def title_of(about: Any) -> tuple[str, str]:
    """Return the short names of the model and of the data set."""
    return base_name(str(about.get("model", "a model"))), base_name(str(about.get("data", "a data set")))
