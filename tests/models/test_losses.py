"""The losses that a model was trained with: from the model, from its file, of one output or several."""

from __future__ import annotations

import functools
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.unknown_fields import UnknownFieldSet
from keras import layers, losses

from tests.helpers.slow import every
from tf_gradcam import Explainer, load_model
from tf_gradcam._models.losses import _KIND_OF, Loss, loss_of_output, losses_in_file, losses_of, remember_losses
from tf_gradcam._models.reader import ModelReader

SHAPE = (6, 10, 3)
BCE, MSE = Loss("binary_crossentropy", "labels"), Loss("mean_squared_error", "values")


def ending_in(*units: int) -> keras.Model:
    """One convolution, and a Dense layer for each output."""
    images = keras.Input(SHAPE)
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3, activation="relu")(images))
    outputs = [layers.Dense(count, name=f"out_{number}")(pooled) for number, count in enumerate(units)]
    return keras.Model(images, outputs if len(units) > 1 else outputs[0])


def compiled(loss: Any, *units: int) -> keras.Model:
    model = ending_in(*(units or (3,)))
    model.compile("sgd", loss)
    return model


def difference(truth: Any, outputs: Any) -> Any:
    return keras.ops.mean(outputs - truth)


@keras.saving.register_keras_serializable("own")
class Huber(losses.Loss):
    """A loss of the user's own, with the name of one of Keras."""

    def call(self, truth: Any, outputs: Any) -> Any:
        return difference(truth, outputs)


@keras.saving.register_keras_serializable("own")
def poisson(truth: Any, outputs: Any) -> Any:
    return difference(truth, outputs)


GIVEN: dict[str, tuple[Any, Loss | None]] = {
    "name": ("binary_crossentropy", BCE),
    "short name": ("mse", MSE),
    "short name in capitals": ("MAE", Loss("mean_absolute_error", "values")),
    "name of a class": ("SparseCategoricalCrossentropy", Loss("sparse_categorical_crossentropy", "classes")),
    "function": (losses.kl_divergence, Loss("kl_divergence", "classes")),
    "object": (losses.Huber(), Loss("huber", "values")),
    "object of a divergence": (losses.KLDivergence(), Loss("kl_divergence", "classes")),
    "object on logits": (losses.BinaryCrossentropy(from_logits=True), Loss("binary_crossentropy", "labels", True)),
    "focal on logits": (
        losses.CategoricalFocalCrossentropy(from_logits=True),
        Loss("categorical_focal_crossentropy", "classes", True),
    ),
    "hinge": (losses.Hinge(), Loss("hinge", "sides")),
    "in a list": (["mse"], MSE),
    "own function": (difference, None),
    "own class": (Huber(), None),
    "own function of a known name": (poisson, None),
    "similarity": ("cosine_similarity", None),
    "none": (None, None),
}


@pytest.mark.parametrize("case", every(2, GIVEN))
def test_loss_is_read_from_the_model_and_from_both_kinds_of_file(case: str, tmp_path: Path) -> None:
    given, expected = GIVEN[case]
    model = compiled(given)
    assert ModelReader(model).loss == expected
    for suffix in (".keras", ".h5"):
        path = tmp_path / f"model{suffix}"
        model.save(path)
        loaded = load_model(path)
        assert not loaded.compiled
        assert ModelReader(loaded).loss == expected


@pytest.mark.slow
def test_every_loss_of_keras_that_is_known_is_known_as_class_function_and_name() -> None:
    known = set()
    for kind in vars(losses).values():
        if isinstance(kind, type) and issubclass(kind, losses.Loss) and kind is not losses.Loss:
            loss = losses_of(compiled(kind()))
            if isinstance(loss, Loss):
                assert loss == losses_of(compiled(kind.__name__)) == losses_of(compiled(getattr(losses, loss.name)))
                known.add(loss.name)
    assert known == set(_KIND_OF)


def test_function_with_its_options_bound_is_read() -> None:
    bound = functools.partial(losses.binary_crossentropy, from_logits=True)
    assert losses_of(compiled(bound)) == Loss("binary_crossentropy", "labels", True)


def test_model_that_is_not_compiled_has_no_loss() -> None:
    assert losses_of(ending_in(3)) is None


def test_model_compiled_again_has_the_loss_of_now(tmp_path: Path) -> None:
    compiled("mse").save(tmp_path / "model.keras")
    model = load_model(tmp_path / "model.keras")
    assert ModelReader(model).loss == MSE
    model.compile("sgd", "bce")
    assert ModelReader(model).loss == BCE


# Of several outputs.

SEVERAL: dict[str, tuple[Any, list[Loss | None]]] = {
    "one for all": ("mse", [MSE, MSE]),
    "list": (["mse", losses.BinaryCrossentropy()], [MSE, BCE]),
    "dict": ({"out_1": "bce", "out_0": "mse"}, [MSE, BCE]),
    "own in a list": ([difference, "bce"], [None, BCE]),
}


@pytest.mark.parametrize("case", every(2, SEVERAL))
def test_each_output_has_its_loss(case: str, tmp_path: Path) -> None:
    given, expected = SEVERAL[case]
    model = compiled(given, 3, 2)
    model.save(tmp_path / "model.keras")
    for each in (model, load_model(tmp_path / "model.keras")):
        reader = ModelReader(each)
        assert [reader.with_output(name).loss for name in ("out_0", "out_1")] == expected
        assert reader.loss == expected[0]  # the first is explained


