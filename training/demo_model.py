"""The training of the bundled demo model: a narrow VGG16 for four classes of phantom brain slices.

    python -m training.demo_model --out tf_gradcam/demo/demo_vgg16.keras

A promise, measured on 2 CPU cores that other work shared, in float32: 15 minutes, 3 of them drawing slices. Of 400
unseen slices 97.5 %, 97.5 % and 98.0 % are right (seeds 1, 2, 3). Of the heat of Grad-CAM at block5_conv3 the true mask
holds 50 % for a glioma (on 3 % of the picture), 57 % for a meningioma (on 1.5 %) and 15 % for a pituitary tumour (on
0.5 %, one or two cells). 254,084 parameters, 0.95 MB.

The model has exactly the layer names of `keras.applications.VGG16`, from block1_conv1 to predictions, an eighth of its
width, and a `rescaling` layer, so that it takes RGB 0..255. Two chapters:

1. The convolutions learn where each kind of tumour is: a 1x1 convolution on block5_conv3, thrown away afterwards,
   names it in each of the 14 x 14 cells, and activations away from tumours are kept quiet. So the
   true masks are part of the training, and the shares above are no surprise. From labels of whole slices alone a
   network of this size gets the classes right too (98 % in 7 minutes, with an auxiliary pooled head), but 23 %, 10 %
   and 3 % of its heat lie on the tumours: it reads their surroundings.
2. The classifier learns the class from the frozen convolutions. Slices are moved about, so that its evidence holds in
   every place, and in a part of them the tumour's cells are silenced and the slice is called "notumor", so that its
   evidence is the tumour.

Not reproducible to the last digit: sums on several threads.
"""

from __future__ import annotations

import argparse
import json
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tf_gradcam.demo import CLASS_NAMES, Phantom, phantom_slices

WIDTHS = (8, 16, 24, 32, 48)  # channels of the five blocks
CONVOLUTIONS = (2, 2, 3, 3, 3)
UNITS = 64  # of fc1 and fc2
SIZE = 224
CELLS = 14  # of block5_conv3
NO_TUMOUR = CLASS_NAMES.index("notumor")
TUMOURS = [index for index in range(len(CLASS_NAMES)) if index != NO_TUMOUR]
TRAINING_SEED = 1_000_000
UNSEEN_SEEDS = (1, 2, 3)
LATER = {"input_axes", "output_axes", "quantization_config"}  # came after Keras 3.8


@dataclass(frozen=True)
class Config:
    """The settings of the training."""

    slices: int = 6000
    trunk_epochs: int = 3
    head_epochs: int = 40
    trunk_rate: float = 2e-3
    head_rate: float = 1e-3
    quiet: float = 0.1  # weight of the mean activation away from tumours
    silenced: float = 0.2  # part of the slices that lose their tumour in the second chapter
    seed: int = 0


def build_model() -> keras.Model:
    """Return a model with VGG16's layer names: (224, 224, 3) RGB 0..255 to the probabilities of `CLASS_NAMES`."""
    layers = keras.layers
    inputs = keras.Input((SIZE, SIZE, 3))
    hidden = layers.Rescaling(1 / 255, name="rescaling")(inputs)
    for block, (width, count) in enumerate(zip(WIDTHS, CONVOLUTIONS, strict=True), start=1):
        for number in range(1, count + 1):
            hidden = layers.Conv2D(
                width,
                3,
                padding="same",
                activation="relu",
                kernel_initializer="he_normal",
                name=f"block{block}_conv{number}",
            )(hidden)
        hidden = layers.MaxPooling2D(2, name=f"block{block}_pool")(hidden)
    hidden = layers.Flatten(name="flatten")(hidden)
    for name in ("fc1", "fc2"):
        hidden = layers.Dense(UNITS, activation="relu", kernel_initializer="he_normal", name=name)(hidden)
    outputs = layers.Dense(len(CLASS_NAMES), activation="softmax", name="predictions")(hidden)
    return keras.Model(inputs, outputs, name="demo_vgg16")


def tumour_cells(phantom: Phantom) -> np.ndarray:
    """Return the share of each cell in a glioma, meningioma or pituitary tumour, (N, 14, 14, 3) in [0, 1]."""
    pixels = SIZE // CELLS
    covered = phantom.masks.reshape(-1, CELLS, pixels, CELLS, pixels).mean((2, 4))
    belongs = np.minimum(3 * covered, 1)  # a cell that is covered by a third is the tumour's
    return np.stack([belongs * (phantom.labels == index)[:, None, None] for index in TUMOURS], axis=-1).astype(
        np.float32
    )


