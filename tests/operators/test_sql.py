"""Rows from real warehouses: SQLite, DuckDB and PostgreSQL."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import warnings
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.operators.test_survey_batch import BODY, result_of, survey_dag

CREATE = (
    "CREATE TABLE orders (phone VARCHAR(40), first_name VARCHAR(40), order_nr INTEGER, total DECIMAL(10, 2), day DATE)"
)
INSERT = "INSERT INTO orders VALUES ('+1201555{:04d}', 'Person {}', {}, 1234.50, '2026-01-31')"
SELECT = 'SELECT phone AS destination, first_name AS "firstName", order_nr FROM orders'
ROWS = 120


def statements() -> list[str]:
    return [CREATE, *(INSERT.format(100 + number % 100, number, number) for number in range(ROWS))]


@pytest.fixture(params=["sqlite", "duckdb", "postgres"])
def warehouse(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A connection to a warehouse with 120 orders of 100 phones; its kind."""
    kind: str = request.param
    if kind == "sqlite":
        file = tmp_path / "warehouse.sqlite"
        database = sqlite3.connect(file)
        for statement in statements():
            database.execute(statement)
        database.commit()
        database.close()
        monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "sqlite", "host": str(file)}))
    elif kind == "duckdb":
        import duckdb

        with duckdb.connect(tmp_path / "warehouse.duckdb") as warehouse:
            for statement in statements():
                warehouse.execute(statement)
        monkeypatch.setenv(
            "AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "duckdb", "host": str(tmp_path / "warehouse.duckdb")})
        )
    else:
        import psycopg2

        uri = request.getfixturevalue("postgres_server")
        database = psycopg2.connect(uri)
        with database, database.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS orders")
            for statement in statements():
                cursor.execute(statement)
        database.close()
        parsed = psycopg2.extensions.parse_dsn(uri)
        monkeypatch.setenv(
            "AIRFLOW_CONN_WAREHOUSE",
            json.dumps(
                {"conn_type": "postgres", "host": parsed["host"], "login": parsed["user"], "schema": parsed["dbname"]}
            ),
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield kind


def placeholder(kind: str) -> str:
    return "%s" if kind == "postgres" else "?"


def test_a_query_becomes_batches(run_dag: Any, sandbox: Any, connection: str, warehouse: str) -> None:
    sql = f"{SELECT} WHERE order_nr < {placeholder(warehouse)} AND first_name LIKE {placeholder(warehouse)}"
    run = run_dag(survey_dag(sql=sql, sql_conn_id="warehouse", parameters=[110, "Person %"], batch_size=40))
    assert run.task_states == {"send": "success"}, run.log[-3000:]
    result = result_of(run)
    assert (result["rows_read"], result["accepted_count"], result["duplicate_count"]) == (110, 100, 10)
    assert len(result["batch_ids"]) == 3
    assert sandbox.stats()["max_per_key"] == 1


def test_a_percent_sign_is_no_placeholder_without_parameters(
    run_dag: Any, sandbox: Any, connection: str, warehouse: str
) -> None:
    run = run_dag(survey_dag(sql=f"{SELECT} WHERE first_name LIKE '%7'", sql_conn_id="warehouse"))
    assert result_of(run)["accepted_count"] == 10


def test_types_of_a_warehouse_become_text(run_dag: Any, sandbox: Any, connection: str, warehouse: str) -> None:
    sql = "SELECT phone AS destination, total, day, NULL AS firstname FROM orders WHERE order_nr = 1"
    run = run_dag(
        survey_dag(sql=sql, sql_conn_id="warehouse", template_body="{{total}} on {{day}}: {{url}}", unique_by="day")
    )
    assert run.task_states == {"send": "success"}
    total = "1234.5" if warehouse == "sqlite" else "1234.50"  # SQLite has no decimals
    assert sandbox.messages(1)[0]["text"].startswith(f"{total} on 2026-01-31: ")


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        (
            "SELECT phone AS destination, order_nr FROM orders",
            "lacks the column firstName; it has destination, order_nr",
        ),
        ('SELECT phone, first_name AS "firstName", order_nr FROM orders', "lacks the column destination"),
        ("SELECT phone AS destination, phone AS destination FROM orders", "more than one column named destination"),
        ("SELECT * FROM nowhere", "nowhere"),
    ],
)
def test_a_query_that_cannot_serve_sends_nothing(
    run_dag: Any, sandbox: Any, connection: str, warehouse: str, sql: str, message: str
) -> None:
    run = run_dag(survey_dag(sql=sql, sql_conn_id="warehouse"))
    assert run.task_states == {"send": "failed"}
    assert message in run.log
    assert sandbox.stats()["requests"] == 0


def test_an_empty_result_skips(run_dag: Any, sandbox: Any, connection: str, warehouse: str) -> None:
    run = run_dag(survey_dag(sql=f"{SELECT} WHERE order_nr < 0", sql_conn_id="warehouse"))
    assert run.task_states == {"send": "skipped"}


def test_a_query_that_fails_midway_loses_nothing(
    run_dag: Any, sandbox: Any, connection: str, warehouse: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_8x8.rows._ROWS_AT_A_TIME", 20)
    if warehouse == "sqlite":
        failing = f"{SELECT} WHERE CASE WHEN order_nr < 70 THEN 1 ELSE abs(-9223372036854775808) END = 1"
    elif warehouse == "postgres":
        failing = f"{SELECT} WHERE CASE WHEN order_nr < 70 THEN 1 ELSE CAST(phone AS INTEGER) END = 1"
    else:
        pytest.skip("DuckDB reads so small a table in one step: it cannot fail midway")
    run = run_dag(survey_dag(sql=failing, sql_conn_id="warehouse", batch_size=25))
    assert run.task_states == {"send": "failed"}
    result = result_of(run)
    assert 0 < result["accepted_count"] <= 70
    assert result["accepted_count"] % 25 == 0
    assert result["not_sent_count"] == result["rows_read"] - result["accepted_count"]
    assert "was not read to its end" in run.log
    assert "+12015550170" not in run.log


def test_no_row_is_logged_at_debug_level(run_dag: Any, sandbox: Any, connection: str, warehouse: str) -> None:
    run = run_dag(survey_dag(sql=SELECT, sql_conn_id="warehouse"))
    assert run.task_states == {"send": "success"}
    assert "DEBUG" in run.log
    assert "2015550" not in run.log
    assert "Person 7" not in run.log


def test_sql_needs_a_database(run_dag: Any, sandbox: Any, connection: str) -> None:
    run = run_dag(survey_dag(sql="SELECT 1", sql_conn_id="eight_by_eight_default"))
    assert run.task_states == {"send": "failed"}
    assert "expected a database" in run.log


def test_postgres_is_read_with_a_server_side_cursor(
    airflow_db: None, warehouse: str, caplog: pytest.LogCaptureFixture
) -> None:
    if warehouse != "postgres":
        pytest.skip("only PostgreSQL's driver has server-side cursors among the three")
    from airflow_provider_8x8.rows import SqlRows

    open_cursors = "SELECT count(*) FROM pg_cursors"
    rows = SqlRows.from_connection("warehouse", f"SELECT o.*, ({open_cursors}) AS cursors FROM orders o")
    with contextlib.closing(iter(rows)) as values:
        row = next(values)
    first = dict(zip(rows.columns or (), row, strict=True))
    assert first["cursors"] == 1
    assert first["total"] == Decimal("1234.50")
    assert first["day"] == date(2026, 1, 31)
    assert BODY
