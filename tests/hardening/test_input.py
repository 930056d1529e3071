"""What people get wrong, in one table: what is given, the exception, and words that name the argument and the remedy.

`PYTHON` holds calls of the public functions, `COMMANDS` lines of the command line. A command that is used wrongly says
one line on stderr, leaves the folder as it was, and ends with 2; one whose images are at fault ends with 1.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

import tf_gradcam as tg
from tests.helpers.pictures import encoded
from tests.helpers.redblue import red_blue_model, red_blue_photo, write_photo
from tests.helpers.slow import every
from tf_gradcam import targets
from tf_gradcam._cli.main import main
from tf_gradcam._files.class_names import load_class_names
from tf_gradcam._files.manifest import COLUMNS
from tf_gradcam._models.loading import load_model
from tf_gradcam.audit.annotations import BoxTable, MaskFolder
from tf_gradcam.audit.sources import find_samples
from tf_gradcam.callbacks import GradCAMCallback
from tf_gradcam.demo import phantom_slices, run_demo
from tf_gradcam.image.io import load_image, save_image


class World:
    """What the cases are told with: a model of 6 x 10 pixels, two classes, and files."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.model = red_blue_model()
        self.file = folder / "red_blue.keras"
        self.model.save(self.file)
        self.photo = red_blue_photo()
        self.photo_file = write_photo(folder)
        self.images = np.stack([self.photo, self.photo[:, ::-1]]).astype(np.float32)
        self.explainer = tg.Explainer(self.model, class_names=["red", "blue"])
        self.maps = self.explainer(self.images)
        self.heatmap = self.maps.heatmaps[0]

    def text(self, content: str | bytes, name: str = "table.csv") -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


Case = tuple[Callable[[World], object], type[Exception], str]
NOT_FINITE = np.full((1, 6, 10, 3), np.nan)
ANY_TARGET = "target as None, a class index, a class name, one of these per image, or a callable"
SIZE = r"size \(height, width\) in pixels as two positive integers, such as \(224, 224\)"
PATH = "as a path, received"
UNIT_HEAT = r"Set negative values and NaN to 0, then divide by the maximum"

IMAGES: list[Case] = [
    (lambda w: w.explainer(None), TypeError, "the images as an array of numbers, received None"),
    (lambda w: w.explainer(3), ValueError, r"the images of shape \(B, 6, 10, 3\), received \(\)"),
    (lambda w: w.explainer([]), ValueError, r"the images of shape \(B, 6, 10, 3\)"),
    (lambda w: w.explainer({}), TypeError, "Expected inputs named .* missing"),
    (lambda w: w.explainer("photo.png"), TypeError, r"path 'photo.png': read it with get_img_array\('photo.png'"),
    (
        lambda w: w.explainer(iter(w.images)),
        TypeError,
        r"received the iterator iterator: explain a batch of it at a time, for example next\(batches\)",
    ),
    (lambda w: w.explainer(w.images[0]), ValueError, r"a single image needs a batch axis: images\[None\]"),
    (lambda w: w.explainer(w.images[:0]), ValueError, "at least one image, received an empty batch"),
    (lambda w: w.explainer(w.images[..., :1]), ValueError, r"repeat the grey channel: np.repeat"),
    (lambda w: w.explainer(w.images.repeat(2, 1)), ValueError, r"resize to 6x10 \(get_img_array"),
    (lambda w: w.explainer(np.moveaxis(w.images, -1, 1)), ValueError, "the channels come last: np.moveaxis"),
    (lambda w: w.explainer(np.zeros((1, 6, 10, 4))), ValueError, r"drop the alpha channel: images\[..., :3\]"),
    (lambda w: w.explainer(w.images.astype(complex)), TypeError, "numbers for the images, received dtype complex128"),
    (lambda w: w.explainer(np.full((1, 6, 10, 3), "a")), TypeError, "numbers for the images, received dtype str"),
    (lambda w: w.explainer(np.zeros((1, 6, 10, 3), "M8[s]")), TypeError, "for the images, received dtype datetime64"),
    (lambda w: w.explainer(np.zeros((1, 6), [("a", "f4")])), TypeError, "numbers for the images, received dtype void"),
    (lambda w: w.explainer([w.images[0], w.images[0][:3]]), ValueError, "different shapes: resize the images to one"),
    (lambda w: w.explainer(NOT_FINITE), ValueError, "images of finite numbers.*check how they were loaded and scaled"),
    (lambda w: w.explainer(np.full((1, 6, 10, 3), 1e300)), ValueError, "images of finite numbers"),
    (
        lambda w: w.explainer(tf.data.Dataset.from_tensors(w.images)),
        TypeError,
        r"a tf.data.Dataset: explain a batch of it at a time, for example next\(iter\(dataset\)\)",
    ),
]

