"""Predictions beside the samples they are of, and which of them are shown.

Axis legend: N samples, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from training.report.cards import GREEN, GREY, RED

if TYPE_CHECKING:
    from training.data.folder import Samples

SEED = 42  # which samples are shown; the same in every run, so that runs compare


class Predictions(NamedTuple):
    """What the model says of the validation part.

    samples: the N validation samples.
    predicted: (N,) int64, the most probable class of each.
    confidences: (N,) float64, its probability.
    """

    samples: Samples
    predicted: np.ndarray
    confidences: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """(N,) bool, whether the prediction is the truth."""
        return self.predicted == self.samples.labels

    @property
    def errors(self) -> np.ndarray:
        """Indices of the wrong ones, the most confident first."""
        wrong = np.flatnonzero(~self.right)
        return wrong[np.argsort(-self.confidences[wrong], kind="stable")]

    def lines(self, index: int) -> list[tuple[str, str]]:
        """The caption of one sample: prediction and confidence, truth."""
        names, truth = self.samples.class_names, int(self.samples.labels[index])
        mark, color = ("✓", GREEN) if self.right[index] else ("✗", RED)
        confidence = float(self.confidences[index])
        told = f"{confidence:.1%}" if confidence < 0.9995 else ">99.9%"  # first: a long name is cut, the number is not
        return [(f"{mark} {told} {names[self.predicted[index]]}", color), (f"truth: {names[truth]}", GREY)]


def predictions_of(samples: Samples, outputs: np.ndarray) -> Predictions:
    """What the model says of `samples`, from its `outputs` (N, K), probabilities in their order.

    Raises:
        ValueError: outputs of another shape.
    """
    expected = (len(samples), len(samples.class_names))
    if np.shape(outputs) != expected:
        raise ValueError(
            f"Expected outputs {expected}, a row for each validation sample and a column for each class, received "
            f"{np.shape(outputs)}."
        )
    probabilities = np.asarray(outputs, np.float64)
    return Predictions(samples, probabilities.argmax(axis=1), probabilities.max(axis=1))


def spread(labels: np.ndarray, count: int) -> np.ndarray:
    """Indices of at most `count` samples, drawn evenly over the classes and sorted by class; the same at each call."""
    generator = np.random.default_rng(SEED)
    order = generator.permutation(len(labels))
    turns = np.empty(len(labels), np.int64)  # the how manieth of its class a sample is
    for label in np.unique(labels):
        members = order[labels[order] == label]
        turns[members] = np.arange(len(members))
    drawn = order[np.argsort(turns[order], kind="stable")][:count]
    return drawn[np.lexsort((drawn, labels[drawn]))]
