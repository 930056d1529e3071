"""Ray's actors on a cluster of two workers make the table that one process makes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.helpers.audit_fakes import assert_same_table
from tests.helpers.own_code import write_own_model
from tests.helpers.redblue import red_blue_model, red_blue_photo, write_photo

pytest.importorskip("pyarrow", reason="the extra audit is not installed")
pytest.importorskip("ray.data", reason="the extra ray is not installed")

import ray

from tf_gradcam.audit.engines import run_local, run_ray
from tf_gradcam.audit.mapper import AuditMapper
from tf_gradcam.audit.sources import find_samples
from tf_gradcam.audit.table import PartFolder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # of Ray and of what it brings
]
NAMES = ["red", "blue"]
PART_ROWS, BATCH = 4, 3


@pytest.fixture(scope="module")
def cluster():
    """One for all tests: it takes seconds to begin."""
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "red_blue.keras"
    red_blue_model().save(path)
    return path


@pytest.fixture
def data(tmp_path, monkeypatch):
    """22 photos, a broken file and one whose name is no text; paths that begin in the working directory."""
    monkeypatch.chdir(tmp_path)
    for number in range(11):
        for place, name in enumerate(NAMES):
            photo = red_blue_photo(scale=1 + number % 2, columns=6 - 3 * place)
            write_photo(tmp_path, f"data/{name}/{number:02d} <b>'\u4e2d.png", photo)
    (tmp_path / "data" / "blue" / "07 broken.png").write_bytes(b"no image")
    written = write_photo(tmp_path)
    os.replace(written, os.path.join(b"data", b"red", b"caf\xe9.png"))
    return find_samples("data", NAMES)


def parts_in(folder, mapper, samples):
    return PartFolder(folder, mapper.fingerprint(samples.digest()), len(samples), PART_ROWS)


def local_table(mapper, samples):
    with parts_in("local", mapper, samples) as parts:
        run_local(mapper, samples, parts, BATCH)
        return parts.read()


def test_workers_run_the_code_that_the_user_named(cluster, data, tmp_path):
    model, code = write_own_model(tmp_path)
    mapper = AuditMapper(model, class_names=NAMES, preprocess="raw", imports=[code.name])  # relative, as it is typed
    with parts_in("ray", mapper, data) as parts:
        run_ray(mapper.arguments, data, parts, BATCH, 2)
        table = parts.read()
    assert_same_table(table, local_table(mapper, data))


@pytest.mark.parametrize("is_file", [True, False])
def test_table_is_that_of_the_local_engine(cluster, data, model_file, is_file):
    mapper = AuditMapper(model_file if is_file else red_blue_model(), class_names=NAMES, preprocess="raw")
    told = []
    with parts_in("ray", mapper, data) as parts:
        run_ray(mapper.arguments, data, parts, BATCH, 2, lambda done, total: told.append((done, total)))
        table = parts.read()
    assert_same_table(table, local_table(mapper, data))
    assert list(table.status).count("failed") == 1
    assert told[0] == (0, len(data))
    assert told[-1] == (len(data), len(data))
    assert [done for done, _ in told] == sorted(done for done, _ in told)


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_table_of_labels_and_values_is_that_of_the_local_engine(cluster, tmp_path, monkeypatch, task):
    """Rows with no, one and two maps, and signed maps, with what the data set says of each."""
    monkeypatch.chdir(tmp_path)
    for columns in range(11):
        write_photo(tmp_path, f"{columns:02d}.png", red_blue_photo(columns=columns))
    head = keras.layers.Dense(2, "sigmoid" if task == "multilabel" else None, name="answers")
    model = red_blue_model(head)
    head.set_weights([4 * np.eye(2), np.full(2, -0.8)])
    lines = [f"{columns:02d}.png,{int(columns > 3)},{int(columns < 8)}" for columns in range(11)]
    header = "file,red,blue" if task == "multilabel" else "file,value,other"
    (tmp_path / "data.csv").write_text("\n".join([header, *lines]))
    mapper = AuditMapper(model, class_names=NAMES, preprocess="raw", task=task)
    source = mapper.task.source("data.csv", NAMES, None)
    with parts_in("ray", mapper, source) as parts:
        run_ray(mapper.arguments, source, parts, BATCH, 2)
        table = parts.read()
    assert_same_table(table, local_table(mapper, source))
    assert len({len(indices) for indices in table.mapped}) == (2 if task == "multilabel" else 1)
    assert table.truth.shape == (11, 2 if task == "multilabel" else 1)


def test_work_is_done_by_two_processes(cluster, data, model_file):
    """Ray knows the processes of all actors that there ever were; asking it by its public way takes its dashboard."""
    before = set(ray._private.state.actors())
    mapper = AuditMapper(model_file, class_names=NAMES, preprocess="raw")
    with parts_in("ray", mapper, data) as parts:
        run_ray(mapper.arguments, data, parts, BATCH, 2)
    actors = {name: actor for name, actor in ray._private.state.actors().items() if name not in before}
    workers = {actor["Pid"] for actor in actors.values() if actor["ActorClassName"].startswith("MapWorker")}
    assert len(workers) == 2
    assert os.getpid() not in workers


def test_finished_parts_are_not_done_again(cluster, data, model_file):
    mapper = AuditMapper(model_file, class_names=NAMES, preprocess="raw")
    whole = local_table(mapper, data)
    told = []
    with parts_in("local", mapper, data) as parts:
        parts.path(1).unlink()
        parts.path(4).write_bytes(b"cut short")
        run_ray(mapper.arguments, data, parts, BATCH, 2, lambda done, total: told.append(done))
        assert_same_table(parts.read(), whole)
        assert told[0] == len(data) - 2 * PART_ROWS
        assert told[-1] == len(data)
        told.clear()
        run_ray(mapper.arguments, data, parts, BATCH, 2, lambda done, total: told.append(done))
    assert told == [len(data)]


def test_error_of_a_worker_is_raised(cluster, data, model_file):
    mapper = AuditMapper(model_file, class_names=NAMES, preprocess="raw")
    with parts_in("ray", mapper, data) as parts, pytest.raises(Exception, match=r"no model file 'nowhere\.keras'"):
        run_ray({**mapper.arguments, "model": "nowhere.keras"}, data, parts, BATCH, 2)


def test_counts_below_one_are_refused(data, model_file):
    mapper = AuditMapper(model_file, class_names=NAMES, preprocess="raw")
    with parts_in("ray", mapper, data) as parts:
        with pytest.raises(ValueError, match="received 0 and 2"):
            run_ray(mapper.arguments, data, parts, 0, 2)
        with pytest.raises(ValueError, match="received 3 and 0"):
            run_ray(mapper.arguments, data, parts, 3, 0)
    assert np.isfinite(local_table(mapper, data).probability).sum() == len(data) - 1


def test_run_that_was_killed_goes_on(cluster, data, model_file):
    """Its process is killed while Ray's workers, which it began, are at work; they hold no lock of the folder."""
    program = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from tests.audit.test_engines_ray import BATCH, NAMES, AuditMapper, find_samples, parts_in, run_ray

