"""Grad-CAM during training: maps of the same few images after each epoch.

python examples/training_callback.py pictures

Trains a small network from random weights on generated brain slices. `pictures/epoch_0000.png` is the network before
training, the last one the network at the end; where the heat moves onto the tumours, the network found what tells the
classes apart. The callback changes nothing: the training is the same, bit for bit, as without it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras

from tf_gradcam.callbacks import GradCAMCallback
from tf_gradcam.demo import CLASS_NAMES, phantom_slices

SIZE = 64  # pixels a side: small enough for a laptop, large enough for a tumour


def small_network() -> keras.Model:
    """Return four convolutions, global pooling and a Dense layer: RGB 0..255 to probabilities."""
    layers = keras.layers
    model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), layers.Rescaling(1 / 255)])
    for number, width in enumerate((16, 32, 48), start=1):
        model.add(layers.Conv2D(width, 3, padding="same", activation="relu", name=f"conv{number}"))
        model.add(layers.MaxPooling2D(2, name=f"pool{number}"))
    model.add(layers.Conv2D(48, 3, padding="same", activation="relu", name="conv4"))
    model.add(layers.GlobalMaxPooling2D(name="pool"))
    model.add(layers.Dense(len(CLASS_NAMES), activation="softmax", name="predictions"))
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main() -> None:
    """Train, and write a picture after every other epoch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="folder for the pictures")
    parser.add_argument("--epochs", type=int, default=10, help="number of epochs; more give a better network")
    parser.add_argument("--slices", type=int, default=480, help="number of slices; more give a better network")
    arguments = parser.parse_args()

    keras.utils.set_random_seed(0)
    training = phantom_slices(arguments.slices, seed=1, size=SIZE)
    validation = phantom_slices(80, seed=2, size=SIZE)
    watched = GradCAMCallback(
        validation.images[:8],  # a fixed few, as the model takes them
        arguments.directory,
        validation.labels[:8],  # the true class is explained; a wrong prediction is red
        class_names=CLASS_NAMES,
        layer="conv4",
        every=2,
    )
    model = small_network()
    history = model.fit(
        training.images,
        training.labels,
        validation_data=(validation.images, validation.labels),
        epochs=arguments.epochs,
        callbacks=[watched],
        verbose=0,
    )
    for epoch, accuracy in enumerate(history.history["val_accuracy"], start=1):
        print(f"epoch {epoch}: {accuracy:.1%} of unseen slices right")
    print(f"{len(list(arguments.directory.glob('epoch_*.png')))} pictures in {arguments.directory}")


if __name__ == "__main__":
    main()
