"""The published walk-through: photographs in folders, a fine-tuned VGG16, a confusion matrix, Grad-CAM.

python examples/kaggle_dogs.py --data PATH/TO/dogs --weights imagenet --out dogs
python examples/kaggle_dogs.py --data PATH/TO/dogs --run RUN --out dogs
python examples/kaggle_dogs.py --out dogs

The first line is the real thing: PATH/TO/dogs holds a folder of photographs for each breed (any of Kaggle's sets of dog
breeds, unpacked), and Keras downloads VGG16's weights of ImageNet once. A GPU helps: VGG16 takes a second or two for
each photograph and epoch on a processor.

The second line trains nothing. RUN is what `python -m training.dog_breeds --data PATH/TO/dogs --out RUN` left: its best
model is explained, on the photographs that it was not trained on.

The third line needs no data and no download. Generated brain slices stand in for the photographs, and the bundled
classifier of such slices stands in for VGG16: the same layers by the same names, `block1_conv1` to `predictions`, but 8
to 48 channels wide instead of 64 to 512. It was trained on such slices, as VGG16 was trained on dogs in ImageNet, so a
new last layer is trained in seconds. Its accuracy says nothing about dogs.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from tf_gradcam import Explainer, describe, get_img_array, load_model, make_gradcam_heatmap, save_and_display_gradcam
from tf_gradcam.demo import CLASS_NAMES, load_demo_model, phantom_slices

SIZE = (224, 224)
LAST_CONV_LAYER = "block5_conv3"
CLASSIFIER_LAYERS = ["block5_pool", "flatten", "fc1", "fc2"]  # and the last layer


def write_slices(folder: Path, count: int) -> Path:
    """Write generated slices as photographs in folders, for a run without data."""
    phantom = phantom_slices(count, seed=5)
    for number, (image, label) in enumerate(zip(phantom.images, phantom.labels, strict=True)):
        path = folder / CLASS_NAMES[label] / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        keras.utils.save_img(path, image, scale=False)
    return folder


def pretrained(weights: str) -> tuple[keras.Model, Callable[[np.ndarray], np.ndarray]]:
    """Return a trained VGG16 and its preprocessing of RGB 0..255."""
    if weights == "imagenet":
        return keras.applications.VGG16(weights="imagenet"), keras.applications.vgg16.preprocess_input
    return load_demo_model(), np.asarray  # it scales by itself


def fine_tuned(base: keras.Model, class_count: int, images: np.ndarray, labels: np.ndarray, epochs: int) -> keras.Model:
    """Give the network a new last layer; train that layer first, then the last block too, slowly."""
    before = base.get_layer("fc2").output
    features = keras.Model(base.input, before).predict(images, batch_size=16, verbose=0)  # once: they stay the same
    last = keras.layers.Dense(class_count, activation="softmax", name="predictions")
    head = keras.Sequential([keras.Input(features.shape[1:]), last])
    head.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
    head.fit(features, labels, batch_size=16, epochs=30, verbose=0)

    model = keras.Model(base.input, last(before))
    for layer in model.layers:
        layer.trainable = layer.name.startswith(("block5", "fc", "predictions"))
    model.compile(keras.optimizers.Adam(1e-5), "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(images, labels, batch_size=16, epochs=epochs, verbose=0).history
    print(f"{history['accuracy'][-1]:.1%} of the training photographs right")
    return model


def main() -> None:
    """Go from the folder to the heatmaps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder of photographs for each breed; none: generated slices")
    parser.add_argument("--weights", choices=["demo", "imagenet"], default="demo", help="weights at the start")
    parser.add_argument("--run", type=Path, help="a finished training.dog_breeds; with --data, and nothing is trained")
    parser.add_argument("--epochs", type=int, default=1, help="epochs of the second stage; real dogs need 5 or more")
    parser.add_argument("--slices", type=int, default=80, help="number of generated slices if no data is given")
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    arguments = parser.parse_args()
    if arguments.run and not arguments.data:
        parser.error("--run needs --data with the photographs of that training")
    keras.utils.set_random_seed(0)
    arguments.out.mkdir(parents=True, exist_ok=True)

    # 1. Photographs: those below the folders of the breeds; every fifth is kept for validation.
    data = arguments.data or write_slices(arguments.out / "photographs", arguments.slices)
    if arguments.run:
        breeds = describe(arguments.run / "best.keras").class_names
        with open(arguments.run / "validation_samples.csv", newline="") as table:
            files = [data / row["Filename"] for row in csv.DictReader(table)]
        is_kept = np.ones(len(files), bool)
    else:
        breeds = sorted(folder.name for folder in data.iterdir() if folder.is_dir())
        files = [path for breed in breeds for path in sorted((data / breed).iterdir())]
        is_kept = np.arange(len(files)) % 5 == 4
    labels = np.array([breeds.index(path.parent.name) for path in files])
    photographs = np.concatenate([get_img_array(path, SIZE) for path in files])  # RGB 0..255
    print(f"{len(files)} photographs of {len(breeds)} breeds, {is_kept.sum()} kept for validation")

    # 2. The model, fine-tuned.
    if arguments.run:
        model, preprocess = load_model(arguments.run / "best.keras"), np.asarray  # it scales by itself
        images = photographs
    else:
        base, preprocess = pretrained(arguments.weights)
        images = preprocess(photographs.copy())
        order = np.random.default_rng(0).permutation(np.flatnonzero(~is_kept))
        model = fine_tuned(base, len(breeds), images[order], labels[order], arguments.epochs)

    # 3. The accuracy on new photographs: rows are true classes, columns are predictions.
    kept = np.flatnonzero(is_kept)
    predicted = model.predict(images[kept], verbose=0).argmax(axis=1)
    confusion = np.zeros((len(breeds), len(breeds)), int)
    np.add.at(confusion, (labels[kept], predicted), 1)
    print(f"{(predicted == labels[kept]).mean():.1%} of the kept photographs right")
    for breed, row in zip(breeds, confusion, strict=True):
        print(f"{breed:>24} {' '.join(f'{count:4d}' for count in row)}")

    # 4. Why: one photograph by the functions of the published recipe ...
    path = files[kept[0]]
    img_array = preprocess(get_img_array(path, SIZE))
    classifier_layers = [*CLASSIFIER_LAYERS, model.layers[-1].name]
    heatmap = make_gradcam_heatmap(img_array, model, LAST_CONV_LAYER, classifier_layers)
    save_and_display_gradcam(path, heatmap, arguments.out / "cam.jpg", alpha=0.4)

    # ... and one of each breed in a figure, with wrong predictions in red.
    chosen = [int(kept[np.argmax(labels[kept] == label)]) for label in range(len(breeds))][:8]
    explanation = Explainer(model, LAST_CONV_LAYER, class_names=breeds)(images[chosen])
    photos = photographs[chosen].astype(np.uint8)
    explanation.plot(photos, labels=labels[chosen]).savefig(arguments.out / "breeds.png")
    print(f"heatmap {heatmap.shape}, hottest at {heatmap.max():.1f}; see {arguments.out / 'cam.jpg'} and breeds.png")


if __name__ == "__main__":
    main()