TARGETS: list[Case] = [
    (lambda w: w.explainer(w.images, -1), ValueError, "a class index of 0 or more.*received -1"),
    (lambda w: w.explainer(w.images, 2), ValueError, "a class index below 2, the number of classes"),
    (lambda w: w.explainer(w.images, 2**40), ValueError, "a class index of 0 or more, below the number of classes"),
    (lambda w: w.explainer(w.images, 1.0), TypeError, f"{ANY_TARGET}.*received float"),
    (lambda w: w.explainer(w.images, True), TypeError, f"{ANY_TARGET}.*received bool"),
    (lambda w: w.explainer(w.images, b"red"), TypeError, f"{ANY_TARGET}.*received bytes"),
    (lambda w: w.explainer(w.images, {0, 1}), TypeError, f"{ANY_TARGET}.*received set"),
    (lambda w: w.explainer(w.images, "reed"), ValueError, "Unknown class 'reed'. Did you mean 'red'"),
    (lambda w: w.explainer(w.images, ""), ValueError, "Unknown class ''. Known: 'red', 'blue'"),
    (lambda w: w.explainer(w.images, [0]), ValueError, "one target per image, 2 in all, received 1"),
    (lambda w: w.explainer(w.images, [0, 0.5]), TypeError, "a class index or name per image, received 0.5"),
    (lambda w: w.explainer(w.images, np.zeros((2, 2), int)), TypeError, r"index or name per image, received \[0, 0\]"),
    (lambda w: w.explainer(w.images, lambda o: None), ValueError, r"target to return one score per image.*NoneType"),
    (lambda w: w.explainer(w.images, lambda o: o), ValueError, r"one score per image, a tensor \(B,\), received shape"),
    (lambda w: w.explainer(w.images, lambda: 1), ValueError, r"Expected a target that takes outputs \(B, 2\)"),
    (lambda w: w.explainer(w.images, lambda o: tf.zeros(3)), ValueError, "score does not depend on layer 'hue'"),
    (lambda w: w.explainer(w.images, targets.Value(5)), ValueError, r"an index below 2 in Value\(index=5\)"),
    (lambda w: w.explainer(w.images, targets.Unit(7)), ValueError, r"an index below 2 in Unit\(index=7"),
    (lambda w: w.explainer(w.images, targets.Element(5)), ValueError, "a position below 2 on axis 1"),
    (lambda w: w.explainer(w.images, targets.Region(0)), ValueError, r"segmentation outputs \(B, H, W, K\) for Region"),
    (lambda w: w.explainer(w.images, targets.OutputOf("a")), ValueError, "several outputs .* Use its target alone"),
    (lambda w: w.explainer(w.images, targets.Similarity([1, 2, 3])), ValueError, "an embedding of 2 numbers"),
    (lambda w: w.explainer(w.images, targets.ClassScore("reed")), ValueError, "Unknown class 'reed'. Did you mean"),
    (lambda w: targets.Value(-1), ValueError, "a position of 0 or more, received -1"),
    (lambda w: targets.Value(0.5), TypeError, "a position in the outputs as an integer, received 0.5"),
    (lambda w: targets.Distance(np.inf), ValueError, "a finite value, received inf"),
    (lambda w: targets.Distance("far"), TypeError, "Expected value as a number, received 'far'"),
    (lambda w: targets.Region(0, np.zeros((6, 10))), ValueError, "a mask with at least one pixel"),
    (lambda w: targets.Element(), ValueError, "a position for each axis of the outputs, received none"),
    (lambda w: targets.Similarity(np.zeros(3)), ValueError, "an embedding of finite numbers that are not all zero"),
    (lambda w: targets.Similarity("abc"), TypeError, "Expected embedding as an array of numbers"),
    (lambda w: targets.Contrast(0, 0), ValueError, "two different classes, received 0 twice"),
    (lambda w: targets.MultiLabel([]), ValueError, "indices as a list of at least one label"),
]

EXPLAINERS: list[Case] = [
    (lambda w: tg.Explainer(None), TypeError, "a Keras 3 model, received builtins.NoneType. Pass the keras.Model"),
    (lambda w: tg.Explainer("m.keras"), TypeError, r"Load it first: tf_gradcam.load_model\('m.keras'\)"),
    (lambda w: tg.Explainer(keras.Model), TypeError, "a Keras 3 model, received builtins.type"),
    (lambda w: tg.Explainer(w.model.layers[1]), TypeError, "a Keras 3 model, received keras.*Pass the keras.Model"),
    (
        lambda w: tg.Explainer(keras.Sequential([keras.layers.Dense(1)])),
        ValueError,
        r"has no input shape yet. Call it once on a batch, model\(images\)",
    ),
    (lambda w: tg.Explainer(w.model, "huf"), ValueError, "Unknown layer 'huf'. Did you mean 'hue'"),
    (lambda w: tg.Explainer(w.model, ""), ValueError, "Unknown layer ''. Known: 'scale', 'hue'"),
    (lambda w: tg.Explainer(w.model, 99), ValueError, "a layer index from -4 to 3"),
    (lambda w: tg.Explainer(w.model, 1.5), TypeError, "`layer` as a name, path, index.*received float"),
    (lambda w: tg.Explainer(w.model, True), TypeError, "`layer` as a name, path, index.*received bool"),
    (lambda w: tg.Explainer(w.model, []), ValueError, "a list of at least one layer"),
    (lambda w: tg.Explainer(w.model, "classes"), ValueError, "has no spatial extent. Pass layer=, for example one of"),
    (lambda w: tg.Explainer(w.model, keras.layers.Conv2D(1, 1)), ValueError, "Pass a layer of this model"),
    (lambda w: tg.Explainer(w.model, method="gradcm"), ValueError, "Unknown method 'gradcm'. Did you mean 'gradcam'"),
    (lambda w: tg.Explainer(w.model, method=None), TypeError, "method as a name or a callable, received NoneType"),
    (
        lambda w: tg.Explainer(w.model, method=lambda activations, gradients: None)(w.images),
        ValueError,
        "a method to return a tensor of weights of shape .* received NoneType",
    ),
    (
        lambda w: tg.Explainer(w.model, method=lambda activations, gradients: activations[0])(w.images),
        ValueError,
        "a method to return weights of shape",
    ),
    (lambda w: tg.Explainer(w.model, method="cam", layer="scale"), ValueError, "Use method='gradcam'"),
    (lambda w: tg.Explainer(w.model, align="yes"), ValueError, "align=False or align='measured', received 'yes'"),
    (lambda w: tg.Explainer(w.model, freeze="no"), TypeError, "freeze=True or freeze=False, received 'no'"),
    (lambda w: tg.Explainer(w.model, token_grid=(2, 3)), ValueError, "token_grid only for a layer .* Leave it out"),
    (lambda w: tg.Explainer(w.model, class_names="red"), TypeError, "class_names as a list of names, received str"),
    (lambda w: tg.Explainer(w.model, class_names=[1, 2]), TypeError, "class_names as a list of strings"),
    (lambda w: tg.Explainer(w.model, class_names={-1: "a"}), TypeError, "class_names as a list of strings or a map"),
    (lambda w: tg.Explainer(w.model, class_names={"1": "a", 1: "b"}), ValueError, "each class once in class_names"),
    (lambda w: tg.Explainer(w.model, class_names=["a"])(w.images), ValueError, "names of 2 classes, received 1"),
    (lambda w: tg.Explainer(w.model, classifier_layers=[]), ValueError, "classifier_layers as a list of layer names"),
    (lambda w: tg.Explainer(w.model, "hue", classifier_layers=["x"]), ValueError, "Unknown classifier layer 'x'"),
    (lambda w: tg.Explainer(w.model, "hue", classifier_layers=["classes"]), ValueError, r"Missing from the list: \["),
    (lambda w: tg.Explainer(w.model, "hue", classifier_layers=["mean"]), ValueError, "stop before the output"),
    (lambda w: w.explainer.class_maps(w.images, [0], 1), ValueError, "one of classes, top and above, received several"),
    (lambda w: w.explainer.class_maps(w.images, top=0), ValueError, "top as a number of classes of at least 1"),
    (lambda w: w.explainer.class_maps(w.images, []), ValueError, "at least one class, each an index or a name"),
    (lambda w: w.explainer.class_maps(w.images, "red"), TypeError, "classes as a list of indices or names"),
    (lambda w: w.explainer.class_maps(w.images, [9]), ValueError, "a class index below 2"),
    (lambda w: tg.split_model(w.model, "x"), ValueError, "Unknown layer 'x'. Known: 'scale'"),
    (lambda w: tg.split_model(w.model).tail(w.images), ValueError, r"activations \(B, 6, 10, 2\) as extractor\(images"),
    (lambda w: tg.split_model(w.model).tail(None), ValueError, r"activations \(B, 6, 10, 2\).*received None"),
    (lambda w: tg.split_model(w.model).extractor(w.photo), ValueError, r"needs a batch axis: images\[None\]"),
    (lambda w: tg.list_layers("m.keras"), TypeError, r"tf_gradcam.load_model\('m.keras'\)"),
    (lambda w: tg.AttentionExplainer(w.model), ValueError, "a model with keras.layers.MultiHeadAttention.*Use Explai"),
    (lambda w: tg.AttentionExplainer(w.model, method="x"), ValueError, "Unknown method 'x'. Known: 'rollout'"),
    (lambda w: tg.GuidedBackprop(None), TypeError, "a Keras 3 model, received builtins.NoneType"),
    (lambda w: tg.GuidedBackprop(w.model)(w.images, 9), ValueError, "a class index below 2"),
    (lambda w: tg.guided_gradcam(w.model, w.images, "x"), ValueError, "Unknown layer 'x'"),
]

