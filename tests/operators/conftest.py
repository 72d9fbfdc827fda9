"""Databases for journals and for outcome tables, and workers that die."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_8x8.api.client import EightByEightClient
from airflow_provider_8x8.api.models import BatchResponse
from tests.operators.changes import lead
from tests.support.warehouses import (
    Warehouse,
    duckdb_warehouse,
    mariadb_warehouse,
    other_warehouse,
    postgres_warehouse,
    sqlite_warehouse,
)

WAREHOUSES = ["sqlite", "duckdb", "postgres", "mariadb", "another"]


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


@pytest.fixture(params=WAREHOUSES)
def warehouse(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Warehouse]:
    """A database of every kind for an outcome table; to Airflow its connection is ``warehouse``."""
    with contextlib.ExitStack() as stack:
        match request.param:
            case "sqlite":
                made = sqlite_warehouse(tmp_path)
            case "duckdb":
                made = duckdb_warehouse(tmp_path)
            case "postgres":
                made = stack.enter_context(postgres_warehouse(request.getfixturevalue("postgres_cluster")))
            case "mariadb":
                made = stack.enter_context(mariadb_warehouse(request.getfixturevalue("mariadb_server")))
            case _:
                made = stack.enter_context(other_warehouse(tmp_path))
        monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(made.fields))
        yield made


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between the tries of an outcome table's transaction."""
    from airflow_provider_8x8.surveys.outcomes import table_database

    monkeypatch.setattr(table_database._RETRYING, "sleep", lambda seconds: None)
