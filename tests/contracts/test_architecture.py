"""Arrows go one way, from arithmetic to convenience; what is read here is the source, not the design."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tf_gradcam

ROOT = Path(__file__).parents[2]
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in sorted((ROOT / "tf_gradcam").rglob("*.py"))
}
FREE = {"_errors", "_files", "image", "metrics", "_figures", "_results"}  # of any framework
WITHOUT_FRAMEWORK = [name for name in FILES if name.split(".")[1] in FREE]

HAS_INTERNALS = {"tf_gradcam._models.graph", "tf_gradcam._models.keras_internals"}  # of keras: a graph, and one layer
INTERNALS = {
    *("_functional", "_nodes_by_depth", "_inbound_nodes", "_outbound_nodes", "_keras_history", "_flatten_layers"),
    *("_inputs_struct", "_outputs_struct", "_build_shapes_dict", "_standardize_inputs", "_run_through_graph"),
    *("_value", "_call_has_training_arg", "_tracker", "_operations", "_metrics", "_loss_tracker"),
}


def nodes(module: str, tree: ast.AST | None = None, deep: bool = True) -> Iterator[ast.AST]:
    """The syntax of a module without what only a type checker reads; not `deep`: without the bodies of functions."""
    for node in ast.iter_child_nodes(tree or ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if deep or not isinstance(node, ast.FunctionDef):
            yield node
            yield from nodes(module, node, deep)


def imports(module: str, deep: bool = True) -> set[str]:
    """Dotted names of what a module imports; of `from a import b`, both a and a.b."""
    found = set()
    for node in nodes(module, deep=deep):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}.py: relative import"
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def packages(module: str, deep: bool = True) -> set[str]:
    return {name.split(".")[0] for name in imports(module, deep)}


def test_modules_import_to_the_right_and_in_no_circle() -> None:
    """The contracts stand in pyproject.toml; what only a type checker reads counts too."""
    ran = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout
    assert "2 kept, 0 broken" in ran.stdout


@pytest.mark.parametrize("module", sorted(set(FILES) - HAS_INTERNALS))
def test_keras_src_is_known_where_internals_live_alone(module: str) -> None:
    assert not {name for name in imports(module) if name.startswith("keras.src")}


@pytest.mark.parametrize("module", sorted(set(FILES) - HAS_INTERNALS))
def test_internals_of_keras_are_known_to_two_modules(module: str) -> None:
    read = {node.attr for node in nodes(module) if isinstance(node, ast.Attribute)}
    read |= {node.value for node in nodes(module) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert not read & INTERNALS


@pytest.mark.parametrize("module", sorted(set(FILES) - HAS_INTERNALS))
def test_private_attributes_are_the_modules_own(module: str) -> None:
    """What starts with an underscore is read where it was made, be it of keras or of another module here."""
    private = [n for n in nodes(module) if isinstance(n, ast.Attribute) and re.match("_[a-z]", n.attr)]
    own = {node.attr for node in private if ast.unparse(node.value) in {"self", "cls"}}
    own |= {node.name for node in nodes(module) if isinstance(node, ast.FunctionDef)}
    own |= {"_asdict", "_replace", "_fields", "_make"}  # of named tuples, public in spite of their names
    if module == "tf_gradcam._app.page":
        own.add("_queue")  # Gradio has no other door to the number of unread answers that it keeps
    foreign = {ast.unparse(node) for node in private if node.attr not in own}
    assert not foreign


@pytest.mark.parametrize("module", sorted(set(FILES) - {"tf_gradcam.image.opencv"}))
def test_opencv_is_imported_in_one_place(module: str) -> None:
    assert "cv2" not in packages(module)


@pytest.mark.parametrize("module", FILES)
def test_matplotlib_and_opencv_are_imported_when_first_needed(module: str) -> None:
    """In a function, or at the head of a module that is itself imported in functions alone."""
    if packages(module, deep=False) & {"matplotlib", "cv2", "IPython"}:
        assert not [other for other in FILES if module in imports(other, deep=False)]


@pytest.mark.parametrize("module", WITHOUT_FRAMEWORK)
def test_pictures_know_no_framework(module: str) -> None:
    assert not packages(module, deep=False) & {"tensorflow", "keras"}


@pytest.mark.parametrize("module", FILES)
def test_package_imports_no_script(module: str) -> None:
    assert not packages(module) & {"training", "examples", "benchmarks", "tests"}
    assert not [name for name in imports(module) if name.startswith("tf_gradcam.training")]  # its name when installed


@pytest.mark.parametrize("module", FILES)
def test_module_says_what_it_is_for(module: str) -> None:
    text = ast.get_docstring(ast.parse(FILES[module].read_text(encoding="utf-8"))) or ""
    assert text.partition("\n\n")[0].endswith((".", ":"))


def test_scripts_use_public_names_alone() -> None:
    modules = {
        f"tf_gradcam.{name}"
        for name in ("audit", "callbacks", "demo", "guidance", "image", "metrics", "repair", "targets")
    }
    allowed = {"tf_gradcam", *modules, *(f"tf_gradcam.{name}" for name in tf_gradcam.__all__)}
    for path in [path for folder in ("training", "examples", "benchmarks") for path in ROOT.glob(f"{folder}/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = {alias.name for alias in node.names if alias.name.startswith("tf_gradcam.")}
                assert names <= modules, f"{path.name}: {ast.unparse(node)}"
            if isinstance(node, ast.ImportFrom):
                assert str(node.module).partition(".")[0] != "tests", f"{path.name}: {ast.unparse(node)}"
            if isinstance(node, ast.ImportFrom) and path.is_relative_to(ROOT / "training"):
                assert str(node.module).partition(".")[0] != "training", f"{path}: installed it has another name"
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("tf_gradcam"):
                names = {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
                assert names <= allowed or node.module in modules, f"{path.name}: {ast.unparse(node)}"


# What an import costs.


def loaded_after(statement: str) -> set[str]:
    """The heavy packages that a statement loads into a fresh Python."""
    heavy = ["tensorflow", "keras", "cv2", "matplotlib", "IPython", "click"]
    program = f"import sys\n{statement}\nprint(*(name for name in {heavy} if name in sys.modules))"
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(ran.stdout.split())


def test_import_loads_nothing_heavy() -> None:
    assert loaded_after("import tf_gradcam; dir(tf_gradcam); tf_gradcam.__version__") == set()


def test_pictures_load_no_framework() -> None:
    statement = "\n".join(f"import {name.removesuffix('.__init__')}" for name in WITHOUT_FRAMEWORK)
    assert not loaded_after(statement) & {"tensorflow", "keras", "cv2"}


def test_results_load_nothing_heavy() -> None:
    assert loaded_after("from tf_gradcam import Explanation, overlay_heatmap") == set()


# The public names.

PUBLIC = {name: getattr(tf_gradcam, name) for name in tf_gradcam.__all__}


def test_public_names_are_sorted_and_few() -> None:
    assert sorted(tf_gradcam.__all__) == list(tf_gradcam.__all__)
    assert set(tf_gradcam.__all__) <= set(dir(tf_gradcam))


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'tf_gradcam' has no attribute 'Explaner'"):
        tf_gradcam.Explaner  # noqa: B018
    assert not hasattr(tf_gradcam, "Explaner")


def arguments_of(function: Any) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


@pytest.mark.parametrize("name", [name for name, value in PUBLIC.items() if inspect.isfunction(value)])
def test_public_function_is_documented(name: str) -> None:
    text = inspect.getdoc(PUBLIC[name]) or ""
    assert text.partition("\n")[0].endswith((".", ":"))
    for part in ("Args:", "Returns:", "Raises:"):
        assert part in text
    for argument in arguments_of(PUBLIC[name]):
        assert f"{argument}:" in text


@pytest.mark.parametrize("name", [name for name, value in PUBLIC.items() if inspect.isclass(value)])
def test_public_class_is_documented(name: str) -> None:
    text = vars(PUBLIC[name]).get("__doc__") or ""
    assert "Args:" in text or "Attributes:" in text
    if "Args:" in text:
        for argument in arguments_of(PUBLIC[name]):
            assert f"{argument}:" in text


@pytest.mark.parametrize("name", [name for name, value in PUBLIC.items() if inspect.isclass(value)])
def test_public_method_is_documented(name: str) -> None:
    for key, member in inspect.getmembers(PUBLIC[name], inspect.isfunction):
        if not key.startswith("_") or key == "__call__":
            assert len(inspect.getdoc(member) or "") > 10, f"{name}.{key}"


def test_methods_are_documented_with_source_and_cost() -> None:
    for name, rule in tf_gradcam.METHODS.items():
        text = inspect.getdoc(rule) or ""
        own = set(inspect.signature(rule).parameters) - {"activations", "gradients", "probe"}  # see the modules
        for part in ("Returns:", "Source:", "Cost:", *(f"\n    {parameter}: " for parameter in own)):
            assert part in text, f"{name}: {part}"