WRAPPERS: list[Case] = [
    (lambda w: tg.augment(3), TypeError, r"an explainer, a callable .* such as Explainer\(model\), received int"),
    (lambda w: tg.augment(w.explainer, scales=()), ValueError, r"scales as at least one number above 0 .* \(0.8"),
    (lambda w: tg.augment(w.explainer, scales=2), ValueError, "scales as at least one number above 0.*received 2"),
    (lambda w: tg.augment(w.explainer, scales="ab"), ValueError, "scales as at least one number above 0.*'ab'"),
    (lambda w: tg.augment(w.explainer, scales=(np.nan,)), ValueError, "scales as at least one number above 0"),
    (lambda w: tg.augment(w.explainer, scales=(1e9,)), ValueError, "above 0 and at most 100"),
    (lambda w: tg.smooth(None), TypeError, "an explainer, a callable"),
    (lambda w: tg.smooth(w.explainer, 0), ValueError, "copies of at least 1, received 0"),
    (lambda w: tg.smooth(w.explainer, 1.5), TypeError, "copies and seed as integers, received 1.5 and 0"),
    (lambda w: tg.smooth(w.explainer, seed="a"), TypeError, "copies and seed as integers, received 8 and 'a'"),
    (lambda w: tg.smooth(w.explainer, noise=np.nan), ValueError, "noise relative to the image's range, 0 or more"),
    (lambda w: tg.fuse(w.explainer), TypeError, "a list of explainers to fuse, received one Explainer. Pass one for"),
    (lambda w: tg.fuse([]), ValueError, "at least one explainer to fuse, received none"),
    (lambda w: tg.fuse(None), TypeError, "a list of explainers to fuse, received NoneType"),
    (lambda w: tg.fuse([w.explainer], "sum"), ValueError, "Unknown way to fuse 'sum'. Known: 'mean', 'max', 'product'"),
    (lambda w: tg.eigen_smooth("x"), ValueError, "Unknown method 'x'"),
    (lambda w: tg.eigen_smooth("scorecam"), ValueError, r"with smooth\(Explainer\(model, method="),
    (lambda w: tg.compare(w.model, w.images), ValueError, "one image, .* Pass one image at a time"),
    (lambda w: tg.compare(w.model, w.photo, []), ValueError, r"methods as a list of at least one, received \[\]"),
    (lambda w: tg.compare(w.model, w.photo, 5), ValueError, "methods as a list of at least one, received 5"),
    (lambda w: tg.compare(w.model, w.photo, "gradcam"), ValueError, "methods as a list of at least one"),
    (lambda w: tg.compare(w.model, w.photo, ["gradcam"] * 2), ValueError, "methods of different names"),
    (lambda w: tg.compare({}, w.photo), ValueError, "at least one explainer to compare, received none"),
    (
        lambda w: tg.compare({"a": w.explainer}, w.photo, ["gradcam"]),
        ValueError,
        "no methods, layer, class_names, task or unit",
    ),
]

