"""manifest.csv: whole rows at every moment, and nothing that a spreadsheet would run."""

import csv

import pytest

from tf_gradcam._files.manifest import COLUMNS, DONE, FAILED, Manifest, Row

ROW = Row("a/dog.jpg", DONE, "162", "beagle", "17.25", "conv", "gradcam")


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_columns_are_those_of_the_contract():
    assert COLUMNS == ("file", "status", "class", "label", "score", "layer", "method", "error")


def test_rows_come_back_in_order(tmp_path):
    failed = Row("b, c.jpg", FAILED, error='No "image"\nin it')
    with Manifest(tmp_path / "manifest.csv") as manifest:
        manifest.add(ROW)
        manifest.add(failed)
    assert rows_of(tmp_path / "manifest.csv") == [
        list(COLUMNS),
        ["a/dog.jpg", "done", "162", "beagle", "17.25", "conv", "gradcam", ""],
        ["b, c.jpg", "failed", "", "", "", "", "", 'No "image"\nin it'],
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
    assert row == [f"./{start}a.jpg", "done", "1", f"'{start}label", "-1.5e-07", "conv", "gradcam", ""]


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
