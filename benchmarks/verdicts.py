"""Verdicts on maps of a trained model, and of the same model with random weights.

    python -m benchmarks.verdicts --data DATA [--photos 44] [--skip 0|1]
    python -m benchmarks.verdicts [--photos 44] [--skip 0|1]

A model explains the class that it predicts: with DATA, as for `benchmarks.localisation`, MobileNet 0.75 in photographs
of dogs, evenly from all breeds; without, the bundled model in generated slices. It does so as it was trained, with a
random head, with the later half of its layers random, and with all of them random: kernels become normal values with
their own root mean square, other weights are shuffled. The thresholds were chosen on `--photos 44 --skip 0`; `--skip 1`
takes photographs halfway between those, or other slices. Prints a Markdown table: the share of maps that hold, that are
refused and that cannot be judged, and the share that passes each kind of evidence by itself.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np

from benchmarks.data import SIZE, boxed_photos, load_mobilenet
from tf_gradcam import Explainer
from tf_gradcam.demo import load_demo_model, phantom_slices
from tf_gradcam.image import load_image
from tf_gradcam.metrics import wilson_interval

KINDS = {"trained": 0.0, "head random": 1e-9, "later half random": 0.5, "all random": 1.0}  # share of the layers


def randomise(model: keras.Model, share: float, draw: np.random.Generator) -> None:
    """Make the weights of a share of the layers random, from the output down."""
    layers = [layer for layer in reversed(model.layers) if layer.weights]
    for layer in layers[: int(np.ceil(share * len(layers)))]:
        layer.set_weights([_random(np.asarray(value), draw) for value in layer.get_weights()])


def _random(value: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    if value.ndim < 2:
        return draw.permutation(value)
    return draw.normal(0, np.sqrt(np.mean(value**2)), value.shape).astype(value.dtype)


def dogs(root: Path, count: int, skip: int) -> tuple[keras.Model, np.ndarray]:
    photos = boxed_photos(root)
    step = len(photos) // count
    images = np.stack([load_image(photo.path, SIZE) for photo in photos[skip * step // 2 :: step]])
    return load_mobilenet(root), images.astype(np.float32) / 127.5 - 1


def rows(root: Path | None, count: int, skip: int) -> Iterator[str]:
    """Yield the rows of the table, one for each kind of model."""
    if root is None:
        model, images = load_demo_model(), phantom_slices(count, seed=5 + skip).images
    else:
        model, images = dogs(root, count, skip)
    trained = model.get_weights()
    for label, share in KINDS.items():
        model.set_weights(trained)
        randomise(model, share, np.random.default_rng(skip))
        explainer, begun = Explainer(model), time.perf_counter()
        verdicts = explainer(images).verdict(explainer, images)
        seconds = (time.perf_counter() - begun) / len(verdicts)
        holding = wilson_interval(sum(verdict.holds is True for verdict in verdicts), len(verdicts))
        shares = [
            np.mean([verdict.holds is False for verdict in verdicts]),
            np.mean([verdict.holds is None for verdict in verdicts]),
            *(np.mean([verdict.passes[kind] for verdict in verdicts]) for kind in verdicts[0].passes),
            *(np.mean([sign * verdict.beyond_centre > 0.05 for verdict in verdicts]) for sign in (1, -1)),
        ]
        interval = f"{holding.value:.2f} ({holding.low:.2f} to {holding.high:.2f})"
        yield f"| {label} | {interval} | {' | '.join(f'{value:.2f}' for value in shares)} | {seconds:.1f} s |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--photos", type=int, default=44)
    parser.add_argument("--skip", type=int, choices=(0, 1), default=0)
    options = parser.parse_args()
    kinds = "probability | whole picture | rivals | fall | stability | agreement"
    print(f"| model | holds (95 %) | refused | cannot be judged | {kinds} | beats the centre | loses to it | a map |")
    print(f"| --- {'| --- ' * 12}|")
    for row in rows(options.data, options.photos, options.skip):
        print(row, flush=True)


if __name__ == "__main__":
    main()