RESULTS: list[Case] = [
    (lambda w: w.maps.top(0), ValueError, "count of at least 1, received 0"),
    (lambda w: w.maps.top(1.5), ValueError, "count of at least 1, received 1.5: a whole number"),
    (lambda w: w.maps.top("a"), ValueError, "count of at least 1, received .a.: a whole number"),
    (lambda w: w.maps.resized((0, 5)), ValueError, SIZE),
    (lambda w: w.maps.resized(5), ValueError, SIZE),
    (lambda w: w.maps.resized((2.5, 3)), ValueError, SIZE),
    (lambda w: w.maps.overlay(w.photo), ValueError, r"2 photos, one per map.*A single photo needs a batch axis: photo"),
    (lambda w: w.maps.overlay("a.png"), TypeError, r"received the path 'a.png'. Read it with tf_gradcam.image.load_im"),
    (lambda w: w.maps.overlay(None), TypeError, "2 photos in an array or a list, received NoneType"),
    (lambda w: w.maps.overlay([w.photo, w.photo[:3]]), ValueError, "photos of one size.*use overlay_of"),
    (lambda w: w.maps.overlay([w.photo] * 2, 2), ValueError, r"alpha, the weight of the heatmap, in \[0, 1\]"),
    (lambda w: w.maps.overlay([w.photo] * 2, np.nan), ValueError, r"alpha, the weight of the heatmap, in \[0, 1\]"),
    (lambda w: w.maps.overlay([w.photo] * 2, colormap="jett"), ValueError, "Unknown colour map 'jett'. Did you mean"),
    (lambda w: w.maps.overlay_of(9, w.photo), IndexError, "index, the number of a map, from 0 to 1, received 9"),
    (lambda w: w.maps.overlay_of("a", w.photo), IndexError, "index, the number of a map, from 0 to 1, received 'a'"),
    (lambda w: w.maps.binary(0), ValueError, "threshold relative to the maximum, above 0 and at most 1"),
    (lambda w: w.maps.binary("otzu"), ValueError, "threshold relative to the maximum .* 'otsu', or a percentile"),
    (lambda w: w.maps.binary("p101"), ValueError, "threshold .* percentile such as 'p95', received 'p101'"),
    (lambda w: w.maps.boxes(None), TypeError, "threshold as a number, 'otsu', or a percentile"),
    (lambda w: w.maps.contours(np.nan), ValueError, "threshold relative to the maximum"),
    (lambda w: w.maps.save(5), TypeError, f"directory {PATH} int"),
    (lambda w: w.maps.save("a\0b"), ValueError, f"directory {PATH} .* which holds a zero byte"),
    (lambda w: w.maps.save(w.photo_file), NotADirectoryError, "a folder, received .* it is a file.* Choose another"),
    (lambda w: w.maps.save(w.folder / ("a" * 300)), OSError, r"Cannot make the folder .* \(directory\): File name too"),
    (lambda w: w.maps.save(w.folder / "m", [w.photo]), ValueError, "2 photos, one per map, received 1"),
    (lambda w: w.maps.save(w.folder / "m", [w.photo, w.photo / 300.0]), ValueError, "Multiply them by 255"),
    (lambda w: w.maps.plot([w.photo]), ValueError, "2 photos, one per map, received 1"),
]

PICTURES: list[Case] = [
    (lambda w: tg.overlay_heatmap(w.images, w.heatmap), ValueError, r"one image of shape .* Take one of a batch with"),
    (lambda w: tg.overlay_heatmap("a.png", w.heatmap), TypeError, r"received the path 'a.png'. Read it with load_ima"),
    (lambda w: tg.overlay_heatmap(None, w.heatmap), TypeError, "pixels as integers or floats in 0..255"),
    (lambda w: tg.overlay_heatmap([[1], [2, 3]], w.heatmap), ValueError, "an image as one array, received rows of"),
    (lambda w: tg.overlay_heatmap(w.photo / 300.0, w.heatmap), ValueError, "Multiply them by 255, or pass uint8"),
    (lambda w: tg.overlay_heatmap(w.images[0] - 300, w.heatmap), ValueError, "Pass the photo, not the preprocessed"),
    (lambda w: tg.overlay_heatmap(w.photo, w.heatmap * 2), ValueError, UNIT_HEAT),
    (lambda w: tg.overlay_heatmap(w.photo, w.heatmap * np.nan), ValueError, UNIT_HEAT),
    (lambda w: tg.overlay_heatmap(w.photo, w.heatmap[None]), ValueError, r"Take one of a batch with `heatmaps\[0\]`"),
    (lambda w: tg.overlay_heatmap(w.photo, [[0.1], [0.2, 0.3]]), ValueError, "a heatmap as one array"),
    (lambda w: tg.overlay_heatmap(w.photo, w.heatmap, "a"), TypeError, "alpha, the weight of the heatmap, as a number"),
    (lambda w: tg.overlay_heatmap(w.photo, w.heatmap, -0.1), ValueError, r"alpha, the weight of the heatmap, in \[0"),
    (lambda w: tg.overlay_heatmap(w.photo, w.heatmap, colormap=None), TypeError, "name of a colour map, such as 'jet'"),
    (lambda w: tg.get_img_array(w.folder / "no.png", (6, 10)), FileNotFoundError, "No image file .*no.png'. Check the"),
    (lambda w: tg.get_img_array(w.folder, (6, 10)), IsADirectoryError, "an image file, received the folder"),
    (lambda w: tg.get_img_array(None, (6, 10)), TypeError, f"the image file {PATH} NoneType"),
    (lambda w: tg.get_img_array("a\0.png", (6, 10)), ValueError, f"the image file {PATH} .* zero byte"),
    (lambda w: tg.get_img_array("a" * 5000, (6, 10)), OSError, "Cannot read the image file .*File name too long"),
    (lambda w: tg.get_img_array(__file__, (6, 10)), ValueError, "a JPEG, PNG, WebP, BMP or TIFF image, but"),
    (lambda w: tg.get_img_array(w.photo_file, (0, 1)), ValueError, SIZE),
    (lambda w: tg.get_img_array(w.photo_file, (10**6, 10**6)), ValueError, "size of at most 178956970 pixels in all"),
    (lambda w: save_image(None, w.photo), TypeError, f"the file to write {PATH} NoneType"),
    (lambda w: save_image(w.folder / ("a" * 300 + ".png"), w.photo), OSError, r"Cannot write 'a+\.\.\.' into .* too"),
    (lambda w: tg.save_and_display_gradcam(w.photo_file, w.heatmap * 3), ValueError, UNIT_HEAT),
    (lambda w: tg.save_and_display_gradcam(w.photo_file, w.heatmap, "c.gif"), ValueError, "'c.gif' to end in one of"),
    (lambda w: tg.save_and_display_gradcam(w.photo_file, w.heatmap, None), TypeError, f"the file to write {PATH}"),
    (lambda w: tg.make_gradcam_heatmap(w.images, w.model), ValueError, r"one image.*use Explainer\(model\)\(images\)"),
    (lambda w: tg.make_gradcam_heatmap(w.model, w.images[:1]), TypeError, "a Keras 3 model, received numpy.ndarray"),
    (lambda w: tg.make_gradcam_heatmap("a.png", w.model), TypeError, "the path 'a.png': read it with get_img_array"),
    (lambda w: tg.make_gradcam_heatmap(w.images[:1], w.model, "hue", 3), TypeError, "pass pred_index=3"),
    (lambda w: tg.make_gradcam_heatmap(w.images[:1], w.model, pred_index=2), ValueError, "a class index below 2"),
    (lambda w: tg.make_gradcam_heatmap(w.images[:1], w.model, method=3), TypeError, "method as a name or a callable"),
]

