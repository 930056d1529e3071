"""The columns of an audit: by attribute, by name, of fixed types."""

import numpy as np
import pytest

from tests.helpers.audit_fakes import CLASSES, HEIGHT, WIDTH, assert_same_table, whole_table
from tf_gradcam.audit.rows import join_rows, turns_of


def test_columns_have_the_types_and_shapes_of_the_contract():
    """Cells of texts and bytes are Python objects, so that none is cut to the longest of another part."""
    rows = whole_table(9)
    assert {name: (column.dtype, column.shape) for name, column in rows.items()} == {
        "index": (np.int64, (9,)),
        "file": (object, (9,)),
        "label": (np.int32, (9,)),
        "truth": (np.float32, (9, 0)),
        "status": (object, (9,)),
        "error": (object, (9,)),
        "predicted": (np.int32, (9,)),
        "probability": (np.float32, (9,)),
        "probabilities": (np.float32, (9, CLASSES)),
        "score": (np.float32, (9,)),
        "heatmap": (np.float16, (9, HEIGHT, WIDTH)),
        "mapped": (object, (9,)),
        "maps": (object, (9,)),
        "diagnosis": (object, (9,)),
        "thumbnail": (object, (9,)),
        "note": (object, (9,)),
        "digest": (object, (9,)),
    }


def test_column_by_name_is_the_attribute():
    rows = whole_table()
    assert len(rows) == 17
    assert all(rows[name] is getattr(rows, name) for name in rows)


@pytest.mark.parametrize("name", ["labels", "is_done", "take"])
def test_name_that_is_not_a_column_is_refused(name):
    with pytest.raises(KeyError, match=f"Unknown column '{name}'"):
        whole_table()[name]


def test_done_and_labelled_rows():
    """Of ten rows the eighth failed; every fourth one, from the first, has no label."""
    rows = whole_table(10)
    assert np.flatnonzero(~rows.is_done).tolist() == [7]
    assert np.flatnonzero(~rows.is_labelled).tolist() == [0, 4, 7, 8]


def test_rows_taken_apart_and_joined_are_the_same():
    rows = whole_table(10)
    order = np.array([3, 1, 9, 0, 2, 4, 5, 6, 7, 8])
    shuffled = join_rows([rows.take(order[:4]), rows.take(order[4:])])
    np.testing.assert_array_equal(shuffled.index, order)
    assert_same_table(shuffled.take(np.argsort(shuffled.index)), rows)


def test_turns_count_the_equal_values_before_each():
    np.testing.assert_array_equal(turns_of(np.array([3, 1, 3, 3, 1, 2])), [0, 0, 1, 2, 1, 0])
