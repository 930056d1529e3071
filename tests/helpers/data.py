"""The folder of real weights and photographs, where there is one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("TF_GRADCAM_DATA", Path(__file__).parents[3] / "shared" / "data"))


def needs(*parts: str) -> pytest.MarkDecorator:
    """Skips a test, with the reason, where the data is absent."""
    missing = [part for part in parts if not (ROOT / part).exists()]
    return pytest.mark.skipif(bool(missing), reason=f"no {missing} in {ROOT}; set TF_GRADCAM_DATA")
