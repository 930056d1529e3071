"""The tests mirror the package, and a name has one meaning in it."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE, TESTS = ROOT / "tf_gradcam", ROOT / "tests"
PUBLIC_TWICE = {"Box"}  # image.Box is a rectangle of pixels, targets.Box the score of a detector's box
UNTESTED = {"__init__.py", "__main__.py", "_version.py"}
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if path.name not in UNTESTED)


def mirrored(module: Path) -> list[Path]:
    """Return the test files of a module by their names: test_<module>.py, and test_<module>_<detail>.py."""
    folder = TESTS.joinpath(*(part.lstrip("_") for part in module.parts[:-1]))
    stem = module.stem.lstrip("_")
    return [*folder.glob(f"test_{stem}.py"), *folder.glob(f"test_{stem}_*.py")]


def named() -> dict[str, Path]:
    """Return the modules that a test file names in a paragraph "Also tests ..." of its docstring."""
    found: dict[str, Path] = {}
    for path in TESTS.rglob("test_*.py"):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        for paragraph in re.findall(r"^Also tests (.*?)(?:\n\n|\Z)", text, re.DOTALL | re.MULTILINE):
            found |= dict.fromkeys(re.findall(r"[\w/]+\.py", paragraph), path)
    return found


NAMED = named()


@pytest.mark.parametrize("module", [module.as_posix() for module in MODULES])
def test_module_has_its_test_file_or_is_named_in_one(module: str) -> None:
    assert mirrored(Path(module)) or module in NAMED, (
        f"write test_{Path(module).stem.lstrip('_')}.py, or name {module} in a paragraph `Also tests ...` "
        "in the docstring of the file that tests it"
    )


def test_named_modules_exist() -> None:
    assert set(NAMED) <= {module.as_posix() for module in MODULES}


def test_class_name_has_one_meaning() -> None:
    homes = defaultdict(list)
    for module in MODULES:
        for node in ast.parse((PACKAGE / module).read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(module.as_posix())
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):  # an alias of a type
                target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
                if isinstance(target, ast.Name) and re.fullmatch(r"[A-Z][a-z]\w*", target.id):
                    homes[target.id].append(module.as_posix())
    assert {name: where for name, where in homes.items() if len(where) > 1 and name not in PUBLIC_TWICE} == {}
