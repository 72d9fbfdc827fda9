"""A campaign of its own for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.surveys.campaigns import Campaign


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    return Campaign(tmp_path / "journal.sqlite")
