"""The ranking of input scalings by what a model remembers: statistics, predictions, labels."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.redblue_tasks import IMAGES as RED_AND_BLUE
from tests.helpers.redblue_tasks import with_head
from tf_gradcam import rank_scalings
from tf_gradcam._models.preprocessing import Preprocessing
from tf_gradcam._models.scaling import (
    ACTIVITY,
    NOTHING,
    ScalingRanking,
    _information,
    _is_clear,
    rank_if_doubtful,
    usual_modes,
)

L = keras.layers
SHAPE = (6, 10, 3)


def photos_of(count: int = 8, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Photos (B, 6, 10, C) of different brightness, contrast and colour."""
    generator = np.random.default_rng(seed)
    middle = generator.uniform(60, 190, (count, 1, 1, channels)) * np.linspace(0.8, 1.1, channels)
    return (middle + generator.normal(0, 40, (count, *SHAPE[:2], channels))).clip(0, 255).astype(np.uint8)


def trained(mode: str, photos: np.ndarray, initial: float = 0.0, momentum: float = 0.99, build=None) -> keras.Model:
    """A network whose batch normalisation keeps what a convolution makes of the photos in `mode`.

    `initial` is the share of the initial statistics that is left in the moving averages.
    """
    keras.utils.set_random_seed(1)
    normalisation = L.BatchNormalization(momentum=momentum)
    convolution = L.Conv2D(8, 3)
    model = (build or flat)(convolution, normalisation, photos.shape[1:])
    values = np.asarray(convolution(Preprocessing(None, mode)(photos)), np.float64)
    normalisation.moving_mean.assign((1 - initial) * values.mean((0, 1, 2)))
    normalisation.moving_variance.assign(initial + (1 - initial) * values.var((0, 1, 2)))
    return model


def flat(convolution, normalisation, shape) -> keras.Model:
    return keras.Sequential(
        [keras.Input(shape), convolution, normalisation, L.ReLU(), L.GlobalAveragePooling2D(), L.Dense(3, "softmax")]
    )


def nested(convolution, normalisation, shape) -> keras.Model:
    inputs = keras.Input(shape)
    base = keras.Sequential([keras.Input(shape), convolution, normalisation, L.ReLU()])
    return keras.Model(inputs, L.Dense(3)(L.Flatten()(base(inputs))))


class Subclassed(keras.Model):
    def __init__(self, convolution, normalisation):
        super().__init__()
        self.convolution, self.normalisation, self.head = convolution, normalisation, L.Dense(3)

    def call(self, images):
        return self.head(keras.ops.mean(self.normalisation(self.convolution(images)), (1, 2)))


def subclassed(convolution, normalisation, shape) -> keras.Model:
    model = Subclassed(convolution, normalisation)
    model(np.zeros((1, *shape), np.float32))
    return model


@pytest.mark.parametrize(
    ("mode", "build"), [*((mode, flat) for mode in usual_modes(3)), ("tf", nested), ("unit", subclassed)]
)
def test_statistics_of_the_training_rank_its_scaling_first_and_clearly(mode, build):
    ranking = rank_scalings(trained(mode, photos_of(), build=build), photos_of())
    assert ranking.evidence == "batch normalisation"
    assert ranking.best == mode
    np.testing.assert_allclose(ranking.scores[mode], 0, atol=1e-3)
    assert ranking.beaten >= {"raw", "caffe", "unit"} - {mode}


@pytest.mark.parametrize("mode", ["raw", "unit", "tf"])
@pytest.mark.parametrize(("steps", "momentum"), [(150, 0.99), (300, 0.999), (1, 0.9)])
def test_statistics_of_few_steps_still_hold_the_scaling(mode, steps, momentum):
    """After N steps the share momentum ** N of every moving average is still the initial mean 0 or variance 1."""
    photos = photos_of()
    model = trained(mode, photos, momentum**steps, momentum)
    ranking = rank_scalings(model, photos)
    assert ranking.best == mode
    assert ranking.scores[mode] < 0.05


