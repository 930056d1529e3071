"""The content of the report, as data for its template.

Axis legend: K classes, H x W cells, H0 x W0 pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tf_gradcam.audit.answers import ModelAnswer
from tf_gradcam.audit.duplicates import DuplicateGroup
from tf_gradcam.audit.report.cards import (
    Card,
    CardMaker,
    Gallery,
    best_rows,
    blank_rows,
    extreme_rows,
    failed_rows,
    false_rows,
    found_rows,
    largest_rows,
    lowest_iou_of,
    lowest_iou_rows,
    missed_rows,
    most_confused,
    over_rows,
    right_rows,
    uncertain_rows,
    under_rows,
    unknown_rows,
    unlabelled_rows,
    wrong_rows,
)
from tf_gradcam.audit.report.pictures import (
    ColourBar,
    Picture,
    PictureStore,
    RowPictures,
    Shot,
    colour_bar,
    mark_region,
)
from tf_gradcam.audit.report.text import base_name, format_count, format_number, format_percent
from tf_gradcam.audit.report.words import WORDS
from tf_gradcam.audit.result import AuditResult, ClassLook, Finding, Metric, SanityCheck
from tf_gradcam.metrics.intervals import Interval, wilson_interval

BASELINES = ("random", "centre")

_PICTURE_BUDGET = 11_000_000  # bytes of pictures: a page below 15 MB with its text
_SHORTCUTS_BUDGET, _HARMLESS_BUDGET = 4_000_000, 2_000_000  # bytes of pictures of findings
_GALLERY_CARDS, _FINDING_CARDS, _CLUSTER_CARDS = 24, 8, 4  # most cards of each
_TWINS, _TWIN_CARDS = 24, 4  # most groups of duplicates, and cards of each
_MATRIX_CLASSES = 30  # more classes have a list of pairs in place of a matrix
_LISTED_PAIRS = 40
_LISTED_FAILURES = 100  # files per error, and errors
_CELL_SHADES = 8
_LABEL_CARDS = 150  # of each kind of gallery, over all labels
_OPEN_LABELS = 6  # more labels have their galleries folded
_POINTS = 500  # of the plot of values
_LARGE = 20  # a metric of values from here on has one decimal
_SHOWN_HARMLESS = 3  # suspects that are not shortcuts and are shown with their pictures, the strongest
_WORDS = {
    "place": ("a fixed place", "region erased", "random region erased", "region pasted", "random region pasted"),
    "mark": ("a mark that moves", "mark erased", "random region erased", "mark pasted", "random region pasted"),
    "tint": ("a tint of the whole image", "tint removed", "another tint", "tint added", "another tint added"),
}


_COUNTED = {
    "classification": ("class", "classes"),
    "multilabel": ("label", "labels"),
    "regression": ("value", "values"),
    "segmentation": ("class", "classes"),
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
        is_large = name.endswith("%") or max(map(abs, values.values()), default=0) >= _LARGE
        digits = 1 if is_large else 3
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


class Bars(NamedTuple):
    """Bars on one axis from `low` to `high`.

    Attributes:
        head: what the numbers are.
        digits: decimals of the numbers.
    """

    head: str
    bars: list[Bar]
    low: float = 0
    high: float = 1
    digits: int = 3

    @property
    def ticks(self) -> list[float]:
        """Places of the lines across the bars."""
        return [self.low, (self.low + self.high) / 2, self.high]


class FindingView(NamedTuple):
    finding: Finding
    kind: str
    numbers: list[Bars]
    picture: Picture | None
    region: Picture | None
    cards: list[Card]


class GalleryView(NamedTuple):
    """A gallery with its heading.

    Attributes:
        key: its place in the page.
        title, note: words above the pictures.
        gallery: the pictures.
        empty: words in place of a gallery without pictures; "" to leave it out.
    """

    key: str
    title: str
    note: str
    gallery: Gallery
    empty: str = ""


class TwinsView(NamedTuple):
    """Images that are the same picture.

    Attributes:
        title: their number and their labels, if these differ.
        note: how similar they are.
        gallery: the pictures, side by side.
    """

    title: str
    note: str
    gallery: Gallery


class GalleryGroup(NamedTuple):
    """Galleries of one label; a group without a title is open and has no heading."""

    key: str
    title: str
    galleries: list[GalleryView]
    is_open: bool = True


class Headline(NamedTuple):
    """The first number of the page: how often the model is right, or how far off."""

    title: str
    value: str
    note: str


class Scatter(NamedTuple):
    """Predicted against true values, as points in a square of 300 pixels.

    Attributes:
        points: (x, y) from the upper left.
        ticks: (place along the axis from its beginning, value as text).
        images: number of images, of which some are drawn.
    """

    points: list[tuple[float, float]]
    ticks: list[tuple[float, str]]
    images: int


class Cell(NamedTuple):
    """A cell of the confusion matrix.

    Attributes:
        row, column: the true and the predicted class, truth and predicted: their names.
        images: number of images, share: of the true class.
        shade: 0 to 8, grows with the share.
    """

    row: int
    column: int
    truth: str
    predicted: str
    images: int
    share: float
    shade: int


class ClusterView(NamedTuple):
    images: int
    shot: Shot | None
    cards: list[Card]


class ClassView(NamedTuple):
    """The heatmaps of one answer; `stats` are its numbers, (name, text), and no image gets it if `look` is None."""

    name: str
    look: ClassLook | None
    stats: list[tuple[str, str]]
    shot: Shot | None
    clusters: list[ClusterView]


class PageView:
    """The content of the page; the most important pictures are stored first, until the page is full."""

    def __init__(self, result: AuditResult):
        self.result = result
        self.words = WORDS[result.task]
        self.store = PictureStore(_PICTURE_BUDGET)
        self._is_signed = result.task == "regression"
        self._pictures = RowPictures(result.rows, self.store, self._is_signed)
        self.cards = CardMaker(result, self._pictures)
        self._confusion = result.confusion
        self._count()
        self.headline = self._headline()
        self.shortcuts = self._findings(True, _SHORTCUTS_BUDGET)
        self.metrics: list[MetricRow] = metric_rows(result.metrics)
        self.baselines = [name for name in BASELINES if any(one.method == name for one in result.metrics)]
        self._data_faults()
        self._galleries()
        looks = {look.class_index: look for look in result.looks}
        shown = self._shown_answers()
        maps = {answer.index: self._mean_map(looks[answer.index]) for answer in shown if answer.index in looks}
        self.left_out = len(looks.keys() - {answer.index for answer in shown})
        self.bars = self._bars()
        self.harmless = self._findings(False, _HARMLESS_BUDGET)
        self.weaker = [one for one in result.findings if not one.is_shortcut][_SHOWN_HARMLESS:]
        self.classes = [self._class(answer, looks.get(answer.index), maps.get(answer.index)) for answer in shown]
        self.scatter = self._scatter()
        self.has_confusion = result.task == "classification" and self.labelled > 0
        self._matrix()

    def _count(self) -> None:
        rows = self.result.rows
        done = rows.is_done
        self.total, self.done = len(done), int(done.sum())
        self.labelled = int(self.result.is_labelled.sum())
        self.accuracy = wilson_interval(int(np.trace(self._confusion)), int(self._confusion.sum()))
        self.tested = sorted({one.label for one in self.result.findings})
        self.few = self.result.untested
        self.count_of_answers = format_count(len(self.result.class_names), *_COUNTED[self.result.task])
        self.unsure = sum(one.is_unsure for one in self.result.findings)

    def _headline(self) -> Headline:
        result = self.result
        if result.task == "multilabel":
            if not result.label_scores:
                return Headline("Mean average precision", format_number(math.nan), "no labels")
            found = result.label_scores[-2].average_precision
            reach = f"{format_number(found.low)} to {format_number(found.high)}; " if math.isfinite(found.low) else ""
            known = sum(math.isfinite(one.average_precision.value) for one in result.label_scores[:-2])
            return Headline(
                "Mean average precision", format_number(found.value), f"{reach}over {format_count(known, 'label')}"
            )
        if result.task == "segmentation":
            found_in = result.segmentation_score
            if found_in is None:
                return Headline("Mean IoU", format_number(math.nan), "no masks of true classes")
            mean, accuracy = found_in.mean_iou, found_in.accuracy
            reach = f"{format_number(mean.low)} to {format_number(mean.high)}; " if math.isfinite(mean.low) else ""
            return Headline(
                "Mean IoU", format_number(mean.value), f"{reach}{format_percent(accuracy.value)} of the pixels right"
            )
        if result.task == "regression":
            errors = result.error_score
            if errors is None:
                return Headline("Mean absolute error", format_number(math.nan), "no true values")
            error, baseline = errors.error, result.in_words(errors.baseline.value)
            reach = (
                f"{error.low:.{result.digits}f} to {result.in_words(error.high)}; " if math.isfinite(error.low) else ""
            )
            return Headline("Mean absolute error", result.in_words(error.value), f"{reach}always the mean: {baseline}")
        hits, known = int(np.trace(self._confusion)), int(self._confusion.sum())
        note = "no labels"
        if known:
            low, high = format_number(100 * self.accuracy.low, 1), format_percent(self.accuracy.high)
            note = f"{low} to {high}; {format_count(hits)} of {format_count(known)} right"
        return Headline("Accuracy", format_percent(self.accuracy.value), note)

    def _findings(self, is_shortcut: bool, budget: int) -> list[FindingView]:
        before, found = self.store.spent, list[FindingView]()
        for number, finding in enumerate(self.result.findings):
            if finding.is_shortcut == is_shortcut and (is_shortcut or len(found) < _SHOWN_HARMLESS):
                found.append(self._finding(number, finding, self.store.spent - before < budget))
        return found

    def _finding(self, number: int, finding: Finding, has_picture: bool) -> FindingView:
        kind, *words = _WORDS[finding.kind]
        picture = None
        if has_picture and finding.picture is not None:
            picture = self.store.add_photo(f"f{number}", finding.picture, 86)
        answer = self._answer(finding.class_index)
        cards = self.cards.with_pictures(finding.images[:_FINDING_CARDS], answer) if has_picture else []
        numbers = self._numbers(finding, words)
        return FindingView(finding, kind, numbers, picture, self._region(number, finding), cards)

    def _answer(self, index: int) -> ModelAnswer | None:
        """Return the answer whose map an image is shown with; None where an image has one map."""
        return self.result.answers[index] if self.result.task in ("multilabel", "segmentation") else None

    def _numbers(self, finding: Finding, words: Sequence[str]) -> list[Bars]:
        """Return the bars of what erasing and what pasting does."""
        erased, control, pasted, pasted_control = words
        erasing = [
            Bar("as the images are", finding.before, False),
            Bar(erased, finding.erased, True),
            Bar(control, finding.control, False),
        ]
        pasting = [Bar(pasted, finding.pasted, True), Bar(pasted_control, finding.pasted_control, False)]
        if finding.others is None:
            return [
                Bars(f"Probability of {finding.label}", erasing),
                Bars(f"{self.words.others[0].upper()}{self.words.others[1:]} that turn into {finding.label}", pasting),
            ]
        pasting = [Bar("as the images are", finding.others, False), *pasting]
        ends = [
            end
            for bar in erasing + pasting
            for end in (bar.interval.low, bar.interval.value, bar.interval.high)
            if math.isfinite(end)
        ]
        low, high = min(ends, default=0.0), max(ends, default=1.0)
        axis = (low, high if high > low else low + 1, self.result.digits)
        name = self.result.class_names[0] + (f" in {self.result.unit}" if self.result.unit else "")
        opposite = self.result.answers[1 - finding.class_index].name
        return [
            Bars(f"{name}: images of {finding.label}", erasing, *axis),
            Bars(f"{name}: images of {opposite}", pasting, *axis),
        ]

    def _region(self, number: int, finding: Finding) -> Picture | None:
        """Mark the region on the first image that shows it."""
        if finding.region is None:
            return None
        photo = self._pictures.photo(finding.images[0]) if finding.images else None
        if photo is None:
            photo = np.full((*finding.region.shape, 3), 255, np.uint8)
        return self.store.add_photo(f"l{number}", mark_region(photo, finding.region))

    def _data_faults(self) -> None:
        """Fill the probable label errors, and the duplicates: those with different labels first."""
        result, errors = self.result, self.result.label_errors
        names = result.class_names
        chosen = [
            self._labelled(one.row, True, "" if one.twin is None else f"its twin: {names[one.likely]}")
            for one in errors[:_GALLERY_CARDS]
        ]
        self.label_errors = Gallery(chosen, len(errors))
        is_wrong = {error.row for error in errors if error.twin is not None}
        groups = sorted(result.duplicates, key=lambda group: is_wrong.isdisjoint(group.rows))
        self.copies = sum(len(group.rows) - 1 for group in groups)
        self.duplicates = [self._twins(group, is_wrong) for group in groups[:_TWINS]]
        self.duplicates_left = max(0, len(groups) - _TWINS)

    def _twins(self, group: DuplicateGroup, is_wrong: set[int]) -> TwinsView:
        rows = sorted(group.rows, key=lambda row: row not in is_wrong)
        shown = [rows[0], *rows[:0:-1][: _TWIN_CARDS - 1]]  # one whose label is wrong beside others
        title = f"{format_count(len(rows))} times the same picture"
        if is_wrong.isdisjoint(rows):
            note = "The same file or pixels." if group.similarity == 1 else "Saved or scaled again."
        else:
            title, note = f"{title}, labelled differently", "Unless a small detail tells them apart, a label is wrong."
        cards = [self._labelled(row, row in is_wrong) for row in shown]
        return TwinsView(title, note, Gallery(cards, len(rows)))

    def _labelled(self, row: int, is_wrong: bool, after: str = "") -> Card:
        """Return the card of a row with its class in the data set."""
        card, label = self.cards.card(row), int(self.result.rows.label[row])
        if self.result.task != "classification" or label < 0:
            return card
        kind = "wrong" if is_wrong else ""
        return card._replace(kind=kind, remark="labelled:", truth=self.result.class_names[label], next=after)

    def _galleries(self) -> None:
        gallery, result = self.cards.gallery, self.result
        makers = {
            "multilabel": self._label_galleries,
            "regression": self._value_galleries,
            "segmentation": self._region_galleries,
        }
        self.groups: list[GalleryGroup] = makers.get(result.task, self._class_galleries)()
        blank, failed = blank_rows(result), failed_rows(result)
        limit = max(4, _GALLERY_CARDS // max(1, len(blank)))
        self.blank = [(text, gallery(rows, limit)) for text, rows in list(blank.items())[:_GALLERY_CARDS]]
        self.blank_count = sum(map(len, blank.values()))
        self.failed_left = max(0, len(failed) - _LISTED_FAILURES)
        self.failed = [
            (text, [self.cards.file(int(row)) for row in rows[:_LISTED_FAILURES]], len(rows))
            for text, rows in list(failed.items())[:_LISTED_FAILURES]
        ]

    def _class_galleries(self) -> list[GalleryGroup]:
        result = self.result
        no_wrong, no_right = (
            f"{words} labelled image was predicted correctly." if self.labelled else "" for words in ("Every", "No")
        )
        chosen = [
            (
                "wrong",
                "Wrong, most confident",
                "The highest probability for a class that is not the true one.",
                wrong_rows(result),
                no_wrong,
            ),
            ("uncertain", "Least certain", "The lowest probability of the top class.", uncertain_rows(result), ""),
            (
                "right",
                "Correct, most confident",
                "The highest probability for the true class; classes take turns if two decimals are the same.",
                right_rows(result),
                no_right,
            ),
            (
                "confident",
                "Unlabelled, most confident",
                "The highest probability among images without a label.",
                unlabelled_rows(result),
                "",
            ),
        ]
        order = ("wrong", "right", "confident", "uncertain")  # of storing: the most important pictures first
        made = {
            key: self.cards.gallery(rows, _GALLERY_CARDS)
            for key, _, _, rows, _ in sorted(chosen, key=lambda one: order.index(one[0]))
        }
        galleries = [GalleryView(key, title, note, made[key], empty) for key, title, note, _, empty in chosen]
        return [GalleryGroup("", "", galleries)]

    def _label_galleries(self) -> list[GalleryGroup]:
        """Return what is found, missed and falsely alarmed of each label; labels take turns for room in the page."""
        answers = self.result.answers
        limit = int(np.clip(_LABEL_CARDS // max(1, len(answers)), 4, 12))
        kinds = [
            ("false", "False alarms", "The highest probability in images that do not have the label.", false_rows),
            ("missed", "Missed", "The lowest probability in images that have the label.", missed_rows),
            ("found", "Found", "The highest probability in images that have the label.", found_rows),
            ("above", "Above the threshold, label unknown", "The highest probability.", unknown_rows),
        ]
        made = {
            (key, answer.index): self.cards.gallery(rows_of(answer), limit, answer)
            for key, _, _, rows_of in kinds
            for answer in answers
        }
        return [
            GalleryGroup(
                f"label-{answer.index}",
                answer.name,
                [
                    GalleryView(f"{key}-{answer.index}", title, note, made[key, answer.index])
                    for key, title, note, _ in kinds
                ],
                len(answers) <= _OPEN_LABELS,
            )
            for answer in answers
        ]

    def _region_galleries(self) -> list[GalleryGroup]:
        """Return the worst images, and those of each class that any image has; classes take turns for room."""
        result, answers = self.result, self.result.answers
        limit = int(np.clip(_LABEL_CARDS // max(1, len(answers)), 4, 12))
        groups = []
        if self.labelled:
            worst = self.cards.gallery(lowest_iou_rows(result), _GALLERY_CARDS)
            note = (
                "The mean over the classes that are in the image or predicted there; heat of the class of most pixels."
            )
            groups.append(GalleryGroup("", "", [GalleryView("worst", "Lowest mean IoU", note, worst)]))
        for answer in answers:
            low = lowest_iou_of(result, answer.index) if self.labelled else np.zeros(0, np.int64)
            large = largest_rows(answer)
            if not len(low) and not len(large):
                continue
            views = [
                GalleryView(
                    f"low-{answer.index}",
                    "Lowest IoU",
                    "Where the class is true or predicted.",
                    self.cards.gallery(low, limit, answer),
                ),
                GalleryView(
                    f"large-{answer.index}",
                    "Largest predicted",
                    "The largest share of the picture.",
                    self.cards.gallery(large, limit, answer),
                ),
            ]
            groups.append(GalleryGroup(f"class-{answer.index}", answer.name, views, len(answers) <= _OPEN_LABELS))
        return groups

    def _value_galleries(self) -> list[GalleryGroup]:
        result, gallery = self.result, self.cards.gallery
        if self.labelled:
            chosen = [
                ("over", "Overestimated most", "Predicted far above the true value.", over_rows(result)),
                ("under", "Underestimated most", "Predicted far below the true value.", under_rows(result)),
                ("best", "Nearest to the true value", "The smallest errors.", best_rows(result)),
            ]
        else:
            chosen = [
                ("highest", "Highest values", "Predicted; the true values are unknown.", extreme_rows(result, 1)),
                ("lowest", "Lowest values", "Predicted; the true values are unknown.", extreme_rows(result, -1)),
            ]
        galleries = [
            GalleryView(key, title, note, gallery(rows, _GALLERY_CARDS // 2)) for key, title, note, rows in chosen
        ]
        return [GalleryGroup("", "", galleries)]

    def _shown_answers(self) -> list[ModelAnswer]:
        """Return the answers that occur in the data set, the worst first.

        An answer occurs where it is right for an image, or given to one of which nobody knows.
        """
        shown = []
        for answer in self.result.answers:
            truth = answer.truth
            if (answer.done & (truth == 1)).any() or (truth[answer.members] < 0).any():
                shown.append((self._score(answer, truth), answer))
        return [answer for _, answer in sorted(shown, key=lambda pair: pair[0])]

    def _score(self, answer: ModelAnswer, truth: np.ndarray) -> float:
        """Return the number that answers are sorted by: their recall, average precision or IoU; 2 where unknown."""
        score = math.nan
        if self.result.label_scores:
            score = self.result.label_scores[answer.index].average_precision.value
        elif self.result.segmentation_score is not None:
            score = self.result.segmentation_score.classes[answer.index].iou.value
        elif self.result.task == "classification":
            score = _share(int((answer.given & (truth == 1)).sum()), int((answer.done & (truth == 1)).sum()))
        return score if math.isfinite(score) else 2.0

    def _bars(self) -> list[ColourBar]:
        """Return a bar of each kind of heatmap."""
        bars = [colour_bar("0", "the map's maximum")]
        if self._is_signed:
            bars.append(colour_bar("lowers the value", "raises it", is_signed=True))
        return bars

    def _mean_map(self, look: ClassLook) -> Shot | None:
        answer = self.result.answers[look.class_index]
        return self._mean_shot(f"m{look.class_index}", answer.members, look.mean_map, answer.is_signed)

    def _mean_shot(
        self, key: str, rows: Sequence[int] | np.ndarray, heatmap: np.ndarray, is_signed: bool
    ) -> Shot | None:
        return self._pictures.mean_shot(key, rows, heatmap, self.result.image_size, is_signed)

    def _class(self, answer: ModelAnswer, look: ClassLook | None, shot: Shot | None) -> ClassView:
        clusters = []
        if look is not None and len(look.clusters) > 1 and look.cluster_maps is not None:
            for number, count in enumerate(look.clusters):
                rows = look.cluster_rows[number] if number < len(look.cluster_rows) else []
                key = f"c{look.class_index}_{number}_"
                shown = self._mean_shot(key, rows, look.cluster_maps[number], answer.is_signed)
                cards = self.cards.with_pictures(rows[:_CLUSTER_CARDS], self._answer(answer.index))
                clusters.append(ClusterView(count, shown, cards))
        return ClassView(answer.name, look, self._stats(look, answer), shot, clusters)

    def _stats(self, look: ClassLook | None, answer: ModelAnswer) -> list[tuple[str, str]]:
        stats = [(self.words.given, format_count(len(answer.members)))]
        if self.result.task == "regression":
            stats += self._value_stats(answer)
        elif self.result.task == "segmentation":
            stats += self._region_stats(answer)
        elif self.labelled:
            truth, given, done = answer.truth, answer.given, answer.done
            true, taken = int((done & (truth == 1)).sum()), int((given & (truth >= 0)).sum())
            hits = int((given & (truth == 1)).sum())
            stats += [
                ("true", format_count(true)),
                ("recall", format_percent(_share(hits, true), 0)),
                ("precision", format_percent(_share(hits, taken), 0)),
            ]
        if self.result.label_scores:
            average = self.result.label_scores[answer.index].average_precision.value
            stats.append(("average precision", format_number(average)))
        return stats if look is None else [*stats, ("repetition", format_number(look.repetition, 2))]

    def _region_stats(self, answer: ModelAnswer) -> list[tuple[str, str]]:
        members = answer.members
        stats = [("of their pixels", format_percent(float(answer.measured[members].mean())))] if len(members) else []
        if self.result.segmentation_score is not None:
            stats.append(("IoU", format_number(self.result.segmentation_score.classes[answer.index].iou.value)))
        return stats

    def _value_stats(self, answer: ModelAnswer) -> list[tuple[str, str]]:
        result, rows = self.result, answer.members
        stats = [("mean predicted", result.in_words(float(result.rows.score[rows].mean())))]
        known = rows[result.is_labelled[rows]]
        if len(known):
            stats.append(("mean true", result.in_words(float(result.rows.truth[known, 0].mean()))))
        return stats

    def _scatter(self) -> Scatter | None:
        """Return points of predicted against true values, on one axis for both."""
        result = self.result
        known = np.flatnonzero(result.is_labelled)
        if result.task != "regression" or not len(known):
            return None
        truth, predicted = result.rows.truth[known, 0], result.rows.score[known]
        low, high = float(min(truth.min(), predicted.min())), float(max(truth.max(), predicted.max()))
        span = high - low if high > low else 1.0
        chosen = np.random.default_rng(0).permutation(len(known))[:_POINTS]
        places = [
            (round(300 * (float(x) - low) / span, 1), round(300 - 300 * (float(y) - low) / span, 1))
            for x, y in zip(truth[chosen], predicted[chosen], strict=True)
        ]
        ticks = [(round(300 * share, 1), format_number(low + share * span, result.digits)) for share in (0, 0.5, 1)]
        return Scatter(places, ticks, len(known))

    def _matrix(self) -> None:
        """Fill the matrix, or the list of its largest cells."""
        confusion, count = self._confusion, len(self.result.class_names)
        self.has_matrix = count <= _MATRIX_CLASSES
        self.errors = [self._cell(*cell) for cell in most_confused(confusion, _LISTED_PAIRS)]
        self.error_count = int(((confusion > 0) & ~np.eye(count, dtype=bool)).sum())
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
        return Cell(row, column, names[row], names[column], number, share, shade)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def stage_bars(check: SanityCheck) -> Bars:
    """Return a bar per stage of a sanity check; the last stage decides."""
    last = len(check.stages) - 1
    bars = [
        Bar(stage, similarity, number == last)
        for number, (stage, similarity) in enumerate(zip(check.stages, check.similarities, strict=True))
    ]
    return Bars("Random down to", bars, -1 if any(one.low < 0 for one in check.similarities) else 0)


def title_of(about: Any) -> tuple[str, str]:
    """Return the short names of the model and of the data set."""
    return base_name(str(about.get("model", "a model"))), base_name(str(about.get("data", "a data set")))
