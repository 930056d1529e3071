"""The benchmarks run and count right; no test here depends on how long anything takes."""

from __future__ import annotations

import sys
import types

import keras
import numpy as np
import pytest

from benchmarks import growth, memory, peers, probing, torchpeers, visits
from benchmarks.__main__ import SECTIONS, main
from benchmarks.contestants import CONTESTANTS, FORWARD, makers
from benchmarks.models import NETWORKS, Network
from benchmarks.pairs import Pairs, Spread, Timing, compare, once, one_line, timed_rounds, warm_up
from benchmarks.report import Curves, Report, Table, plot, timing_table
from benchmarks.settings import Settings
from tf_gradcam import Explainer


class Clock:
    """A clock that moves when a call says so."""

    def __init__(self):
        self.now = 100.0
        self.calls: list[str] = []

    def __call__(self) -> float:
        return self.now

    def call(self, name: str, *seconds: float):
        """A call that takes these seconds, one after the other, the last for ever."""
        left = list(seconds)

        def run() -> None:
            self.calls.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return run


@pytest.fixture
def clock():
    return Clock()


def test_spread_is_quartiles_linear_between_neighbours():
    """Of 1, 2, 3, 4 the quartiles lie at positions 0.75, 1.5 and 2.25 from the first."""
    spread = Spread.of([4, 1, 3, 2])
    np.testing.assert_allclose([spread.lower, spread.median, spread.upper], [1.75, 2.5, 3.25])


def test_spread_of_five_is_the_second_third_and_fourth():
    assert Spread.of([50, 10, 40, 20, 30]) == Spread(20, 30, 40)


def test_spread_shows_three_digits():
    assert str(Spread(0.98765, 12.345, 123.45)) == "12.3 (0.99 to 123)"


def test_rounds_begin_with_another_contestant_each(clock):
    timed_rounds({name: clock.call(name, 1.0) for name in "ABC"}, 4, clock=clock)
    assert "".join(clock.calls) == "ABC BCA CAB ABC".replace(" ", "")


def test_rounds_end_when_the_time_is_up_but_not_before_three(clock):
    assert len(timed_rounds({"A": clock.call("A", 2.0)}, 9, seconds=1.0, clock=clock)["A"]) == 3
    assert len(timed_rounds({"A": clock.call("A", 2.0)}, 9, seconds=10.0, clock=clock)["A"]) == 5
    assert len(timed_rounds({"A": clock.call("A", 2.0)}, 2, seconds=10.0, clock=clock)["A"]) == 2


def test_rounds_are_at_least_one(clock):
    with pytest.raises(ValueError, match="at least one round, received 0"):
        timed_rounds({"A": clock.call("A", 1.0)}, 0, clock=clock)


def test_ratios_are_to_the_reference_of_the_same_round(clock):
    """The machine slows down fourfold from round to round: ratios of medians over all rounds would be 2 by chance only;
    A takes 1, 4, 16 and B 2, 8, 48, so the ratios are 2, 2, 3."""
    calls = {"A": clock.call("A", 9, 1, 4, 16), "B": clock.call("B", 9, 2, 8, 48)}
    found = compare({name: lambda call=call: call for name, call in calls.items()}, 3, clock=clock)
    assert found.rounds == 3
    assert found.timings["A"] == Timing(Spread(2.5, 4, 10), Spread(1, 1, 1))
    assert found.timings["B"] == Timing(Spread(5, 8, 28), Spread(2, 2, 2.5))


def test_warm_up_repeats_short_calls_alone(clock):
    warm_up(clock.call("short", 0.01), clock)
    warm_up(clock.call("long", 5.0), clock)
    assert clock.calls == ["short"] * 4 + ["long"]


def test_once_is_the_time_of_a_call(clock):
    assert once(clock.call("A", 3.5), clock) == 3.5


def failing() -> None:
    raise RuntimeError("no gradient\n\nlong story")


def unbuildable():
    raise ImportError


def test_contestant_that_fails_is_listed_and_the_others_are_timed(clock):
    one = clock.call("A", 1.0)
    found = compare({FORWARD: lambda: one, "call": lambda: failing, "build": unbuildable}, 2, clock=clock)
    assert found.failures == {"call": "RuntimeError: no gradient", "build": "ImportError"}
    assert list(found.timings) == [FORWARD]


def test_reference_that_fails_is_an_error(clock):
    with pytest.raises(RuntimeError, match="no gradient"):
        compare({FORWARD: lambda: failing, "B": lambda: clock.call("B", 1.0)}, 2, clock=clock)


def test_error_is_cut_to_a_line():
    line = one_line(ValueError("a" * 500))
    assert len(line) == 160
    assert line.endswith("...")


