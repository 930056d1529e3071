"""manifest.csv: whole rows at every moment, and nothing that a spreadsheet would run."""

import csv
import os
from pathlib import Path

import pytest

from tf_gradcam._files.find import longest_name, output_stems
from tf_gradcam._files.manifest import COLUMNS, DONE, FAILED, Manifest, Row, files_of, plan_run

REST = [""] * (len(COLUMNS) - 7)
ROW = Row("a/dog.jpg", DONE, "162", "beagle", "17.25", "conv", "gradcam")


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_columns_are_those_of_the_contract():
    assert COLUMNS[:8] == ("file", "status", "class", "label", "score", "layer", "method", "error")
    assert {"probability", "output", "scaling", "diagnosis", "note", "stem"} < set(COLUMNS)


def test_rows_come_back_in_order(tmp_path):
    failed = Row("b, c.jpg", FAILED, error='No "image"\nin it')
    with Manifest(tmp_path / "manifest.csv") as manifest:
        manifest.add(ROW)
        manifest.add(failed)
    assert rows_of(tmp_path / "manifest.csv") == [
        list(COLUMNS),
        ["a/dog.jpg", "done", "162", "beagle", "17.25", "conv", "gradcam", *REST],
        ["b, c.jpg", "failed", "", "", "", "", "", 'No "image"\nin it', *REST[1:]],
    ]


def test_row_is_in_the_file_as_soon_as_it_is_added(tmp_path):
    with Manifest(tmp_path / "manifest.csv") as manifest:
        manifest.add(ROW)
        assert len(rows_of(tmp_path / "manifest.csv")) == 2


def test_old_manifest_is_gone_at_once(tmp_path):
    (tmp_path / "manifest.csv").write_text("old")
    with Manifest(tmp_path / "manifest.csv"):
        assert rows_of(tmp_path / "manifest.csv") == [list(COLUMNS)]
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.csv"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_cell_that_a_spreadsheet_would_run_is_disarmed(tmp_path, start):
    with Manifest(tmp_path / "manifest.csv") as manifest:
        manifest.add(Row(f"{start}a.jpg", DONE, "1", f"{start}label", "-1.5e-07", "conv", "gradcam"))
    _, row = rows_of(tmp_path / "manifest.csv")
    assert row == [f"./{start}a.jpg", "done", "1", f"'{start}label", "-1.5e-07", "conv", "gradcam", *REST]


def test_file_name_that_is_no_unicode_is_written_readably(tmp_path):
    with Manifest(tmp_path / "manifest.csv") as manifest:
        manifest.add(Row(b"caf\xe9.jpg".decode("utf-8", "surrogateescape"), DONE))
        manifest.add(Row("café.jpg", DONE))
    assert [row[0] for row in rows_of(tmp_path / "manifest.csv")[1:]] == ["caf\\udce9.jpg", "café.jpg"]


def test_file_name_is_the_same_in_every_locale(tmp_path):
    """In the locale "C" Python keeps the bytes of a name in UTF-8; other halves of pairs of surrogates stay as well."""
    name, label = "café 日.jpg", "half \ud800 of a pair"
    for folder, text in (("c", name.encode().decode("ascii", "surrogateescape")), ("utf8", name)):
        (tmp_path / folder).mkdir()
        with Manifest(tmp_path / folder / "manifest.csv") as manifest:
            manifest.add(Row(text, DONE, label=label))
    assert (tmp_path / "c/manifest.csv").read_bytes() == (tmp_path / "utf8/manifest.csv").read_bytes()
    assert name.encode() in (tmp_path / "c/manifest.csv").read_bytes()


def test_row_that_does_not_fit_on_the_disk_leaves_no_half(tmp_path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "manifest.csv"
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Manifest(path) as manifest:
        manifest.add(ROW)
        before = path.read_bytes()
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, old[1]))
        try:
            with pytest.raises(OSError, match="Cannot write"):
                manifest.add(ROW)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)
        assert path.read_bytes() == before
        manifest.add(ROW)
    assert path.read_bytes() == before + before.splitlines(keepends=True)[1]


def test_manifest_that_cannot_be_written_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        Manifest(tmp_path / "nowhere" / "manifest.csv")


# Runs into a folder that holds results.


@pytest.fixture
def pictures(tmp_path):
    """Three pictures, of which two have the same stem, and an empty folder `out`."""
    (tmp_path / "out").mkdir()
    paths = [tmp_path / name for name in ("a/dog.jpg", "b/Dog.png", "cat.png")]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.touch()
        os.utime(path, (1, 1))
    return paths


def finish(paths, out, mode="", status=DONE):
    """A run that writes what a plan says, with empty files."""
    plan = plan_run(paths, out, mode)
    with Manifest(out / "manifest.csv", plan.kept) as manifest:
        for path, stem in zip(plan.paths, plan.stems, strict=True):
            for name in files_of(stem) if status == DONE else ():
                (out / name).write_text(mode)
            manifest.add(Row(str(path), status, stem=stem if status == DONE else ""))
    return plan


