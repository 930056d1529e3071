"""The comparison of two models over a whole data set.

    tf-gradcam diff OLD NEW DATA --out changes/

Axis legend: N images, J null maps of an image, K classes or labels, H x W cells of the finer layer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tf_gradcam._diff.evidence import are_even, changed_copies, p_values, shifted_back, similarities
from tf_gradcam._diff.page import write_diff
from tf_gradcam._diff.result import ImageChanges, ModelDiff
from tf_gradcam._errors import Message, require, warn
from tf_gradcam._files.class_names import ClassNames
from tf_gradcam.audit.mapper import THREADS, AuditMapper, ModelUnderAudit
from tf_gradcam.audit.run import names_of_outputs, open_source
from tf_gradcam.audit.sources import Columns, Samples

_TASKS = ("classification", "multilabel")  # an answer is the same or another; a value or a mask hardly ever is the same

_OWN = ("layer", "size", "preprocessing")  # conditions that the models may not share


def compare_models(
    old: keras.Model | str | os.PathLike[str],
    new: keras.Model | str | os.PathLike[str],
    data: str | os.PathLike[str] | tf.data.Dataset,
    out: str | os.PathLike[str] | None = None,
    *,
    retrained: Sequence[keras.Model | str | os.PathLike[str]] = (),
    copies: int = 19,
    classes: str | os.PathLike[str] | None = None,
    batch_size: int = 32,
    seed: int = 0,
    progress: Callable[[int, int | None], object] | None = None,
    **mapper_arguments: Any,
) -> ModelDiff:
    """Compare two models over a data set: whose answers changed, and whose evidence moved though the answer stayed.

        diff = compare_models("old.keras", "new.keras", "photos/", "changes/")
        print(diff.changed, diff.moved)

    Both models explain the class that the old one predicts; the similarity of the two maps is their rank correlation.
    It is compared with similarities that arise without a new model: of the old model's map of the image with its maps
    of slightly changed copies (shifted by up to 4 % of each side, noise of 2 % of the range), or with the maps of
    models that were only trained again. Evidence moved where the similarity is below 95 % of these.

    Args:
        old: a Keras model, a .keras or .h5 file, or the name of a network of keras.applications.
        new: another. Each gets its pictures at its own size and scaling. Classes are aligned by their names where both
            models have names.
        data: a folder with a folder per class or of images alone, a CSV file, or a `tf.data.Dataset`, as
            `tf_gradcam.audit.audit` takes it.
        out: folder for index.html and diff.json; None writes nothing.
        retrained: models like the old one and as accurate, trained again; their maps replace the changed copies.
        copies: number of changed copies of each image, at least 1. From 19 on an image is compared with its own
            copies, else with those of all images together. Defaults to 19.
        classes: CSV file with the columns folder and class, for folders that are not called by their class.
        batch_size: images per batch. Defaults to 32.
        seed: of the changed copies and the intervals.
        progress: called with (done, total) images; total is None while unknown.
        **mapper_arguments: of all models: layer, method, class_names, preprocess, size, weights, model_args, imports,
            inputs, task, threshold, as `tf_gradcam.audit.audit` takes them.

    Returns:
        `ModelDiff`.

    Raises:
        FileNotFoundError, ValueError, TypeError: a model or the data set cannot be used; a task without answers that
            are the same or not; models whose classes are not the same; `copies` below 1; copies beside retrained
            models; no image could be compared.
        ImportError: the extra `audit` is not installed, and `out` is given.
        OSError: `out` cannot be written.

    Cost: two explanations of an image, and one for each copy or retrained model.
    """
    if out is not None:
        require("jinja2", extra="audit")
    if copies < 1:
        raise ValueError(f"Expected copies of at least 1, received {copies}.")
    first = AuditMapper(old, **mapper_arguments)
    if first.task.name not in _TASKS:
        raise ValueError(
            f"Expected a model of {' or '.join(_TASKS)}, whose answers are the same or not, received the task "
            f"{first.task.name}. Compare its maps by assert_same_evidence(old, new, images)."
        )
    given = {**mapper_arguments, "task": first.task.name}
    mappers = [first, *(AuditMapper(model, **given) for model in (new, *retrained))]
    source = open_source(data, first, "local", classes, None)
    for mapper in mappers:
        if isinstance(source, Samples):
            mapper.prepare(source)
        elif mapper.preprocessing.mode != first.preprocessing.mode:
            raise ValueError(
                "Expected models of one scaling for a tf.data.Dataset, whose images both take as they are, received "
                f"{first.preprocessing.mode} and {mapper.preprocessing.mode}. Give the pictures as files."
            )
    names = names_of_outputs(first, source)
    orders = [_order(first, mapper) for mapper in mappers]
    height, width = np.max([mapper.map_size for mapper in mappers], axis=0).tolist()
    models = [_Model(mapper, order, (height, width)) for mapper, order in zip(mappers, orders, strict=True)]
    parts: list[ImageChanges] = []
    done = 0
    for columns in source.batches({}, np.iinfo(np.int32).max, batch_size):
        parts.append(_compared(models, columns, names, copies, seed))
        done += len(columns["index"])
        if progress is not None:
            progress(done, source.row_count)
    joined = ImageChanges.joined(parts)
    if (joined.label >= len(names)).any():
        raise ValueError(f"Expected labels below {len(names)}, received {int(joined.label.max())}. Correct the labels.")
    if not joined.is_done.any():
        raise ValueError(f"No image could be compared; the first: {joined.error[0]}")
    null = f"{len(retrained)} retrained models" if retrained else f"{copies} changed copies of each image"
    about = [mapper.about() for mapper in mappers]
    result = ModelDiff(
        joined,
        p_values(joined.similarity, joined.null),
        names,
        first.task.name,
        {
            "old": about[0]["model"],
            "new": about[1]["model"],
            **({"retrained": ", ".join(one["model"] for one in about[2:])} if retrained else {}),
            "data": os.fspath(data) if isinstance(data, (str, os.PathLike)) else f"a data set of {done:,} images",
            "classes": _aligned_how(first, mappers[1], orders[1]),
            **{f"{key}, {name}": one[key] for key in _OWN for name, one in zip(("old", "new"), about, strict=False)},
            "method": first.explainer.method,
            "compared with": null,
            "seed": str(seed),
            **{key: about[0][key] for key in ("tf_gradcam", "keras", "tensorflow")},
        },
        seed,
    )
    _warn_of_other_accuracy(result)
    if out is not None:
        larger = ModelUnderAudit(first, source, None).larger
        write_diff(result, Path(out), larger)
    return result


def _order(old: AuditMapper, new: AuditMapper) -> np.ndarray:
    """Return the class of the other model that each class of the old one is, (K,)."""
    counts = old.task.width, new.task.width
    are_alike = not (old.has_names and new.has_names) or old.class_names == new.class_names  # ImageNet has two cranes
    if counts[0] == counts[1] and are_alike:
        return np.arange(counts[0])
    names = ClassNames(new.class_names)
    found = [names.find(name) for name in old.class_names]
    missing = [name for name, indices in zip(old.class_names, found, strict=True) if len(indices) != 1]
    if counts[0] != counts[1] or missing:
        difference = f"{counts[0]} and {counts[1]} classes" if counts[0] != counts[1] else ", ".join(missing[:5])
        fact = f"Expected models of the same classes, received a difference: {difference}. Name them alike by"
        call = "tf_gradcam.describe(FILE, class_names=[...])"
        raise ValueError(Message(fact, f"{call}.", "`tf-gradcam describe FILE --class-names NAMES`."))
    return np.array([indices[0] for indices in found])


def _aligned_how(old: AuditMapper, new: AuditMapper, order: np.ndarray) -> str:
    if not (old.has_names and new.has_names):
        return "taken to be in the same order, as not both models name them"
    is_same = np.array_equal(order, np.arange(len(order)))
    return "the same names in the same order" if is_same else "aligned by their names; the orders differ"


class _Answers(NamedTuple):
    """Answers of a model about N images, in the class order of the old one.

    Attributes:
        maps: (N, H, W) of the asked classes.
        top: (N,) most probable class, probability: (N,) of it.
        says: (N, K) bool, the classes that the model says.
    """

    maps: np.ndarray
    top: np.ndarray
    probability: np.ndarray
    says: np.ndarray


class _Model(NamedTuple):
    """A model with its number of each class of the old one, and the common size of the maps."""

    mapper: AuditMapper
    order: np.ndarray
    size: tuple[int, int]

    def __call__(self, images: np.ndarray, files: np.ndarray, asked: np.ndarray | None) -> _Answers:
        """Explain images for the asked classes (N,) of the old model; None for the most probable ones."""
        mapper = self.mapper
        inputs = mapper.inputs.joined(images, [mapper.inputs.others(str(file)) for file in files])
        explanation = mapper.explainer(inputs, None if asked is None else self.order[asked])
        assert explanation.probabilities is not None
        probabilities = explanation.probabilities[:, self.order]
        top = probabilities.argmax(axis=1)
        if mapper.task.name == "multilabel":
            says = probabilities > mapper.task.thresholds[self.order]
        else:
            says = np.arange(len(self.order)) == top[:, None]
        return _Answers(explanation.resized(self.size), top, probabilities[np.arange(len(top)), top], says)


def _compared(models: Sequence[_Model], columns: Columns, names: Sequence[str], copies: int, seed: int) -> ImageChanges:
    """Compare the models on a batch: the old one, the new one, and those that were trained again."""
    with ThreadPool(THREADS) as pool:
        readings = [model.mapper.reading(columns, pool) for model in models]
        batches = [reading.get() for reading in readings]
    errors = [next(filter(None, texts), "") for texts in zip(*(batch.errors for batch in batches), strict=True)]
    old_model, new_model, *retrained = models
    null_count = len(retrained) or copies
    found = ImageChanges.unknown(columns["file"], columns["label"], errors, old_model.size, null_count)
    rows = np.flatnonzero(found.is_done)
    if not len(rows):
        return found
    images, files = [batch.images[rows] for batch in batches], columns["file"][rows]
    old = old_model(images[0], files, None)
    new = new_model(images[1], files, old.top)
    for number in range(null_count):
        if retrained:
            other = retrained[number](images[2 + number], files, old.top)
            maps, found.null_top[rows, number] = other.maps, other.top
        else:
            changed, shift = changed_copies(images[0], number, seed)
            maps = shifted_back(old_model(changed, files, old.top).maps, shift, images[0].shape[1:3])
        found.null[rows, number] = similarities(old.maps, maps)
    found.old_top[rows], found.new_top[rows] = old.top, new.top
    found.old_probability[rows], found.new_probability[rows] = old.probability, new.probability
    found.old_answer[rows], found.new_answer[rows] = (_in_words(answers.says, names) for answers in (old, new))
    found.old_map[rows], found.new_map[rows] = old.maps, new.maps
    found.is_blank_old[rows], found.is_blank_new[rows] = are_even(old.maps), are_even(new.maps)
    found.similarity[rows] = similarities(old.maps, new.maps)
    found.is_changed[rows] = (old.says != new.says).any(axis=1)
    is_finite = np.isfinite(old.probability) & np.isfinite(new.probability)
    found.error[rows[~is_finite]] = "The outputs of a model are not finite."
    found.is_changed &= found.is_done
    found.similarity[~found.is_done] = np.nan
    return found


def _in_words(says: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Return the answers (N, K) as texts."""
    texts = [", ".join(names[index] for index in np.flatnonzero(row).tolist()) or "no label" for row in says]
    return np.array(texts, object)


def _warn_of_other_accuracy(result: ModelDiff) -> None:
    """Warn of retrained models that are clearly better or worse than the old one: the null is then another question."""
    found = result.accuracies
    for name, value in found.items():
        own = found["old"]
        if name not in ("old", "new") and (value.low > own.high or value.high < own.low):
            warn(f"The model '{name}' is not as accurate as the old one: {value} and {own}. Retrain it alike.")
