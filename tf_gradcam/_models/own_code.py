"""The user's own Python code, run because the user names it: the classes and functions that a model file needs."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib
import importlib.util
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from tf_gradcam._errors import nearest_files, warn
from tf_gradcam._files.opening import check_file

_MAX_BYTES = 16 * 2**20  # of a source file; more is data, not code
_INSTALLED = {"site-packages", "dist-packages"}
_SHOWN = 8  # names in a message


@dataclass(frozen=True)
class OwnCode:
    """Classes and functions of the modules that the user named.

    Attributes:
        named: the modules and files, as the user named them.
        objects: by name; those that the modules define, and those of the modules beside them.
        ambiguous: names that several of these modules define, none of them in a module that the user named alone.
        digest: hexadecimal, of the source of all these modules; "" for none.
    """

    named: tuple[str, ...] = ()
    objects: Mapping[str, Any] = field(default_factory=dict)
    ambiguous: frozenset[str] = frozenset()
    digest: str = ""

    def for_config(self, config: Any) -> dict[str, Any]:
        """Return the objects by each name that a model's configuration has for them: `Package>Gate` is `Gate` too."""
        found = dict(self.objects)
        items = [config] if found else []
        while items:
            item = items.pop()
            if isinstance(item, dict):
                for name in (item.get("registered_name"), item.get("class_name")):
                    plain = name.rpartition(">")[2] if isinstance(name, str) else ""
                    if plain in self.objects:
                        found.setdefault(str(name), self.objects[plain])
                items += item.values()
            elif isinstance(item, list):
                items += item
        return found

    def without(self, name: str) -> str:
        """Return why none of the modules gives an object of this name, "" where no module is named."""
        if not self.named:
            return ""
        files = " and ".join(f"'{file}'" for file in self.named)
        if name in self.ambiguous:
            return f"which several modules beside {files} define"
        known = ", ".join(f"'{known}'" for known in list(self.objects)[:_SHOWN]) or "no class or function"
        more = ", ..." if len(self.objects) > _SHOWN else ""
        return f"which is not in {files} (found: {known}{more})"


def import_code(named: Iterable[str]) -> OwnCode:
    """Run modules of the user's, and warn (`ModelWarning`) that their code was run.

    The folder of a file, and the current one, are importable while a module runs; then `sys.path` is as it was. What
    the modules imported stays imported.

    Args:
        named: Python files, folders of a package, or names of modules, which may lie in the current folder.

    Raises:
        FileNotFoundError: a file or a module does not exist.
        ImportError: the code raises an error or ends the program.
        OSError, ValueError: it is not a Python file.
    """
    named = tuple(named)
    if not named:
        return OwnCode()
    for name in [name for name, module in _brought.items() if sys.modules.get(name) is module]:
        del sys.modules[name]  # of an earlier call: its files may have changed
    _brought.clear()
    runs = [_run_file(name) if _is_file(name) else _run_module(name) for name in named]
    objects, ambiguous = _objects_of(runs)
    files = " and ".join(f"'{run.source or name}'" for run, name in zip(runs, named, strict=True))
    warn(f"The code in {files} was run, as you asked.")
    return OwnCode(named, objects, ambiguous, _digest_of(runs))


# What paths brought into sys.modules in this process; names of modules are unique in it, names of files are not.
_brought: dict[str, ModuleType] = {}


class _Run(NamedTuple):
    """A module that the user named, after its code was run.

    Attributes:
        entry: the module.
        modules: the user's modules that it imported, itself first.
        objects: (module, name, class or function of one of these modules).
    """

    entry: ModuleType
    modules: list[ModuleType]
    objects: list[tuple[ModuleType, str, Any]]

    @property
    def source(self) -> str | None:
        return getattr(self.entry, "__file__", None)


def _is_file(name: str) -> bool:
    separators = {os.sep, os.altsep or os.sep, "/"}
    return name.endswith((".py", ".ipynb")) or any(mark in name for mark in separators) or os.path.isfile(name)


# 1. A module by its name.


def _run_module(name: str) -> _Run:
    if not all(name.split(".")):
        raise ValueError(
            f"Expected a Python file, or a module such as my_package.layers, to import, received '{name}'."
        )
    folder, before, missing = Path.cwd(), set(sys.modules), None
    with _running(name, [folder], front=[folder]):
        try:
            entry = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise  # of a module that this one imports
            missing = error
    if missing is not None:
        near = nearest_files(Path(name), (".py",))
        raise FileNotFoundError(
            f"There is no module '{name}', neither installed nor in the current folder. {near}"
        ) from missing
    if getattr(entry, "__file__", None) is None and hasattr(entry, "__path__"):
        raise ValueError(_no_package(Path(next(iter(entry.__path__), name))))
    home = _home_of(sys.modules.get(name.partition(".")[0], entry))
    return _run_of(entry, [home, folder], before)


