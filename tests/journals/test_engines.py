"""Airflow connections that lead to a journal's database, and those that do not."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa

from airflow_provider_8x8.journals.engines import engine_of
from airflow_provider_8x8.journals.sql import SqlJournal
from airflow_provider_8x8.journals.transactions import Transactions
from airflow_provider_8x8.surveys.journal import JournalUnavailableError
from tests.support.databases import Database


def connect(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_JOURNAL", json.dumps(fields))


def test_every_kind_of_database_is_reached(journal_database: Database) -> None:
    engine = engine_of("journal")
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT 1")).scalar() == 1
    engine.dispose()


def test_a_connection_that_is_missing_is_named(airflow_db: None) -> None:
    with pytest.raises(ValueError, match="'no_such_journal': there is no such connection"):
        engine_of("no_such_journal")


def test_a_connection_that_is_not_a_database_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, conn_type="eight_by_eight", login="sandbox_hq", password="secret")
    with pytest.raises(TypeError, match="'journal' is of type 'eight_by_eight'; expected a database"):
        engine_of("journal")


def test_a_connection_without_its_provider_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, conn_type="oracle", host="db")
    with pytest.raises(
        ValueError, match="'oracle', which no installed provider knows; install the database's provider"
    ):
        engine_of("journal")


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, conn_type="mysql", host="db", login="me", password="secret")  # mysqlclient, not installed here
    with pytest.raises(ValueError, match=r"has no way to this database \(ModuleNotFoundError: .*MySQLdb") as caught:
        engine_of("journal")
    assert "secret" not in str(caught.value)


def test_a_database_that_sqlalchemy_does_not_know_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, conn_type="duckdb", host="/nowhere.duckdb")
    with pytest.raises(ValueError, match=r"'journal'.*has no way to this database"):
        engine_of("journal")


def test_a_database_whose_locks_were_never_tried_is_refused() -> None:
    engine = sa.create_mock_engine("oracle://", lambda *_: None)
    with pytest.raises(ValueError, match=r"leads to oracle; .* was tried on postgresql, mysql, mariadb, sqlite only"):
        SqlJournal(engine, "campaign", journal_conn_id="journal")  # type: ignore[arg-type]


def test_what_is_written_stays_out_of_errors_and_what_is_read_out_of_the_log(
    journal_database: Database, caplog: pytest.LogCaptureFixture, no_pauses: list[float]
) -> None:
    caplog.set_level("DEBUG", "sqlalchemy.engine")
    transactions = Transactions(engine_of("journal"), "journal")
    written, read = sa.text("SELECT :value FROM nowhere"), sa.text("SELECT :value AS value")
    assert transactions.run(lambda connection: connection.execute(read, {"value": "kept back"}).scalar(), "read it")
    with pytest.raises(JournalUnavailableError, match=r"could not write it .*'journal'.*nowhere") as caught:
        transactions.run(lambda connection: connection.execute(written, {"value": "kept back"}), "write it")
    assert "kept back" not in str(caught.value)
    assert "kept back" not in caplog.text
