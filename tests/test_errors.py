"""What is said of a name that does not exist."""

from __future__ import annotations

from tf_gradcam._errors import unknown_name

LAYERS = ["conv2d", "conv2d_1", "block5_conv3", "flatten", "predictions"]


def test_unknown_name_says_what_was_received_and_what_is_near() -> None:
    assert unknown_name("layer", "block5_conv4", LAYERS) == "Unknown layer 'block5_conv4'. Did you mean 'block5_conv3'?"


def test_unknown_name_ignores_case() -> None:
    assert "Did you mean 'predictions'" in unknown_name("layer", "PREDICTIONS", LAYERS)


def test_unknown_name_finds_part_of_a_name() -> None:
    assert "'block5_conv3'" in unknown_name("layer", "conv3", LAYERS)


def test_unknown_name_finds_the_end_of_a_long_path() -> None:
    """The prefix is longer than the name, so that the whole paths have little in common with it."""
    path = "my_fine_tuned_classifier/efficientnetv2-s/top_activation"
    assert f"Did you mean '{path}'" in unknown_name("layer", "top_activatoin", [path, "head"])


def test_unknown_name_without_neighbours_lists_the_known() -> None:
    sentence = unknown_name("layer", "zzz", LAYERS)
    assert sentence == "Unknown layer 'zzz'. Known: 'conv2d', 'conv2d_1', 'block5_conv3', 'flatten', 'predictions'."


def test_unknown_name_lists_twelve_of_many() -> None:
    sentence = unknown_name("class", "zzz", [f"n{number:02d}" for number in range(1000)])
    assert "'n11', ..." in sentence
    assert "'n12'" not in sentence


def test_unknown_name_names_each_once_and_five_at_most() -> None:
    sentence = unknown_name("layer", "conv", [f"conv_{number}" for number in range(20)] * 2)
    assert sentence.count("conv_") == 5


def test_unknown_name_that_is_empty_is_near_to_nothing() -> None:
    assert "Known: 'conv2d'" in unknown_name("layer", "", LAYERS)


def test_unknown_name_where_none_are_known() -> None:
    assert unknown_name("layer", "conv1", []) == "Unknown layer 'conv1'. Known: none."