def _home_of(top: ModuleType) -> Path:
    """Return where the user's modules lie: the package, or the folder of a single file that is not installed."""
    if hasattr(top, "__path__"):
        return Path(next(iter(top.__path__))).resolve()
    file = Path(getattr(top, "__file__", None) or top.__name__).resolve()
    is_installed = _INSTALLED & set(file.parts) or file.is_relative_to(sysconfig.get_paths()["stdlib"])
    return file if is_installed else file.parent


# 2. A module by its path.


def _run_file(name: str) -> _Run:
    path = Path(name).resolve()
    if not path.exists():
        raise FileNotFoundError(f"There is no Python file '{name}'. {nearest_files(Path(name), ('.py',))}")
    is_package = path.is_dir()
    file = path / "__init__.py" if is_package else path
    if not file.exists():
        raise ValueError(_no_package(Path(name)))
    if file.suffix != ".py":
        notebook = "Write its cells to a file: `jupyter nbconvert --to script FILE`."
        remedy = notebook if file.suffix == ".ipynb" else "Give the source."
        raise ValueError(f"Expected a Python file (.py) or a module to import, received '{name}'. {remedy}")
    check_file(file, "a Python file", _MAX_BYTES)
    if file.name == "__init__.py":
        is_package, path = True, file.parent
    with _running(name, [path.parent]):
        tree = ast.parse(importlib.util.decode_source(file.read_bytes()), str(file))
    up = max((node.level for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)), default=0)
    folders, root = _packages_of(path, up - is_package)
    before = set(sys.modules)
    homes = [root, Path.cwd()]
    with _running(name, homes, [root, path.parent]), _set_aside(root, [root, path.parent]):
        entry = _loaded(file, path, folders, compile(tree, str(file), "exec"))
    new = {key: module for key, module in sys.modules.items() if key not in before}
    _brought.update({key: module for key, module in new.items() if _is_inside(module, homes)})
    return _run_of(entry, homes, before)


def _packages_of(path: Path, least: int) -> tuple[list[Path], Path]:
    """Return the folders that are packages around a module, and the folder that holds the outermost one.

    Args:
        path: of a file, or the folder of a package.
        least: number of packages that its relative imports need; a folder without `__init__.py` counts as one there.
    """
    folders: list[Path] = []
    folder = path.parent
    while folder != folder.parent and ((folder / "__init__.py").is_file() or len(folders) < least):
        folders.insert(0, folder)
        folder = folder.parent
    return folders, folder


def _loaded(file: Path, path: Path, folders: list[Path], code: Any) -> ModuleType:
    """Run the code of a file, after that of the packages around it, and return its module."""
    names = [part.name.replace(".", "_") for part in folders] + [
        (path.name if path.is_dir() else path.stem).replace(".", "_")
    ]
    top = sys.modules.get(names[0])
    first = folders[0] if folders else path
    while names[0] in sys.stdlib_module_names or (top is not None and not _is_inside(top, [first])):
        names[0] += "_"  # of another module, which stays what it is
        top = sys.modules.get(names[0])
    for number, folder in enumerate(folders, 1):
        full, init = ".".join(names[:number]), folder / "__init__.py"
        if full not in sys.modules:
            spec = importlib.util.spec_from_file_location(full, init, submodule_search_locations=[str(folder)])
            assert spec is not None
            assert spec.loader is not None
            package = sys.modules[full] = importlib.util.module_from_spec(spec)
            if init.is_file():
                spec.loader.exec_module(package)
    full = ".".join(names)
    if full not in sys.modules:  # a package may have imported it
        inside = [str(path)] if path.is_dir() else None
        spec = importlib.util.spec_from_file_location(full, file, submodule_search_locations=inside)
        assert spec is not None
        module = sys.modules[full] = importlib.util.module_from_spec(spec)
        exec(code, module.__dict__)
    return sys.modules[full]


@contextlib.contextmanager
def _set_aside(root: Path, folders: list[Path]) -> Iterator[None]:
    """Hide modules that another path brought where these folders have files of the same names."""

    def is_here(name: str) -> bool:
        top = name.partition(".")[0]
        return any((folder / top).is_dir() or (folder / f"{top}.py").is_file() for folder in folders)

    aside = {name: module for name, module in _brought.items() if is_here(name) and not _is_inside(module, [root])}
    for name in aside:
        sys.modules.pop(name, None)
    try:
        yield
    finally:
        for name, module in aside.items():
            sys.modules.setdefault(name, module)


def _no_package(folder: Path) -> str:
    files = ", ".join(f"'{file}'" for file in sorted(folder.glob("*.py"))[:5])
    remedy = f"Name a file in it: {files}." if files else "Give a .py file."
    return f"Expected a Python file or a package to import, but the folder '{folder}' has no __init__.py. {remedy}"


