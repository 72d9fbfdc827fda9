"""Rows as warehouses and people write them, whole DAGs against the sandbox: who is texted what, and who is not."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_8x8.api.client import EightByEightClient
from airflow_provider_8x8.api.models import BatchResponse
from tests.operators.test_survey_batch import person, result_of, survey_dag
from tests.operators.test_tries import Die, die, journal, report_lines, sql_journal, tried_again  # noqa: F401

Warehouse = Callable[..., dict[str, Any]]


@pytest.fixture
def warehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    """Makes a SQLite table of some columns and rows, and returns the arguments that read it."""

    def make(columns: str, rows: Iterable[Iterable[Any]]) -> dict[str, Any]:
        file = tmp_path / "warehouse.sqlite"
        with sqlite3.connect(file) as database:
            database.execute(f"CREATE TABLE people ({columns})")
            for row in rows:
                values = tuple(row)
                database.execute(f"INSERT INTO people VALUES ({', '.join('?' * len(values))})", values)
        monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "sqlite", "host": str(file)}))
        return {"sql": "SELECT * FROM people", "sql_conn_id": "warehouse"}

    return make


@pytest.fixture
def postgres(postgres_server: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Runs statements in PostgreSQL, and returns the arguments that read its table ``people``."""
    import psycopg2

    def make(*statements: str) -> dict[str, Any]:
        database = psycopg2.connect(postgres_server)
        with database, database.cursor() as cursor:
            for statement in ("DROP TABLE IF EXISTS people", *statements):
                cursor.execute(statement)
        database.close()
        parsed = psycopg2.extensions.parse_dsn(postgres_server)
        fields = {"conn_type": "postgres", "host": parsed["host"], "login": parsed["user"], "schema": parsed["dbname"]}
        monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(fields))
        return {"sql": "SELECT * FROM people", "sql_conn_id": "warehouse"}

    return make


def texts(sandbox: Any) -> list[str]:
    return sorted(message["text"].partition(" http")[0] for message in sandbox.messages(100))


# ids


def test_ids_of_a_char_column_are_found_again_in_8x8s_logs(
    run_dag: Any, sandbox: Any, connection: str, postgres: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = postgres(
        "CREATE TABLE people (destination VARCHAR(20), client_message_id CHAR(12))",
        "INSERT INTO people VALUES ('+12025550101', 'ord-1'), ('+12025550102', 'ORD-2')",
    )
    campaign = {**sql_journal(tmp_path, monkeypatch), "campaign_id": "march", "template_body": "{{url}}", **source}
    sandbox.faults([{"on": "survey_batch", "kind": "500_after_accept", "times": 1}])
    first = result_of(run_dag(survey_dag(**campaign)))
    assert (first["accepted_count"], first["rejected_count"]) == (2, 0)
    again = result_of(run_dag(survey_dag(**campaign)))
    assert (again["accepted_count"], again["already_sent_count"]) == (0, 2)
    assert {message["client_message_id"] for message in sandbox.messages(9)} == {"ord-1", "ORD-2"}
    assert sandbox.stats()["accepted"] == 2


def test_one_id_with_and_without_blanks_is_one_row(run_dag: Any, sandbox: Any, connection: str) -> None:
    rows = [person(1, client_message_id="ord-1"), person(2, client_message_id="ord-1      ")]
    result = result_of(run_dag(survey_dag(rows=rows)))
    assert (result["accepted_count"], result["duplicate_count"]) == (1, 1)
    assert sandbox.stats()["accepted"] == 1


# names


def test_columns_in_upper_case_fill_their_fields(
    run_dag: Any, sandbox: Any, connection: str, warehouse: Warehouse
) -> None:
    soon = (datetime.now(UTC) + timedelta(hours=5)).isoformat()
    source = warehouse(
        "DESTINATION, COUNTRY, SCHEDULED, CLIENT_MESSAGE_ID, FIRSTNAME, ORDER_NR",
        [("91234567", "SG", soon, f"ord-{number}", f"Person {number}", number) for number in range(3)],
    )
    result = result_of(run_dag(survey_dag(**source)))
    assert (result["accepted_count"], result["duplicate_count"]) == (3, 0)
    for message in sandbox.messages(9):
        assert message["destination"] == "6591234567"
        assert message["status"] == "queued"  # until its time
        assert message["client_message_id"].startswith("ord-")
    assert texts(sandbox) == [f"Hi Person {number}, how was order {number}?" for number in range(3)]


def test_names_that_postgres_has_folded_fill_their_fields(
    run_dag: Any, sandbox: Any, connection: str, postgres: Any
) -> None:
    source = postgres(
        "CREATE TABLE people (destination VARCHAR(20), clientMessageId VARCHAR(20), templateBody TEXT, firstName TEXT)",
        "INSERT INTO people VALUES ('+12025550101', 'ord-1', NULL, 'Zoë'), "
        "('+12025550101', 'ord-2', 'Dear {{firstName}} {{url}}', 'Zoë')",
    )
    result = result_of(run_dag(survey_dag(template_body="Hi {{firstName}}! {{url}}", **source)))
    assert result["accepted_count"] == 2
    assert {message["client_message_id"] for message in sandbox.messages(9)} == {"ord-1", "ord-2"}
    assert texts(sandbox) == ["Dear Zoë", "Hi Zoë!"]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            "destination, Client_Message_Id, clientMessageId",
            "Client_Message_Id and clientMessageId fill the same field",
        ),
        ('destination, "12025550123", order_nr', "it has 12*******23, destination, order_nr"),
        ("PHONE, firstName, ORDER_NR", "lacks the column destination; it has ORDER_NR, PHONE, firstName"),
    ],
)
def test_columns_that_cannot_serve_are_named_and_nothing_is_sent(
    run_dag: Any, sandbox: Any, connection: str, warehouse: Warehouse, columns: str, said: str
) -> None:
    source = warehouse(columns, [["+12025550101", *["x"] * columns.count(",")]])
    run = run_dag(survey_dag(**source))
    assert run.task_states == {"send": "failed"}
    assert said in run.log
    assert "12025550123" not in run.log
    assert sandbox.stats()["requests"] == 0


