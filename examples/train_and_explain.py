"""A training to copy: a folder of photographs, a pretrained network, two stages, Grad-CAM of the best epoch.

pip install .    # in a clone, once
python examples/train_and_explain.py --out run
python examples/train_and_explain.py --out dogs --data PATH/TO/PHOTOS --weights imagenet

PATH/TO/PHOTOS holds a folder of photographs for each class. Keras downloads ImageNet's weights of EfficientNetV2-B0
once. Without a folder, generated brain slices and the convolutions of the bundled demo model take their places: offline
and in a minute or two on a CPU.

Plain Keras, to be changed line by line. The trainings in `training/` are the robust version: they keep near-identical
photographs on one side of the split, go on after an interruption, and write metrics with their intervals.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
import numpy as np

from tf_gradcam import Explainer, describe
from tf_gradcam.demo import CLASS_NAMES, load_demo_model, phantom_slices

SIZE = (224, 224)


def write_slices(folder: Path, count: int) -> Path:
    """Write generated slices as photographs in a folder for each class."""
    print(f"drawing {count} slices", flush=True)
    phantom = phantom_slices(count, seed=3)
    for number, (image, label) in enumerate(zip(phantom.images, phantom.labels, strict=True)):
        path = folder / CLASS_NAMES[label] / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        keras.utils.save_img(path, image, scale=False)
    return folder


def backbone(weights: str) -> tuple[keras.Model, str]:
    """Return convolutions that take RGB 0..255, and how the names of the last block's layers begin.

    Another network may want its `preprocess_input` first: make it a `keras.layers.Rescaling` inside of the model.
    """
    if weights == "demo":
        demo = load_demo_model()
        return keras.Model(demo.input, demo.get_layer("block5_pool").output), "block5"
    shape = (*SIZE, 3)
    return keras.applications.EfficientNetV2B0(include_top=False, weights=weights, input_shape=shape), "block6"


def main() -> None:
    """Train, keep the best epoch, explain it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with a folder for each class; none: generated slices")
    parser.add_argument("--weights", default="demo", help="demo, imagenet, or a file for the network")
    parser.add_argument("--epochs", type=int, nargs=2, default=(6, 2), help="of the head, then of the last block too")
    parser.add_argument("--rates", type=float, nargs=2, default=(2e-2, 1e-4), help="learning rate of each stage")
    parser.add_argument("--slices", type=int, default=240, help="number of generated slices")
    parser.add_argument("--out", type=Path, required=True, help="new folder for the model and the pictures")
    arguments = parser.parse_args()
    if arguments.data and arguments.weights == "demo":
        parser.error("the demo weights know brain slices only: add --weights imagenet, or a file")
    if arguments.out.exists():
        parser.error(f"{arguments.out} exists: name a new folder with --out")
    if arguments.data and not arguments.data.is_dir():
        parser.error(f"there is no folder {arguments.data}: name one that holds a folder for each class")
    if not any(arguments.epochs):
        parser.error("nothing to train: give at least one epoch")
    keras.utils.set_random_seed(0)

    # 1. Data: photographs resized to one size, a fifth of them for validation.
    data = arguments.data or write_slices(arguments.out / "slices", arguments.slices)
    train, validation = keras.utils.image_dataset_from_directory(
        data, validation_split=0.2, subset="both", seed=0, image_size=SIZE, batch_size=16
    )
    names = train.class_names
    arguments.out.mkdir(parents=True, exist_ok=True)
    flip = keras.layers.RandomFlip("horizontal", seed=0)
    augmented = train.map(lambda images, labels: (flip(images, training=True), labels)).prefetch(2)
    validation = validation.prefetch(2)

    # 2. Model: frozen convolutions and a new head, in one flat graph.
    base, last_block = backbone(arguments.weights)
    hidden = keras.layers.GlobalAveragePooling2D(name="pool")(base.output)
    hidden = keras.layers.Dropout(0.2, name="dropout")(hidden)
    outputs = keras.layers.Dense(len(names), activation="softmax", name="predictions")(hidden)
    model = keras.Model(base.input, outputs)

    # 3. Two stages: the head alone, then the last block too, slowly. The best epoch of both is kept.
    file = arguments.out / "best.keras"
    best = keras.callbacks.ModelCheckpoint(file, monitor="val_accuracy", save_best_only=True)
    for block, epochs, rate in zip((None, last_block), arguments.epochs, arguments.rates, strict=True):
        for layer in base.layers:  # batch normalisation stays frozen: small batches would spoil its averages
            is_normalisation = isinstance(layer, keras.layers.BatchNormalization)
            layer.trainable = block is not None and layer.name.startswith(block) and not is_normalisation
        model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
        if epochs:
            options = {"epochs": epochs, "callbacks": [best], "shuffle": False}  # the data set shuffles by itself
            model.fit(augmented, validation_data=validation, verbose=2, **options)

    # 4. The file knows its class names and scaling, so `tf-gradcam explain PHOTO --model best.keras` needs no more.
    describe(file, class_names=names, preprocess="raw")
    model = keras.saving.load_model(file)
    _, accuracy = model.evaluate(validation, verbose=0)
    print(f"{accuracy:.1%} of the validation photographs right, by the best epoch")

    # 5. Why: a few validation photographs with their Grad-CAM; wrong predictions are red.
    images, labels = (np.concatenate(part) for part in zip(*validation.as_numpy_iterator(), strict=True))
    chosen = [index for label in range(len(names)) for index in np.flatnonzero(labels == label)[:2]][:12]
    explanation = Explainer(model, class_names=names)(images[chosen])
    figure = explanation.plot(images[chosen].astype(np.uint8), labels=labels[chosen])
    figure.savefig(arguments.out / "gradcam.png")
    print(f"see {arguments.out / 'gradcam.png'}; tf-gradcam explain PHOTO --model {file} --out heatmaps")


if __name__ == "__main__":
    main()
