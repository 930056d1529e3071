"""A model cut at a layer: an extractor, from images to activations, and a tail, from activations to outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_gradcam._errors import unknown_name
from tf_gradcam._models.graph import Call, Graph
from tf_gradcam._models.inputs import ModelInputs, shown
from tf_gradcam._models.keras_internals import call_in_inference, reading_scope
from tf_gradcam._models.layers import FoundLayer, find_layer, is_head
from tf_gradcam._models.reader import ModelReader, reader_of


class SplitModel:
    """Two halves that together are the model: `tail(extractor(images))` equals `model(images)`.

    Attributes:
        layer_name: path of the layer that the model is cut at.
        activation_shape: (B, H, W, C) of the activations, None for what is free.
        inputs: what the extractor takes.
    """

    def __init__(
        self,
        inputs: ModelInputs,
        found: FoundLayer,
        extract: Callable[[Sequence[Any]], list[Any]],
        finish: Callable[[Sequence[Any]], Any],
    ):
        self.inputs = inputs
        self.found = found
        self.layer_name = found.call.path
        self.activation_shape = tuple(found.call.shape)
        self.extract = extract  # flat inputs -> [activations, *frontier], for use inside a tf.function
        self.finish = finish  # [activations, *frontier] -> the model's outputs, likewise

    def release_model(self) -> None:
        """Hold the model no longer: a graph keeps its layers alone, a model without one must be kept by the caller."""
        if not isinstance(self.found.view, Graph):
            self.found.view.release()

    def extractor(self, images: Any) -> Any:
        """Activations of the layer.

        Args:
            images: (B, H0, W0, 3) as the model expects it; a list or dict for a model of several inputs.

        Returns:
            (B, H, W, C) tensor of activations; where the cut leaves other ways to the output open (a residual branch,
            further inputs), a list of the activations and the frontier: the tensors beside them that the tail needs.

        Raises:
            TypeError, ValueError: `images` are not what the model takes.
        """
        tensors = self.extract([tf.convert_to_tensor(array) for array in self.inputs.flatten(images)])
        return tensors[0] if len(tensors) == 1 else tensors

    def tail(self, activations: Any) -> Any:
        """What the model makes of activations.

        Args:
            activations: what `extractor` returned, or the like.

        Returns:
            The model's outputs, in the structure in which it returns them.

        Raises:
            ValueError: activations of another shape.
        """
        is_list = isinstance(activations, (list, tuple))
        tensors = [tf.convert_to_tensor(t) for t in (activations if is_list else [activations]) if t is not None]
        if not tensors or not tensors[0].shape.is_compatible_with((None, *self.activation_shape[1:])):
            received = tuple(tensors[0].shape) if tensors else None
            raise ValueError(
                f"Expected activations {shown(self.activation_shape)} as extractor(images) returns them, received "
                f"{received}."
            )
        return self.finish(tensors)

    def __repr__(self) -> str:
        return f"SplitModel(layer_name={self.layer_name!r}, activation_shape={self.activation_shape})"


def split_model(
    model: keras.Model | ModelReader, layer: Any = None, classifier_layers: Sequence[Any] | None = None
) -> SplitModel:
    """Cut a model in two at a layer.

    Args:
        model: any built Keras 3 model: functional, Sequential, nested, subclassed.
        layer: name ("block5_conv3"), path into nested models ("efficientnetv2-s/top_activation"), index into
            `model.layers`, layer object, or None for the last spatial layer that every path to the output passes.
        classifier_layers: names of the layers behind it, called in this order; None cuts the tail out of the graph,
            which also holds where it branches.

    Returns:
        `SplitModel`. The model's own layers are used; the model is not changed and no node is added to it.

    Raises:
        TypeError: `model` is no Keras 3 model, `layer` no kind of layer argument.
        ValueError: the layer is unknown, ambiguous, without spatial extent or not on the way to the output; the
            classifier layers do not compute what the model computes, or stop before its output (a final
            activation may be left out).
    """
    reader = reader_of(model)
    found = find_layer(reader, layer)
    extract, finish = found.view.halves(found.call)
    if classifier_layers is not None:
        extract, finish = _named_halves(reader, found, classifier_layers)
    return SplitModel(reader.inputs, found, extract, finish)


def _named_halves(reader: ModelReader, found: FoundLayer, names: Sequence[Any]) -> tuple[Callable, Callable]:
    """The published construction: the named layers, called one after the other, checked against the model."""
    graph = found.view
    if not isinstance(graph, Graph):
        raise ValueError(
            f"Expected classifier_layers=None for '{reader.name}', whose graph only Python knows, received a list. "
            "Leave the list out: the tail is then what the model itself runs."
        )
    names = names.tolist() if isinstance(names, np.ndarray) else names
    if not isinstance(names, (list, tuple)) or not names:
        raise ValueError(f"Expected classifier_layers as a list of layer names, received {names!r}.")
    calls = [_named_call(graph, name) for name in names]
    extract_all, _ = graph.halves(found.call)

    def extract(inputs: Sequence[Any]) -> list[Any]:
        return extract_all(inputs)[:1]

    def finish(tensors: Sequence[Any]) -> Any:
        result = tensors[0]
        with reading_scope():
            for call in calls:
                result = call_in_inference(call.operation, result)
        return result

    _check_chain(reader, found, calls, extract, finish)
    _check_end(reader, graph, calls)
    return extract, finish


def _check_end(reader: ModelReader, graph: Graph, calls: list[Call]) -> None:
    """A list may stop at the logits, but not at hidden units."""
    rest = graph.path_between(calls[-1], graph.outputs[0])
    if missing := [step.path for step in rest if step.function is None and not is_head(step.operation)]:
        raise ValueError(
            f"The layers {[call.path for call in calls]} stop before the output of '{reader.name}': their scores are "
            f"hidden units, not classes. Missing from the list: {missing}. Name every layer from the cut to the output "
            "in order, or leave classifier_layers out."
        )


def _named_call(graph: Graph, name: Any) -> Call:
    wanted = getattr(name, "name", name)
    calls = [call for call in graph.calls if call.path == wanted]
    calls = calls or [call for call in graph.calls if call.path.endswith(f"/{wanted}")]
    if not calls:
        raise ValueError(unknown_name("classifier layer", str(wanted), [call.path for call in graph.calls]))
    return calls[-1]


def _check_chain(
    reader: ModelReader, found: FoundLayer, calls: list[Call], extract: Callable, finish: Callable
) -> None:
    """Compare the chain with the model's own value at its end, on seeded noise."""
    graph = found.view
    assert isinstance(graph, Graph)
    end = calls[-1].slot
    names = [call.path for call in calls]
    missed = [s.path for s in graph.path_between(found.call, end) if s.function is None and not _covered(s.path, names)]
    probe = _probe(reader.inputs)
    expected = np.asarray(graph.run(graph.ancestors([end]), graph.enter(probe))[end], np.float64)
    remedy = "Name every layer from the cut to the output in order, or leave classifier_layers out."
    missing = f"Missing from the list: {missed}. " if missed else ""
    try:
        received = np.asarray(finish(extract(probe)), np.float64)
    except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"The layers {names} cannot be called one after the other on '{found.call.path}': {reason} "
            f"{missing}{remedy}"
        ) from error
    if received.shape != expected.shape:
        raise ValueError(
            f"The layers {names} on '{found.call.path}' give an output of shape {received.shape}, the model gives "
            f"{expected.shape}. {missing}{remedy}"
        )
    difference = float(np.max(np.abs(received - expected), initial=0.0))
    tolerance = 1e-5 if not reader.is_half_precision else 2e-2  # sums of halves: three digits
    if not difference <= tolerance * max(1.0, float(np.max(np.abs(expected), initial=0.0))):
        raise ValueError(
            f"The layers {names} on '{found.call.path}' do not compute what the model computes: the largest difference "
            f"is {difference:.3g}. {missing}{remedy}"
        )


def _covered(path: str, names: list[str]) -> bool:
    return any(path == name or path.startswith(f"{name}/") for name in names)


def _probe(inputs: ModelInputs) -> list[tf.Tensor]:
    """One seeded picture of noise; 64 pixels where the size is free."""
    generator = np.random.default_rng(0)
    shapes = [[1, *(64 if side is None else side for side in spec.shape[1:])] for spec in inputs.specs]
    return [
        tf.cast(generator.uniform(0.0, 1.0, shape), spec.dtype)
        for shape, spec in zip(shapes, inputs.specs, strict=True)
    ]
