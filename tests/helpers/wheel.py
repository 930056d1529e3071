"""A wheel of this checkout, unpacked as pip does it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def unpacked_wheel(folder: Path) -> Path:
    """Build a wheel and return the folder that it was unpacked into, a new one in `folder`."""
    source = folder / "source"  # a copy: setuptools would take what an earlier build left in build/
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("tf_gradcam", "training", "tests/helpers", "benchmarks"):  # the last two must stay out of it
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", folder / "wheels"]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, source], check=True)
    (wheel,) = (folder / "wheels").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "installed")
    return folder / "installed"
