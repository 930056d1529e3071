"""Similarity of evidence, its level by chance, and the assertion for a test of a checkpoint."""

import keras
import numpy as np
import pytest

from tests.diff.worlds import BLACK, BLUE, GREENISH, MOVED, PLAIN, model
from tf_gradcam import Explainer, assert_same_evidence
from tf_gradcam._diff.evidence import are_even, changed_copies, p_values, shifted_back, similarities

pytestmark = pytest.mark.core
IMAGES = np.stack([PLAIN, GREENISH, BLUE]).astype(np.float32)


@pytest.mark.parametrize("copies", [19, 4])
def test_p_values_keep_their_level(copies):
    """Of 4000 exchangeable images the share at 5 % has a standard deviation of 0.0034; four of them are allowed."""
    drawn = np.random.default_rng(1).beta(8, 2, (4000, 1 + copies))
    share = (p_values(drawn[:, 0], drawn[:, 1:]) <= 0.05 + 1e-9).mean()
    assert abs(share - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 4000)


def test_p_values_of_an_images_own_copies():
    """An image below all of its 19 copies has 1 / 20, one equal to its copies 1, and one without a map none."""
    null = np.full((3, 19), 0.9)
    np.testing.assert_allclose(p_values(np.array([0.89, 0.9, np.nan]), null), [0.05, 1, np.nan])


def test_p_values_pool_fewer_copies():
    """0.5 is as high as 2 of the 6 null values of both images: (1 + 2) / (1 + 6)."""
    null = np.array([[0.1, 0.6, 0.7], [0.4, 0.8, 0.9]])
    np.testing.assert_allclose(p_values(np.array([0.5, 1.0]), null), [3 / 7, 1])


def test_blank_copy_counts_as_the_lowest():
    null = np.full((1, 19), 0.9)
    null[0, 0] = np.nan
    np.testing.assert_allclose(p_values(np.array([0.5]), null), [2 / 20])


def test_similarities_ignore_rounding_and_are_unknown_for_even_maps():
    first = np.zeros((2, 6, 10))
    first[0, :, :4] = 1
    noisy = np.clip(first + 1e-5 * np.random.default_rng(0).random(first.shape), 0, 1)
    np.testing.assert_allclose(similarities(first, noisy), [1, np.nan])
    np.testing.assert_array_equal(are_even(noisy), [False, True])


def test_changed_copies_are_shifted_and_shifted_back():
    images = np.random.default_rng(0).uniform(0, 255, (2, 60, 100, 3)).astype(np.float32)
    shifts = set()
    for number in range(8):
        changed, shift = changed_copies(images, number, seed=0)
        shifts.add(shift)
        assert (np.abs(shift) <= (2, 4)).all()  # 4 % of 60 and of 100
        assert ((changed >= images.min()) & (changed <= images.max())).all()
        back = shifted_back(changed[..., 0], shift, (60, 100))
        inner = np.s_[:, 4:-4, 4:-4]
        assert abs((back - images[..., 0])[inner].std() - 0.02 * 255) < 1  # noise of 2 % of the range, a little clipped
    assert len(shifts) > 4
    np.testing.assert_array_equal(changed_copies(images[:1], 3, 0)[0], changed_copies(images, 3, 0)[0][:1])


def test_assert_same_evidence_passes_for_the_same_and_for_a_harmless_change(tmp_path):
    old = model()
    before = [array.copy() for array in old.get_weights()]
    assert_same_evidence(old, old, IMAGES)
    assert_same_evidence(old, model(scale=5), IMAGES, at_least=0.99)
    model(scale=2).save(tmp_path / "new.keras")
    assert_same_evidence(old, tmp_path / "new.keras", IMAGES, at_least=0.99)
    assert all(np.array_equal(a, b) for a, b in zip(before, old.get_weights(), strict=True))


def test_assert_same_evidence_names_the_image_that_moved():
    with pytest.raises(AssertionError, match=rf"less for 1 of 3 images: image 1 \(.*0.*\): {MOVED:.3f}\."):
        assert_same_evidence(model(), model(green=3), IMAGES)
    assert_same_evidence(model(), model(green=3), IMAGES, at_least=0.1)
    with pytest.raises(AssertionError, match="image 1"):
        assert_same_evidence(Explainer(model()), Explainer(model(green=3)), IMAGES)


def test_assert_same_evidence_fails_where_one_map_is_blank():
    blind = model()
    blind.get_layer("classes").set_weights([np.zeros((3, 2)), np.array([1.0, 0])])
    with pytest.raises(AssertionError, match=r"3 of 3 images: .*the map of the new model is blank"):
        assert_same_evidence(model(), blind, IMAGES)
    with pytest.raises(ValueError, match="blank ones of every image"):
        assert_same_evidence(model(), model(), BLACK[None].astype(np.float32))
    assert_same_evidence(model(), model(), np.stack([BLACK, PLAIN]).astype(np.float32))


def test_assert_same_evidence_refuses_what_cannot_be_compared():
    with pytest.raises(ValueError, match="at_least as a rank correlation"):
        assert_same_evidence(model(), model(), IMAGES, at_least=80)
    other = keras.Sequential([*model().layers[:-1], keras.layers.Dense(3, activation="softmax")])
    other.build((None, 6, 10, 3))
    with pytest.raises(ValueError, match=r"same outputs, received \(3, 2\) and \(3, 3\)"):
        assert_same_evidence(model(), other, IMAGES)
    with pytest.raises(TypeError, match="Expected an explainer"):
        assert_same_evidence(model(), 5, IMAGES)
