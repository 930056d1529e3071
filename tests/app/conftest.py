"""The sessions of these tests."""

from __future__ import annotations

import pytest

from tests.helpers.app_sessions import new_sessions, upload


@pytest.fixture
def sessions():
    new = new_sessions()
    yield new
    new.close()


@pytest.fixture
def session(sessions):
    """A window that looks at the red and blue photo."""
    one = sessions.new()
    one.show_upload(upload(sessions))
    return one
