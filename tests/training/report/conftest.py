"""Samples of the tests of figures and maps."""

from __future__ import annotations

import pytest

from tests.helpers.colours import write_folder
from training.data.folder import Samples


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    return write_folder(tmp_path_factory.mktemp("colours") / "data")
