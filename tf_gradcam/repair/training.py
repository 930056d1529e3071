"""The fine-tuning of a repair: the last layers, on images in which the suspect says nothing of the class any more.

Axis legend: B images, H0 x W0 pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Literal, TypeAlias, get_args

import keras
import numpy as np
import tensorflow as tf

from tf_gradcam._errors import Message, unknown_name
from tf_gradcam._models.graph import first_output
from tf_gradcam._models.keras_internals import sublayers
from tf_gradcam._models.reader import reader_of
from tf_gradcam._models.split import open_head
from tf_gradcam.audit.sanity import learned_layers
from tf_gradcam.audit.shortcuts.evidence import intervene, region_at, stamp
from tf_gradcam.audit.shortcuts.suspects import Suspect
from tf_gradcam.guidance import DifferentiableMaps, energy_outside
from tf_gradcam.repair.samples import RepairSamples

BATCH_SIZE = 32
How: TypeAlias = Literal["augment", "guide", "both"]
HOW: tuple[How, ...] = get_args(How)


def tuned_variables(model: keras.Model, from_layer: str | None) -> tuple[str, list[Any]]:
    """Return the path of the first layer that is fine-tuned, and the variables from it to the output.

    Batch normalisations are left out.

    Args:
        model: borrowed.
        from_layer: path of a layer with weights; None for the middle one of them.

    Raises:
        ValueError: there is no such layer.
    """
    stages = learned_layers(model)  # from the output down
    paths = [path for path, _ in stages]
    if from_layer is not None and from_layer not in paths:
        raise ValueError(unknown_name("layer with weights", from_layer, paths))
    end = (len(stages) + 1) // 2 if from_layer is None else paths.index(from_layer) + 1
    frozen = {
        id(weight)
        for _, layer in sublayers(model)
        if isinstance(layer, keras.layers.BatchNormalization)
        for weight in layer.weights
    }
    variables = [
        variable
        for _, own in stages[:end]
        for variable in own
        if id(variable) not in frozen and tf.as_dtype(variable.dtype).is_floating
    ]
    return paths[end - 1], variables


def class_loss(model: keras.Model) -> Callable[[Any, Any], Any]:
    """Return the mean cross-entropy (labels (B,), outputs) -> scalar, by what the model's output is.

    Raises:
        ValueError: the model has several outputs.
    """
    ends = reader_of(model).traced_ends()
    if len(keras.tree.flatten(ends)) != 1:
        raise ValueError(
            f"Expected a model of one output to repair, received {len(keras.tree.flatten(ends))}. Train it by hand."
        )
    output = first_output(ends)
    with output.graph.as_default():
        kind = open_head(output, "classification").kind
    on_logits = kind in ("linear", "log_softmax", "bounded", "length")
    is_unit = output.shape[-1] == 1

    def loss(labels: Any, outputs: Any) -> Any:
        outputs = tf.cast(outputs, tf.float32)
        if is_unit:
            truth = tf.cast(labels[:, None], tf.float32)
            return tf.reduce_mean(keras.losses.binary_crossentropy(truth, outputs, from_logits=on_logits))
        values = keras.losses.sparse_categorical_crossentropy(labels, outputs, from_logits=on_logits)
        return tf.reduce_mean(values)

    return loss


def fine_tune(
    model: keras.Model,
    samples: RepairSamples,
    inputs: Callable[[np.ndarray, np.ndarray], Any],
    variables: list[Any],
    *,
    how: How = "augment",
    layer: str | None = None,
    epochs: int,
    learning_rate: float,
    seed: int,
    progress: Callable[[int, int], object],
) -> None:
    """Fine-tune the variables in place, in inference mode: dropout is off, and batch statistics stay.

    Args:
        model: its other variables do not change.
        samples: those that are not held out are trained on.
        inputs: (photos (B, H0, W0, 3) float32, positions (B,)) -> all inputs of the model.
        variables: of `tuned_variables`.
        how: "augment" to change the images, "guide" to forbid the suspect's region to the maps, or "both".
        layer: of the maps.
        epochs, learning_rate: of Adam, whose rate falls to zero along a cosine.
        seed: of the order and of the changes.
        progress: called with (done, total) steps.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    generator = np.random.default_rng(seed)
    rows = np.flatnonzero(~samples.held_out)
    size = min(BATCH_SIZE, len(rows))
    steps = -(-len(rows) // size)
    loss_of = class_loss(model)
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(learning_rate, epochs * steps))
    optimizer.build(variables)
    maps_of = None if how == "augment" else DifferentiableMaps(model, layer)

    @tf.function(reduce_retracing=True)
    def step(images: Any, labels: Any, forbidden: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = loss_of(labels, first_output(model(images, training=False)))
            if maps_of is not None:
                loss += _mean_heat(maps_of(images, labels), forbidden)
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        known = [(g, v) for g, v in zip(gradients, variables, strict=True) if g is not None]
        optimizer.apply([g for g, _ in known], [v for _, v in known])
        return loss

    for number, some in enumerate(_batches(rows, size, epochs, generator)):
        photos = samples.photos[some].astype(np.float32)
        if how != "guide":
            photos = changed_photos(samples, some, generator)
        images = keras.tree.map_structure(tf.convert_to_tensor, inputs(photos, some))
        forbidden = regions_of(samples, some) if maps_of is not None else np.zeros(0, np.float32)
        loss = step(images, tf.constant(samples.labels[some]), tf.constant(forbidden))
        if not np.isfinite(loss.numpy()):
            raise FloatingPointError(f"The loss is {loss.numpy()} in step {number + 1}. Lower the learning rate.")
        progress(number + 1, epochs * steps)


def _batches(rows: np.ndarray, size: int, epochs: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield batches of one size; the last of an epoch is filled up from its start."""
    for _ in range(epochs):
        order = generator.permutation(rows)
        for start in range(0, len(order), size):
            yield np.take(order, range(start, start + size), mode="wrap")


def changed_photos(samples: RepairSamples, rows: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return photos (B, H0, W0, 3) float32 of a batch, with the suspect erased or pasted at random.

    Where a share s of the class shows it, it is erased from half of these images, by one of the audit's fills for each
    batch. So that neither the suspect nor what a fill leaves of it says anything of the class, it is pasted into a
    share s of the images of other classes, and erased again from half of these.
    """
    photos = samples.photos[rows].astype(np.float32)
    suspect = samples.suspect
    own = np.flatnonzero(np.isin(rows, suspect.members))
    others = np.flatnonzero(samples.labels[rows] != samples.class_index)
    if not len(own) or not len(others):
        return photos
    # The suspect's members and places are those of the photos, one for each: a batch may hold an image twice.
    places = None if suspect.places is None else suspect.places[np.searchsorted(suspect.members, rows[own])]
    versions = intervene(replace(suspect, members=own, places=places), photos[own], photos[others], generator)
    fill = versions.fills[generator.integers(len(versions.fills))]
    result = photos.copy()
    is_erased = generator.random(len(own)) < 0.5
    result[own[is_erased]] = versions.erased(fill)[is_erased]
    # One place each for the images of other classes, at which it is pasted and erased again.
    at = None if places is None else places[generator.integers(len(own), size=len(others))]
    pasted = versions.pasted() if at is None else _stamped(suspect, photos[others], at)
    there = replace(suspect, members=others, places=at)
    drawn, half = generator.random(len(others)), samples.shown_share / 2
    result[others[drawn < 2 * half]] = pasted[drawn < 2 * half]
    is_erased = drawn < half
    if is_erased.any():
        result[others[is_erased]] = intervene(there, pasted, photos[own], generator).erased(fill)[is_erased]
    return result


def _stamped(suspect: Suspect, photos: np.ndarray, places: np.ndarray) -> np.ndarray:
    assert suspect.patch is not None
    assert suspect.patch_region is not None
    stamped = [stamp(one, suspect.patch, suspect.patch_region, at) for one, at in zip(photos, places, strict=True)]
    return np.stack(stamped).astype(np.float32)


def regions_of(samples: RepairSamples, rows: np.ndarray) -> np.ndarray:
    """Return (B, H0, W0) float32: 1 where the suspect is in an image that shows it, else 0.

    Raises:
        ValueError: the suspect is a property of the whole image.
    """
    suspect, size = samples.suspect, samples.photos.shape[1:3]
    if suspect.region is None and suspect.patch_region is None:
        fact = f"Expected a finding with a region to guide maps away from, received a {suspect.kind} of whole images."
        raise ValueError(Message(fact, "Use how='augment'.", "Use --how augment."))
    regions = np.zeros((len(rows), *size), np.float32)
    for number in np.flatnonzero(np.isin(rows, suspect.members)):
        at = np.searchsorted(suspect.members, rows[number])
        if suspect.region is not None:
            regions[number] = suspect.region
        elif suspect.places is not None and suspect.patch_region is not None:
            regions[number] = region_at(suspect.patch_region, suspect.places[at], (size[0], size[1]))
    return regions


def _mean_heat(maps: Any, forbidden: Any) -> Any:
    """Return the mean share of the heat in the forbidden pixels, over the images that have such; 0 without any."""
    inside = tf.image.resize(forbidden[..., None], tf.shape(maps)[1:], "area")[..., 0]  # parts of the cells
    has_any = tf.cast(tf.reduce_any(forbidden > 0, axis=(1, 2)), tf.float32)
    return tf.math.divide_no_nan(tf.reduce_sum(has_any * energy_outside(maps, 1 - inside)), tf.reduce_sum(has_any))
