"""Messages in two spellings, and the sentences for unknown names and missing extras."""

from __future__ import annotations

import pickle
import threading

import pytest

from tf_gradcam._errors import (
    Message,
    ModelWarning,
    collected_warnings,
    for_command_line,
    install_command,
    require,
    unknown_name,
    warn,
)

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


BOTH = Message("No cells in '{layer}'.", "Pass layer=.", "Pass --layer.")


def test_message_is_the_sentence_for_python() -> None:
    assert BOTH == "No cells in '{layer}'. Pass layer=."
    assert str(ValueError(BOTH)) == BOTH


@pytest.mark.parametrize("of", [BOTH, ValueError(BOTH), UserWarning(BOTH)], ids=["text", "error", "warning"])
def test_command_line_has_its_own_remedy(of: object) -> None:
    assert for_command_line(of) == "No cells in '{layer}'. Pass --layer."


@pytest.mark.parametrize("of", ["plain", ValueError("plain"), OSError(2, "plain")], ids=["text", "error", "number"])
def test_command_line_says_other_texts_as_they_are(of: object) -> None:
    assert for_command_line(of) == str(of)


def test_message_without_remedy_ends_in_its_fact() -> None:
    message = Message("Expected names of 2 classes.", "A mapping may leave classes out.")
    assert message.option == "Expected names of 2 classes."


def test_message_is_filled_in_in_both_spellings() -> None:
    filled = BOTH.format(layer="conv")
    assert (filled, filled.option) == ("No cells in 'conv'. Pass layer=.", "No cells in 'conv'. Pass --layer.")


def test_message_keeps_both_spellings_on_its_way_from_another_process() -> None:
    error = pickle.loads(pickle.dumps(ValueError(BOTH)))
    assert (str(error), for_command_line(error)) == (BOTH, BOTH.option)


def test_missing_package_names_the_command_that_installs_it() -> None:
    with pytest.raises(ImportError, match=r"package 'no_such_package', which is not installed") as caught:
        require("no_such_package.part", "app")
    assert str(caught.value).endswith(f"In a clone of tf-gradcam: {install_command('app')}")
    assert install_command("app") == 'pip install ".[app]"'


def test_warnings_are_collected_in_their_own_thread_and_shown() -> None:
    def warn_of_both() -> list[str]:
        with collected_warnings() as texts:
            other = threading.Thread(target=warn, args=["another"])
            other.start()
            other.join()
            warn(BOTH.format(layer="first"))
        return texts

    with pytest.warns(ModelWarning) as shown:
        collected = warn_of_both()
    assert [for_command_line(text) for text in collected] == ["No cells in 'first'. Pass --layer."]
    assert len(shown) == 2
