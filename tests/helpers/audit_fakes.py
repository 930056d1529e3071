"""A mapper that one can do in one's head, and a run that kills itself: `python audit_fakes.py OUT [POINT NUMBER]`.

Row i of the table follows from i alone. The run kills its own process (SIGKILL, which nothing can catch) where POINT is
reached for the NUMBER-th time: "explain", while a batch is worked on; "fsync", with half of a file written;
"replace", before a finished file gets its name; "replaced", after it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np

from tf_gradcam.audit.engines import run_local
from tf_gradcam.audit.rows import Rows, ragged
from tf_gradcam.audit.sources import Samples
from tf_gradcam.audit.table import PartFolder

ROWS, PART_ROWS, BATCH = 43, 8, 3  # 6 parts, the last of 3 rows; batches do not fill parts evenly
HEIGHT, WIDTH, CLASSES = 2, 3, 4
FINGERPRINT = {"weights": "1234", "layer": "conv"}


def samples(count: int = ROWS) -> Samples:
    names = [f"folder/\u4e2d <b>'{index}'.png" for index in range(count)]
    return Samples(names, (np.arange(count) % CLASSES - 1).astype(np.int32), list("abcd"))


def table(index: np.ndarray, files: np.ndarray, labels: np.ndarray) -> Rows:
    """The rows that the fake mapper makes of these."""
    failed = index % 10 == 7
    probabilities = np.full((len(index), CLASSES), 0.1, np.float32)
    probabilities[np.arange(len(index)), index % CLASSES] = 0.7
    probabilities[failed] = np.nan
    heatmap = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) / 8 + index[:, None, None]
    heatmap[failed] = 0
    return Rows(
        index=index,
        file=np.array(files, object),
        label=labels,
        truth=np.zeros((len(index), 0)),
        status=np.where(failed, "failed", "done"),
        error=np.array([f"row {i} is broken" if i % 10 == 7 else "" for i in index.tolist()], object),
        predicted=np.where(failed, -1, index % CLASSES),
        probability=np.where(failed, np.nan, 0.7),
        probabilities=probabilities,
        score=np.where(failed, np.nan, index / 2),
        heatmap=heatmap,
        mapped=ragged([np.arange(i % 3) for i in index.tolist()], np.int32),
        maps=ragged([np.full((i % 3, HEIGHT, WIDTH), i / 8) for i in index.tolist()], np.float16),
        diagnosis=np.array(["blank" if i % 10 == 3 else "" for i in index.tolist()], object),
        thumbnail=np.array([bytes([i % 256, 0, 0]) * (i % 5) for i in index.tolist()], object),
        note=np.full(len(index), "", object),
        digest=np.array([f"{i:04x}" for i in index.tolist()], object),
    )


def whole_table(count: int = ROWS) -> Rows:
    data = samples(count)
    return table(np.arange(count), np.array(data.files, object), data.labels)


def assert_same_table(actual: Rows, expected: Rows) -> None:
    for name, column in expected.items():
        assert actual[name].dtype == column.dtype, name
        if name in ("mapped", "maps"):
            for one, other in zip(actual[name], column, strict=True):
                assert one.dtype == other.dtype, name
                np.testing.assert_array_equal(one, other, err_msg=name)
        else:
            np.testing.assert_array_equal(actual[name], column, err_msg=name)


class FakeMapper:
    """Explains rows by their index, and remembers which."""

    def __init__(self, seconds: float = 0.0):
        self.batches: list[list[int]] = []
        self._seconds = seconds

    def reading(self, batch, pool: ThreadPool):
        return pool.apply_async(lambda: batch["file"])

    def explain(self, batch, pictures):
        reach("explain")
        time.sleep(self._seconds)
        self.batches.append(batch["index"].tolist())
        return table(batch["index"], batch["file"], batch["label"])


def part_folder(folder: Path, count: int | None = ROWS) -> PartFolder:
    return PartFolder(folder, FINGERPRINT, count, PART_ROWS)


_point, _left = "", 0


def reach(point: str, before=None) -> None:
    global _left
    if point == _point:
        _left -= 1
        if _left == 0:
            if before:
                before()
            os.kill(os.getpid(), signal.SIGKILL)


def main(folder: str, point: str = "", number: str = "0", seconds: str = "0") -> None:
    global _point, _left
    fsync, replace = os.fsync, os.replace

    def fsync_or_die(descriptor: int) -> None:
        reach("fsync", lambda: os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2))
        fsync(descriptor)

    def replace_or_die(source, target) -> None:
        reach("replace")
        replace(source, target)
        reach("replaced")

    os.fsync, os.replace = fsync_or_die, replace_or_die
    print("begun", flush=True)
    _point, _left = point, int(number)
    with part_folder(Path(folder)) as parts:
        run_local(FakeMapper(float(seconds)), samples(), parts, BATCH)


if __name__ == "__main__":
    main(*sys.argv[1:])
