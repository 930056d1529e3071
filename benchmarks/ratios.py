"""The heatmap at the price of the prediction: everyone against F, a table a model and batch."""

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
    """Every model at every batch, then what a call costs beside its graph."""
    for name in settings.models:
        yield from _tables(settings, name)
    yield overhead(settings)


def run_on_gpu(settings: Settings) -> Iterator[Table | str]:
    """Float32 and half precision, where TensorFlow sees a GPU."""
    if not machine.gpus():
        yield "GPU: not run: no GPU"
        return
    for policy in ("float32", "mixed_float16"):
        for name in settings.models:
            yield from _tables(settings, name, policy)


def overhead(settings: Settings) -> Table:
    """Milliseconds that a call takes beside its graph: the rest of a model that is hardly there."""
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
