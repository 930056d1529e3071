"""Methods that run the model again: Ablation-CAM with the tail only, Score-CAM against its forward passes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import keras
import numpy as np

from benchmarks import torchpeers
from benchmarks.contestants import FORWARD, forward
from benchmarks.models import NETWORKS
from benchmarks.pairs import Call, compare, once, one_line
from benchmarks.peers import is_installed
from benchmarks.report import Table, timing_table
from benchmarks.settings import Settings
from tf_gradcam import Explainer

CHUNK = 32  # images at a time in the forward passes of the comparison; the default of pytorch-grad-cam
MOST_ROUNDS = 2  # a round is a thousand forward passes


def run(settings: Settings) -> Iterator[Table]:
    """Yield Ablation-CAM on the model with the costly head, Score-CAM on the light one."""
    yield ablation(settings, settings.model_like("VGG16"))
    yield score(settings, settings.model_like("MobileNetV2"))


def ablation(settings: Settings, name: str) -> Table:
    """Time one image with all channels: this package, the whole model for each channel, pytorch-grad-cam."""
    network = NETWORKS[name]
    model, images = network.model(), network.images(1)
    explainer = Explainer(model, network.layer, "ablationcam")
    channels = int(model.get_layer(network.layer).output.shape[-1])
    own = compare({"ours": partial(_explain, explainer, images)}, min(settings.rounds, MOST_ROUNDS))
    seconds = own.timings["ours"].seconds.median
    whole = compare({FORWARD: partial(forward, model, network.images(CHUNK))}, MOST_ROUNDS).timings[FORWARD]
    again = whole.seconds.median * channels / CHUNK
    rows: list[tuple[Any, ...]] = [
        ("Explainer(method='ablationcam')", f"{seconds:.2f}", "1"),
        (f"the whole model again, {channels} times, from one pass of {CHUNK}", f"{again:.2f}", _times(again, seconds)),
        ("pytorch-grad-cam", *_of_torch(name, images, seconds)),
    ]
    keras.utils.clear_session(free_memory=True)
    note = "pytorch-grad-cam is run once."
    return Table(f"Ablation-CAM: {name}, {channels} channels, one image", ("", "s", "x ours"), rows, note)


def score(settings: Settings, name: str) -> Table:
    """Time one image with all channels, against compiled forward passes of as many images."""
    network = NETWORKS[name]
    model, images = network.model(), network.images(1)
    explainer = Explainer(model, network.layer, "scorecam")
    channels = int(model.get_layer(network.layer).output.shape[-1])
    calls = {
        f"{channels} forward passes, {CHUNK} at a time": partial(_passes, model, network.images(CHUNK), channels),
        "Explainer(method='scorecam')": partial(_explain, explainer, images),
    }
    pairs = compare(calls, min(settings.rounds, MOST_ROUNDS), seconds=settings.seconds)
    keras.utils.clear_session(free_memory=True)
    return timing_table(f"Score-CAM: {name}, {channels} channels, one image", pairs, "F here: all forward passes.")


def _explain(explainer: Explainer, images: np.ndarray) -> Call:
    return lambda: explainer(images).heatmaps


def _passes(model: keras.Model, chunk: np.ndarray, count: int) -> Call:
    """Return forward passes of `count` images; the last pass may be shorter."""
    whole, rest = divmod(count, len(chunk))
    calls = [forward(model, chunk)] * whole + ([forward(model, chunk[:rest])] if rest else [])
    return lambda: [call() for call in calls]


def _of_torch(name: str, images: np.ndarray, seconds: float) -> tuple[str, str]:
    network = NETWORKS[name]
    if network.torch is None or not (is_installed("pytorch_grad_cam") and is_installed("torchvision")):
        return "not run", "not installed" if network.torch else "no such model"
    planes = images.transpose(0, 3, 1, 2).copy()
    try:
        model, layer = torchpeers.model_and_layer(*network.torch, planes)
        found = once(torchpeers.ablation_cam(model, layer, planes))
    except Exception as error:  # another library may raise anything
        return "fails", one_line(error)
    return f"{found:.2f}", _times(found, seconds)


def _times(value: float, reference: float) -> str:
    return f"{value / reference:.1f}"
