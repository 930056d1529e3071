"""Batches of tf.data and arrays hold the same pixels, all of them, in new orders where asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.pictures import encoded, random_photo, smooth_photo
from tf_gradcam import get_img_array
from tf_gradcam.image import load_image
from training.data import pipeline
from training.data.folder import Samples, read_folder
from training.data.pipeline import Order, arrays, batches, free_memory

SIZE = (6, 10)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """Seven photos; photo number i has the value 20 * i everywhere, but the last two are a JPEG and grey noise."""
    root = tmp_path_factory.mktemp("photos")
    for name in ("a", "b"):
        (root / name).mkdir()
    for number in range(5):
        folder = root / "ab"[number % 2]
        (folder / f"{number}.png").write_bytes(encoded(np.full((*SIZE, 3), 20 * number, np.uint8), "PNG"))
    (root / "b" / "5.jpg").write_bytes(encoded(smooth_photo(), "JPEG"))
    (root / "b" / "6.png").write_bytes(encoded(random_photo(9, 7)[..., 0], "PNG"))
    return read_folder(root)


def epoch(dataset: object) -> tuple[np.ndarray, np.ndarray]:
    images, labels = zip(*dataset, strict=True)  # type: ignore[call-overload]
    return np.concatenate([np.asarray(each) for each in images]), np.concatenate([np.asarray(each) for each in labels])


def test_arrays_hold_the_photos_in_order(samples: Samples) -> None:
    photos, labels = arrays(samples, SIZE)
    assert photos.shape == (7, *SIZE, 3)
    assert photos.dtype == np.uint8
    assert labels.dtype == np.int32
    assert labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert photos[:5, 0, 0, 0].tolist() == [0, 40, 80, 20, 60]  # 0, 2, 4 in a; 1, 3 in b
    for photo, file in zip(photos, samples.files, strict=True):
        np.testing.assert_array_equal(photo, load_image(file, SIZE))


def test_photos_are_those_that_are_explained(samples: Samples) -> None:
    """At its own size a photo has the pixels that `tf_gradcam` reads."""
    for file in samples.files:
        explained = get_img_array(file, load_image(file).shape[:2])
        np.testing.assert_array_equal(load_image(file), explained[0])


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("size", [SIZE, (13, 4), (64, 96)])
def test_batches_hold_the_pixels_of_arrays(samples: Samples, size: tuple[int, int], cache: bool) -> None:
    photos, labels = arrays(samples, size)
    dataset = batches(samples, size, 3, cache=cache)
    for _ in range(2):  # the second time out of the cache
        images, batched = epoch(dataset)
        assert images.dtype == np.float32
        assert batched.dtype == np.int32
        np.testing.assert_array_equal(images, photos)
        np.testing.assert_array_equal(batched, labels)


def test_no_sample_is_dropped_and_the_length_is_known(samples: Samples) -> None:
    dataset = batches(samples, SIZE, 3, Order(7, 0))
    assert int(dataset.cardinality()) == 3
    assert [len(labels) for _, labels in dataset] == [3, 3, 1]
    assert tuple(dataset.element_spec[0].shape) == (None, *SIZE, 3)


@pytest.mark.parametrize("cache", [True, False])
def test_each_epoch_has_a_new_order_and_a_seed_repeats_them(samples: Samples, cache: bool) -> None:
    """Of 5040 orders of seven, three in a row are the same by chance once in 8 million."""
    photos, labels = arrays(samples, SIZE)
    places = {photo.tobytes(): index for index, photo in enumerate(photos)}

    def orders(seed: int) -> list[list[int]]:
        order, seen = Order(7, seed), []
        dataset = batches(samples, SIZE, 2, order, cache=cache)
        for number in range(3):
            order.begin(number)
            images, batched = epoch(dataset)
            seen.append([places[image.astype(np.uint8).tobytes()] for image in images])
            np.testing.assert_array_equal(batched, labels[seen[-1]])
        return seen

    first = orders(1)
    assert all(sorted(order) == list(range(7)) for order in first)
    assert not first[0] == first[1] == first[2]
    assert orders(1) == first
    assert orders(2) != first


@pytest.mark.parametrize(("bytes_free", "cached"), [(7 * 180 * 4, True), (7 * 180 * 4 - 1, False)])
def test_photos_are_cached_where_they_fit(
    samples: Samples, monkeypatch: pytest.MonkeyPatch, bytes_free: int, cached: bool
) -> None:
    """Seven photos of 6 x 10 x 3 bytes may take a quarter of what is free; cached ones are read once."""
    reads = []
    monkeypatch.setattr(pipeline, "free_memory", lambda: bytes_free)
    monkeypatch.setattr(pipeline, "load_image", lambda *given: reads.append(given) or load_image(*given))
    dataset = batches(samples, SIZE, 7, Order(7, 0))
    for _ in range(3):
        epoch(dataset)
    assert len(reads) == (7 if cached else 21)


def test_free_memory_is_plausible() -> None:
    assert 2**20 < free_memory() < 2**50


def test_a_file_that_vanished_is_named(samples: Samples, tmp_path: Path) -> None:
    gone = Samples(tmp_path, (tmp_path / "a" / "gone.png",), np.zeros(1, np.int32), ("a",))
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        arrays(gone, SIZE)
    with pytest.raises(Exception, match=r"gone\.png"):  # tf.errors.NotFoundError or UnknownError
        epoch(batches(gone, SIZE, 1))


def test_a_file_that_broke_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"The image file '.*a\.png' is empty"):
        arrays(Samples(tmp_path, (path,), np.zeros(1, np.int32), ("a",)), SIZE)


@pytest.mark.parametrize("size", [(0, 10), (6,), (6, -1)])
def test_a_size_that_is_none_is_refused(samples: Samples, size: tuple[int, ...]) -> None:
    for reading in (lambda: arrays(samples, size), lambda: batches(samples, size, 2)):
        with pytest.raises(ValueError, match="image size"):
            reading()


def test_no_sample_and_no_batch_size_are_refused(samples: Samples) -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        batches(samples.take([]), SIZE, 2)
    with pytest.raises(ValueError, match="batch size of at least 1, received 0"):
        batches(samples, SIZE, 0)


def test_arrays_and_samples_need_no_tensorflow() -> None:
    program = (
        "import sys; sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
        "from training.data import archive, duplicates, folder, pipeline, split\n"
    )
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", program], check=True, cwd=root, timeout=60)
