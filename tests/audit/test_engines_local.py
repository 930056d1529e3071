"""The pass in one process: the same table however often it was killed, nothing done twice, memory that stays flat."""

import os
import random
import signal
import subprocess
import sys
import time
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import audit_fakes
from tests.helpers.audit_fakes import (
    BATCH,
    PART_ROWS,
    ROWS,
    FakeMapper,
    assert_same_table,
    part_folder,
    samples,
    whole_table,
)

pytest.importorskip("pyarrow", reason="the extra audit is not installed")

from tf_gradcam.audit.engines import run_local

ROOT = Path(__file__).parents[2]


def run(folder, mapper=None, progress=None, source=None):
    mapper = mapper or FakeMapper()
    with part_folder(folder) as parts:
        run_local(mapper, source or samples(), parts, BATCH, progress)
        return parts.read()


def killed_run(folder, point="", number=0, seconds=0):
    """A process of its own that ends in SIGKILL at that point, or at the end."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, audit_fakes.__file__, str(folder), point, str(number), str(seconds)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def part_files(folder):
    return sorted(Path(folder).glob("part-*.parquet"))


def test_rows_are_those_of_the_mapper_in_order(tmp_path):
    assert_same_table(run(tmp_path), whole_table())


def test_parts_hold_their_own_rows(tmp_path):
    import pyarrow.parquet as pq

    run(tmp_path)
    rows = [pq.read_table(path)["index"].to_pylist() for path in part_files(tmp_path)]
    assert rows == [list(range(start, min(start + PART_ROWS, ROWS))) for start in range(0, ROWS, PART_ROWS)]


# Files are fsynced with their folder: run.json takes fsync 1 and 2, part n the fsyncs 2 n + 3 and 2 n + 4; of renames,
# run.json takes the first. 43 rows are 6 parts, and batches of 3 rows make 3 calls a part: 2 full ones and one of 2.
@pytest.mark.parametrize(
    ("point", "number", "finished"),
    [
        ("fsync", 3, 0),
        ("explain", 8, None),
        *(
            pytest.param(*values, marks=pytest.mark.slow)
            for values in [
                *[
                    ("replace", 1, 0),
                    ("replaced", 2, 1),
                    ("fsync", 1, 0),
                    ("replaced", 1, 0),
                    ("explain", 1, 0),
                    ("replace", 2, 0),
                ],
                *[("fsync", 7, 2), ("replace", 7, 5), ("replaced", 7, 6)],
            ]
        ),
    ],
)
def test_run_killed_at_a_point_goes_on_to_the_same_table(tmp_path, point, number, finished):
    process = killed_run(tmp_path, point, number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, errors
    before = {path: path.stat().st_mtime_ns for path in part_files(tmp_path)}
    if finished is not None:
        assert len(before) == finished
    mapper = FakeMapper()
    assert_same_table(run(tmp_path, mapper), whole_table())
    done = {row for path in before for row in range(int(path.stem[-6:]) * PART_ROWS, ROWS)[:PART_ROWS]}
    assert sorted(row for batch in mapper.batches for row in batch) == sorted(set(range(ROWS)) - done)
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert not list(tmp_path.glob(".*"))


@pytest.mark.soak
def test_run_killed_again_and_again_at_any_moment_ends_with_the_same_table(tmp_path):
    moments = random.Random(0)
    kills = 0
    for _ in range(40):
        process = killed_run(tmp_path, seconds=0.02)
        assert process.stdout.readline() == "begun\n"
        time.sleep(moments.uniform(0, 0.25))
        process.kill()
        process.communicate(timeout=60)
        kills += process.returncode == -signal.SIGKILL
        if process.returncode == 0:
            break
    assert kills >= 2
    assert_same_table(run(tmp_path), whole_table())
    assert not list(tmp_path.glob(".*"))


def test_part_cut_short_is_done_again(tmp_path):
    run(tmp_path)
    path = part_files(tmp_path)[2]
    path.write_bytes(path.read_bytes()[:-100])
    mapper = FakeMapper()
    assert_same_table(run(tmp_path, mapper), whole_table())
    assert [row for batch in mapper.batches for row in batch] == list(range(2 * PART_ROWS, 3 * PART_ROWS))


def test_part_with_a_changed_byte_is_done_again(tmp_path):
    """In a data page, whose checksum tells it."""
    run(tmp_path)
    path = part_files(tmp_path)[1]
    data = bytearray(path.read_bytes())
    data[data.index(b"row 7") if b"row 7" in data else 200] ^= 1
    path.write_bytes(data)
    mapper = FakeMapper()
    assert_same_table(run(tmp_path, mapper), whole_table())
    assert mapper.batches


def test_finished_run_is_not_touched(tmp_path):
    run(tmp_path)
    mapper, told = FakeMapper(), []
    run(tmp_path, mapper, lambda done, total: told.append((done, total)))
    assert mapper.batches == []
    assert told == [(ROWS, ROWS)]


def test_progress_counts_rows_and_those_that_were_done(tmp_path):
    run(tmp_path)
    part_files(tmp_path)[0].unlink()
    told = []
    run(tmp_path, progress=lambda done, total: told.append((done, total)))
    assert told == [(ROWS - 8, ROWS), (ROWS - 5, ROWS), (ROWS - 2, ROWS), (ROWS, ROWS)]


def test_memory_is_that_of_a_few_batches(tmp_path):
    """No more batches are read ahead than two, and the one that is worked on."""
    reading, most = set(), 0

    class Greedy(FakeMapper):
        def reading(self, batch, pool: ThreadPool):
            nonlocal most
            reading.add(int(batch["index"][0]))
            most = max(most, len(reading))
            return super().reading(batch, pool)

        def explain(self, batch, pictures):
            reading.remove(int(batch["index"][0]))
            return super().explain(batch, pictures)

    run(tmp_path, Greedy())
    assert most == 3


def test_error_of_the_mapper_is_raised_and_leaves_finished_parts(tmp_path):
    class Failing(FakeMapper):
        def explain(self, batch, pictures):
            if batch["index"][0] >= 3 * PART_ROWS:
                raise RuntimeError("no more")
            return super().explain(batch, pictures)

    with pytest.raises(RuntimeError, match="no more"):
        run(tmp_path, Failing())
    assert len(part_files(tmp_path)) == 3
    assert_same_table(run(tmp_path), whole_table())


def test_full_disk_is_said_in_words(tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(28, "No space left on device")

    with part_folder(tmp_path) as parts:
        monkeypatch.setattr(os, "replace", full)
        with pytest.raises(OSError, match=r"Cannot write 'part-000000.parquet' into .*: No space left.*Make room"):
            run_local(FakeMapper(), samples(), parts, BATCH)
    assert not list(tmp_path.glob(".*.tmp"))


def test_batch_size_below_one_is_refused(tmp_path):
    with part_folder(tmp_path) as parts, pytest.raises(ValueError, match="batch size of at least 1, received 0"):
        run_local(FakeMapper(), samples(), parts, 0)


class Endless:
    """A source that does not know how long it is."""

    row_count = None

    def __init__(self, count):
        self._samples = samples(count)

    def batches(self, finished, part_rows, batch_size):
        return self._samples.batches(finished, part_rows, batch_size)


@pytest.mark.parametrize("count", [ROWS, 2 * PART_ROWS])
def test_length_that_is_known_at_the_end_is_kept(tmp_path, count):
    with part_folder(tmp_path, None) as parts:
        run_local(FakeMapper(), Endless(count), parts, BATCH)
        assert parts.row_count == count
    mapper = FakeMapper()
    with part_folder(tmp_path, None) as parts:
        run_local(mapper, Endless(count), parts, BATCH)
        assert_same_table(parts.read(), whole_table(count))
    assert mapper.batches == []


def test_empty_data_set_is_refused(tmp_path):
    with part_folder(tmp_path, None) as parts, pytest.raises(ValueError, match="at least one image, received an empty"):
        run_local(FakeMapper(), Endless(0), parts, BATCH)


def test_rows_arrive_whole_where_the_writer_is_slow(tmp_path, monkeypatch):
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (time.sleep(0.02), fsync(descriptor))[1])
    table = run(tmp_path)
    np.testing.assert_array_equal(table.index, np.arange(ROWS))