# template_variables


def test_template_variables_of_duckdb_are_json(
    run_dag: Any, sandbox: Any, connection: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import duckdb

    file = tmp_path / "warehouse.duckdb"
    with duckdb.connect(file) as database:
        database.execute("CREATE TABLE people (destination VARCHAR, template_variables VARCHAR)")
        for number, given in enumerate(
            ['{"firstName": "Zoë", "order_nr": 7}', '{"FIRSTNAME": "Ada", "order_nr": 8.0}', "not JSON", None]
        ):
            database.execute("INSERT INTO people VALUES (?, ?)", [f"+1202555010{number}", given])
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "duckdb", "host": str(file)}))
    common = {"firstName": "there", "order_nr": 0}
    run = run_dag(survey_dag(sql="SELECT * FROM people", sql_conn_id="warehouse", template_variables=common))
    result = result_of(run)
    assert (result["accepted_count"], result["invalid_count"]) == (3, 1)
    assert "template_variables is text that is not JSON" in result["invalid_samples"][0]
    assert texts(sandbox) == [
        "Hi Ada, how was order 8?",
        "Hi Zoë, how was order 7?",
        "Hi there, how was order 0?",
    ]


# values


def test_a_double_shows_as_the_whole_number_it_is(run_dag: Any, sandbox: Any, connection: str, postgres: Any) -> None:
    source = postgres(
        'CREATE TABLE people (destination FLOAT8, "firstName" TEXT, order_nr FLOAT8)',
        "INSERT INTO people VALUES (12025550101, 'Zoë', 1234), (12025550102, 'Ada', 0.5), (12025550103, 'Bo', 'NaN'), "
        "('NaN', 'Cy', 1)",
    )
    result = result_of(run_dag(survey_dag(**source)))
    assert result["invalid_samples"] == [
        "Row 3: there is no value for {{order_nr}}",
        "Row 4: destination is NULL or empty",
    ]
    assert texts(sandbox) == ["Hi Ada, how was order 0.5?", "Hi Zoë, how was order 1234?"]


