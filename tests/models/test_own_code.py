"""Code of the user's own, run where the user names it: what is found, what is left as it was, and what is refused."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from tf_gradcam._errors import ModelWarning, for_command_line
from tf_gradcam._models.loading import load_with_code
from tf_gradcam._models.own_code import OwnCode, import_code
from tf_gradcam._models.safety import config_of

pytestmark = pytest.mark.filterwarnings("ignore:The code in:tf_gradcam._errors.ModelWarning")
L = keras.layers

LAYERS = """
import keras

class Half(keras.layers.Layer):
    def call(self, images):
        return images / 2

@keras.saving.register_keras_serializable("Mine")
class RegisteredHalf(Half):
    pass

def halved(images):
    return images / 2

@keras.saving.register_keras_serializable("Mine")
def registered_halved(images):
    return images / 2

class AllOnes(keras.initializers.Initializer):
    def __call__(self, shape, dtype=None):
        return keras.ops.ones(shape, dtype)

class Squares(keras.regularizers.Regularizer):
    def __call__(self, weights):
        return keras.ops.sum(weights ** 2)

    def get_config(self):
        return {}

class Free(keras.constraints.Constraint):
    def __call__(self, weights):
        return weights

class Difference(keras.losses.Loss):
    def call(self, true, predicted):
        return keras.ops.mean(keras.ops.abs(true - predicted), axis=-1)

class Net(keras.Model):
    def __init__(self, **options):
        super().__init__(**options)
        self.conv, self.half = keras.layers.Conv2D(2, 3, padding="same"), Half()

    def call(self, images):
        return keras.ops.mean(self.half(self.conv(images)), axis=(1, 2))