FILES: list[Case] = [
    (lambda w: load_class_names(w.text("", "n.txt")), ValueError, "class names '.*n.txt' is empty. Write one name"),
    (lambda w: load_class_names(w.text("a\n\nb", "n.txt")), ValueError, r"Class 1 \(line 2\) of '.*n.txt' has no name"),
    (lambda w: load_class_names(w.text(b"\xff\xfe\x00", "n.txt")), ValueError, "class names in UTF-8.*Save it as"),
    (lambda w: load_class_names(w.text("{", "n.json")), ValueError, "'.*n.json' to be JSON such as"),
    (lambda w: load_class_names(w.text("[" * 10**5, "n.json")), ValueError, "'.*n.json' to be JSON such as"),
    (lambda w: load_class_names(w.text('{"0": "a", "2": "b"}', "n.json")), ValueError, "class 1 is missing"),
    (lambda w: load_class_names(w.folder), OSError, "Cannot read the class names"),
    (lambda w: find_samples(w.folder / "no"), FileNotFoundError, "no data set .* Name a folder with a folder per cla"),
    (lambda w: find_samples(w.text("")), ValueError, "the columns 'file' and 'label' .* Name the columns"),
    (lambda w: find_samples(w.text("file\na.png\n")), ValueError, "the columns 'file' and 'label'.*received file"),
    (lambda w: find_samples(w.text("file,label\n")), ValueError, "names no image. Write a line for each"),
    (lambda w: find_samples(w.text("file,label\n,a\n")), ValueError, "Row 2 of .* names no file. Give it one"),
    (lambda w: find_samples(w.text(b"file,label\n\xe9,a\n")), ValueError, "in UTF-8, which it is not. Save it as"),
    (
        lambda w: find_samples(w.text('file,label\n"a,b\n')),
        ValueError,
        "as a CSV file, but it cannot be read: .* Save it again",
    ),
    (lambda w: find_samples(w.text("file,label\na,9999999\n")), ValueError, "received 9999999 as an index. Correct it"),
    (lambda w: find_samples(w.text("file,label\na," + "9" * 5000 + "\n")), ValueError, "as an index. Correct it"),
    (lambda w: find_samples(w.text("file,label\na,x\n"), ["red"]), ValueError, "Unknown class 'x'.*row 2 of"),
    (lambda w: find_samples(w.text("file,label\na,5\n"), ["red", "blue"]), ValueError, "an index from 0 to 1 in row 2"),
    (
        lambda w: BoxTable(w.folder / "no.csv", ["a.png"]),
        FileNotFoundError,
        "CSV file of boxes, but .* does not exist. Check the path",
    ),
    (lambda w: BoxTable(w.text("file,xmin,ymin,xmax\n"), ["a.png"]), ValueError, "a column 'ymax' in"),
    (lambda w: boxed(w, "a,0,5,5"), ValueError, "numbers in the columns of the box in line 2"),
    (lambda w: boxed(w, "0,0,inf,6"), ValueError, "an area inside 10 x 6 pixels in line 2"),
    (lambda w: boxed(w, "nan,0,5,5"), ValueError, "an area inside 10 x 6 pixels in line 2"),
    (lambda w: boxed(w, "5,0,5,6"), ValueError, "an area inside 10 x 6 pixels in line 2"),
    (lambda w: boxed(w, "0,0,11,6"), ValueError, "an area inside 10 x 6 pixels in line 2"),
    (
        lambda w: boxed(w, "0,0,5,5", "table.csv"),
        ValueError,
        "is not one: .* Give the columns width and height in line 2",
    ),
    (
        lambda w: boxed(w, "0,0,5,5", "no.png"),
        FileNotFoundError,
        "Cannot read the size of the picture of a box: No image",
    ),
    (lambda w: BoxTable(w.text(b"\x89PNG\xff", "b.csv"), ["a"]), ValueError, "boxes in UTF-8.*Save it as UTF-8 text"),
    (lambda w: MaskFolder(w.photo_file, ["a.png"]), NotADirectoryError, "a folder of masks, received .* Check the pat"),
    (lambda w: MaskFolder(w.folder, ["nothing.jpg"]), ValueError, "named as they are with the suffix .png"),
    (lambda w: load_model(w.folder / "no.keras"), FileNotFoundError, "no model file .*no.keras'. Check the path"),
    (
        lambda w: load_model(w.text(b"", "e.keras")),
        ValueError,
        r"e.keras' is empty \(0 bytes\)\. Copy or download it again",
    ),
    (
        lambda w: load_model(w.text(b"x", "e.h5")),
        ValueError,
        "first bytes of .*e.h5' are of neither: it is of another kind, or damaged. Copy",
    ),
    (lambda w: load_model(cut_zip(w)), ValueError, "e.keras'.*(Copy or save it again|saved by another version)"),
    (lambda w: load_model(w.folder), ValueError, r"a folder. Give the model inside: '.*red_blue.keras'"),
    (lambda w: run_demo(w.photo_file), NotADirectoryError, "a folder, received .* Choose another"),
    (lambda w: phantom_slices(0, seed=0), ValueError, "`count` must be at least 1; received 0"),
    (lambda w: phantom_slices(1, seed=-1), ValueError, "`seed` must be at least 0; received -1"),
]