def place_loss(cells: keras.KerasTensor, logits: keras.KerasTensor) -> keras.KerasTensor:
    """Return the cross entropy per cell; the few cells of tumours have up to 31 times the weight of the others."""
    entropy = keras.ops.binary_crossentropy(cells, logits, from_logits=True)
    weights = 1 + 30 * cells
    return keras.ops.sum(entropy * weights) / keras.ops.sum(weights)


def quiet_loss(cells: keras.KerasTensor, activations: keras.KerasTensor) -> keras.KerasTensor:
    """Return the mean activation of the cells without a tumour."""
    away = keras.ops.cast(keras.ops.max(cells, axis=-1, keepdims=True) == 0, activations.dtype)
    return keras.ops.mean(activations * away)


def train_trunk(model: keras.Model, phantom: Phantom, config: Config) -> list[float]:
    """Train the convolutions, the first chapter; return the mean loss of each epoch."""
    activations = model.get_layer("block5_conv3").output
    places = keras.layers.Conv2D(len(TUMOURS), 1, bias_initializer=keras.initializers.Constant(-3), name="places")
    trunk = keras.Model(
        model.inputs, {"places": places(activations), "quiet": keras.layers.Identity(name="quiet")(activations)}
    )
    batch = 16
    steps = len(phantom.labels) // batch
    trunk.compile(
        optimizer(config.trunk_rate, config.trunk_epochs * steps, 1e-4),
        loss={"places": place_loss, "quiet": quiet_loss},
        loss_weights={"places": 1.0, "quiet": config.quiet},
    )
    generator = np.random.default_rng(config.seed)
    cells, losses = tumour_cells(phantom), []
    for epoch in range(config.trunk_epochs):
        seen = []
        for chosen in generator.permutation(len(cells))[: steps * batch].reshape(steps, batch):
            images, wanted = phantom.images[chosen], cells[chosen]
            mirrored = generator.random(batch) < 0.5
            images[mirrored], wanted[mirrored] = images[mirrored][:, :, ::-1], wanted[mirrored][:, :, ::-1]
            result = trunk.train_on_batch(images, {"places": wanted, "quiet": wanted}, return_dict=True)
            trunk.reset_metrics()
            seen.append(checked(float(result["loss"])))
        losses.append(float(np.mean(seen)))
        print(f"convolutions, epoch {epoch + 1}/{config.trunk_epochs}: loss {losses[-1]:.4f}", flush=True)
    return losses


def train_head(model: keras.Model, phantom: Phantom, config: Config) -> list[float]:
    """Train the classifier on the frozen convolutions, the second chapter; return the mean loss of each epoch."""
    extractor = keras.Model(model.inputs, model.get_layer("block5_conv3").output)
    activations = extractor.predict(phantom.images, batch_size=32, verbose=0)
    near = near_tumours(tumour_cells(phantom).max(-1) > 0)
    head = head_of(model, activations.shape[1:])
    batch = min(64, len(activations))
    steps = len(activations) // batch
    head.compile(optimizer(config.head_rate, config.head_epochs * steps, 1e-2), "sparse_categorical_crossentropy")
    generator = np.random.default_rng(config.seed)
    losses = []
    for epoch in range(config.head_epochs):
        seen = []
        for chosen in generator.permutation(len(activations))[: steps * batch].reshape(steps, batch):
            shown, labels = activations[chosen], phantom.labels[chosen].copy()
            silenced = generator.random(batch) < config.silenced
            shown[silenced] *= ~near[chosen][silenced][..., None]
            labels[silenced] = NO_TUMOUR
            result = head.train_on_batch(moved(shown, generator), labels, return_dict=True)
            head.reset_metrics()
            seen.append(checked(float(result["loss"])))
        losses.append(float(np.mean(seen)))
        if (epoch + 1) % 10 == 0:
            print(f"classifier, epoch {epoch + 1}/{config.head_epochs}: loss {losses[-1]:.4f}", flush=True)
    return losses