def test_other_photos_of_the_same_kind_agree_too():
    ranking = rank_scalings(trained("unit", photos_of(seed=0)), photos_of(seed=1))
    assert ranking.best == "unit"
    assert ranking.is_clear("caffe")


def test_a_scaling_inside_the_model_leaves_raw_as_the_best():
    photos = photos_of()
    base = trained("unit", photos)
    model = keras.Sequential([keras.Input(SHAPE), L.Rescaling(1 / 255), *base.layers])
    assert rank_scalings(model, photos).best == "raw"


@pytest.mark.parametrize("how", ["not trainable", "called in inference", "folded by a converter"])
def test_statistics_of_another_training_do_not_count(how):
    photos = photos_of()
    model = trained("unit", photos, build=nested)
    base = model.layers[1]
    if how == "not trainable":
        base.trainable = False
    elif how == "called in inference":
        inputs = keras.Input(SHAPE)
        model = keras.Model(inputs, L.Dense(3, "softmax")(L.Flatten()(base(inputs, training=False))))
    else:
        base.layers[1].moving_mean.assign(np.zeros(8))
        base.layers[1].moving_variance.assign(np.full(8, 0.999))
    assert rank_scalings(model, photos).evidence == "activity and confidence"


def test_statistics_count_where_the_whole_model_is_frozen():
    photos = photos_of()
    model = trained("unit", photos)
    model.trainable = False
    assert rank_scalings(model, photos).evidence == "batch normalisation"


def bright_or_dark(scale: float) -> keras.Model:
    """Two classes, certain of both for photos that are scaled to [-1, 1] times 1 / `scale`, else of one alone."""
    model = keras.Sequential([keras.Input(SHAPE), L.GlobalAveragePooling2D(), L.Dense(2, "softmax")])
    model.layers[-1].set_weights([np.tile([-20.0 * scale, 20.0 * scale], (3, 1)), np.zeros(2)])
    return model


def dark_and_bright() -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(12) % 2
    return np.where(labels[:, None, None, None] == 1, 250, 5) * np.ones((12, *SHAPE)), labels


def test_predictions_that_tell_the_photos_apart_win_without_statistics():
    """Positive images are all of class 1; only [-1, 1] has both classes, each with certainty: one bit a photo."""
    photos, _ = dark_and_bright()
    ranking = rank_scalings(bright_or_dark(1), photos, modes=["raw", "unit", "tf"])
    assert ranking.evidence == "activity and confidence"
    assert ranking.best == "tf"
    np.testing.assert_allclose([ranking.scores["tf"], ranking.scores["raw"]], [0, 1], atol=1e-2)
    assert ranking.is_clear("raw")


def test_few_predictions_must_tell_more():
    """Two of four photos as one class and one each of two others is luck: 1 bit of 2 in place of 1.5 is not clear."""
    assert _is_clear(0.25, 0.5, ACTIVITY, 4) is False
    assert _is_clear(0.25, 0.57, ACTIVITY, 4) is False
    assert _is_clear(0.25, 0.8, ACTIVITY, 4) is True
    assert _is_clear(0.25, 0.6, ACTIVITY, 16) is True


def test_labels_decide_where_they_separate_the_scalings():
    """Of 12 photos, [-1, 1] has all right and 0..255 six: six wins of six, 1 in 64 by chance, is not enough."""
    photos, labels = dark_and_bright()
    photos, labels = np.concatenate([photos, photos]), np.concatenate([labels, labels])
    ranking = rank_scalings(bright_or_dark(1), photos, labels=labels, modes=["raw", "tf"])
    assert ranking.best == "tf"
    few = rank_scalings(bright_or_dark(1), photos[:12], labels=labels[:12], modes=["raw", "tf"])
    assert few.evidence == "activity and confidence"
    wrong = rank_scalings(bright_or_dark(-1), photos, labels=labels, modes=["raw", "tf"])
    assert (wrong.evidence, wrong.best) == ("labels", "raw")
    np.testing.assert_allclose([wrong.scores["raw"], wrong.scores["tf"]], [0.5, 1])


