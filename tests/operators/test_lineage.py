"""What OpenLineage learns of a task, from the events that Airflow's provider for it writes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from packaging.version import Version

from tests.conftest import API_KEY, SUBACCOUNT
from tests.operators.test_survey_batch import person, survey_dag
from tests.support.airflow_version import AIRFLOW

SQL = """
    SELECT p.phone AS destination, p.first_name AS "firstName", o.order_nr
      FROM people p JOIN shop.orders o ON o.person = p.id
     WHERE p.phone <> '+12025550123' -- and not 12025550124
"""


class Lineage:
    """What was written of the tasks that ran."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def text(self) -> str:
        """Return all of it."""
        return self._file.read_text()

    def of_task(self, kind: str) -> dict[str, Any]:
        """Return the only event of a kind that a task has."""
        events = [json.loads(line) for line in self.text().splitlines()]
        (event,) = [each for each in events if each["eventType"] == kind and each["job"]["name"] == "survey.send"]
        found: dict[str, Any] = event
        return found


@pytest.fixture
def lineage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lineage]:
    """Have the provider's listener write its events to a file, as if it were configured so."""
    # Airflow's own listener of it, which is none as long as nothing is configured.
    import airflow.providers.openlineage.plugins.openlineage  # noqa: F401
    from airflow.providers.openlineage import conf
    from airflow.providers.openlineage.plugins.listener import OpenLineageListener

    file = tmp_path / "lineage.jsonl"
    transport = {"type": "file", "log_file_path": str(file), "append": True}
    monkeypatch.setenv("AIRFLOW__OPENLINEAGE__TRANSPORT", json.dumps(transport))
    # A fork would be one of these tests, and of the API server that is in this process.
    monkeypatch.setenv("AIRFLOW__OPENLINEAGE__EXECUTE_IN_THREAD", "True")
    monkeypatch.setenv("AIRFLOW__OPENLINEAGE__EXECUTION_TIMEOUT", "60")
    _forget(conf)
    manager, listener = _listeners(), OpenLineageListener()  # type: ignore[no-untyped-call]  # Airflow's
    manager.add_listener(listener)
    yield Lineage(file)
    manager.pm.unregister(listener)
    monkeypatch.undo()
    _forget(conf)


def _forget(conf: Any) -> None:
    for name in dir(conf):
        if hasattr(option := getattr(conf, name), "cache_clear"):
            option.cache_clear()


def _listeners() -> Any:
    """Airflow's manager of listeners, as tasks have it."""
    module = "airflow.sdk.listener" if Version("3.2") <= AIRFLOW else "airflow.listeners.listener"
    return import_module(module).get_listener_manager()


def warehouse(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(fields))


def datasets(event: dict[str, Any], kind: str) -> list[tuple[str, str]]:
    return sorted((dataset["namespace"], dataset["name"]) for dataset in event[kind])


