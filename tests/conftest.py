"""Before all tests."""

import gc

import pytest


def pytest_collection_finish(session: pytest.Session) -> None:
    """What lives as long as the process, the frameworks and the cases, need not be looked through each time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
