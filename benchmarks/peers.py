"""Other libraries on Keras models, if they are installed. None is required.

Each gets the class to explain beforehand, which this package finds by itself.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import keras
import numpy as np

from benchmarks import torchpeers
from benchmarks.contestants import FORWARD, makers
from benchmarks.models import NETWORKS
from benchmarks.pairs import Call, compare, one_line
from benchmarks.report import Table, timing_table
from benchmarks.settings import Settings

Maker = Callable[[keras.Model, np.ndarray, str], Call]

LARGEST_BATCH = 8
CLASS = 3


def tf_keras_vis(model: keras.Model, images: np.ndarray, layer: str) -> Call:
    """Return a call of tf-keras-vis at the layer's own size: without upsampling, like this package."""
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.utils.model_modifiers import ReplaceToLinear
    from tf_keras_vis.utils.scores import CategoricalScore

    gradcam = Gradcam(model, model_modifier=ReplaceToLinear(), clone=True)
    score = CategoricalScore([CLASS] * len(images))
    return lambda: np.asarray(gradcam(score, images, penultimate_layer=layer, expand_cam=False))


def xplique(model: keras.Model, images: np.ndarray, layer: str) -> Call:
    """Return a call of xplique; it always upsamples to the image."""
    from xplique.attributions import GradCAM

    gradcam = GradCAM(model, conv_layer=layer, batch_size=len(images))
    targets = np.eye(model.output_shape[-1], dtype=np.float32)[[CLASS] * len(images)]
    return lambda: np.asarray(gradcam.explain(images, targets))


# The module that says whether it is installed, and who is built from it.
PEERS: dict[str, tuple[str, Maker]] = {
    "tf-keras-vis": ("tf_keras_vis", tf_keras_vis),
    "xplique": ("xplique", xplique),
}


def run(settings: Settings) -> Iterator[Table | str]:
    """Yield tables of the peers for each model, with batches of at most `LARGEST_BATCH`."""
    absent = [name for name, (module, _) in (PEERS | torchpeers.PEERS).items() if not is_installed(module)]
    if absent:
        yield f"Peers that are not installed: {', '.join(absent)}."
    batches = [batch for batch in settings.batches if batch <= LARGEST_BATCH]
    for name in settings.models:
        for batch in batches:
            yield from keras_tables(settings, name, batch)
            yield from torch_tables(settings, name, batch)
        keras.utils.clear_session(free_memory=True)


def keras_tables(settings: Settings, name: str, batch: int) -> Iterator[Table]:
    """Yield times relative to F of the same Keras model, or nothing if no peer is installed."""
    present = {peer: make for peer, (module, make) in PEERS.items() if is_installed(module)}
    if not present:
        return
    network = NETWORKS[name]
    model, images = network.model(), network.images(batch)
    everyone = makers(model, images, network.layer, (FORWARD, "Explainer", "Explainer(freeze=True)"))
    everyone |= {peer: partial(make, model, images, network.layer) for peer, make in present.items()}
    yield timing_table(f"Peers on {name}, batch {batch}", compare(everyone, settings.rounds, seconds=settings.seconds))


def torch_tables(settings: Settings, name: str, batch: int) -> Iterator[Table | str]:
    """Yield times relative to the forward pass of torchvision's model of the same architecture."""
    network = NETWORKS[name]
    present = [peer for peer, (module, _) in torchpeers.PEERS.items() if is_installed(module)]
    if not present or network.torch is None or not is_installed("torchvision"):
        return
    images = network.images(batch).transpose(0, 3, 1, 2).copy()
    try:
        model, layer = torchpeers.model_and_layer(*network.torch, images)
    except Exception as error:  # of an installation that does not fit together
        yield f"Peers of PyTorch on {name}: torchvision fails: {one_line(error)}"
        return
    everyone: dict[str, Callable[[], Any]] = {
        torchpeers.FORWARD: partial(torchpeers.forward, model, images),
        **{peer: partial(torchpeers.PEERS[peer][1], model, layer, images) for peer in present},
    }
    pairs = compare(everyone, settings.rounds, seconds=settings.seconds)
    yield timing_table(f"Peers of PyTorch on {name}, batch {batch}", pairs, "x F is to PyTorch's own forward pass.")


def is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