def test_the_querys_tables_go_in_and_the_survey_comes_out_with_counts(
    run_dag: Any,
    sandbox: Any,
    connection: str,
    postgres_server: str,
    lineage: Lineage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import psycopg2

    with psycopg2.connect(postgres_server) as database:
        database.cursor().execute(
            "CREATE TABLE people (id int, phone text, first_name text); CREATE SCHEMA shop;"
            "CREATE TABLE shop.orders (person int, order_nr int);"
            "INSERT INTO people VALUES (1, '+12025550101', 'Ada'), (2, '+12025550102', 'Zoe'), (3, 'none', 'Bo');"
            "INSERT INTO shop.orders VALUES (1, 11), (2, 12), (3, 13)"
        )
    parts = urlsplit(postgres_server)
    name = parts.path.strip("/")
    fields = {"schema": name, "login": "postgres", "host": parse_qs(parts.query)["host"][0]}
    warehouse(monkeypatch, conn_type="postgres", **fields)
    run = run_dag(survey_dag(sql=SQL, sql_conn_id="warehouse"))
    assert run.task_states == {"send": "success"}, run.log[-3000:]
    for kind in ("START", "COMPLETE"):
        event = lineage.of_task(kind)
        assert [table for _, table in datasets(event, "inputs")] == [f"{name}.public.people", f"{name}.shop.orders"]
        assert all(namespace.startswith("postgres://") for namespace, _ in datasets(event, "inputs"))
        survey = (f"eight-by-eight://{urlsplit(sandbox.url).netloc}", f"{SUBACCOUNT}/orders")
        assert datasets(event, "outputs") == [survey]
        assert "p.phone <> '+12*******23'" in event["job"]["facets"]["sql"]["query"]
    assert event["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 2
    counts = event["run"]["facets"]["eightByEight_surveyCounts"]
    assert (counts["rowsRead"], counts["accepted"], counts["invalid"], counts["unknown"]) == (3, 2, 1, 0)
    assert "eightByEight_surveyCounts" not in lineage.of_task("START")["run"]["facets"]
    for secret in ("2025550123", "2025550124", API_KEY):
        assert secret not in lineage.text()
        assert secret not in run.log.partition("OpenLineage calling")[2]


def test_a_task_that_fails_says_what_became_of_its_rows_too(
    run_dag: Any, sandbox: Any, connection: str, lineage: Lineage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "warehouse.sqlite"
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE people AS SELECT '+12025550101' AS destination UNION ALL SELECT 'none'")
        database.commit()
    warehouse(monkeypatch, conn_type="sqlite", host=str(file))
    arguments: dict[str, Any] = {"template_body": "Hi {{url}}", "on_invalid": "fail"}
    run = run_dag(survey_dag(sql="SELECT destination FROM people", sql_conn_id="warehouse", **arguments))
    assert run.task_states == {"send": "failed"}
    event = lineage.of_task("FAIL")
    assert datasets(event, "inputs") == [(f"sqlite://{file}", "people")]
    assert event["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 0
    assert event["run"]["facets"]["eightByEight_surveyCounts"]["accepted"] == 0


def test_what_cannot_be_found_out_is_left_out(
    run_dag: Any, sandbox: Any, connection: str, lineage: Lineage, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse(monkeypatch, conn_type="http", host="warehouse.example.com")
    run = run_dag(survey_dag(sql="SELECT 1 FROM people", sql_conn_id="warehouse"))
    assert run.task_states == {"send": "failed"}
    event = lineage.of_task("FAIL")
    assert (datasets(event, "inputs"), len(event["outputs"])) == ([], 1)
    run = run_dag(survey_dag(rows=[person(1)], survey_id="visits"))
    assert run.task_states == {"send": "success"}
    event = lineage.of_task("COMPLETE")
    assert (datasets(event, "inputs"), event["outputs"][0]["name"]) == ([], f"{SUBACCOUNT}/visits")
    assert "sql" not in event["job"]["facets"]


@pytest.mark.parametrize(
    ("fields", "sql", "tables"),
    [
        (
            {"conn_type": "mysql", "host": "db.example.com", "schema": "crm"},
            "SELECT * FROM people JOIN shop.orders USING (id)",
            [("mysql://db.example.com:3306", "crm.people"), ("mysql://db.example.com:3306", "shop.orders")],
        ),
        (
            {"conn_type": "duckdb", "host": "/data/crm.duckdb?motherduck_token=s3cret"},
            "WITH late AS (SELECT * FROM orders) SELECT phone FROM people WHERE id IN (SELECT person FROM late)",
            [("duckdb:///data/crm.duckdb", "orders"), ("duckdb:///data/crm.duckdb", "people")],
        ),
        ({"conn_type": "sqlite", "host": "/data/crm.sqlite"}, "SELECT FROM WHERE 12025550123", []),
    ],
)
def test_tables_are_named_as_their_database_has_them(
    fields: dict[str, Any],
    sql: str,
    tables: list[tuple[str, str]],
    connection: str,
    airflow_db: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    warehouse(monkeypatch, **fields)
    task = survey_dag(sql=sql, sql_conn_id="warehouse").get_task("send")
    task.render_template_fields({})
    lineage = task.get_openlineage_facets_on_start()
    assert sorted((table.namespace, table.name) for table in lineage.inputs) == tables
    assert "5550123" not in repr(lineage) + caplog.text