def die(done, total):
    if done >= 8:
        os.kill(os.getpid(), signal.SIGKILL)

samples, mapper = find_samples("data", NAMES), AuditMapper(sys.argv[2], class_names=NAMES, preprocess="raw")
with parts_in("ray", mapper, samples) as parts:
    run_ray(mapper.arguments, samples, parts, BATCH, 2, die)
"""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", program, str(root), str(model_file)]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    killed = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    mapper = AuditMapper(model_file, class_names=NAMES, preprocess="raw")
    with parts_in("ray", mapper, data) as parts:
        assert 0 < len(parts.finished()) < parts.part_count
        run_ray(mapper.arguments, data, parts, BATCH, 2)
        assert_same_table(parts.read(), local_table(mapper, data))


def test_killed_worker_loses_nothing(cluster, data, model_file):
    """Ray begins another in its place and gives it what the killed one had under way."""
    before = set(ray._private.state.actors())
    killed = []

    def kill(done, total):
        actors = {name: actor for name, actor in ray._private.state.actors().items() if name not in before}
        alive = [actor["Pid"] for actor in actors.values() if actor["State"] == "ALIVE"]
        if 0 < done < total and alive and not killed:
            killed.append(alive[0])
            os.kill(alive[0], signal.SIGKILL)

    mapper = AuditMapper(model_file, class_names=NAMES, preprocess="raw")
    with parts_in("ray", mapper, data) as parts:
        run_ray(mapper.arguments, data, parts, 1, 2, kill)
        assert_same_table(parts.read(), local_table(mapper, data))
    assert len(killed) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(killed[0], 0)


def test_cluster_that_was_begun_is_ended(data, model_file):
    """The last test, since it ends the cluster of the others first."""
    ray.shutdown()
    mapper = AuditMapper(model_file, class_names=NAMES, preprocess="raw")
    with parts_in("ray", mapper, data) as parts:
        run_ray(mapper.arguments, data, parts, BATCH, 1)
        assert_same_table(parts.read(), local_table(mapper, data))
    assert not ray.is_initialized()