def table(out):
    return {Path(row[0]).name: row[COLUMNS.index("stem")] for row in rows_of(out / "manifest.csv")[1:]}


def test_second_run_replaces_results_of_the_same_images_with_a_note(pictures, tmp_path):
    out = tmp_path / "out"
    finish(pictures[:2], out)
    plan = finish(pictures[1:], out)
    (note,) = plan.notes
    assert "has results of 1 of these images, which this run replaces. Add --resume" in note
    assert table(out) == {"dog.jpg": "dog", "Dog.png": "Dog-2", "cat.png": "cat"}
    assert plan_run(pictures, out, "overwrite").notes == []


def test_run_of_which_all_failed_can_be_repeated(pictures, tmp_path):
    finish(pictures[:2], tmp_path / "out", status=FAILED)
    plan = finish(pictures[:1], tmp_path / "out")
    assert (plan.paths, plan.notes) == (pictures[:1], [])
    assert table(tmp_path / "out") == {"Dog.png": "", "dog.jpg": "dog"}


def test_resumed_run_keeps_what_is_done_and_adds_the_rest(pictures, tmp_path):
    finish(pictures[:1], tmp_path / "out")
    plan = finish(pictures, tmp_path / "out", "resume")
    assert ([row["stem"] for row in plan.finished], plan.paths) == (["dog"], pictures[1:])
    assert table(tmp_path / "out") == {"dog.jpg": "dog", "Dog.png": "Dog-2", "cat.png": "cat"}
    assert (tmp_path / "out" / "dog.overlay.png").read_text() == ""


def test_resumed_run_repeats_failures_lost_files_and_changed_pictures(pictures, tmp_path):
    out = tmp_path / "out"
    finish(pictures, out)
    os.utime(pictures[0], (2**33, 2**33))  # newer than its files
    (out / "Dog-2.heatmap.npy").unlink()
    assert plan_run(pictures, out, "resume").paths == pictures[:2]
    finish(pictures[2:], out, "overwrite", FAILED)
    assert plan_run(pictures[2:], out, "resume").paths == pictures[2:]


def test_overwriting_run_keeps_names_and_rows_of_other_images(pictures, tmp_path):
    out = tmp_path / "out"
    finish(pictures, out)
    plan = finish(pictures[1:2], out, "overwrite")
    assert plan.stems == ["Dog-2"]
    assert table(out) == {"dog.jpg": "dog", "Dog.png": "Dog-2", "cat.png": "cat"}
    assert [(out / f"{stem}.overlay.png").read_text() for stem in ("dog", "Dog-2", "cat")] == ["", "overwrite", ""]


def test_file_without_a_row_is_not_replaced_without_a_word(pictures, tmp_path):
    out = tmp_path / "out"
    (out / "cat.overlay.png").write_text("mine")
    with pytest.raises(ValueError, match=r"holds 'cat.overlay.png', which this run would replace and"):
        plan_run(pictures, out)
    finish(pictures[:1], out)
    assert "such as 'cat.overlay.png'" in plan_run(pictures, out, "resume").notes[0]


@pytest.mark.parametrize(
    "content", [b"of another run\r\n", b"\xff\xfe", b"file;status\r\n", b"", b'file,status\n"' + b"x" * 140_000]
)
def test_table_of_another_program_is_not_replaced_without_a_word(pictures, tmp_path, content):
    (tmp_path / "out" / "manifest.csv").write_bytes(content)
    with pytest.raises(ValueError, match="is not a table of `tf-gradcam explain`"):
        plan_run(pictures, tmp_path / "out", "resume")
    assert "is replaced" in plan_run(pictures, tmp_path / "out", "overwrite").notes[0]


def test_names_that_outputs_share_or_exceed_are_said(pictures, tmp_path):
    assert plan_run(pictures[:1], tmp_path / "out").notes == []
    (note,) = plan_run(pictures, tmp_path / "out").notes
    assert "Dog.png' are called 'Dog-2'" in note
    (note,) = plan_run([tmp_path / f"{'x' * 251}.png"], tmp_path / "out").notes
    assert "a name too long for its outputs" in note


@pytest.mark.parametrize("letter", ["x", "é", "狗"])
def test_outputs_of_names_of_255_bytes_fit_and_differ(tmp_path, letter):
    count = 251 // len(letter.encode())
    names = [letter * count + ".jpg", letter * (count - 1) + "y.jpg", letter * count + ".png"]
    stems = output_stems([tmp_path / name for name in names], most_bytes=longest_name(tmp_path))
    assert len(set(stems)) == 3
    for stem in stems:
        for name in files_of(stem):
            (tmp_path / name).touch()
    assert all(stem.startswith(letter * 20) for stem in stems)


def test_forms_of_an_accent_are_one_name():
    assert output_stems([Path("a/caf\u00e9.jpg"), Path("b/cafe\u0301.jpg")])[1] == "cafe\u0301-2"