def bright_above_205() -> keras.Model:
    """Two classes with certainty: the second one for mean values above 205, whatever the scaling makes of them."""
    model = keras.Sequential([keras.Input(SHAPE), L.GlobalAveragePooling2D(), L.Dense(2, "softmax")])
    model.layers[-1].set_weights([np.tile([-20.0, 20.0], (3, 1)), 3 * 205 * np.array([20.0, -20.0])])
    return model


@pytest.mark.parametrize(("count", "is_clear"), [(12, False), (24, True)])
def test_photos_of_one_class_are_judged_by_labels_alone(count, is_clear):
    """Photos of 200 and 210, all of class 0: in 0..255 half are taken for class 1, in [-1, 1] none is.

    By information 0..255 would win, one bit against none. Six wins of six are not clear, twelve of twelve are.
    """
    photos = np.where(np.arange(count) % 2, 210, 200)[:, None, None, None] * np.ones((count, *SHAPE))
    modes = ["raw", "tf"]
    assert rank_scalings(bright_above_205(), photos, modes=modes).best == "raw"
    ranking = rank_scalings(bright_above_205(), photos, labels=np.zeros(count, int), modes=modes)
    assert (ranking.best, ranking.is_clear("raw")) == ("tf", is_clear)
    assert ranking.scores == {"tf": 0, "raw": 0.5}


def test_labels_add_what_they_clearly_beat_to_the_other_evidence():
    """The network tells dark and bright apart in both scalings, in [-1, 1] with the classes exchanged."""
    photos, labels = dark_and_bright()
    parts, classes = L.Dense(3, "relu"), L.Dense(2, "softmax")
    model = keras.Sequential([keras.Input(SHAPE), L.GlobalAveragePooling2D(), parts, classes])
    parts.set_weights([np.tile([1 / 3, -1 / 3, 1 / 3], (3, 1)), np.array([0.0, 0.0, -100.0])])
    classes.set_weights([np.array([-20.0, 20.0, 40.0])[:, None] * [-1.0, 1.0], np.zeros(2)])
    ranking = rank_scalings(model, photos, modes=["raw", "tf"])
    assert (ranking.best, ranking.is_clear("tf")) == ("raw", False)
    ranking = rank_scalings(model, photos, labels=labels, modes=["raw", "tf"])
    assert (ranking.best, ranking.is_clear("tf"), ranking.evidence) == ("raw", True, "labels")


def test_information_about_classes_is_that_of_the_classes_and_not_of_their_numbers():
    """Of two classes with two pictures each: certain and alike in each class 1 bit of 1; one of each, nothing."""
    certain = np.eye(3)
    labels = np.array([0, 0, 2, 2])
    np.testing.assert_allclose(_information(certain[[0, 0, 2, 2]], labels), 1, atol=1e-9)
    np.testing.assert_allclose(_information(certain[[1, 1, 0, 0]], labels), 1, atol=1e-9)
    np.testing.assert_allclose(_information(certain[[0, 1, 0, 1]], labels), 0, atol=1e-9)
    np.testing.assert_allclose(_information(certain[[0, 1, 0, 1]]), np.log(2) / np.log(3), rtol=1e-6)


def counted(model: keras.Model) -> tuple[keras.Model, list[int]]:
    """The model behind a layer that writes down how many pictures it is given."""
    seen: list[int] = []

    def count(images):
        return tf.numpy_function(lambda batch: seen.append(len(batch)) or batch, [images], tf.float32)

    front = L.Lambda(lambda images: tf.ensure_shape(count(images), images.shape))
    return keras.Sequential([keras.Input(SHAPE), front, *model.layers]), seen