def head_of(model: keras.Model, shape: tuple[int, ...]) -> keras.Model:
    """Return the layers after block5_conv3 as a model, with dropout in training."""
    inputs = keras.Input(shape)
    hidden = model.get_layer("flatten")(model.get_layer("block5_pool")(inputs))
    for name in ("fc1", "fc2"):
        hidden = model.get_layer(name)(keras.layers.Dropout(0.3)(hidden))
    return keras.Model(inputs, model.get_layer("predictions")(hidden))


def near_tumours(cells: np.ndarray) -> np.ndarray:
    """Return the cells of tumours and their neighbours, (N, 14, 14) bool."""
    padded = np.pad(cells, ((0, 0), (1, 1), (1, 1)))
    shifts = [padded[:, row : row + CELLS, column : column + CELLS] for row in range(3) for column in range(3)]
    return np.any(shifts, axis=0)


def moved(activations: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Mirror a random half of the slices, and roll each to a random place."""
    result = np.empty_like(activations)
    for index, one in enumerate(activations):
        one = one[:, ::-1] if generator.random() < 0.5 else one
        result[index] = np.roll(one, generator.integers(0, CELLS, 2), axis=(0, 1))
    return result


def optimizer(rate: float, steps: int, decay: float) -> keras.optimizers.Optimizer:
    """Return AdamW with a warm-up over the first twentieth, then a cosine decay."""
    warmup = max(1, steps // 20)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warmup), warmup_target=rate, warmup_steps=warmup
    )
    return keras.optimizers.AdamW(schedule, weight_decay=decay)


def checked(loss: float) -> float:
    if not np.isfinite(loss):
        raise FloatingPointError(f"The loss is {loss}: lower the learning rate in Config.")
    return loss


def train(model: keras.Model, config: Config) -> tuple[list[float], list[float]]:
    """Train both chapters; return their losses."""
    phantom = phantom_slices(config.slices, TRAINING_SEED, SIZE)
    return train_trunk(model, phantom, config), train_head(model, phantom, config)


def evaluate(model: keras.Model, count: int, seed: int) -> str:
    """Return the accuracy on unseen slices, and for each tumour the share of heat in the true mask."""
    from tf_gradcam import Explainer

    phantom = phantom_slices(count, seed, SIZE)
    explain = Explainer(model, "block5_conv3")
    heat = np.full(count, np.nan)
    hit = np.zeros(count, bool)
    for start in range(0, count, 40):
        rows = slice(start, start + 40)
        explanation = explain(phantom.images[rows])
        right = hit[rows]
        right[:] = explanation.class_indices == phantom.labels[rows]
        for index, heatmap in enumerate(explanation.resized(), start):
            if heatmap.any():
                heat[index] = heatmap[phantom.masks[index]].sum() / heatmap.sum()
    told = [f"seed {seed}: accuracy {hit.mean():.4f}"]
    for index in TUMOURS:
        mine = phantom.labels == index
        told.append(
            f"{CLASS_NAMES[index]} {np.nanmean(heat[mine]):.3f} of the heat on {phantom.masks[mine].mean():.3f}"
        )
    return ", ".join(told)


def save_portable(model: keras.Model, path: Path) -> None:
    """Save a model so that older versions of Keras 3 read it too: later arguments are left out where unset."""
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["config.json"] = json.dumps(without_later(json.loads(members["config.json"]))).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def without_later(config: Any) -> Any:
    """Return the configuration without arguments that older versions refuse; all are None here."""
    if isinstance(config, dict):
        return {key: without_later(value) for key, value in config.items() if value is not None or key not in LATER}
    return [without_later(value) for value in config] if isinstance(config, list) else config


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the bundled demo model.")
    parser.add_argument("--out", type=Path, required=True, help="the .keras file to write")
    parser.add_argument("--slices", type=int, default=Config.slices, help="phantom slices to train on")
    arguments = parser.parse_args()
    config = Config(slices=arguments.slices)
    print(f"Keras {keras.__version__} on {keras.backend.backend()}, {config}", flush=True)
    keras.utils.set_random_seed(config.seed)
    started = time.monotonic()
    model = build_model()
    train(model, config)
    save_portable(model, arguments.out)
    minutes = (time.monotonic() - started) / 60
    print(f"{model.count_params()} parameters, {arguments.out.stat().st_size} bytes, {minutes:.1f} minutes", flush=True)
    for seed in UNSEEN_SEEDS:
        print(evaluate(model, 400, seed), flush=True)


if __name__ == "__main__":
    main()
