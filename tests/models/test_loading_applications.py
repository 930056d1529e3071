"""Networks of keras.applications by name."""

import keras
import pytest

from tf_gradcam._models.loading import build_model, find_model_name, model_names, parse_arguments


def test_names_are_the_constructors_of_keras_applications():
    names = model_names()
    assert {"VGG16", "MobileNet", "EfficientNetV2S", "ConvNeXtXLarge"} <= set(names)
    assert all(callable(getattr(keras.applications, name)) for name in names)
    assert not {"vgg16", "imagenet_utils"} & set(names)


@pytest.mark.parametrize("name", ["MobileNet", "mobilenet", "MOBILENET"])
def test_name_is_found_in_any_case(name):
    assert find_model_name(name) == "MobileNet"


def test_unknown_name_lists_the_nearest():
    with pytest.raises(ValueError, match=r"Unknown model 'VGG17'. Did you mean .*'VGG16'.* A file ends in"):
        find_model_name("VGG17")


def test_arguments_reach_the_constructor():
    model = build_model("mobilenet", arguments={"alpha": 0.25, "input_shape": (32, 32, 3), "classes": 3})
    assert model.input_shape == (None, 32, 32, 3)
    assert model.output_shape == (None, 3)
    assert model.get_layer("conv1").filters == 8  # 32 of alpha 1


@pytest.mark.parametrize("argument", ["alfa", "weights", "input_tensor"])
def test_unknown_argument_lists_the_nearest(argument):
    with pytest.raises(ValueError, match=f"Unknown argument of MobileNet '{argument}'"):
        build_model("MobileNet", arguments={argument: 1})


def test_value_that_the_constructor_refuses_is_named():
    with pytest.raises(ValueError, match=r"MobileNet cannot be built with classes=10, weights='imagenet': .*classes"):
        build_model("MobileNet", "imagenet", {"classes": 10})


def test_weights_out_of_reach_name_the_remedy(monkeypatch):
    def fail(*args, **kwargs):
        raise Exception("URL fetch failure on https://example.org")  # as keras does

    monkeypatch.setattr(keras.src.utils.file_utils, "get_file", fail)
    with pytest.raises(
        ConnectionError, match=r"could not be downloaded: URL fetch.*weights=None\), call its load_weights"
    ):
        build_model("MobileNet", "imagenet")


def test_arguments_are_python_literals_or_text():
    pairs = ["alpha=0.75", "input_shape=(96, 128, 3)", "pooling=avg", "classifier_activation=None", "name='a=b'"]
    assert parse_arguments(pairs) == {
        "alpha": 0.75,
        "input_shape": (96, 128, 3),
        "pooling": "avg",
        "classifier_activation": None,
        "name": "a=b",
    }


@pytest.mark.parametrize("pair", ["alpha", "=1", "a b=1"])
def test_argument_without_key_or_value_is_an_error(pair):
    with pytest.raises(ValueError, match="Expected a constructor argument as KEY=VALUE"):
        parse_arguments([pair])