def boxed(world: World, sides: str, name: str = "photo.png") -> BoxTable:
    return BoxTable(world.text(f"file,xmin,ymin,xmax,ymax\n{name},{sides}\n", "b.csv"), [str(world.folder / name)])


def cut_zip(world: World) -> Path:
    """A .keras file whose first half is zeros: its directory is whole, its members are not."""
    data = bytearray(world.file.read_bytes())
    data[100 : len(data) // 2] = bytes(len(data) // 2 - 100)
    return world.text(bytes(data), "e.keras")


def called_back(world: World, **options: Any) -> object:
    given = {"images": world.images, "directory": world.folder / "pictures", **options}
    return GradCAMCallback(**given)


CALLBACKS: list[Case] = [
    (lambda w: called_back(w, images=None), TypeError, "images as arrays of numbers, received None"),
    (lambda w: called_back(w, images="a.png"), TypeError, r"Read files with get_img_array\(path"),
    (lambda w: called_back(w, images=[]), ValueError, r"1 to 64 images, received 0. Choose some, as images\[:16\]"),
    (lambda w: called_back(w, images=w.images[0]), ValueError, r"needs a batch axis: images\[None\]"),
    (lambda w: called_back(w, images=w.images - 300), ValueError, "Expected photos=, uint8 RGB, beside images"),
    (lambda w: called_back(w, photos=[w.photo]), ValueError, "as many photos as images, 2, received 1"),
    (lambda w: called_back(w, labels=[0]), ValueError, "2 labels, one per image"),
    (
        lambda w: called_back(w, labels=[0.5, 1], task="classification"),
        TypeError,
        "a class index or name per image, received 0.5",
    ),
    (lambda w: called_back(w, labels=["red", "x"], class_names=["red", "blue"]), ValueError, "Unknown class 'x'"),
    (lambda w: called_back(w, target=[0]), ValueError, "one target per image, 2 in all"),
    (lambda w: called_back(w, every=0), ValueError, "every, the epochs between pictures, as 1 or more"),
    (lambda w: called_back(w, every=True), ValueError, "every, the epochs between pictures, as 1 or more"),
    (lambda w: called_back(w, method="x"), ValueError, "Unknown method 'x'"),
    (lambda w: called_back(w, directory=3), TypeError, "directory as the path of a folder, received int"),
    (lambda w: called_back(w, directory="a\0b"), ValueError, f"directory {PATH} .* zero byte"),
    (lambda w: called_back(w, directory=w.photo_file), OSError, "directory as a folder that can be written"),
    (lambda w: called_back(w, log_dir=w.photo_file), OSError, "log_dir as a folder that can be written"),
]

TABLES = {
    "images": IMAGES,
    "targets": TARGETS,
    "explainers": EXPLAINERS,
    "wrappers": WRAPPERS,
    "results": RESULTS,
    "pictures": PICTURES,
    "files": FILES,
    "callbacks": CALLBACKS,
}
PYTHON = [pytest.param(*case, id=f"{name}-{n}") for name, table in TABLES.items() for n, case in enumerate(table)]


@pytest.mark.parametrize(("call", "kind", "words"), PYTHON)
def test_wrong_argument_is_told_with_its_remedy(
    world: World, call: Callable[[World], object], kind: type[Exception], words: str
) -> None:
    before = entries(world.folder)
    with pytest.raises(kind, match=words) as caught:
        call(world)
    assert str(caught.value).strip().count("\n") == 0
    added = {name for name in entries(world.folder) - before if name not in OWN_FILES}
    assert not added, "something was written, and nothing was done"


# What the cases write themselves, as input; and the folder that a callback makes before it looks at the others.
OWN_FILES = {"table.csv", "n.txt", "n.json", "b.csv", "e.keras", "e.h5", "pictures"}


def entries(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_there_are_cases_enough() -> None:
    assert len(PYTHON) + len(COMMANDS) + len(IMAGES_AT_FAULT) >= 150


# --- The command line: what is typed behind the command, and what the one line on stderr says.

EXPLAIN = ("explain", "photo.png", "--out", "out", "--model")
AUDIT = ("audit", "data", "--out", "out", "--no-sanity", "--num-images", "0", "--model")
KERAS = "red_blue.keras"

COMMANDS: list[tuple[tuple[str, ...], str]] = [
    ((), "Missing command. See `tf-gradcam --help`"),
    (("explian",), "No such command 'explian'"),
    (("--verbos",), "No such option"),
    (("explain",), "Missing argument 'IMAGE...'"),
    (("explain", "photo.png", "--out", "out"), "Missing option '--model'"),
    (("explain", "photo.png", "--model", KERAS), "Missing option '--out'"),
    (("explain", "", "--model", KERAS, "--out", "out"), "an image file, folder or pattern, received an empty name"),
    (("explain", "empty", "--model", KERAS, "--out", "out"), "The folder 'empty' holds no images (.bmp"),
    (("explain", "no*", "--model", KERAS, "--out", "out"), "No file matches the pattern 'no*'"),
    ((*EXPLAIN, ""), "Unknown model ''"),
    ((*EXPLAIN, "VGG17"), "Unknown model 'VGG17'. Did you mean"),
    ((*EXPLAIN, "no.keras"), "There is no model file 'no.keras'. Did you mean"),
    ((*EXPLAIN, "red_blu.keras"), "Did you mean 'red_blue.keras'"),
    ((*EXPLAIN, "empty"), "'empty' is a folder. Save the model by model.save('name.keras')"),
    (
        (*EXPLAIN, "photo.png"),
        "a model file of Keras, but 'photo.png' is a PNG picture. Give the model by --model, and",
    ),
    (
        (*EXPLAIN, "text.keras"),
        "a model file of Keras (.keras, .h5), but the first bytes of 'text.keras' are of neither",
    ),
    ((*EXPLAIN, "cut.keras"), "'cut.keras' is not a .keras file, or is damaged"),
    ((*EXPLAIN, "foreign.keras"), "'foreign.keras' is damaged: its layers are not JSON"),
    ((*EXPLAIN, "text.h5"), "but the first bytes of 'text.h5' are of neither: it is of another kind, or damaged. Copy"),
    ((*EXPLAIN, KERAS, "--weights", "imagenet"), "is a file with its own arguments and weights"),
    ((*EXPLAIN, KERAS, "--weights", "no.weights.h5"), "There is no file of weights 'no.weights.h5'. Check the path"),
    (
        (*EXPLAIN, KERAS, "--weights", "names.txt"),
        "Expected a file of weights of Keras (.keras, .h5), but the first bytes of 'names.txt'",
    ),
    (
        (*EXPLAIN, KERAS, "--weights", "text.h5"),
        "Expected a file of weights of Keras (.keras, .h5), but the first bytes of 'text.h5'",
    ),
    ((*EXPLAIN, KERAS, "--model-arg", "alpha=1"), "is a file with its own arguments and weights"),
    ((*EXPLAIN, "VGG16", "--weights", "none", "--model-arg", "alpha"), "as KEY=VALUE, such as alpha=0.75"),
    ((*EXPLAIN, "VGG16", "--weights", "none", "--model-arg", "clases=2"), "Did you mean 'classes'"),
    ((*EXPLAIN, "VGG16", "--weights", "none", "--model-arg", "classes=" + "-" * 10**5 + "1"), "cannot be built with"),
    ((*EXPLAIN, KERAS, "--layer", "huf"), "Unknown layer 'huf'. Did you mean 'hue'? `tf-gradcam layers MODEL` shows"),
    ((*EXPLAIN, KERAS, "--layer", "classes"), "has no spatial extent. Pass --layer"),
    ((*EXPLAIN, KERAS, "--method", "gradcan"), "Unknown method 'gradcan'. Did you mean 'gradcam'"),
    ((*EXPLAIN, KERAS, "--target", "2"), "a class index below 2"),
    ((*EXPLAIN, KERAS, "--target", "-1"), "a class index, received the name '-1'"),
    ((*EXPLAIN, KERAS, "--target", "9" * 30), "a class index of 0 or more, below the number of classes"),
    ((*EXPLAIN, KERAS, "--target", "9" * 5000), "a class index, received the name '99999"),
    ((*EXPLAIN, KERAS, "--target", "red"), "received the name 'red': no names are known. Give names by --class-nam"),
    ((*EXPLAIN, KERAS, "--class-names", "no.txt"), "Cannot read the class names 'no.txt'"),
    ((*EXPLAIN, KERAS, "--class-names", "data"), "Cannot read the class names 'data'"),
    ((*EXPLAIN, KERAS, "--class-names", "photo.png"), "class names in UTF-8, but 'photo.png' is not"),
    ((*EXPLAIN, KERAS, "--class-names", "three.txt"), "names of 2 classes, received 3"),
    ((*EXPLAIN, KERAS, "--preprocess", "cafe"), "Unknown preprocessing mode 'cafe'. Did you mean 'caffe'"),
    ((*EXPLAIN, KERAS, "--size", "0"), "Invalid value for '--size'"),
    ((*EXPLAIN, KERAS, "--size", "7"), "the model's own size 6 x 10, received 7 x 7"),
    ((*EXPLAIN, KERAS, "--alpha", "nan"), "alpha, the weight of the heatmap, in [0, 1], received nan"),
    ((*EXPLAIN, KERAS, "--alpha", "2"), "Invalid value for '--alpha'"),
    ((*EXPLAIN, KERAS, "--batch-size", "0"), "Invalid value for '--batch-size'"),
    ((*EXPLAIN, KERAS, "--colormap", "jett"), "Unknown colour map 'jett'. Did you mean 'jet'"),
    ((*EXPLAIN, KERAS, "--align", "yes"), "Invalid value for '--align'"),
    ((*EXPLAIN, KERAS, "--out", "photo.png"), "Cannot write to the folder 'photo.png': it is a file"),
    ((*EXPLAIN, KERAS, "--out", "photo.png/out"), "Cannot write to the folder 'photo.png/out': it is a file"),
    ((*EXPLAIN, KERAS, "--out", "a" * 300), "file name too long. Choose another"),
    (("layers",), "Missing argument 'MODEL'"),
    (("layers", "no.keras"), "There is no model file 'no.keras'"),
    (("layers", "VGG17"), "Unknown model 'VGG17'"),
    (("methods", "gradcam"), "Got unexpected extra argument (gradcam)"),
    (("demo", "--out", "photo.png"), "Cannot write to the folder 'photo.png': it is a file"),
    (("audit",), "Missing argument 'DATA'"),
    (("audit", "data", "--model", KERAS), "Missing option '--out'"),
    (("audit", "no", "--out", "out", "--model", KERAS), "There is no data set 'no'. Name a folder"),
    (("audit", "photo.png", "--out", "out", "--model", KERAS), "or a .csv file as data set, received 'photo.png'"),
    (("audit", "empty", "--out", "out", "--model", KERAS), "The folder 'empty' holds no images"),
    (("audit", "broken.csv", "--out", "out", "--model", KERAS), "the columns 'file' and 'label'"),
    (("audit", "data", "--out", "photo.png", "--model", KERAS), "Cannot write to the folder 'photo.png'"),
    ((*AUDIT, "no.keras"), "There is no model file 'no.keras'"),
    ((*AUDIT, KERAS, "--layer", "huf"), "Unknown layer 'huf'"),
    ((*AUDIT, KERAS, "--method", "gradcan"), "Unknown method 'gradcan'"),
    ((*AUDIT, KERAS, "--engine", "spark"), "Invalid value for '--engine'"),
    ((*AUDIT, KERAS, "--workers", "0"), "Invalid value for '--workers'"),
    ((*AUDIT, KERAS, "--seed", "-1"), "Invalid value for '--seed'"),
    ((*AUDIT, KERAS, "--boxes", "no.csv"), "a CSV file of boxes, but 'no.csv' does not exist. Check the path"),
    ((*AUDIT, KERAS, "--boxes", "broken.csv"), "a column 'xmin' in 'broken.csv'"),
    ((*AUDIT, KERAS, "--boxes", "outside.csv"), "with an area inside 10 x 6 pixels in line 2 of 'outside.csv'"),
    ((*AUDIT, KERAS, "--masks", "no"), "a folder of masks, received 'no'. Check the path"),
    ((*AUDIT, KERAS, "--masks", "masks"), "cannot be decoded"),
    ((*AUDIT, KERAS, "--boxes", "outside.csv", "--masks", "masks"), "Expected boxes or masks, received both"),
    ((*AUDIT, KERAS, "--class-names", "three.txt"), "names of 2 classes, received 3"),
]


@pytest.fixture(scope="module")
def prepared(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the commands name."""
    folder = tmp_path_factory.mktemp("commands")
    (folder / KERAS).write_bytes(world.file.read_bytes())
    (folder / "cut.keras").write_bytes(cut_zip(world).read_bytes())
    write_photo(folder)
    for name in ("red", "blue"):
        write_photo(folder / "data" / name, f"{name}.png")
    (folder / "empty").mkdir()
    (folder / "masks").mkdir()
    (folder / "masks" / "red.png").write_bytes(b"no picture")
    for name, text in {
        "names.txt": "red\nblue\n",
        "three.txt": "red\ngreen\nblue\n",
        "text.keras": "hello",
        "text.h5": "hello",
        "broken.csv": "a,b\n1,2\n",
        "outside.csv": "file,xmin,ymin,xmax,ymax\nred/red.png,0,0,99,6\n",
    }.items():
        (folder / name).write_text(text)
    import zipfile

    with zipfile.ZipFile(folder / "foreign.keras", "w") as archive:
        archive.writestr("../../escaped.txt", "out of the folder")
        archive.writestr("config.json", "[" * 5000)
    return folder


@pytest.fixture
def here(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(prepared)
    before = {path: path.stat().st_mtime_ns for path in prepared.rglob("*") if path.is_file()}
    yield prepared
    assert before == {path: path.stat().st_mtime_ns for path in before}, "a file of the user's was changed"


def run(arguments: tuple[str, ...]) -> Any:
    return CliRunner().invoke(main, list(arguments))


@pytest.mark.parametrize(("arguments", "words"), every(3, COMMANDS), ids=range(len(COMMANDS)))
def test_wrong_command_is_one_line_and_two_and_writes_nothing(
    here: Path, arguments: tuple[str, ...], words: str
) -> None:
    before = entries(here)
    result = run(arguments)
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.splitlines() if not line.startswith("tf-gradcam: note:")]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("tf-gradcam: ")
    assert words in lines[0]
    assert "Traceback" not in result.output
    assert len(lines[0]) < 1500, "nobody reads that"
    assert entries(here) == before
    assert not (here.parent.parent / "escaped.txt").exists()


def picture(name: str) -> bytes:
    """An image file that is none, by what is wrong with it."""
    whole = encoded(red_blue_photo(4), "PNG")
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0x10
    return {
        "empty": b"",
        "text": b"hello",
        "html": b"<html>",
        "pointer": b"version https://git-lfs.github.com/spec/v1\n",
        "half": whole[: len(whole) // 2],
        "damaged": bytes(damaged),
        "header": whole[:20],
        "huge": whole[:16] + struct.pack(">II", 10**6, 10**6) + whole[24:],
    }[name]


# What is wrong with an image, and what its row and its line say.
IMAGES_AT_FAULT = {
    "empty": "is empty (0 bytes)",
    "text": "its first bytes match none of these formats",
    "html": "it looks like HTML",
    "pointer": "git lfs pull",
    "half": "is truncated",
    "damaged": "is damaged: its checksums do not fit",
    "header": "damaged or cut short",
    "huge": "at most 178956970 pixels",
    "missing": "No image file",
    "folder.png/inside": "there is no folder",
    "pipe": "is a pipe",
    "loop": "Too many levels of symbolic links",
}


@pytest.mark.skipif(os.name == "nt", reason="named pipes and links are those of POSIX")
def test_images_at_fault_fail_alone_with_a_line_and_a_row_each(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("empty", "text", "html", "pointer", "half", "damaged", "header", "huge"):
        (tmp_path / name).write_bytes(picture(name))
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    monkeypatch.chdir(tmp_path)
    arguments = ("explain", *IMAGES_AT_FAULT, str(here / "photo.png"), "--model", str(here / KERAS), "--out", "out")
    result = run(arguments)
    assert result.exit_code == 1, result.output
    lines = [line for line in result.stderr.splitlines() if "scaling: " not in line and "task: " not in line]
    assert len(lines) == len(IMAGES_AT_FAULT)
    for line, (name, words) in zip(lines, IMAGES_AT_FAULT.items(), strict=True):
        assert line.startswith("tf-gradcam: ")
        assert name in line
        assert words in line
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "manifest.csv",
        "photo.heatmap.npy",
        "photo.overlay.png",
    ]
    rows = Path("out/manifest.csv").read_text().splitlines()
    assert rows[0] == ",".join(COLUMNS)
    assert len(rows) == 1 + len(IMAGES_AT_FAULT) + 1
    assert [",done," in row for row in rows[1:]] == [False] * len(IMAGES_AT_FAULT) + [True]


def test_names_that_are_code_are_text_in_the_manifest(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a spreadsheet would run as a formula, a terminal as an escape sequence, a shell as a command."""
    monkeypatch.chdir(tmp_path)
    names = ["=1+1.png", "@SUM(A1).png", "+a.png", "a\tb.png", "$(touch x).png", "<b>.png", "a,b.png", 'a"b.png']
    for name in names:
        write_photo(tmp_path, name)
    result = run(("explain", "--out", "out", "--model", str(here / KERAS), "--", *names))
    assert result.exit_code == 0, result.output
    import csv

    with open("out/manifest.csv", newline="") as file:
        cells = [row["file"] for row in csv.DictReader(file)]
    assert [cell.removeprefix("./") for cell in cells] == names
    assert not any(cell.startswith(("=", "+", "-", "@", "\t")) for cell in cells)
    assert not Path("x").exists()


def test_same_world_rightly_used_is_fine(world: World) -> None:
    np.testing.assert_array_equal(load_image(world.photo_file), world.photo)
    assert run(("layers", str(world.file))).exit_code == 0
