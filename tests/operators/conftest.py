"""Two databases for journals, and workers that die."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_8x8.api.client import EightByEightClient
from airflow_provider_8x8.api.models import BatchResponse
from tests.operators.changes import lead


@pytest.fixture
def databases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two databases for journals."""
    for name in ("a", "b"):
        lead(monkeypatch, f"journal_{name}", tmp_path / f"{name}.sqlite")


@pytest.fixture
def at_batch(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], None]], None]:
    """Have something happen once 8x8 has the n-th batch, and the worker die of it."""
    send = EightByEightClient.send_survey_batch
    calls: list[Any] = []

    def arrange(number: int, happens: Callable[[], None]) -> None:
        def sent(*arguments: Any, **options: Any) -> BatchResponse:
            response = send(*arguments, **options)
            calls.append(response)
            if len(calls) == number:
                happens()
                raise RuntimeError("the worker is gone")
            return response

        monkeypatch.setattr(EightByEightClient, "send_survey_batch", sent)

    return arrange
