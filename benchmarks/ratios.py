"""All contestants relative to the plain prediction F, one table for each model and batch."""

from __future__ import annotations

from collections.abc import Iterator

import keras

from benchmarks import machine
from benchmarks.contestants import FORWARD, makers
from benchmarks.models import NETWORKS
from benchmarks.pairs import compare
from benchmarks.report import Table, timing_table
from benchmarks.settings import Settings


def run(settings: Settings) -> Iterator[Table]:
    """Yield tables of every model and batch, then the overhead of a call."""
    for name in settings.models:
        yield from _tables(settings, name)
    yield overhead(settings)


def run_on_gpu(settings: Settings) -> Iterator[Table | str]:
    """Yield tables in float32 and half precision if TensorFlow sees a GPU."""
    if not machine.gpus():
        yield "GPU: not run: no GPU"
        return
    for policy in ("float32", "mixed_float16"):
        for name in settings.models:
            yield from _tables(settings, name, policy)


def overhead(settings: Settings) -> Table:
    """Measure the milliseconds of a call beside its graph, with a model of one convolution."""
    network = NETWORKS["Tiny"]
    names = (FORWARD, "compiled split", "Explainer", "Explainer(freeze=True)", "make_gradcam_heatmap")
    rounds = settings.rounds * 20  # a call is a millisecond
    pairs = compare(makers(network.model(), network.images(1), network.layer, names), rounds, seconds=settings.seconds)
    note = "What `Explainer` takes beyond the compiled split is its overhead: checks, labels, arrays."
    return timing_table("Overhead of a call: a model of one convolution, batch 1", pairs, note)


def _tables(settings: Settings, name: str, policy: str = "float32") -> Iterator[Table]:
    network = NETWORKS[name]
    model = network.model(policy)
    size = " x ".join(map(str, network.size))
    place = "" if policy == "float32" else f", {policy}"
    for batch in settings.batches:
        everyone = makers(model, network.images(batch), network.layer)
        pairs = compare(everyone, settings.rounds, seconds=settings.seconds)
        yield timing_table(f"{name} at {size}, batch {batch}{place}", pairs)
    del model
    keras.utils.clear_session(free_memory=True)