def test_an_assumption_that_holds_costs_few_predictions():
    photos, labels = dark_and_bright()
    model, seen = counted(bright_or_dark(1))
    assert rank_if_doubtful(model, photos[:8], "tf", None, None) is None
    assert sum(seen) == 4
    seen.clear()
    assert rank_if_doubtful(model, np.repeat(photos, 2, axis=0), "tf", list(np.repeat(labels, 2)), None) is None
    assert sum(seen) == 8


def test_an_assumption_that_fails_is_compared_with_all_modes():
    photos, labels = dark_and_bright()
    for known in (None, list(labels)):
        ranking = rank_if_doubtful(bright_or_dark(1), photos, "raw", known, None)
        assert ranking.best == "tf"
        assert ranking.is_clear("raw")
    statistics = trained("unit", photos_of())
    assert rank_if_doubtful(statistics, photos_of(), "unit", None, None) is None
    assert rank_if_doubtful(statistics, photos_of(), "raw", None, None).is_clear("raw")


def test_predictions_that_can_never_be_clear_are_not_compared():
    """Eight pictures tell at most log 8 of log 1000: the score is 0.7 at least, and above 0.5 nothing is clear."""
    classes = L.Dense(1000, activation="softmax")
    model, seen = counted(keras.Sequential([keras.Input(SHAPE), L.GlobalAveragePooling2D(), classes]))
    assert rank_if_doubtful(model, photos_of(), "caffe", None, None) is None
    assert sum(seen) <= 4


def test_grey_photos_are_ranked_without_the_scalings_of_colours():
    photos = photos_of(channels=1)
    ranking = rank_scalings(trained("unit", photos), photos)
    assert ranking.best == "unit"
    assert set(ranking.modes) == {"raw", "unit", "tf", "standard"}


def test_a_model_that_cannot_tell_says_so():
    one = keras.Input(SHAPE)
    other = keras.Input((2,))
    two_inputs = keras.Model([one, other], L.Concatenate()([L.Flatten()(one), other]))
    value = keras.Sequential([keras.Input(SHAPE), L.Conv2D(2, 3), L.UpSampling2D()])
    for model in (two_inputs, value):
        ranking = rank_scalings(model, photos_of())
        assert ranking.evidence == "nothing"
        assert not any(ranking.is_clear(mode) for mode in ranking.modes)
        assert "cannot be told" in str(ranking)


def test_half_precision_that_overflows_ranks_last():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = trained("unit", photos_of())
    finally:
        keras.config.set_dtype_policy("float32")
    model.layers[0].kernel.assign(1e3 * model.layers[0].kernel)
    values = np.asarray(model.layers[0](Preprocessing(None, "unit")(photos_of())), np.float64)
    model.layers[1].moving_mean.assign(values.mean((0, 1, 2)))
    model.layers[1].moving_variance.assign(values.var((0, 1, 2)))
    ranking = rank_scalings(model, photos_of())
    assert ranking.best == "unit"
    assert ranking.is_clear("raw")


def test_model_is_left_unchanged():
    model = trained("tf", photos_of(), build=nested)
    weights = [np.array(weight) for weight in model.get_weights()]
    layers = [dict(vars(layer)) for layer in model._flatten_layers()]
    rank_scalings(model, photos_of())
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert [set(vars(layer)) for layer in model._flatten_layers()] == [set(attributes) for attributes in layers]


def test_the_line_names_the_best_and_the_doubtful():
    scores = {"unit": 0.0, "tf": 0.2, "raw": 7.0}
    ranking = ScalingRanking(("unit", "tf", "raw"), scores, "batch normalisation", frozenset({"raw"}))
    assert str(ranking) == (
        "unit is not clearly better than tf by batch normalisation (lower is better): unit 0.00, tf 0.20, raw 7.00."
    )


