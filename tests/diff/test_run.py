"""Two models over a data set: which answers change, and which evidence moves.

Also tests _diff/result.py.
"""

import numpy as np
import pytest
import tensorflow as tf

from tests.diff.worlds import BLACK, BLUE, GREENISH, MOVED, PLAIN, folder, model
from tf_gradcam import compare_models, describe
from tf_gradcam._errors import ModelWarning

pytestmark = pytest.mark.core
NAMES = ["red", "blue"]


@pytest.fixture
def photos(tmp_path):
    return folder(tmp_path, red_plain=PLAIN, red_greenish=GREENISH, blue_plain=BLUE)


def saved(path, network, names=NAMES, preprocess=None):
    network.save(path)
    describe(path, class_names=names, preprocess=preprocess)
    return path


def of_files(result):
    """Return the row of each file by its name without .png."""
    return {str(name).rpartition("/")[2][:-4]: row for row, name in enumerate(result.images.file)}


def test_finds_the_image_whose_evidence_moved(photos):
    old, new = model(), model(green=3)
    before = [array.copy() for network in (old, new) for array in network.get_weights()]
    result = compare_models(old, new, photos, class_names=NAMES)
    rows = of_files(result)
    assert not result.images.is_changed.any()
    np.testing.assert_array_equal(result.movers, [rows["red_greenish"]])
    expected = {"red_plain": 1, "red_greenish": MOVED, "blue_plain": 1}
    np.testing.assert_allclose(result.images.similarity[list(rows.values())], [expected[name] for name in rows])
    np.testing.assert_allclose(result.p_value[rows["red_greenish"]], 1 / 20)
    assert result.moved.value == pytest.approx(1 / 3)
    assert (result.changed.value, result.failed.value, result.undefined.value) == (0, 0, 0)
    assert {one.name: (one.count, one.moved.value) for one in result.classes} == {"red": (2, 0.5), "blue": (1, 0)}
    assert {name: value.value for name, value in result.accuracies.items()} == {"old": 1, "new": 1}
    after = [array for network in (old, new) for array in network.get_weights()]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_nothing_moves_between_identical_models(photos):
    result = compare_models(model(), model(), photos, class_names=NAMES, copies=3)
    np.testing.assert_allclose(result.images.similarity, 1)
    assert (result.moved.value, result.changed.value, len(result.movers)) == (0, 0, 0)


def test_finds_the_changed_answer(photos):
    """Blue needs more than 7 columns to win once red counts twice: 2 * 3 * 200 > 7 * 100."""
    new = model()
    new.get_layer("classes").set_weights([np.array([[2, 0], [0, 1], [0, 0]]), np.zeros(2)])
    result = compare_models(model(), new, photos, class_names=NAMES, copies=1)
    row = of_files(result)["blue_plain"]
    np.testing.assert_array_equal(result.changes, [row])
    assert (result.images.old_answer[row], result.images.new_answer[row]) == ("blue", "red")
    assert not result.is_tested[row]
    assert result.images.similarity[row] == pytest.approx(1)  # both maps are of blue
    assert result.changed.value == pytest.approx(1 / 3)
    assert result.accuracies["new"].value == pytest.approx(2 / 3)


def test_models_of_another_size_scaling_and_order_are_compared_as_they_are(tmp_path, photos):
    """The new model takes [0, 1], 12 x 20 pixels, and counts blue first: every map stays where it was."""
    old = saved(tmp_path / "old.keras", model())
    other = model(size=(12, 20), order=(1, 0), rescaling=None)
    new = saved(tmp_path / "new.keras", other, ["blue", "red"], preprocess="unit")
    result = compare_models(old, new, photos, copies=1)
    assert not result.images.is_changed.any()
    np.testing.assert_array_equal(result.images.old_top, result.images.new_top)
    assert result.images.old_map.shape[1:] == (12, 20)
    np.testing.assert_allclose(result.images.new_probability, result.images.old_probability, atol=0.02)
    assert (result.images.similarity > 0.95).all()  # the coarser map fades over a pixel where colours meet
    assert "aligned by their names" in result.about["classes"]


def test_other_classes_are_refused(tmp_path, photos):
    old = saved(tmp_path / "old.keras", model())
    named = saved(tmp_path / "named.keras", model(), ["red", "green"])
    with pytest.raises(ValueError, match="same classes, received a difference: blue"):
        compare_models(old, named, photos)
    twice = saved(tmp_path / "twice.keras", model(), ["crane", "crane"])  # as ImageNet's bird and machine
    assert not compare_models(twice, twice, photos / "red", copies=1).images.is_changed.any()
    with pytest.raises(ValueError, match="2 and 3 classes"):
        compare_models(model(), model(order=(0, 1, 1)), photos)