def test_a_cell_with_more_than_a_number_texts_nobody_else(run_dag: Any, sandbox: Any, connection: str) -> None:
    cells = [
        "+1-202-555-0123-5",
        "+1 202 555 0123 x5",
        "+1202555 0123 ext. 4",
        "12025550123.5",
        12025550123.5,
        "5550123 5550124",
        "+12025550123/+12025550124",
        "tel:+12025550123",
        "1.2025550123E+10",
    ]
    rows = [person(number, destination=cell) for number, cell in enumerate(cells)]
    run = run_dag(survey_dag(rows=[*rows, person(99)]))
    result = result_of(run)
    assert (result["accepted_count"], result["invalid_count"]) == (1, len(cells))
    assert [message["destination"] for message in sandbox.messages(99)] == [person(99)["destination"].lstrip("+")]
    assert all("is not a phone number" in sample for sample in result["invalid_samples"])
    digits = "".join(character for character in str(result["invalid_samples"]) if character.isdigit())
    assert "2025550" not in digits


def test_a_number_in_a_rows_template_shows_nowhere(run_dag: Any, sandbox: Any, connection: str) -> None:
    rows = [person(1), person(2, template_body="Hi {{+1 202 555 0123}} {{url}}")]
    run = run_dag(survey_dag(rows=rows))
    result = result_of(run)
    assert (result["accepted_count"], result["invalid_count"]) == (1, 1)
    assert "555 0123" not in run.log + str(run.xcoms)


# a row's fate over tries


def test_rows_whose_time_has_passed_by_the_retry_keep_what_8x8_said(
    run_dag: Any,
    sandbox: Any,
    connection: str,
    warehouse: Warehouse,
    journal: dict[str, Any],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    people = [person(number) for number in range(20)]
    source = warehouse("destination, firstName, order_nr, scheduled", [[*each.values(), soon] for each in people])
    send = EightByEightClient.send_survey_batch
    calls: list[Any] = []

    def sent(*arguments: Any, **options: Any) -> BatchResponse:
        calls.append(arguments)
        if len(calls) == 4:  # an hour goes by, and the request never leaves
            with sqlite3.connect(tmp_path / "warehouse.sqlite") as database:
                database.execute("UPDATE people SET scheduled = '2026-01-01T00:00:00Z'")
            sandbox.faults([{"on": "survey_batch", "kind": "429", "times": 5, "retry_after": 0}])
        return send(*arguments, **options)

    monkeypatch.setattr(EightByEightClient, "send_survey_batch", sent)
    run = run_dag(tried_again(**journal, **source, rows=None, report_path=str(tmp_path / "report")))
    assert run.try_numbers == {"send": 2}
    result = result_of(run)
    assert (result["rows_read"], result["accepted_count"], result["invalid_count"]) == (20, 15, 5)
    assert "scheduled is 2026-01-01T00:00:00+00:00, which is past" in result["invalid_samples"][0]
    assert (sandbox.stats()["accepted"], sandbox.stats()["max_per_key"]) == (15, 1)
    lines = report_lines(result)
    assert Counter(line["outcome"] for line in lines) == {"accepted": 15, "invalid": 5}
    assert all(line["destination"] for line in lines)


def test_an_invalid_row_that_only_the_second_pass_sees_stops_the_task(
    run_dag: Any, sandbox: Any, connection: str, warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = [person(number) for number in range(20)]
    source = warehouse("destination, firstName, order_nr", [each.values() for each in people])
    from airflow_provider_8x8.rows import SqlRows

    read = SqlRows.__iter__
    passes: list[Any] = []

    def changed_after_the_first_pass(self: SqlRows) -> Any:
        passes.append(self)
        if len(passes) == 2:
            with sqlite3.connect(tmp_path / "warehouse.sqlite") as database:
                database.execute("UPDATE people SET firstName = NULL WHERE order_nr = 12")
        return read(self)

    monkeypatch.setattr(SqlRows, "__iter__", changed_after_the_first_pass)
    run = run_dag(tried_again(**source, rows=None, on_invalid="fail", **sql_journal(tmp_path, monkeypatch)))
    assert (run.task_states, run.try_numbers) == ({"send": "failed"}, {"send": 1})
    result = result_of(run)
    assert (result["accepted_count"], result["not_sent_count"], result["invalid_count"]) == (10, 2, 1)
    assert "Row 13: there is no value for {{firstName}}" in run.log