"""


@pytest.fixture(autouse=True)
def nothing_left():
    """Modules and registered objects of one test are not found by the next one."""
    registered = keras.saving.get_custom_objects()
    modules, objects = set(sys.modules), dict(registered)
    yield
    for name in set(sys.modules) - modules:
        del sys.modules[name]
    registered.clear()
    registered.update(objects)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_layers.py").write_text(LAYERS)
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def network(*middle, **options) -> keras.Model:
    conv = L.Conv2D(2, 3, name="conv", **options)
    return keras.Sequential([keras.Input((6, 10, 3)), conv, *middle, L.GlobalAveragePooling2D()])


def subclassed(own) -> keras.Model:
    model = own["Net"]()
    model(np.zeros((1, 6, 10, 3), np.float32))
    return model


def compiled(own) -> keras.Model:
    model = network()
    model.compile("sgd", own["Difference"]())
    return model


KINDS = {
    "layer": lambda own: network(own["Half"]()),
    "registered layer": lambda own: network(own["RegisteredHalf"]()),
    "activation": lambda own: network(activation=own["halved"]),
    "registered activation": lambda own: network(activation=own["registered_halved"]),
    "initializer": lambda own: network(kernel_initializer=own["AllOnes"]()),
    "regularizer": lambda own: network(kernel_regularizer=own["Squares"]()),
    "constraint": lambda own: network(kernel_constraint=own["Free"]()),
    "function of a lambda": lambda own: network(L.Lambda(own["halved"])),
    "loss": compiled,
    "subclassed model": subclassed,
}


def saved(kind: str, suffix: str = ".keras") -> tuple[str, keras.Model]:
    """Save a model of the layers, and forget their code."""
    model = KINDS[kind](import_code(["my_layers.py"]).objects)
    model.save(f"model{suffix}")
    keras.saving.get_custom_objects().clear()
    return f"model{suffix}", model


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("kind", KINDS)
def test_model_of_own_objects_comes_back_with_its_outputs(folder, kind, suffix):
    if (kind, suffix) == ("subclassed model", ".h5"):
        pytest.skip("Keras cannot load weights of a subclassed model from this format")
    file, model = saved(kind, suffix)
    if kind != "loss":  # a loss is not needed to explain
        with pytest.raises(ValueError, match=r"it needs '.*', a (class|function) of your own") as caught:
            load_with_code(file)
        assert for_command_line(caught.value).endswith("and its code is run: --import FILE.")
    loaded = load_with_code(file, own_code=import_code(["my_layers.py"]))
    images = np.random.default_rng(0).random((2, 6, 10, 3), np.float32)
    np.testing.assert_allclose(loaded(images), model(images), rtol=1e-6)


def test_object_that_was_registered_when_it_was_saved_is_found_without_its_decorator(folder):
    file, _ = saved("registered layer")
    write(folder / "plain.py", LAYERS.replace('@keras.saving.register_keras_serializable("Mine")', ""))
    assert config_of(Path(file), Path(file))["config"]["layers"][2]["registered_name"] == "Mine>RegisteredHalf"
    load_with_code(file, own_code=import_code(["plain.py"]))


def test_code_runs_once_and_is_said(folder):
    write(folder / "counted.py", "import pathlib\nwith open('runs', 'a') as file:\n    file.write('x')\n")
    with pytest.warns(ModelWarning, match=r"^The code in '.*counted\.py' was run, as you asked\.$"):
        import_code(["counted.py"])
    assert (folder / "runs").read_text() == "x"


def test_nothing_named_runs_nothing(folder):
    assert import_code([]) == OwnCode()


# 1. Where code lies.


LAYOUTS = {
    "file": {"gate.py": "def gate(x): return x"},
    "file in another folder": {"code/gate.py": "def gate(x): return x"},
    "sibling": {"code/gate.py": "from blocks import gate", "code/blocks.py": "def gate(x): return x"},
    "module of a sibling": {"code/gate.py": "import blocks", "code/blocks.py": "def gate(x): return x"},
    "relative": {"code/gate.py": "from .blocks import gate", "code/blocks.py": "def gate(x): return x"},
    "two levels up": {"code/a/gate.py": "from ..blocks import gate", "code/blocks.py": "def gate(x): return x"},
    "folder with dots": {"code.v1/gate.py": "from .blocks import gate", "code.v1/blocks.py": "def gate(x): return x"},
    "package": {
        "code/__init__.py": "",
        "code/gate.py": "from code_blocks import gate",
        "code/code_blocks.py": "def gate(x): return x",
    },
    "absolute name of its package": {
        "own_pkg/__init__.py": "from own_pkg.gate import gate",
        "own_pkg/gate.py": "from own_pkg.blocks import gate",
        "own_pkg/blocks.py": "def gate(x): return x",
    },
    "folder of the project": {"code/gate.py": "from common import gate", "common.py": "def gate(x): return x"},
    "name of a module of Python": {"random.py": "def gate(x): return x"},
    "name of another module": {"keras.py": "def gate(x): return x"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_file_is_found_with_what_it_imports(tmp_path, monkeypatch, layout):
    monkeypatch.chdir(tmp_path)
    for name, text in LAYOUTS[layout].items():
        write(tmp_path / name, text)
    entry = next(name for name in (*LAYOUTS[layout], "") if not name.endswith(("__init__.py", "blocks.py")))
    path = list(sys.path)
    others = sys.modules["random"], sys.modules["keras"]
    code = import_code([entry])
    assert code.objects["gate"](3) == 3
    assert sys.path == path
    assert (sys.modules["random"], sys.modules["keras"]) == others


@pytest.mark.parametrize("name", ["own_pkg", "own_pkg.gate", "./own_pkg", "own_pkg/__init__.py", "single"])
def test_module_is_found_by_name_in_the_current_folder(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "own_pkg/__init__.py", "from .gate import gate")
    write(tmp_path / "own_pkg/gate.py", "def gate(x): return x")
    write(tmp_path / "single.py", "from own_pkg import gate")
    path = list(sys.path)
    assert import_code([name]).objects["gate"](3) == 3
    assert sys.path == path


def test_files_of_the_same_name_do_not_mix(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for side in ("left", "right"):
        write(tmp_path / side / "blocks.py", f"def {side}_block(): return '{side}'")
        write(tmp_path / side / "gate.py", f"import blocks\ndef {side}(): return blocks.{side}_block()")
    code = import_code(["left/gate.py", "right/gate.py"])
    assert (code.objects["left"](), code.objects["right"]()) == ("left", "right")


def test_file_named_earlier_is_found_by_a_later_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a/helpers.py", "def gate(x): return x")
    write(tmp_path / "b/gates.py", "import helpers\ndef late(x):\n    from helpers import gate\n    return gate(x)")
    with pytest.raises(ImportError, match="Install the package that has 'helpers', or name its file too, before this"):
        import_code(["b/gates.py"])
    assert import_code(["a/helpers.py", "b/gates.py"]).objects["late"](3) == 3


def test_changed_file_is_read_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "gate.py", "from part import value\ndef gate(): return value")
    write(tmp_path / "part.py", "value = 1")
    first = import_code(["gate.py"])
    write(tmp_path / "part.py", "value = 2")
    os.utime(tmp_path / "part.py", (time.time() + 9,) * 2)  # else Python may take its compiled copy
    second = import_code(["gate.py"])
    assert (first.objects["gate"](), second.objects["gate"]()) == (1, 2)
    assert first.digest != second.digest
    assert second.digest == import_code(["gate.py"]).digest


def test_only_the_users_own_functions_can_be_called_by_a_file(tmp_path, monkeypatch):
    """A model file names functions: one that finds `os.system` would run commands."""
    monkeypatch.chdir(tmp_path)
    write(
        tmp_path / "gate.py", "import os\nfrom os import system\nfrom keras.layers import Dense\ndef gate(x): return x"
    )
    assert set(import_code(["gate.py"]).objects) == {"gate"}


def test_last_named_module_wins_and_modules_beside_it_are_not_guessed_between(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.py", "def gate(): return 'a'\ndef same(): return 1")
    write(tmp_path / "b.py", "def gate(): return 'b'\ndef same(): return 1")
    assert import_code(["a.py", "b.py"]).objects["gate"]() == "b"
    write(tmp_path / "both.py", "import a, b")
    code = import_code(["both.py"])
    assert "gate" not in code.objects
    assert code.without("gate") == "which several modules beside 'both.py' define"


def test_what_a_module_prints_is_not_a_result(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "gate.py", "print('hello')")
    import_code(["gate.py"])
    assert capsys.readouterr() == ("", "hello\n")


# 2. What is refused.


REFUSED = {
    "missing file": ({"gates.py": ""}, "gate.py", FileNotFoundError, "Did you mean 'gates.py'?"),
    "missing module": (
        {"gates.py": ""}, "gatez", FileNotFoundError,
        "no module 'gatez', neither installed nor in the current folder. Did you mean 'gates.py'?",
    ),
    "module for its file": (
        {}, "no.such.module", FileNotFoundError, "There is no module 'no.such.module', neither installed nor",
    ),
    "empty": ({}, "", ValueError, "or a module such as my_package.layers, to import, received ''"),
    "raises": (
        {"gate.py": "x = 1\nraise KeyError('unit')"}, "gate.py", ImportError,
        "Cannot import 'gate.py': KeyError: 'unit' in line 2 of '{folder}/gate.py'. Correct it there, and try again.",
    ),
    "raises in a sibling": (
        {"gate.py": "import part", "part.py": "\n\n1 / 0"}, "gate.py", ImportError,
        "ZeroDivisionError: division by zero in line 3 of '{folder}/part.py'",
    ),
    "syntax": (
        {"gate.py": "def gate(:\n"}, "gate.py", ImportError,
        "SyntaxError: invalid syntax in line 1 of '{folder}/gate.py'. Correct it there",
    ),
    "not text": ({"gate.py": "x = '\xff'"}, "gate.py", ImportError, "Cannot import 'gate.py': SyntaxError: "),
    "ends": (
        {"gate.py": "import sys\nsys.exit(3)"}, "gate.py", ImportError,
        "it ends the program (SystemExit: 3) in line 2 of '{folder}/gate.py'. Put what only a script does below `if",
    ),
    "ends by name": ({"gate.py": "raise SystemExit"}, "gate", ImportError, "it ends the program (SystemExit: None)"),
    "reads a missing file": ({"gate.py": "open('nowhere.csv')"}, "gate.py", ImportError, "FileNotFoundError: "),
    "folder": ({"code/gate.py": ""}, "./code", ValueError, "has no __init__.py. Name a file in it: '"),
    "folder by name": ({"code_of/gate.py": ""}, "code_of", ValueError, "has no __init__.py. Name a file in it: '"),
    "notebook": ({"gate.ipynb": "{}"}, "gate.ipynb", ValueError, "received 'gate.ipynb'. Write its cells to a file"),
    "another kind": ({"gate.txt": ""}, "gate.txt", ValueError, "Expected a Python file (.py) or a module to import"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_bad_code_is_one_error_and_leaves_nothing(tmp_path, monkeypatch, case):
    files, name, kind, message = REFUSED[case]
    monkeypatch.chdir(tmp_path)
    for file, text in files.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(text, encoding="latin-1")
    path, modules = list(sys.path), set(sys.modules)
    with pytest.raises(kind) as caught:
        import_code([name])
    assert message.replace("{folder}", str(tmp_path)) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sys.path == path
    assert {name for name in set(sys.modules) - modules if "gate" in name or "part" in name} == set()


def test_missing_class_names_what_the_file_has(folder):
    file, _ = saved("layer")
    write(folder / "other.py", "def scale(x): return x")
    with pytest.raises(ValueError, match=r"it needs 'Half', .*own, which is not in 'other\.py' \(found: 'scale'\)\."):
        load_with_code(file, own_code=import_code(["other.py"]))
    load_with_code(file, own_code=import_code(["other.py", "my_layers.py"]))  # the remedy


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_class_that_cannot_be_built_says_what_it_must_take(folder, suffix):
    narrow = "import keras\nclass Half(keras.layers.Layer):\n    def __init__(self):\n        super().__init__()\n"
    write(folder / "narrow.py", narrow)
    file, _ = saved("layer", suffix)
    with pytest.raises(ValueError, match=r"cannot build 'Half': .*Let Half\.__init__ take .* and \*\*kwargs, and give"):
        load_with_code(file, own_code=import_code(["narrow.py"]))
    write(folder / "wide.py", narrow.replace("(self)", "(self, **kwargs)").replace("__init__()", "__init__(**kwargs)"))
    load_with_code(file, own_code=import_code(["wide.py"]))  # the remedy


def test_error_of_the_users_layer_is_told_in_its_own_words(folder):
    call = "    def call(self, images):\n        raise RuntimeError('boom')\n"
    failing = f"import keras\nclass Half(keras.layers.Layer):\n{call}"
    write(folder / "failing.py", failing)
    file, _ = saved("layer")
    with pytest.raises(ValueError, match=r": Half\.call raises: boom\. Correct it\.$"):
        load_with_code(file, own_code=import_code(["failing.py"]))


def test_layers_as_json_of_keras_3_are_found(folder):
    model = KINDS["layer"](import_code(["my_layers.py"]).objects)
    write(folder / "model.json", model.to_json())
    model.save_weights("model.weights.h5")
    loaded = load_with_code("model.json", "model.weights.h5", import_code(["my_layers.py"]))
    images = np.random.default_rng(0).random((2, 6, 10, 3), np.float32)
    np.testing.assert_allclose(loaded(images), model(images), rtol=1e-6)


def test_lambda_in_the_file_stays_refused(folder):
    network(L.Lambda(lambda images: images / 2)).save("lambda.keras")
    with pytest.raises(ValueError, match="it holds a Lambda layer"):
        load_with_code("lambda.keras", own_code=import_code(["my_layers.py"]))
