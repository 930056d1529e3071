"""A `tf.data.Dataset` as data set: every shape of its elements, and a run that goes on."""

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.audit_fakes import FakeMapper, assert_same_table, part_folder

pytest.importorskip("pyarrow", reason="the extra audit is not installed")

from tf_gradcam.audit.engines import run_local
from tf_gradcam.audit.sources import DatasetSource
from tf_gradcam.audit.truth import read_labels

COUNT = 11
IMAGES = np.random.default_rng(0).random((COUNT, 6, 10, 3), np.float32)
LABELS = np.arange(COUNT) % 3


def dataset(*arrays, batch=4):
    whole = tf.data.Dataset.from_tensor_slices(arrays[0] if len(arrays) == 1 else arrays)
    return whole.batch(batch) if batch else whole


def all_rows(source, finished=None, part_rows=4, batch_size=3):
    return list(source.batches(finished or {}, part_rows, batch_size))


@pytest.mark.parametrize("batch", [None, 1, 4, 5, 11])
def test_rows_come_in_order_and_end_with_their_part(batch):
    source = DatasetSource(dataset(IMAGES, LABELS, batch=batch))
    batches = all_rows(source)
    index = [one["index"].tolist() for one in batches]
    assert index == [[0, 1, 2], [3], [4, 5], [6, 7], [8], [9, 10]]  # threes, cut at 4 and 8
    np.testing.assert_array_equal(np.concatenate([one["image"] for one in batches]), IMAGES)
    np.testing.assert_array_equal(np.concatenate([one["label"] for one in batches]), LABELS)
    assert batches[1]["file"].tolist() == ["image 3"]
    assert source.row_count == COUNT


def test_length_is_known_where_the_data_set_says_it():
    assert DatasetSource(dataset(IMAGES, batch=None)).row_count == COUNT
    assert DatasetSource(dataset(IMAGES).filter(lambda images: True)).row_count is None


def test_size_and_names_are_those_of_the_data_set():
    source = DatasetSource(dataset(IMAGES))
    assert (source.size, source.class_names) == ((6, 10), [])
    named = dataset(IMAGES)
    named.class_names = ["a", "b"]
    assert DatasetSource(named).class_names == ["a", "b"]
    assert DatasetSource(named, ["c", "d"]).class_names == ["c", "d"]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.eye(3, dtype=np.float32)[LABELS], LABELS),
        ((LABELS[:, None] > 0).astype(np.float32), LABELS > 0),
        (LABELS.astype(np.int64), LABELS),
        (LABELS > 1, LABELS > 1),
    ],
)
def test_labels_of_every_kind_are_indices(labels, expected):
    batches = all_rows(DatasetSource(dataset(IMAGES, labels)))
    np.testing.assert_array_equal(np.concatenate([one["label"] for one in batches]), expected)
    assert batches[0]["label"].dtype == np.int32


@pytest.mark.parametrize("arrays", [(IMAGES,), ((IMAGES,),)])
def test_images_without_labels_are_unknown(arrays):
    batches = all_rows(DatasetSource(dataset(*arrays)))
    assert {int(label) for one in batches for label in one["label"]} == {-1}


def test_further_components_are_ignored():
    batches = all_rows(DatasetSource(dataset(IMAGES, LABELS, np.ones(COUNT))))
    np.testing.assert_array_equal(np.concatenate([one["label"] for one in batches]), LABELS)


def test_images_of_some_rows_are_found():
    source = DatasetSource(dataset(IMAGES, LABELS))
    np.testing.assert_array_equal(source.images([9, 2, 9]), IMAGES[[9, 2, 9]])
    with pytest.raises(IndexError, match="rows below 11, the length of the data set, received 11"):
        source.images([3, 11])


class Labelled(FakeMapper):
    """Remembers the images too."""

    def __init__(self):
        super().__init__()
        self.seen = {}

    def explain(self, batch, pictures):
        self.seen |= {int(row): image for row, image in zip(batch["index"], batch["image"], strict=True)}
        return super().explain(batch, pictures)


def run(folder, data, mapper):
    source = DatasetSource(data)
    with part_folder(folder, source.row_count) as parts:
        run_local(mapper, source, parts, 3)
        return parts.read()


@pytest.mark.parametrize("batch", [None, 4])
def test_run_goes_on_where_parts_are_missing(tmp_path, batch):
    images = np.tile(IMAGES, (2, 1, 1, 1))  # 22 rows: parts of 8, 8 and 6
    data = dataset(images, np.arange(22), batch=batch)
    before = run(tmp_path, data, Labelled())
    np.testing.assert_array_equal(before["label"], np.arange(22))
    for name in ("part-000000.parquet", "part-000002.parquet"):
        (tmp_path / name).unlink()
    mapper = Labelled()
    after = run(tmp_path, data, mapper)
    assert sorted(mapper.seen) == [*range(8), *range(16, 22)]
    np.testing.assert_array_equal(mapper.seen[17], images[17])
    assert_same_table(after, before)


def test_other_order_is_refused(tmp_path):
    run(tmp_path, dataset(IMAGES, LABELS, batch=4), Labelled())
    (tmp_path / "part-000001.parquet").unlink()
    with pytest.raises(ValueError, match=r"other labels in the rows 0 to 2. Give it in the same order every time"):
        run(tmp_path, dataset(IMAGES, LABELS[::-1].copy(), batch=4), Labelled())


def test_shorter_data_set_is_refused(tmp_path):
    source = DatasetSource(dataset(IMAGES[:3], LABELS[:3]))
    with pytest.raises(ValueError, match="it has only 3 rows"):
        all_rows(source, {0: LABELS[:4]})


