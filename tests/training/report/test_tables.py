"""Tables of a training: as many parameters as the model has, and letters that stay letters."""

from __future__ import annotations

import keras
import pytest

from training.config import Stage
from training.model.backbone import unfreeze
from training.report.tables import as_markdown, as_text, escaped, network_tables

STAGES = (Stage("head", 3, 0, 1e-3), Stage("last | block", 2, 1, 1e-5, decay=True), Stage("all", 1, None, 1e-4))


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """Blocks of 4 x 2 + 2 = 10 and 2 x 2 + 2 = 6 parameters and a batch normalisation of 4 x 2, a head of 2 x 3 + 3."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((6, 10, 4)),
            layers.Conv2D(2, 1, name="block1_conv"),
            layers.Conv2D(2, 1, name="block2_conv"),
            layers.BatchNormalization(name="block2_bn"),
            layers.GlobalAveragePooling2D(name="pool"),
            layers.Dense(3, name="dense"),
        ]
    )


def test_table_of_stages_counts_what_each_trains(model: keras.Model) -> None:
    """Half of the batch normalisation, its moving statistics, is never trained."""
    header, *rows = network_tables(model, STAGES)[0]
    assert header == ("stage", "epochs", "learning rate", "trained blocks", "trained parameters", "all parameters")
    assert rows == [
        ("head", "3", "0.001", "head", "9", "33"),
        ("last | block", "2", "1e-05, falling", "block2, head", "19", "33"),
        ("all", "1", "0.0001", "block1, block2, head", "29", "33"),
    ]


def test_table_of_blocks_has_all_layers_and_parameters(model: keras.Model) -> None:
    header, *rows = network_tables(model, STAGES)[1]
    assert header == ("block", "layers", "parameters", "trained in", "first layer", "last layer")
    assert rows == [
        ("block1", "1", "10", "all", "block1_conv", "block1_conv"),
        ("block2", "2", "14", "last | block, all", "block2_conv", "block2_bn"),
        ("head", "2", "9", "every stage", "pool", "dense"),
    ]
    assert sum(int(row[2]) for row in rows) == model.count_params()
    assert sum(int(row[1]) for row in rows) == len(model.layers)


def test_more_blocks_than_there_are_is_refused(model: keras.Model) -> None:
    with pytest.raises(ValueError, match="Expected 0 to 2 blocks"):
        network_tables(model, (Stage("head", 1, 5, 1e-3),))
    unfreeze(model, 0)


def test_text_is_aligned_with_numbers_to_the_right() -> None:
    table = [("block", "parameters", "where"), ("a", "1,234", "x"), ("long", "5", "")]
    assert as_text(table).splitlines() == ["block  parameters  where", "a           1,234  x", "long            5"]


def test_markdown_keeps_letters_of_names() -> None:
    table = [("class", "images"), ("a|b_c*<i>", "3")]
    assert as_markdown(table).splitlines() == ["| class | images |", "| --- | ---: |", r"| a\|b\_c\*\<i\> | 3 |"]
    assert escaped("two\nlines `x` [y](z)") == r"two lines \`x\` \[y\](z)"
