"""Parts on the disk: what comes back, whose folder it is, and one process at a time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.audit_fakes import (
    FINGERPRINT,
    HEIGHT,
    PART_ROWS,
    ROWS,
    WIDTH,
    assert_same_table,
    part_folder,
    samples,
    table,
)

pytest.importorskip("pyarrow", reason="the extra audit is not installed")

import pyarrow as pa
import pyarrow.parquet as pq

from tf_gradcam.audit.table import PartFolder


def rows(start, stop):
    data = samples()
    return table(np.arange(start, stop), np.array(data.files[start:stop], object), data.labels[start:stop])


def write_all(parts):
    for number in range(parts.part_count):
        parts.write(number, rows(number * PART_ROWS, min((number + 1) * PART_ROWS, ROWS)))


def test_rows_come_back_in_the_order_of_the_data(tmp_path):
    with part_folder(tmp_path) as parts:
        for number in (5, 0, 3, 1, 4, 2):
            parts.write(number, rows(number * PART_ROWS, min((number + 1) * PART_ROWS, ROWS)))
        assert_same_table(parts.read(), rows(0, ROWS))


def test_columns_are_those_of_the_contract(tmp_path):
    with part_folder(tmp_path) as parts:
        parts.write(0, rows(0, PART_ROWS))
        schema = pq.read_schema(parts.path(0))
    assert [f"{field.name} {field.type}".replace("element: ", "item: ") for field in schema] == [
        "index int64",
        "file string",
        "label int32",
        "truth list<item: float>",
        "status string",
        "error string",
        "predicted int32",
        "probability float",
        "probabilities list<item: float>",
        "score float",
        "heatmap list<item: halffloat>",
        "mapped list<item: int32>",
        "maps list<item: halffloat>",
        "diagnosis string",
        "thumbnail binary",
        "note string",
        "digest string",
    ]
    assert (schema.metadata[b"height"], schema.metadata[b"width"]) == (b"%d" % HEIGHT, b"%d" % WIDTH)


def test_other_readers_see_one_table(tmp_path):
    with part_folder(tmp_path) as parts:
        write_all(parts)
    whole = pq.read_table(tmp_path / "part-000000.parquet")
    assert whole["heatmap"][1].as_py() == [1, 1.125, 1.25, 1.375, 1.5, 1.625]
    assert whole["file"][1].as_py() == "folder/\u4e2d <b>'1'.png"


def test_file_name_that_is_no_text_is_kept_readable(tmp_path):
    columns = rows(0, PART_ROWS)
    columns.file[0] = os.fsdecode(b"caf\xe9.png")
    with part_folder(tmp_path, PART_ROWS) as parts:
        parts.write(0, columns)
        assert parts.read().file[0] == "caf\ufffd.png"


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: pq.write_table(pq.read_table(path).slice(1), path),
        lambda path: pq.write_table(pq.read_table(path).drop_columns(["score"]), path),
        lambda path: pq.write_table(pa.table({"index": [1]}), path),
    ],
)
def test_damaged_part_is_not_finished(tmp_path, damage):
    with part_folder(tmp_path) as parts:
        write_all(parts)
        assert sorted(parts.finished()) == [0, 1, 2, 3, 4, 5]
        damage(parts.path(3))
        assert sorted(parts.finished()) == [0, 1, 2, 4, 5]
        np.testing.assert_array_equal(parts.finished()[5], samples().labels[5 * PART_ROWS :])


def test_part_under_the_name_of_another_is_not_finished(tmp_path):
    with part_folder(tmp_path) as parts:
        write_all(parts)
        os.replace(parts.path(1), parts.path(2))
        assert sorted(parts.finished()) == [0, 3, 4, 5]


def test_short_part_is_finished_once_the_end_is_known(tmp_path):
    with part_folder(tmp_path, None) as parts:
        parts.write(0, rows(0, PART_ROWS))
        parts.write(1, rows(PART_ROWS, PART_ROWS + 3))
        assert sorted(parts.finished()) == [0]
        parts.end(PART_ROWS + 3)
        assert sorted(parts.finished()) == [0, 1]


def test_incomplete_run_is_not_read(tmp_path):
    with part_folder(tmp_path) as parts:
        write_all(parts)
        parts.path(4).unlink()
        with pytest.raises(ValueError, match=r"not complete: 1 of 6 parts are missing. Run it again; it continues"):
            parts.read()


def test_run_of_unknown_length_is_not_read(tmp_path):
    with part_folder(tmp_path, None) as parts, pytest.raises(ValueError, match="not complete"):
        parts.read()


@pytest.mark.parametrize(
    ("fingerprint", "message"),
    [
        (
            {**FINGERPRINT, "layer": "conv2"},
            "its layer was 'conv' and is now 'conv2'. Delete it, or choose",
        ),
        ({**FINGERPRINT, "size": "6 x 10"}, "its size was not given and is now '6 x 10'"),
        ({"weights": "1234"}, "its layer was 'conv' and is now not given"),
    ],
)
def test_folder_of_another_run_is_refused(tmp_path, fingerprint, message):
    with part_folder(tmp_path) as parts:
        write_all(parts)
    with pytest.raises(ValueError, match=message):
        PartFolder(tmp_path, fingerprint, ROWS, PART_ROWS)
    with part_folder(tmp_path) as parts:  # it was left as it was, and unlocked
        assert len(parts.finished()) == 6


def test_other_counts_are_refused(tmp_path):
    part_folder(tmp_path).close()
    with pytest.raises(ValueError, match="its row_count was 43 and is now 44"):
        part_folder(tmp_path, 44)
    with pytest.raises(ValueError, match="its rows_per_part was 8 and is now 16"):
        PartFolder(tmp_path, FINGERPRINT, ROWS, 16)


def test_known_length_is_kept(tmp_path):
    part_folder(tmp_path).close()
    with part_folder(tmp_path, None) as parts:
        assert parts.row_count == ROWS


@pytest.mark.parametrize("content", ["", "[]", "{", '{"fingerprint": {}}', "3"])
def test_damaged_run_file_is_refused(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(ValueError, match="is damaged, or was not written by this program"):
        part_folder(tmp_path)


def test_parts_of_an_unknown_run_are_refused(tmp_path):
    with part_folder(tmp_path) as parts:
        write_all(parts)
    (tmp_path / "run.json").unlink()
    with pytest.raises(ValueError, match=r"holds parts of a run, but no run\.json"):
        part_folder(tmp_path)


def test_leftovers_of_a_killed_run_are_removed(tmp_path):
    (tmp_path / ".0123456789abcdef.tmp").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("mine")
    part_folder(tmp_path).close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "run.json"]


def test_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError, match="it is a file"):
        part_folder(tmp_path / "file")


# One process at a time.


def test_second_run_in_a_folder_is_refused(tmp_path):
    with part_folder(tmp_path), pytest.raises(BlockingIOError, match=rf"another run \(process {os.getpid()} on "):
        part_folder(tmp_path)
    with part_folder(tmp_path):  # the first is closed
        pass
    assert not (tmp_path / "run.lock").exists()


def test_closing_twice_takes_no_lock_of_another(tmp_path):
    first = part_folder(tmp_path)
    first.close()
    with part_folder(tmp_path):
        first.close()
        with pytest.raises(BlockingIOError):
            part_folder(tmp_path)


def test_lock_of_a_dead_process_is_taken_over(tmp_path):
    """It names a process that lives, this one: what its file says is not what counts."""
    (tmp_path / "run.lock").write_text(json.dumps({"pid": os.getpid(), "host": "here"}))
    with part_folder(tmp_path):
        assert json.loads((tmp_path / "run.lock").read_text())["host"] != "here"


@pytest.mark.slow
def test_lock_is_held_by_a_living_process_until_it_is_killed(tmp_path):
    root = Path(__file__).parents[2]
    program = (
        "import sys, time; sys.path.insert(0, sys.argv[1]); from pathlib import Path\n"
        "from tests.helpers.audit_fakes import part_folder\n"
        "held = part_folder(Path(sys.argv[2])); print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(root), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError, match=rf"process {process.pid} on .* Wait for it to end"):
            part_folder(tmp_path)
        process.kill()
        process.wait()
        part_folder(tmp_path).close()
