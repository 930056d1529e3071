"""Editors and type checkers on an installed package: they read files and run nothing.

basedpyright is pyright, packed for Python with all that it needs; `pyright` itself, from the same index, downloads its
program at first use. The settings below make the two alike.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import tf_gradcam
from tests.contracts.pages import README, blocks
from tests.helpers.language_server import LanguageServer
from tests.helpers.wheel import unpacked_wheel
from tf_gradcam._rules.table import MethodName

ROOT = Path(__file__).parents[2]
MODULES = {"audit", "callbacks", "demo", "guidance", "image", "metrics", "repair", "targets"}
PUBLIC = {*tf_gradcam.__all__, *MODULES}

# Matplotlib's own hints are the reason for the last one.
SETTINGS = {"typeCheckingMode": "strict", "pythonVersion": "3.10", "reportUnknownMemberType": "none"}

SCRIPT = """
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tf_gradcam import METHODS, AttentionExplainer, Explainer, Explanation, GuidedBackprop, SplitModel, augment, compare
from tf_gradcam import fuse, get_img_array, guided_gradcam, list_layers, make_gradcam_heatmap, overlay_heatmap
from tf_gradcam import plot_layers, save_and_display_gradcam, smooth, split_model
from tf_gradcam import audit, image, metrics, targets
from tf_gradcam.callbacks import GradCAMCallback
from tf_gradcam.demo import load_demo_model, phantom_slices

model = load_demo_model()
slices = phantom_slices(4, seed=0)
names = ["none", "glioma", "meningioma", "pituitary"]

# A model, its layers, its targets.
rows: list[str] = [row.path for row in list_layers(model)]
half: SplitModel = split_model(model, rows[-1])
explainer = Explainer(model, "block5_conv3", "gradcam_pp", class_names=names, align="measured")
Explainer(model, ["block4_conv3", -3], class_names={0: "none"})
explanations: list[Explanation] = [Explainer(model, method=method)(slices.images) for method in METHODS]
explainer(slices.images, "glioma")
explainer(slices.images, 1)
explainer(slices.images, [1, "glioma", None, 2])
explainer(slices.images, slices.labels)
explainer(list(slices.images), targets.Contrast("glioma", "none"))
explainer({"image": slices.images}, lambda outputs: outputs[:, 0])

# What an explanation holds, and its pictures.
explanation = explainer(slices.images)
heatmaps: NDArray[np.float32] = explanation.heatmaps
labels: list[str] = explanation.labels
for boxes in explanation.boxes(0.15):
    widths: list[int] = [box.xmax - box.xmin for box in boxes]
explanation.with_photos(slices.images, labels=["glioma", 1, 2, 3]).plot().savefig("maps.png")
paths: list[Path] = explanation.save("maps", slices.images)
photo: NDArray[np.uint8] = explanation.overlay(slices.images)[0]

# Around an explainer.
joint = fuse([explainer, AttentionExplainer(model, "rollout")], how="max")
steady: Explanation = smooth(augment(joint))(slices.images)
compare(model, slices.images[0], ["gradcam", "layercam"], target="glioma").figure.savefig("methods.png")
plot_layers(model, slices.images[0], rows[-3:]).savefig("layers.png")
gradients: NDArray[np.float32] = GuidedBackprop(model)(slices.images)
fine: NDArray[np.float32] = guided_gradcam(model, slices.images, method="layercam")

# The drop-in functions, pictures, metrics, a callback, an audit.
heatmap: NDArray[np.float32] = make_gradcam_heatmap(get_img_array("dog.jpg", (224, 224)), model, pred_index=260)
save_and_display_gradcam("dog.jpg", heatmap)
overlay: NDArray[np.uint8] = overlay_heatmap(image.load_image("dog.jpg", (224, 224)), heatmap)
inside: float = metrics.energy_in_box(heatmap, (0, 0, 10, 10))
GradCAMCallback(slices.images, "pictures", slices.labels, target=[1, 2, 3, 0], class_names=names)
accuracy: float = audit.audit(model, "data", "report").accuracy
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that a wheel of this checkout was unpacked into, as pip does it."""
    return unpacked_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def project(tmp_path: Path, installed: Path) -> Path:
    """A user's folder, outside the clone."""
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({**SETTINGS, "extraPaths": [str(installed)]}))
    return tmp_path