def test_list_of_losses_of_a_dict_of_outputs_is_in_the_order_of_their_names() -> None:
    """Keras flattens a dict by its sorted names: the losses of training show which one is which."""
    images = keras.Input(SHAPE)
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3)(images))
    model = keras.Model(images, {"kind": layers.Dense(3)(pooled), "age": layers.Dense(1)(pooled)})
    model.compile("sgd", ["mse", losses.SparseCategoricalCrossentropy(from_logits=True)])
    model.fit(np.zeros((2, *SHAPE)), {"kind": np.zeros(2), "age": np.full((2, 1), 3.0)}, verbose=0)
    history = model.evaluate(
        np.zeros((2, *SHAPE)), {"kind": np.zeros(2), "age": np.full((2, 1), 3.0)}, verbose=0, return_dict=True
    )
    assert history["age_loss"] > 5  # (3 - nearly 0) squared; a cross entropy of one class would be 0
    reader = ModelReader(model)
    assert reader.with_output("age").loss == MSE
    assert reader.with_output("kind").loss == Loss("sparse_categorical_crossentropy", "classes", True)


@pytest.mark.parametrize(
    ("losses", "outputs", "name", "expected"),
    [
        ({"a": MSE}, {}, None, MSE),
        ({"a": MSE, "b": BCE}, {}, None, None),
        ({"a": MSE}, {"a": 0, "b": 1}, "b", None),
        ([MSE, BCE], {"a": 0, "b": 1, "c": 2}, "a", None),
        ([MSE, Loss("huber", "values"), None], {}, None, MSE),  # all of them are added up
        ([MSE, BCE], {}, None, None),
        ({"a": [BCE, None]}, {"a": 0, "b": 1}, "a", BCE),
        (None, {}, None, None),
    ],
)
def test_losses_that_do_not_fit_the_outputs_are_no_evidence(
    losses: Any, outputs: dict[str, str | int], name: str | None, expected: Loss | None
) -> None:
    assert loss_of_output(losses, outputs, name) == expected


# Files.


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"loss": "binary_crossentropy"}, BCE),  # Keras 2
        ({"loss": {"class_name": "MeanSquaredError", "config": {"reduction": "auto"}}}, MSE),
        (
            {"loss": {"class_name": "BinaryCrossentropy", "config": {"from_logits": True}}},
            Loss("binary_crossentropy", "labels", True),
        ),
        ({"loss": {"class_name": "function", "config": "mean_squared_error", "module": "builtins"}}, MSE),
        ({"loss": {"class_name": "Huber", "config": {}, "module": "my_losses"}}, None),
        ({"loss": {"class_name": "Huber", "config": {}, "registered_name": "own>Huber"}}, None),
        ({"loss": {"class_name": "__tuple__", "items": ["mse"]}}, MSE),
        ({"loss": {"class_name": ["Huber"], "config": 3}}, None),
        ({"loss": 7}, None),
        ({"loss": {}}, None),
        ({"optimizer": "sgd"}, None),
        ([], None),
        ("{", None),
    ],
)
def test_what_an_older_or_odd_file_says_of_its_training_is_read_or_left_out(
    written: Any, expected: Loss | None, tmp_path: Path
) -> None:
    path = tmp_path / "model.h5"
    ending_in(3).save(path)
    with h5py.File(path, "r+") as file:
        file.attrs["training_config"] = written if isinstance(written, str) else json.dumps(written)
    found = losses_in_file(path, {})
    assert loss_of_output(found, {}, None) == expected
    assert loss_of_output(losses_in_file(tmp_path / "model.keras", {"compile_config": written}), {}, None) == expected
    assert ModelReader(load_model(path)).loss == expected


def varint(number: int) -> bytes:
    """A number as protobuf writes it: seven bits a byte, the lowest first."""
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def rewritten(message: bytes, change: Callable[[int, Any], Any]) -> bytes:
    """A message of protobuf with other values in its fields of numbers (wire type 0) and bytes (2)."""
    written = b""
    for field in UnknownFieldSet(Empty.FromString(message)):
        value = change(field.field_number, field.data)
        body = varint(value) if field.wire_type == 0 else varint(len(value)) + value
        written += varint(field.field_number << 3 | field.wire_type) + body
    return written


def test_loss_of_a_saved_model_is_read(tmp_path: Path) -> None:
    """Of Keras 2.15, whose metadata of the model get the settings of a training."""
    with zipfile.ZipFile(Path(__file__).parent / "data" / "keras_2_15.zip") as archive:
        archive.extractall(tmp_path)
    loss = {"class_name": "CategoricalCrossentropy", "config": {"reduction": "auto", "from_logits": True}}

    def trained(number: int, value: Any) -> Any:
        if number != 5:  # the JSON of an object
            return value
        content = json.loads(value)
        is_model = content.get("class_name") in ("Functional", "Sequential")
        return json.dumps(content | {"training_config": {"loss": loss}}).encode() if is_model else value

    path = tmp_path / "saved_model" / "keras_metadata.pb"
    assert losses_of(load_model(tmp_path / "saved_model")) is None
    path.write_bytes(rewritten(path.read_bytes(), lambda _, node: rewritten(node, trained)))
    expected = Loss("categorical_crossentropy", "classes", True)
    assert losses_of(load_model(tmp_path / "saved_model")) == expected


def test_copy_of_an_explainer_knows_the_loss_of_the_file(tmp_path: Path) -> None:
    compiled(losses.BinaryCrossentropy(from_logits=True)).save(tmp_path / "model.keras")
    explainer = Explainer(load_model(tmp_path / "model.keras"))
    for other in (pickle.loads(pickle.dumps(explainer)), pickle.loads(pickle.dumps(Explainer(compiled("mse"))))):
        assert other.task == (explainer.task if other.task.name == "multilabel" else Explainer(compiled("mse")).task)
    assert explainer.task.name == "multilabel"


def test_losses_do_not_keep_a_model_alive() -> None:
    import gc
    import weakref

    model = ending_in(3)
    remember_losses(model, MSE)
    assert losses_of(model) == MSE
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None
