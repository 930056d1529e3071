"""Repairs of planted shortcuts, and of clean twins: phantom slices, a mark on nine tenths of one class, small networks.

    python -m benchmarks.repairs [--kinds corner,border,tint,moving,clean] [--seeds 5] [--how augment]
                                 [--epochs 30] [--learning-rate 0.001] [--from-layer PATH] [--keep FOLDER]

Each world is trained, audited and repaired. A row says in how many the mark's effect when it is pasted fell below what
the audit calls a shortcut, on slices that were held out, and what became of the accuracy on 400 other slices without
marks, which neither training saw. A clean twin has no shortcut, so its repair is refused. A world takes about half a
minute on two quiet cores.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from tf_gradcam.audit import audit
from tf_gradcam.demo import CLASS_NAMES, phantom_slices
from tf_gradcam.image import save_image
from tf_gradcam.metrics import Interval, wilson_interval
from tf_gradcam.repair import RepairResult, repair

SIZE, COUNT, SHARE, EPOCHS = 64, 400, 0.9, 20
MARKED = CLASS_NAMES.index("meningioma")


def corner(image: np.ndarray, generator: np.random.Generator) -> None:
    """Draw a grey square into the lower right corner."""
    image[-8:-2, -8:-2] = 200


def border(image: np.ndarray, generator: np.random.Generator) -> None:
    """Draw a line along the upper edge."""
    image[:2] = 130


def tint(image: np.ndarray, generator: np.random.Generator) -> None:
    """Make the image a little redder."""
    image[..., 0] = np.minimum(image[..., 0] * 1.05 + 8, 255)


def moving(image: np.ndarray, generator: np.random.Generator) -> None:
    """Draw a cross anywhere."""
    top, left = generator.integers(0, SIZE - 7, size=2)
    image[top : top + 7, left : left + 7] = 20
    image[top + 3, left : left + 7] = image[top : top + 7, left + 3] = 250


MARKS: dict[str, Callable[[np.ndarray, np.random.Generator], None] | None] = {
    "corner": corner,
    "border": border,
    "tint": tint,
    "moving": moving,
    "clean": None,
}


class Outcome(NamedTuple):
    """One world: the repair, or why it was refused; and the accuracy on new slices without a mark, before and after."""

    result: RepairResult | None
    refusal: str
    before: Interval
    after: Interval


def network(seed: int) -> keras.Model:
    """Return a small untrained network."""
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), layers.Rescaling(1 / 255)])
    for number, width in enumerate((16, 32, 48), start=1):
        model.add(layers.Conv2D(width, 3, padding="same", activation="relu", name=f"conv{number}"))
        model.add(layers.MaxPooling2D(2, name=f"pool{number}"))
    model.add(layers.Conv2D(48, 3, padding="same", activation="relu", name="conv4"))
    model.add(layers.GlobalMaxPooling2D())
    model.add(layers.Dense(len(CLASS_NAMES), activation="softmax"))
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
    return model


def prepare(folder: Path, kind: str, seed: int) -> None:
    """Draw the slices, train a network, and audit it; what is there already is kept."""
    if (folder / "report" / "index.html").exists():
        return
    slices = phantom_slices(COUNT, seed=77, size=SIZE)
    generator, mark = np.random.default_rng(seed), MARKS[kind]
    images = slices.images.copy()
    for number, label in enumerate(slices.labels):
        if mark is not None and label == MARKED and generator.random() < SHARE:
            mark(images[number], generator)
        path = folder / "data" / CLASS_NAMES[label] / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_image(path, images[number].astype(np.uint8))
    model = network(seed)
    order = generator.permutation(COUNT)
    model.fit(images[order], slices.labels[order], batch_size=32, epochs=EPOCHS, verbose=0)
    model.save(folder / "best.keras")
    audit(folder / "best.keras", folder / "data", folder / "report", num_images=0, sanity=False, seed=seed)


def accuracy(model: Path) -> Interval:
    """Return the accuracy on new slices without marks."""
    slices = phantom_slices(COUNT, seed=78, size=SIZE)
    predicted = keras.saving.load_model(model).predict(slices.images, verbose=0).argmax(axis=1)
    return wilson_interval(int((predicted == slices.labels).sum()), COUNT)


def run(folder: Path, kind: str, seed: int, **options: Any) -> Outcome:
    """Prepare a world and repair it."""
    prepare(folder, kind, seed)
    before = accuracy(folder / "best.keras")
    try:
        result = repair(
            folder / "best.keras", folder / "data", folder / "report", folder / "repaired", seed=seed, **options
        )
    except ValueError as error:
        return Outcome(None, str(error), before, before)
    return Outcome(result, "", before, accuracy(result.model))


def table(outcomes: dict[str, list[Outcome]]) -> str:
    """Return a row for each kind of mark."""
    heads = ["planted", "found", "gone", "pasting turns", "and then", "accuracy without marks", "and then", "fell"]
    lines = [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    for kind, some in outcomes.items():
        results = [one.result for one in some if one.result is not None]
        cells = [kind, f"{len(results)} of {len(some)}"]
        if results:
            cells.append(f"{sum(not result.after.is_pasted for result in results)} of {len(results)}")
            cells += [
                f"{np.mean([getattr(r, when).pasting.value for r in results]):.0%}" for when in ("before", "after")
            ]
        cells += [""] * (5 - len(cells))
        cells += [f"{np.mean([getattr(one, when).value for one in some]):.3f}" for when in ("before", "after")]
        cells.append(str(sum(one.after.value < one.before.low for one in some)))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Repair every world, print a line for each and the table; return 0."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.repairs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kinds", default=",".join(MARKS), help="names, separated by commas")
    parser.add_argument("--seeds", type=int, default=5, help="number of worlds of each kind")
    parser.add_argument("--how", choices=["augment", "guide", "both"], default="augment")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--from-layer", help="first layer that is fine-tuned")
    parser.add_argument("--keep", type=Path, help="folder that keeps the worlds, to try other settings on them")
    options = parser.parse_args(arguments)
    settings = {name: getattr(options, name) for name in ("how", "epochs", "learning_rate", "from_layer")}
    outcomes: dict[str, list[Outcome]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for seed in range(options.seeds):
            for kind in options.kinds.split(","):
                begun = time.perf_counter()
                outcome = run((options.keep or Path(temporary)) / f"{kind}{seed}", kind, seed, **settings)
                outcomes.setdefault(kind, []).append(outcome)
                seconds = time.perf_counter() - begun
                result = outcome.result
                print(f"{kind} {seed}, {seconds:.0f} s: {outcome.refusal if result is None else result.verdict}")
                if result is not None:
                    print(f"{result}\nnew slices, without marks: {outcome.before}, {outcome.after}", flush=True)
    print(table(outcomes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