def pyright(project: Path, text: str) -> list[str]:
    """Return what pyright has against a script: "rule: message"."""
    (project / "script.py").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable, "script.py"]
    report = json.loads(subprocess.run(command, cwd=project, capture_output=True, text=True).stdout)
    assert report["summary"]["filesAnalyzed"] == 1
    return [
        f"{said.get('rule')}: line {said['range']['start']['line'] + 1}: {said['message']}"
        for said in report["generalDiagnostics"]
    ]


def mypy(project: Path, installed: Path, text: str) -> list[str]:
    """Return what mypy has against a script, the package being where an installed one is."""
    (project / "script.py").write_text(text, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--python-version",
        "3.10",
        "--no-incremental",
        "--no-error-summary",
        "script.py",
    ]
    environment = os.environ | {"PYTHONPATH": str(installed)}
    ran = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert not ran.stderr
    return ran.stdout.splitlines()


# Completion.


@pytest.mark.slow
def test_editor_offers_public_names_before_all_others(project: Path) -> None:
    """Names with an underscore cannot be hidden, folders least of all: they come last."""
    command = [sys.executable, "-c", "from basedpyright.langserver import main; main()", "--stdio"]
    with LanguageServer(command, project) as server:
        answers = [server.complete(text) for text in ("from tf_gradcam import ", "import tf_gradcam\ntf_gradcam.")]
    for offered in answers:
        assert {name for name in offered if not name.startswith("_")} - {"training"} == PUBLIC  # training: programs
        last = max(offered[name] for name in PUBLIC)
        assert all(order > last for name, order in offered.items() if name.startswith("_"))


def test_dir_lists_public_names_once() -> None:
    listed = [name for name in dir(tf_gradcam) if not name.startswith("_")]
    assert listed == sorted(PUBLIC)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_modules_are_attributes_of_the_package(name: str) -> None:
    assert getattr(tf_gradcam, name).__name__ == f"tf_gradcam.{name}"


# Type checkers.


def first_block() -> str:
    """The README's first lines of Python."""
    if "explain" not in tf_gradcam.__all__:
        pytest.skip("tf_gradcam.explain is not written yet")
    return next(block.text for block in blocks("python") if block.page == README.name)


@pytest.mark.slow
def test_script_passes_pyright(project: Path) -> None:
    assert pyright(project, SCRIPT) == []


@pytest.mark.slow
def test_script_passes_mypy(project: Path, installed: Path) -> None:
    assert mypy(project, installed, SCRIPT) == []


def test_first_block_of_readme_passes_pyright(project: Path) -> None:
    assert pyright(project, first_block()) == []


@pytest.mark.slow
def test_first_block_of_readme_passes_mypy(project: Path, installed: Path) -> None:
    assert mypy(project, installed, first_block()) == []


MISTAKES = {  # last line of a script: rule that reports it
    "from tf_gradcam import _HOMES as _": "reportPrivateUsage",  # a name; of private folders pyright reports nothing
    "from tf_gradcam import Explaner as _": "reportAttributeAccessIssue",
    "Explainer(model, method='gradcamm')": "reportArgumentType",
    "Explainer(model, layer=1.5)": "reportArgumentType",
    "Explainer(model, align=True)": "reportArgumentType",
    "Explainer(model)('dog.jpg')": "reportArgumentType",
    "Explainer(model)([], target=1.5)": "reportArgumentType",
    "fuse([Explainer(model)], how='median')": "reportArgumentType",
}


@pytest.mark.slow
def test_mistakes_are_reported_by_pyright(project: Path) -> None:
    lines = ["from tf_gradcam import Explainer, fuse, demo", "model = demo.load_demo_model()", *MISTAKES]
    reported = pyright(project, "\n".join(lines) + "\n")
    found = {tuple(said.split(": ")[:2]) for said in reported}
    assert found >= {(rule, f"line {number}") for number, rule in enumerate(MISTAKES.values(), 3)}


def test_method_names_are_the_table() -> None:
    assert list(get_args(MethodName)) == list(tf_gradcam.METHODS)