# 3. Both.


@contextlib.contextmanager
def _running(name: str, homes: list[Path], front: Iterable[Path] = ()) -> Iterator[None]:
    """Let code import from folders, and raise whatever it raises as an ImportError; then `sys.path` is as it was.

    What it prints goes to stderr: stdout is for results.
    """
    path, before = list(sys.path), set(sys.modules)
    sys.path[:] = [*dict.fromkeys(map(str, front)), *path, os.getcwd()]
    importlib.invalidate_caches()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # of the user's code, SystemExit too
        for key in set(sys.modules) - before:
            if _is_inside(sys.modules[key], homes):
                del sys.modules[key]  # in part only
        raise ImportError(_failure(name, error, homes)) from error
    finally:
        sys.path[:] = path


def _failure(name: str, error: BaseException, homes: list[Path]) -> str:
    """Return what the code raised, where, and what to do."""
    lines = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError):
        lines.append((error.filename or "", error.lineno))
    places = [f" in line {line} of '{file}'" for file, line in lines if any(map(Path(file).is_relative_to, homes))]
    where = places[-1] if places else ""
    if isinstance(error, SystemExit):
        fact = f"it ends the program (SystemExit: {error.code}){where}"
        remedy = "Put what only a script does below `if __name__ == '__main__':`."
        return f"Cannot import '{name}': {fact}. {remedy}"
    text = " ".join((error.msg if isinstance(error, SyntaxError) else str(error)).split())[:300].rstrip(".")
    remedy = "Correct it there, and try again."
    if isinstance(error, ModuleNotFoundError) and error.name:
        remedy = f"Install the package that has '{error.name}', or name its file too, before this one."
    return f"Cannot import '{name}': {type(error).__name__}: {text}{where}. {remedy}"


def _is_inside(module: Any, homes: Iterable[Path]) -> bool:
    """Return whether a module is the user's: its file lies in one of these places, but not in packages below them."""
    file = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", None) or ()), None)
    if not isinstance(file, str) or str(module.__name__).partition(".")[0] == "tf_gradcam":
        return False
    path = Path(file).resolve()
    return any(path.is_relative_to(home) and not _INSTALLED & set(path.relative_to(home).parts) for home in homes)


def _run_of(entry: ModuleType, homes: list[Path], before: set[str]) -> _Run:
    """Return a module that was run, with the user's modules that it uses: new, of its package, in its namespace."""
    top = entry.__name__.partition(".")[0]
    names = [name for name in sys.modules if name not in before or name.partition(".")[0] == top]
    found: dict[int, ModuleType] = {}
    waiting = [entry, *(sys.modules[name] for name in names)]
    while waiting:
        module = waiting.pop(0)
        if id(module) not in found and (module is entry or _is_inside(module, homes)):
            found[id(module)] = module
            waiting += [other for value in vars(module).values() if (other := _module_of(value)) is not None]
    # None of a library, which a model file must not call by its name.
    objects = [
        (module, name, value)
        for module in found.values()
        for name, value in vars(module).items()
        if callable(value) and isinstance(getattr(value, "__name__", None), str) and id(_module_of(value)) in found
    ]
    return _Run(entry, list(found.values()), objects)


def _module_of(value: Any) -> ModuleType | None:
    """Return a module, or the module that defines a class or a function."""
    if isinstance(value, ModuleType):
        return value
    name = getattr(value, "__module__", None) if callable(value) else None
    return sys.modules.get(name) if isinstance(name, str) else None


def _objects_of(runs: Iterable[_Run]) -> tuple[dict[str, Any], frozenset[str]]:
    """Return the user's classes and functions by name, and the names that mean several.

    Those in the namespace of a named module come before those of modules beside it, a later named module before an
    earlier one, as the last registration counts in Keras.
    """
    beside: dict[str, list[Any]] = {}
    objects: dict[str, Any] = {}
    for run in runs:
        for module, name, value in run.objects:
            if module is run.entry:
                objects |= {value.__name__: value, name: value}
            elif not any(value is other for other in beside.setdefault(name, [])):
                beside[name].append(value)
    several = {name for name, values in beside.items() if len(values) > 1 and name not in objects}
    return {name: values[0] for name, values in beside.items() if name not in several} | objects, frozenset(several)


def _digest_of(runs: Iterable[_Run]) -> str:
    found = hashlib.sha256()
    files = {Path(file) for run in runs for module in run.modules if (file := getattr(module, "__file__", None))}
    for file in sorted(files, key=lambda path: (path.name, str(path))):
        if file.is_file():
            content = file.read_bytes()
            found.update(f"{file.name}\0{len(content)}\0".encode() + content)
    return found.hexdigest()
