"""A Keras model as a flat list of steps, with nested models inlined.

The steps are read from the nodes that produce `model.outputs` and run by calling the model's own layers: nothing is
cloned and no node is added to a layer, so the model stays unchanged. A *slot* is the place of one tensor in the list. A
cut at a slot gives two lists of steps: the first produces the cut tensor and its *frontier* (the tensors that the
outputs need and that do not depend on the cut), the second leads from there to the outputs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf
from keras.src.models.functional import Functional

from tf_gradcam._models.keras_internals import call_in_inference, declared_inputs, has_learned_weights, reading_scope


@dataclass(frozen=True)
class Step:
    """One call of one operation, with the slots that it reads and writes."""

    operation: Any
    path: str
    arguments: Any  # keras' record of the call, with a KerasTensor wherever a tensor goes
    sources: dict[int, int]  # id(KerasTensor) in `arguments` -> slot
    outputs: tuple[int, ...]
    function: Callable[..., Any] | None = None  # called instead of the operation

    def run(self, values: dict[int, Any], instead: Callable[..., Any] | None = None) -> None:
        tensors = {key: values[slot] for key, slot in self.sources.items()}
        args, kwargs = self.arguments.fill_in(tensors)
        function = instead or self.function or self.operation
        results = keras.tree.flatten(call_in_inference(function, *args, **kwargs))
        values.update(zip(self.outputs, results, strict=True))


@dataclass(frozen=True)
class Call:
    """A named tensor of the model: the output of one call of a layer or of a nested model."""

    operation: Any
    path: str
    slot: int  # in a graph; in a watched model the call number of its layer, from 0
    shape: tuple[int | None, ...]
    is_model: bool = False  # a nested model, whose own steps are in the list


Substitute = Callable[[Step], Callable[..., Any] | None]  # a function to call in place of a step's operation, or None
# `extract(inputs) -> [activations, *frontier]` and `finish([activations, *frontier]) -> outputs`.
Halves = tuple[Callable[[Sequence[Any]], list[Any]], Callable[[Sequence[Any]], Any]]
# `extract(inputs) -> tensors`, `finish(tensors) -> (outputs, activations of each call)`, and the number of tensors, the
# first ones, that a tape must watch for the gradients by these activations.
JointHalves = tuple[Callable[[Sequence[Any]], list[Any]], Callable[[Sequence[Any]], tuple[Any, list[Any]]], int]


def graph_of(model: Any) -> Any | None:
    """Return the Functional whose nodes compute `model(images)`, or None if the model does not have one.

    A subclass of `keras.Model` that overrides `call` may compute something else than its graph, which is then ignored.
    """
    if isinstance(model, keras.Sequential):
        overridden = type(model).call is not keras.Sequential.call
        return None if overridden else getattr(model, "_functional", None)
    if isinstance(model, Functional) and type(model).call is Functional.call:
        return model
    return None


class Graph:
    """The steps from `model.inputs` to `model.outputs`; it holds the model's layers, not the model."""

    def __init__(self, model: keras.Model):
        functional = graph_of(model)
        if functional is None:
            raise ValueError(f"Model '{model.name}' is not a graph of layers.")
        self.kind = type(model)
        self.steps: list[Step] = []
        self.calls: list[Call] = []
        self.shapes: list[tuple[int | None, ...]] = []
        self.dtypes: list[str] = []
        declared = declared_inputs(functional)
        assert declared is not None
        self.input_tensors, self.input_struct = declared
        self.inputs = [self._new_slot(tensor) for tensor in functional.inputs]
        self._input_dtypes = [_input_dtypes(model, tensor) for tensor in functional.inputs]
        self.output_struct = keras.tree.map_structure(lambda tensor: tensor.name, functional._outputs_struct)
        self.output_tensors = functional._outputs_struct  # of all outputs
        self.outputs = self._inline(functional, self.inputs, "")
        self.axes: dict[Any, list[Any]] = {}  # of `places.traced_axes`

    @property
    def output_slots(self) -> Any:
        """The slots of the outputs, in the structure that the model returns."""
        return keras.tree.pack_sequence_as(self.output_struct, self.outputs)

    @property
    def first(self) -> int:
        """The slot of the first output, the one that is explained."""
        return int(first_output(self.output_slots))

    def only(self, key: str | int) -> Graph:
        """Return the graph that leads to one of several outputs."""
        other = copy.copy(self)
        other.outputs = [first_output(self.output_slots[key])]
        other.output_struct = str(key)
        return other

    def _new_slot(self, tensor: Any) -> int:
        self.shapes.append(tuple(tensor.shape))
        self.dtypes.append(tensor.dtype)
        return len(self.shapes) - 1

    def _inline(self, functional: Any, inputs: Sequence[int], prefix: str) -> list[int]:
        """Append the steps of a model, nested models inlined; return its output slots."""
        scope = {id(t): slot for t, slot in zip(functional.inputs, inputs, strict=True)}
        for depth in sorted(functional._nodes_by_depth, reverse=True):
            # Keras does not order the nodes of one depth: the calls of a layer come in the order of creation.
            nodes = functional._nodes_by_depth[depth]
            for node in sorted(nodes, key=lambda node: node.operation._inbound_nodes.index(node)):
                if node.is_input or any(id(t) not in scope for t in node.input_tensors):
                    continue
                slots = self._append(node, {id(t): scope[id(t)] for t in node.input_tensors}, prefix)
                scope.update({id(t): slot for t, slot in zip(node.outputs, slots, strict=True)})
        return [scope[id(t)] for t in functional.outputs]

    def _append(self, node: Any, sources: dict[int, int], prefix: str) -> list[int]:
        path = prefix + node.operation.name
        inner = graph_of(node.operation) if _is_plain_call(node) else None
        if inner is None:
            slots = [self._new_slot(t) for t in node.outputs]
            self.steps.append(Step(node.operation, path, node.arguments, sources, tuple(slots)))
        else:
            entry = [self._new_slot(t) for t in inner.inputs]
            enter = _entrance(node.operation, inner)
            self.steps.append(Step(node.operation, path, node.arguments, sources, tuple(entry), enter))
            slots = self._inline(inner, entry, path + "/")
        self.calls += [Call(node.operation, path, slot, self.shapes[slot], inner is not None) for slot in slots]
        return slots

    def ancestors(self, slots: Iterable[int], known: Iterable[int] = ()) -> list[Step]:
        """Return the steps that compute `slots` from the inputs and the slots `known`, in the order of execution."""
        known = set(known)
        missing, steps = set(slots) - known, []
        for step in reversed(self.steps):
            if not missing.isdisjoint(step.outputs):
                missing.update(source for source in step.sources.values() if source not in known)
                steps.append(step)
        return steps[::-1]

    def dependents(self, slot: int) -> set[int]:
        """Return the slots that depend on `slot`, itself included."""
        dependents = {slot}
        for step in self.steps:
            if not dependents.isdisjoint(step.sources.values()):
                dependents.update(step.outputs)
        return dependents

    def frontier(self, slot: int, outputs: Sequence[int]) -> tuple[int, ...]:
        """Return the slots that `outputs` need beside `slot` and that do not depend on it.

        With the frontier held fixed, the gradient by the cut tensor is the partial derivative of Grad-CAM, also inside
        a residual branch.
        """
        dependents = self.dependents(slot)
        after = [s for s in self.ancestors(outputs, [slot]) if not dependents.isdisjoint(s.outputs)]
        read = {source for step in after for source in step.sources.values()}.union(outputs)
        return tuple(sorted(read - dependents))

    def halves(self, call: Call) -> Halves:
        """Cut the graph at the output of `call`."""
        slots = [call.slot, *self.frontier(call.slot, self.outputs)]
        before, after = self.ancestors(slots), self.ancestors(self.outputs, slots)

        def extract(inputs: Sequence[Any]) -> list[Any]:
            values = self.run(before, self.enter(inputs))
            return [values[slot] for slot in slots]

        def finish(tensors: Sequence[Any]) -> Any:
            return self.pack_outputs(self.run(after, dict(zip(slots, tensors, strict=True))))

        return extract, finish

    def joint_halves(self, calls: Sequence[Call]) -> JointHalves:
        """Cut the graph before several calls, of which later ones may depend on earlier ones.

        The gradient by the activations of each is the same as of `halves(call)`.
        """
        slots = [call.slot for call in calls]
        behind = {slot: self.dependents(slot) for slot in slots}
        roots = [slot for slot in dict.fromkeys(slots) if not any(slot in behind[o] for o in slots if o != slot)]
        dependents = set().union(*(behind[slot] for slot in roots))
        steps = [s for s in self.ancestors(self.outputs, roots) if not dependents.isdisjoint(s.outputs)]
        read = {source for step in steps for source in step.sources.values()}.union(self.outputs)
        kept = [*roots, *sorted(read - dependents)]
        before, after = self.ancestors(kept), self.ancestors([*self.outputs, *slots], kept)

        def extract(inputs: Sequence[Any]) -> list[Any]:
            values = self.run(before, self.enter(inputs))
            return [values[slot] for slot in kept]

        def finish(tensors: Sequence[Any]) -> tuple[Any, list[Any]]:
            values = self.run(after, dict(zip(kept, tensors, strict=True)))
            return self.pack_outputs(values), [values[slot] for slot in slots]

        return extract, finish, len(roots)

    def forward(self, inputs: Sequence[Any], instead: Substitute = lambda step: None) -> Any:
        """Compute the model's outputs."""
        needed = self.ancestors(self.outputs)
        return self.pack_outputs(self.run(needed, self.enter(inputs), instead))

    def path_between(self, call: Call, end: int) -> list[Step]:
        """Return the steps that lead from the output of `call` to the slot `end`."""
        dependents = self.dependents(call.slot)
        return [s for s in self.ancestors([end], [call.slot]) if not dependents.isdisjoint(s.outputs)]

    def operations_after(self, call: Call) -> list[Any]:
        """Return the operations between the output of `call` and the outputs of the model."""
        return [step.operation for end in self.outputs for step in self.path_between(call, end)]

    def has_learned(self, call: Call) -> bool:
        """Return whether a layer with trained weights comes before the tensor; input statistics do not count."""
        return any(has_learned_weights(step.operation) for step in self.ancestors([call.slot]))

    def is_end(self, call: Call) -> bool:
        """Return whether the tensor is an output that no other layer reads."""
        return call.slot in self.outputs and not self.operations_after(call)

    def known_shapes(self, specs: Sequence[Any]) -> list[tuple[int | None, ...]]:
        """Return the shape of every call for inputs of the shapes in `specs`; a nested model may not know all axes."""
        if not any(None in shape[1:] for shape in self.shapes) or any(None in spec.shape[1:] for spec in specs):
            return [call.shape for call in self.calls]
        return [tuple(tensor.shape) for tensor in self.symbolic(specs)[1]]

    def symbolic(self, specs: Sequence[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        """Trace the model for inputs of `specs`; return its symbolic inputs, the tensor of each call, the outputs."""
        traced: list[list[Any]] = []

        def run(*inputs: Any) -> None:
            values = self.run(self.steps, self.enter(inputs))
            slots = [call.slot for call in self.calls]
            traced.extend([list(inputs), *([values[slot] for slot in some] for some in (slots, self.outputs))])

        tf.function(run, autograph=False).get_concrete_function(*specs)
        return traced[-3], traced[-2], traced[-1]

    def traced_outputs(self, specs: Sequence[Any]) -> list[tf.TensorShape]:
        """Trace the model and return the shapes of its outputs; layers that are not built yet are built by it."""
        shapes: list[tf.TensorShape] = []
        tf.function(
            lambda *inputs: shapes.extend(tensor.shape for tensor in keras.tree.flatten(self.forward(inputs))),
            autograph=False,
        ).get_concrete_function(*specs)
        return shapes

    def traced_ends(self) -> Any:
        """Return the symbolic outputs of a graph of the last layers, from those with weights on.

        They tell what the model ends in, for the price of a few layers.
        """
        steps: list[Step] = []
        needed: set[int] = set(self.outputs)
        entered: set[int] = set()
        for step in reversed(self.steps):
            if not needed.isdisjoint(step.outputs):
                steps.append(step)
                is_start = step.function is None and has_learned_weights(step.operation)
                (entered if is_start else needed).update(step.sources.values())
        made = {slot for step in steps for slot in step.outputs}
        given = sorted((entered | needed) - made)
        ends: list[Any] = []

        def run(*tensors: Any) -> None:
            ends.append(self.pack_outputs(self.run(steps[::-1], dict(zip(given, tensors, strict=True)))))

        tf.function(run, autograph=False).get_concrete_function(
            *(tf.TensorSpec(self.shapes[slot], self.dtypes[slot]) for slot in given)
        )
        return ends[-1]

    def reaches_output(self, call: Call) -> bool:
        return not self.dependents(call.slot).isdisjoint(self.outputs)

    def is_cut_point(self, call: Call) -> bool:
        """Return whether every path from the inputs of the tensor to the first output passes it."""
        origins = self._origins(call.slot)
        frontier = self.frontier(call.slot, [self.first])
        return all(origins.isdisjoint(self._origins(other)) for other in frontier)

    def inputs_before(self, call: Call) -> list[int]:
        """Return the positions of the model's inputs that reach the tensor."""
        origins = self._origins(call.slot)
        return [number for number, slot in enumerate(self.inputs) if slot in origins]

    def _origins(self, slot: int) -> set[int]:
        sources = {source for step in self.ancestors([slot]) for source in step.sources.values()}
        return (sources | {slot}).intersection(self.inputs)

    def enter(self, inputs: Sequence[Any]) -> dict[int, Any]:
        """Return the values of the input slots, cast as the model casts its inputs."""
        values = {}
        for slot, tensor, dtypes in zip(self.inputs, inputs, self._input_dtypes, strict=True):
            for dtype in dtypes:
                tensor = keras.ops.cast(tensor, dtype)
            values[slot] = tensor
        return values

    def run(
        self, steps: Iterable[Step], values: dict[int, Any], instead: Substitute = lambda step: None
    ) -> dict[int, Any]:
        """Run `steps` on the tensors in `values` (slot -> tensor), which is filled and returned.

        Variables are read, never written: states of layers and added losses stay in the scope.
        """
        with reading_scope():
            for step in steps:
                step.run(values, instead(step))
        return values

    def pack_outputs(self, values: dict[int, Any]) -> Any:
        """Return the outputs in the structure that the model returns; a list of one tensor as the tensor."""
        flat = [values[slot] for slot in self.outputs]
        if len(flat) == 1 and not isinstance(self.output_struct, dict):
            return flat[0]
        return keras.tree.pack_sequence_as(self.output_struct, flat)


def first_output(outputs: Any) -> Any:
    """Return the first of several outputs, in the order of the model's author; keras.tree sorts the keys of a dict."""
    while isinstance(outputs, (dict, list, tuple)):
        outputs = next(iter(outputs.values() if isinstance(outputs, dict) else outputs))
    return outputs


def _is_plain_call(node: Any) -> bool:
    """Return whether a nested model was called with inputs alone (and `training`, which inference sets)."""
    return len(node.arguments.args) == 1 and all(
        # A dict or list of inputs has a dict or list of masks.
        name == "training" or all(item is None for item in keras.tree.flatten(value))
        for name, value in node.arguments.kwargs.items()
    )


def _input_dtypes(model: Any, tensor: Any) -> list[str]:
    """Return the dtypes to cast an input to: a Sequential casts floats to its compute dtype, then to the Input's."""
    first = [model.input_dtype] if isinstance(model, keras.Sequential) and "float" in tensor.dtype else []
    return [*first, tensor.dtype]


def _entrance(model: Any, functional: Any) -> Callable[..., Any]:
    """Return the function that a nested model applies before its first layer: casts, added or dropped axes of one."""

    def enter(inputs: Any, **_unset: Any) -> Any:  # training, and arguments of None (see _is_plain_call)
        if isinstance(model, keras.Sequential):
            inputs = keras.tree.map_structure(
                lambda t: model.dtype_policy.convert_input(t, model.autocast, model.input_dtype), inputs
            )
        return functional._standardize_inputs(inputs)

    return enter
