"""Cost of guided training: a step with each guidance loss relative to a plain step.

    python -m benchmarks.guidance [--network MobileNetV2] [--size 224] [--batch 8] [--rounds 9]

The networks start from random weights; the images are noise. In each round every variant makes one step, in turn.
Counted is processor time, which other work on the machine changes less than the clock. Prints a Markdown table: the
median of the rounds' ratios, and their smallest and largest.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from benchmarks import machine
from tf_gradcam import guidance

LOSSES = ("energy_outside", "hirescam_mask", "right_reasons", "attention_mining")


def compiled(network: str, size: int, loss: str | None) -> keras.Model:
    """Build a network for ten classes, guided by a loss or plain."""
    plain = getattr(keras.applications, network)(weights=None, classes=10, input_shape=(size, size, 3))
    model = plain if loss is None else guidance.GuidedModel(plain, {loss: 1.0})
    model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
    return model


def ratios(network: str, size: int, batch: int, rounds: int) -> dict[str, np.ndarray]:
    """Return for each loss the processor time of its step, relative to the plain step of the same round."""
    generator = np.random.default_rng(0)
    images = generator.uniform(-1, 1, (batch, size, size, 3)).astype(np.float32)
    labels, masks = np.arange(batch) % 10, np.zeros((batch, size, size), np.float32)
    masks[:, : size // 2] = 1
    models = {loss: compiled(network, size, loss) for loss in (None, *LOSSES)}
    seconds: dict[str | None, list[float]] = {loss: [] for loss in models}
    for _ in range(rounds + 1):  # the first round traces
        for loss, model in models.items():
            before = time.process_time()
            # Keras hands a third element to the step as it is; a guided model takes it for the masks.
            model.train_on_batch(images, labels, None if loss is None else masks)
            seconds[loss].append(time.process_time() - before)
    return {loss: np.divide(seconds[loss], seconds[None])[1:] for loss in LOSSES}


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="MobileNetV2", help="a network of keras.applications")
    parser.add_argument("--size", type=int, default=224, help="pixels a side")
    parser.add_argument("--batch", type=int, default=8, help="images of a step")
    parser.add_argument("--rounds", type=int, default=9, help="measured steps of each variant")
    options = parser.parse_args(arguments)
    print(machine.describe(), end="\n\n")
    print(f"| {options.network}, {options.size} px, batch {options.batch} | x plain step | from | to |")
    print("| --- | --- | --- | --- |")
    for loss, found in ratios(options.network, options.size, options.batch, options.rounds).items():
        print(f"| `{loss}` | {np.median(found):.1f} | {found.min():.1f} | {found.max():.1f} |")


if __name__ == "__main__":
    main()