def test_failing_data_set_says_where(tmp_path):
    def check(image):
        with tf.control_dependencies([tf.debugging.assert_less(image[0, 0, 0], IMAGES[6, 0, 0, 0])]):
            return tf.identity(image)

    images = np.sort(IMAGES, axis=0)
    source = DatasetSource(tf.data.Dataset.from_tensor_slices(images).map(check))
    failing = next(row for row in range(COUNT) if images[row, 0, 0, 0] >= IMAGES[6, 0, 0, 0])
    with pytest.raises(ValueError, match=rf"fails after row {failing // 3 * 3}: .*ignore_errors"):
        all_rows(source)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (IMAGES, TypeError, r"or a tf.data.Dataset as data set, received ndarray"),
        (dataset(IMAGES).repeat(), ValueError, "repeats forever"),
        (dataset(IMAGES[0, 0], batch=None), ValueError, r"images \(height, width, channels\)"),
        (dataset(IMAGES).map(lambda images: {"image": images}), TypeError, r"\(images, labels\)"),
    ],
)
def test_wrong_data_set_is_refused(data, error, message):
    with pytest.raises(error, match=message):
        DatasetSource(data)


def test_labels_of_another_shape_are_refused():
    source = DatasetSource(dataset(IMAGES, np.zeros((COUNT, 2, 2))))
    with pytest.raises(ValueError, match=r"Expected 3 labels, one per image, received shape \(3, 2, 2\)"):
        all_rows(source)


def test_digest_tells_data_sets_of_other_elements_apart():
    one = DatasetSource(dataset(IMAGES, LABELS)).digest()
    assert DatasetSource(dataset(IMAGES, LABELS)).digest() == one
    assert DatasetSource(dataset(IMAGES[:, :5], LABELS)).digest() != one


# A data set that knows its class names, and other class names beside it.


def named_dataset(labels, names):
    images = np.zeros((len(labels), 6, 10, 1), np.float32)
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(2)
    dataset.class_names = names
    return dataset


def labels_of(source):
    return np.concatenate([batch["label"] for batch in source.batches({}, 10, 2)]).tolist()


@pytest.mark.parametrize("labels", [[0, 1, 1], [[1, 0], [0, 1], [0, 1]]])
def test_labels_of_another_order_are_translated_by_name(labels):
    dataset = named_dataset(np.array(labels), ["cat", "dog"])
    source = DatasetSource(dataset, ["Dog", "CAT"])
    assert "label 0 means 'cat', class 1. Labels are translated by name" in source.note
    assert labels_of(source) == [1, 0, 0]
    assert source.class_names == ["Dog", "CAT"]


def test_labels_of_fewer_classes_than_the_model_are_translated():
    assert labels_of(DatasetSource(named_dataset([0, 1], ["cat", "dog"]), ["ant", "cat", "bee", "dog"])) == [1, 3]


def test_labels_of_the_same_order_stay_without_a_word():
    source = DatasetSource(named_dataset([0, 1], ["cat", "dog"]), ["Cat", "Dog"])
    assert (labels_of(source), source.note) == ([0, 1], "")


def test_labels_of_other_words_are_taken_in_order_with_a_word():
    source = DatasetSource(named_dataset([0, 1], ["cat", "dog"]), ["Katze", "Hund"])
    assert labels_of(source) == [0, 1]
    assert "('cat' for 'Katze'): they are taken to be in the same order" in source.note


def test_names_of_which_some_are_unknown_are_refused():
    with pytest.raises(ValueError, match="among the class names, received 'cow'"):
        DatasetSource(named_dataset([0, 1], ["cat", "cow"]), ["cat", "dog"])


def test_label_beyond_the_data_sets_names_is_refused():
    source = DatasetSource(named_dataset([0, 2], ["cat", "dog"]), ["dog", "cat", "cow"])
    with pytest.raises(ValueError, match="labels below 2, the number of the data set's class names, received 2"):
        labels_of(source)


@pytest.mark.parametrize(("rows", "count"), [([[0, 1, 1]], 2), ([[1, 0, 0], [0, 0, 0]], 0)])
def test_rows_of_several_labels_are_not_classes(rows, count):
    source = DatasetSource(dataset(IMAGES[: len(rows)], np.array(rows)))
    with pytest.raises(ValueError, match=f"received a row of labels with {count} of 3.*say task='multilabel'"):
        all_rows(source)


def test_smoothed_labels_are_the_class_of_the_largest_share():
    source = DatasetSource(dataset(IMAGES[:2], np.array([[0.1, 0.8, 0.1], [0.5, 0.3, 0.2]])))
    assert all_rows(source)[0]["label"].tolist() == [1, 0]


def test_run_of_labels_goes_on_in_the_same_order_alone(tmp_path):
    """Unknown labels are equal to themselves, and other labels in a finished part are another order."""
    truth = np.array([[0, 1, np.nan]] * 8 + [[1, 0, 0]] * 3)
    finished = {0: read_labels(3)(truth[:8], 8)}
    source = DatasetSource(dataset(IMAGES, truth), read_truth=read_labels(3))
    (batch,) = all_rows(source, finished, part_rows=8, batch_size=8)
    assert batch["index"].tolist() == [8, 9, 10]
    np.testing.assert_array_equal(batch["truth"], truth[8:])
    other = DatasetSource(dataset(IMAGES, truth[::-1]), read_truth=read_labels(3))
    with pytest.raises(ValueError, match="other labels in the rows 0 to 2"):
        all_rows(other, finished, part_rows=8, batch_size=3)