def test_table_is_markdown():
    table = Table("Title", ("", "ms"), [("a|b", 1)], "Note.")
    assert table.markdown() == "### Title\n\n|  | ms |\n| --- | --- |\n| a/b | 1 |\n\nNote."


def test_timing_table_shows_milliseconds_ratios_and_errors():
    timing = Timing(Spread(0.001, 0.002, 0.003), Spread(1, 2, 3))
    table = timing_table("T", Pairs(5, {"ours": timing}, {"theirs": "KeyError: 'x'"}))
    assert [[str(cell) for cell in row] for row in table.rows] == [
        ["ours", "2.00 (1.00 to 3.00)", "2.00 (1.00 to 3.00)"],
        ["theirs", "fails", "KeyError: 'x'"],
    ]
    assert "5 rounds" in table.note


def test_report_keeps_what_was_written_before_the_next_part(tmp_path, capsys):
    report = Report(sys.stdout, tmp_path / "out.md")
    report.add("one")
    assert (tmp_path / "out.md").read_text() == "one\n\n"
    report.add("two")
    assert (tmp_path / "out.md").read_text() == "one\n\ntwo\n\n" == capsys.readouterr().out


def test_plot_is_written(tmp_path):
    plot([Curves("images", "images", {"F": {1: 0.1, 8: 0.5}})], tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes()[1:4] == b"PNG"


def test_networks_have_the_statistics_of_their_images():
    """With them inference is what training computes from the batch itself."""
    network = NETWORKS["Tiny"]
    model, images = network.model(), network.images(2)
    layer = next(layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization))
    assert layer.momentum == keras.layers.BatchNormalization().momentum
    assert np.ptp(np.asarray(layer.gamma)) > 0.05
    found = np.asarray(model(images, training=False))
    np.testing.assert_allclose(found, np.asarray(model(images, training=True)), rtol=1e-5)
    np.testing.assert_array_equal(found, np.asarray(network.model()(images)))


def test_layer_of_a_network_is_the_one_taken_by_default():
    assert Explainer(NETWORKS["Tiny"].model()).layer_name == NETWORKS["Tiny"].layer


def test_policy_is_handed_back():
    before = keras.config.dtype_policy()
    assert NETWORKS["Tiny"].model("mixed_float16").get_layer("conv").compute_dtype == "float16"
    assert keras.config.dtype_policy() is before


def test_contestants_find_the_same_maps_and_outputs():
    """The recipes explain the probability, this package the score before the softmax: each kind agrees with itself."""
    network = NETWORKS["Tiny"]
    found = {name: make()() for name, make in makers(network.model(), network.images(1), network.layer).items()}
    assert found.keys() == CONTESTANTS.keys()
    for name in ("Explainer", "Explainer(freeze=True)", "compiled split", "keras.io recipe"):
        np.testing.assert_allclose(found[name][1], found[FORWARD], rtol=1e-4, atol=1e-6)
    for name in ("Explainer", "Explainer(freeze=True)"):
        np.testing.assert_allclose(found[name][0][0], found["make_gradcam_heatmap"], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found["compiled split"][0], found["keras.io recipe"][0], rtol=1e-3, atol=1e-5)


def test_contestants_for_whom_the_batch_is_too_large_are_left_out():
    names = makers(NETWORKS["Tiny"].model(), NETWORKS["Tiny"].images(2), "cells").keys()
    assert names == CONTESTANTS.keys() - {"make_gradcam_heatmap"}