def test_models_without_names_are_taken_in_the_same_order(photos):
    result = compare_models(model(), model(), photos, copies=1)
    assert "not both models name them" in result.about["classes"]


def test_blank_maps_and_broken_files_are_counted(tmp_path):
    data = folder(tmp_path, red_plain=PLAIN, blue_black=BLACK)
    (data / "red" / "red_broken.png").write_bytes(b"\x89PNG\r\n\x1a\n no picture")
    result = compare_models(model(), model(), data, class_names=NAMES, copies=2)
    rows = of_files(result)
    assert result.images.is_blank_old[rows["blue_black"]]
    assert result.images.is_blank_new[rows["blue_black"]]
    assert np.isnan(result.images.similarity[rows["blue_black"]])
    assert (result.undefined.value, result.failed.value) == (0.5, pytest.approx(1 / 3))
    assert (int(result.is_tested.sum()), int(result.images.is_done.sum())) == (1, 2)
    text = "\n".join(result.lines())
    assert "no similarity, as a map is blank: 1 of 2" in text
    assert "not compared: 1, the first: " in text


def test_retrained_models_replace_the_changed_copies(photos):
    """Beside a retrained model that moves as far, the new one does not move; beside 19 that do not move it does."""
    old, new = model(), model(green=3)
    result = compare_models(old, new, photos, retrained=[new], class_names=NAMES)
    np.testing.assert_allclose(result.images.null[:, 0], result.images.similarity)
    assert not result.is_moved.any()
    result = compare_models(old, new, photos, retrained=[old] * 19, class_names=NAMES)
    np.testing.assert_array_equal(result.movers, [of_files(result)["red_greenish"]])
    assert "19 retrained models" in result.about["compared with"]


def test_retrained_model_of_another_accuracy_is_reported(tmp_path):
    data = folder(tmp_path, **{f"red_{number}": PLAIN for number in range(12)})
    wrong = model(order=(1, 0))
    with pytest.warns(ModelWarning, match="'retrained 1' is not as accurate"):
        compare_models(model(), model(), data, retrained=[wrong], class_names=NAMES)


def test_labels_are_compared_as_sets(tmp_path):
    """Red has the logit 5 * 0.6 * 200 / 255 = 2.4 and the probability 0.91, with a head of 0.1 the probability 0.51."""
    data = folder(tmp_path, red_plain=PLAIN)
    table = tmp_path / "labels.csv"
    table.write_text(f"file,label\n{data}/red/red_plain.png,red\n")
    of_labels = {"task": "multilabel", "class_names": NAMES, "copies": 1}
    old, new = model(scale=5, activation="sigmoid"), model(scale=0.1, activation="sigmoid")
    result = compare_models(old, new, table, threshold={"red": 0.7, "blue": 0.9}, **of_labels)
    assert (result.images.old_answer[0], result.images.new_answer[0]) == ("red", "no label")
    assert result.changed.value == 1
    assert result.accuracies == {}
    assert result.lines()[1] == "evidence moved, answer the same: no image to test"


def test_data_set_of_tensorflow(tmp_path):
    images = np.stack([PLAIN, GREENISH, BLUE]).astype(np.float32)
    data = tf.data.Dataset.from_tensor_slices((images, [0, 0, 1])).batch(2)
    result = compare_models(model(), model(green=3), data, class_names=NAMES)
    np.testing.assert_array_equal(result.movers, [1])
    calls = []
    compare_models(model(), model(), data, copies=1, batch_size=2, progress=lambda *call: calls.append(call))
    assert calls == [(2, None), (3, None)]  # TensorFlow does not say how many images batches hold
    other = saved(tmp_path / "other.keras", model(rescaling=None), preprocess="unit")
    with pytest.raises(ValueError, match=r"one scaling for a tf\.data\.Dataset"):
        compare_models(model(), other, data)


def test_wrong_arguments_and_tasks_are_refused(photos):
    with pytest.raises(ValueError, match="copies of at least 1"):
        compare_models(model(), model(), photos, copies=0)
    values = model(activation=None)
    with pytest.raises(ValueError, match=r"the same or not, received the task regression\. .*assert_same_evidence"):
        compare_models(values, values, photos, task="regression")