def test_wrong_arguments_are_refused():
    model = trained("unit", photos_of())
    with pytest.raises(ValueError, match=r"Unknown preprocessing mode 'unitt'\. Did you mean 'unit'"):
        rank_scalings(model, photos_of(), modes=["unitt"])
    with pytest.raises(ValueError, match=r"resize to 6x10"):
        rank_scalings(model, np.zeros((2, 5, 9, 3)))
    with pytest.raises(ValueError, match="Expected one label for each of 8 photos, received 2"):
        rank_scalings(model, photos_of(), labels=[0, 1])
    with pytest.raises(ValueError, match="Unknown preprocessing mode 'unknown'"):
        rank_scalings(model, photos_of()).is_clear("unknown")


def test_a_fixed_batch_size_is_filled_up():
    photos = photos_of(7)
    model = trained("unit", photos, build=flat)
    inputs = keras.Input(batch_shape=(5, *SHAPE))
    fixed = keras.Model(
        inputs, L.Dense(3, "softmax")(keras.ops.reshape(model.layers[1](model.layers[0](inputs)), (5, -1)))
    )
    ranking = rank_scalings(fixed, photos, labels=np.zeros(7, int))
    assert ranking.best == "unit"
    assert ranking.is_clear("raw")


@pytest.mark.parametrize(("count", "is_clear"), [(16, True), (1, False)])
def test_few_photos_make_near_scalings_doubtful(count, is_clear):
    """[-1, 1] and ImageNet's normalisation differ by a factor of 2.2, as photos of different contrast do."""
    photos = np.repeat(photos_of(1), count, axis=0)
    ranking = rank_scalings(trained("tf", photos), photos)
    assert ranking.is_clear("torch") == is_clear
    assert ranking.is_clear("raw")


def test_channels_may_be_on_another_axis():
    photos = photos_of()
    model = trained("unit", photos)
    rows = L.BatchNormalization(axis=1)
    values = np.asarray(model.layers[0](Preprocessing(None, "unit")(photos)), np.float64)
    model = keras.Sequential([keras.Input(SHAPE), model.layers[0], rows, L.Flatten(), L.Dense(2)])
    rows.moving_mean.assign(values.mean((0, 2, 3)))
    rows.moving_variance.assign(values.var((0, 2, 3)))
    ranking = rank_scalings(model, photos)
    assert ranking.best == "unit"
    np.testing.assert_allclose(ranking.scores["unit"], 0, atol=1e-3)


def test_normalised_photos_are_no_clear_loss_against_standardised_ones():
    """The two differ by each picture's own contrast: a training that still moves its kernels hides that."""
    photos = photos_of(16)
    model = trained("torch", photos)
    model.layers[1].moving_variance.assign(1.5 * model.layers[1].moving_variance)
    assert not rank_scalings(model, photos).is_clear("torch")


def test_a_model_that_is_not_built_is_refused():
    with pytest.raises(ValueError, match="no input shape yet"):
        rank_scalings(Subclassed(L.Conv2D(8, 3), L.BatchNormalization()), photos_of())


def test_scalings_of_equal_score_come_the_usual_one_first():
    """Predictions that are sure of bright and dark photos in 0..1, and surer still where values are larger."""
    pixels = keras.Input((6, 10, 3))
    classes = keras.layers.Dense(2, activation="softmax")
    model = keras.Model(pixels, classes(keras.layers.GlobalAveragePooling2D()(pixels)))
    classes.set_weights([np.full((3, 2), [-4.0, 4.0]), np.array([6.0, -6.0])])
    photos = np.repeat([20.0, 230.0] * 4, 180).reshape(8, 6, 10, 3)
    ranking = rank_scalings(model, photos)
    assert 0 <= ranking.scores["caffe"] < ranking.scores["unit"] < 0.005
    assert ranking.modes[0] == "unit"


def test_values_are_no_predictions_that_a_scaling_makes_sure() -> None:
    """Three numbers trained with mean squared error are not the logits of classes."""
    model = with_head(3, None, np.ones((2, 3)), np.zeros(3))
    assert rank_scalings(model, RED_AND_BLUE).evidence != NOTHING
    model.compile("sgd", "mse")
    assert rank_scalings(model, RED_AND_BLUE).evidence == NOTHING