@pytest.mark.soak
def test_run_prints_the_machine_and_every_table(tmp_path, capsys):
    out, picture = tmp_path / "out.md", tmp_path / "growth.png"
    sections = "ratios,growth,probing,folder"
    options = ["--models", "Tiny", "--batches", "1", "--rounds", "2", "--seconds", "0.1", "--files", "3"]
    assert main([*options, "--only", sections, "--plot", str(picture), "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert text == out.read_text(encoding="utf-8")
    assert "tensorflow" in text.splitlines()[0]
    titles = [line for line in text.splitlines() if line.startswith("### ")]
    assert [title.split(":")[0].split(" at ")[0] for title in titles] == [
        *("### Tiny", "### Overhead of a call"),
        *("### Growth with the batch", "### Growth with the classes"),
        *("### Ablation-CAM", "### Score-CAM", "### A folder of 3 JPEG files, 640 x 480"),
        "### Memory over many files",
    ]
    assert "fails" not in text
    assert picture.exists()


def test_run_without_a_gpu_says_so(monkeypatch, capsys):
    monkeypatch.setattr("benchmarks.machine.gpus", list)
    assert main(["--only", "gpu"]) == 0
    assert "not run: no GPU" in capsys.readouterr().out


def test_section_that_fails_leaves_the_others(monkeypatch, capsys):
    monkeypatch.setitem(SECTIONS, "growth", lambda settings: failing())
    monkeypatch.setitem(SECTIONS, "probing", lambda settings: ["still there"])
    assert main(["--only", "growth,probing"]) == 1
    text = capsys.readouterr().out
    assert "growth failed: RuntimeError: no gradient" in text
    assert "still there" in text


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [("--models", "VGG17", "received 'VGG17'"), ("--batches", "1,0", "at least 1"), ("--only", "x", "received 'x'")],
)
def test_option_that_is_wrong_is_refused(option, value, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        main([option, value])
    assert message in capsys.readouterr().err


def test_peer_that_fails_is_listed_and_absent_ones_are_named(monkeypatch, capsys):
    table = {"broken": ("json", lambda model, images, layer: failing), "absent": ("no_such", None)}
    monkeypatch.setattr(peers, "PEERS", table)
    monkeypatch.setattr(torchpeers, "PEERS", {})
    assert main(["--only", "peers", "--models", "Tiny", "--batches", "1,64", "--rounds", "1"]) == 0
    text = capsys.readouterr().out
    assert "Peers that are not installed: absent." in text
    assert "| broken | fails | RuntimeError: no gradient |" in text
    assert "batch 64" not in text


def test_torchvision_that_does_not_fit_is_told(monkeypatch):
    def broken(name, path, images):
        raise RuntimeError("operator does not exist")

    monkeypatch.setattr(torchpeers, "PEERS", {"captum": ("json", None)})
    monkeypatch.setattr(torchpeers, "model_and_layer", broken)
    monkeypatch.setattr(peers, "is_installed", lambda module: True)
    parts = list(peers.torch_tables(Settings(), "VGG16", 1))
    assert parts == ["Peers of PyTorch on VGG16: torchvision fails: RuntimeError: operator does not exist"]


def test_score_cam_is_compared_with_as_many_images_as_channels(monkeypatch):
    """70 images, 32 at a time, are passes of 32, 32 and 6."""
    seen = []
    monkeypatch.setattr(probing, "forward", lambda model, images: lambda: seen.append(len(images)))
    probing._passes(None, np.zeros((32, 1)), 70)()
    assert seen == [32, 32, 6]


def hidden_head() -> keras.Model:
    inputs = keras.Input((6, 10, 3))
    cells = keras.layers.Conv2D(2, 3, name="cells")(inputs)
    hidden = keras.layers.Dense(3, activation="relu")(keras.layers.Flatten()(cells))
    return keras.Model(inputs, keras.layers.Dense(5)(hidden))


def test_classes_of_a_hidden_head_are_compared_with_the_tail(monkeypatch):
    """Of 1, 4 and 16 classes a model of 5 has no more than 5."""
    monkeypatch.setitem(NETWORKS, "Hidden", Network(hidden_head, (6, 10), (-1.0, 1.0), "cells", has_linear_head=False))
    table, curves = growth.classes(Settings(rounds=1), "Hidden")
    assert [row[0] for row in table.rows] == [FORWARD, "1", "4", "5", "the tail alone"]
    assert "A further class" in table.note
    assert list(curves.seconds["class_maps"]) == [1, 4, 5]


def test_memory_is_told_beyond_the_plain_prediction(monkeypatch):
    """3 MiB for F, 5 for the others, and one that fails."""

    def visit(model, name, batch):
        if "recipe" in name:
            raise RuntimeError("killed")
        return visits.Visit(1.0, (3 if name == FORWARD else 5) * 2**20)

    monkeypatch.setattr(memory, "visit", visit)
    (table,) = memory.run(Settings(models=("Tiny",), batches=(1, 4, 32)))
    assert "batch 4" in table.title
    assert [tuple(row[1:]) for row in table.rows] == [
        *(("3", "+0"), ("5", "+2"), ("5", "+2")),
        ("fails", "RuntimeError: killed"),
    ]


def test_visit_tells_the_last_line_of_a_process_that_fails(monkeypatch):
    failed = types.SimpleNamespace(returncode=1, stderr="Traceback\nKeyError: 'Tiny'\n", stdout="")
    monkeypatch.setattr(visits.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(RuntimeError, match="KeyError: 'Tiny'"):
        visits.visit("Tiny", "nobody", 1)


def test_visit_prints_seconds_and_bytes(capsys):
    """What one prints is what the other reads."""
    visits.main("Tiny", "F", "1")
    found = visits.Visit(**visits.json.loads(capsys.readouterr().out))
    assert found.first_seconds > 0
    assert found.peak_bytes > 2**20
