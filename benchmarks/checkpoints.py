"""A real network compared with changed ones, on dog photographs: what `tf-gradcam diff` says of a known change.

    python -m benchmarks.checkpoints --data DATA [--photos 176] [--changes rounded,noise1,noise5,top]

DATA is described in `benchmarks.data`. The new model is MobileNet 0.75 with its weights rounded to float16, with normal
noise of 1 or 5 % of each kernel's standard deviation, or with a top layer of random weights. A row of 176 photographs
took nine minutes on one thread of a busy machine.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from benchmarks.data import MOBILENET, boxed_photos, load_mobilenet
from tf_gradcam import compare_models


def rounded(model: keras.Model) -> None:
    """Round all weights to float16."""
    model.set_weights([weights.astype(np.float16).astype(np.float32) for weights in model.get_weights()])


def noise(model: keras.Model, deviation: float) -> None:
    """Add noise to all kernels, relative to the standard deviation of each."""
    draw = np.random.default_rng(1)
    weights = model.get_weights()
    model.set_weights([x + draw.normal(0, deviation * x.std(), x.shape) if x.ndim == 4 else x for x in weights])


def top(model: keras.Model) -> None:
    """Draw the kernel of the top layer, with the deviation of the trained one."""
    layer = model.get_layer("conv_preds")
    kernel, bias = layer.get_weights()
    layer.set_weights([np.random.default_rng(0).normal(0, kernel.std(), kernel.shape), bias])


CHANGES: dict[str, Callable[[keras.Model], None]] = {
    "rounded": rounded,
    "noise1": partial(noise, deviation=0.01),
    "noise5": partial(noise, deviation=0.05),
    "top": top,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what is said of each change."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.checkpoints", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=176)
    parser.add_argument("--changes", default=",".join(CHANGES))
    parser.add_argument("--out", type=Path, default=Path("checkpoints"))
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    by_class: dict[int, list[str]] = {}
    for photo in sorted(boxed_photos(options.data), key=lambda photo: photo.path):
        by_class.setdefault(photo.class_index, []).append(str(photo.path.resolve()))
    each = options.photos // len(by_class)
    lines = [f"{path},{index}" for index, paths in by_class.items() for path in paths[:each]]
    table = options.out / "photos.csv"
    table.write_text("\n".join(["file,label", *lines]) + "\n", encoding="utf-8")
    names = (options.data / MOBILENET / "imagenet_classes.txt").read_text(encoding="utf-8").splitlines()
    old = load_mobilenet(options.data)
    for name in options.changes.split(","):
        new = load_mobilenet(options.data)
        CHANGES[name](new)
        result = compare_models(old, new, table, options.out / name, class_names=names, preprocess="tf")
        print(name, *result.lines(), sep="\n  ", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
