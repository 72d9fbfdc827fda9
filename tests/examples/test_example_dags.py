"""The example DAGs: what users copy parses anywhere and does what it says."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import sys
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.airflow_version import HAS_TASK_STATE_STORE

FOLDER = Path(__file__).parents[2] / "example_dags"
NAMES = ("survey_from_warehouse", "survey_from_xcom", "survey_in_shards")

CUSTOMERS = [
    (1, "Zoë", "+1 202 555 0123"),
    (2, "小明", "447700900123"),
    (3, "Amélie", "06 39 98 12 34"),
    (4, "נועה", "+33 6 39 98 12 35"),
]
ORDERS = [
    (101, 1, "completed", "2026-02-01 00:00:00"),
    (102, 1, "completed", "2026-02-28 23:59:59"),  # the customer's latest: the one to ask about
    (103, 2, "completed", "2026-02-14 12:00:00"),
    (104, 3, "completed", "2026-02-14 12:00:00"),  # no number that can be sent to
    (105, 4, "returned", "2026-02-14 12:00:00"),
    (106, 4, "open", None),
    (107, 4, "completed", "2026-01-31 23:59:59"),
    (108, 4, "completed", "2026-03-01 00:00:00"),
]
TABLES = (
    "CREATE TABLE customers (customer_id INTEGER, first_name VARCHAR(50), phone VARCHAR(50))",
    "CREATE TABLE orders (order_nr INTEGER, customer_id INTEGER, status VARCHAR(50), completed_at TIMESTAMP)",
)
FIRST_OF_MARCH = datetime(2026, 3, 1, tzinfo=UTC)


def load(name: str, path: Path | None = None) -> Any:
    """The DAG of an example file."""
    spec = importlib.util.spec_from_file_location(name, path or FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)()


@pytest.fixture
def duckdb_warehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import duckdb

    path = tmp_path / "warehouse.duckdb"
    with duckdb.connect(path) as connection:
        for table in TABLES:
            connection.execute(table)
        connection.executemany("INSERT INTO customers VALUES (?, ?, ?)", CUSTOMERS)
        connection.executemany("INSERT INTO orders VALUES (?, ?, ?, ?)", ORDERS)
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "duckdb", "host": str(path)}))


@pytest.fixture
def postgres_warehouse(postgres_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import psycopg2

    connection = psycopg2.connect(postgres_server)
    with connection, connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS customers, orders")
        for table in TABLES:
            cursor.execute(table)
        cursor.executemany("INSERT INTO customers VALUES (%s, %s, %s)", CUSTOMERS)
        cursor.executemany("INSERT INTO orders VALUES (%s, %s, %s, %s)", ORDERS)
    connection.close()
    dsn = psycopg2.extensions.parse_dsn(postgres_server)
    monkeypatch.setenv(
        "AIRFLOW_CONN_WAREHOUSE",
        json.dumps({"conn_type": "postgres", "host": dsn["host"], "login": dsn["user"], "schema": dsn["dbname"]}),
    )


@pytest.mark.parametrize("name", NAMES)
def test_it_parses_without_a_connection_or_a_database_driver(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.providers.common.compat.sdk import BaseHook

    def no_connection(*args: Any) -> None:
        pytest.fail("a connection was asked for when the DAG was parsed")

    monkeypatch.setattr(BaseHook, "get_connection", no_connection)
    for module in ("duckdb", "airflow.providers.duckdb", "psycopg2", "airflow.providers.postgres"):
        monkeypatch.setitem(sys.modules, module, None)
    if not HAS_TASK_STATE_STORE and name != "survey_in_shards":  # which has a journal on any Airflow
        with pytest.warns(UserWarning, match="set journal_conn_id, or retries=0"):
            assert load(name).dag_id == name
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert load(name).dag_id == name


@pytest.mark.parametrize("name", NAMES)
def test_it_is_set_as_a_user_should_set_it(name: str) -> None:
    dag = load(name)
    assert dag.catchup is False
    assert dag.start_date == datetime(2025, 1, 1, tzinfo=UTC)
    assert {task.retries for task in dag.tasks} == {2}
    assert dag.get_task("send_surveys").downstream_task_ids == {"summarize"}


def check_warehouse_run(run: Any, sandbox: Any) -> None:
    assert run.task_states == {"send_surveys": "success", "summarize": "success"}, run.log[-3000:]
    assert {message["text"].partition("? ")[0] for message in sandbox.messages()} == {
        "Hi Zoë, how was order 102",
        "Hi 小明, how was order 103",
    }
    result = run.xcoms["send_surveys"]["return_value"]
    counts = {name: count for name, count in result.items() if name.endswith("_count") and count}
    assert counts == {"accepted_count": 2, "invalid_count": 1, "duplicate_count": 1}
    assert run.xcoms["summarize"]["return_value"] == {"surveyed": 2, "not_surveyed": 2}
    assert f"Sent in 1 batches, the first is {result['batch_id']}" in run.log


@pytest.mark.parametrize("logical_date", [FIRST_OF_MARCH, datetime(2026, 3, 17, 8, 30, tzinfo=UTC)])
def test_last_months_orders_are_surveyed_from_duckdb(
    logical_date: datetime, run_dag: Any, sandbox: Any, connection: str, duckdb_warehouse: None
) -> None:
    check_warehouse_run(run_dag(load("survey_from_warehouse"), logical_date=logical_date), sandbox)


def test_the_schedule_s_own_run_has_the_month_before_it() -> None:
    from airflow.timetables.base import TimeRestriction

    dag = load("survey_from_warehouse")
    timetable = _core_timetable(dag)
    pendulum = pytest.importorskip("pendulum")
    restriction = TimeRestriction(pendulum.datetime(2026, 2, 1), None, catchup=True)
    info = timetable.next_dagrun_info(last_automated_data_interval=None, restriction=restriction)
    assert info is not None
    task = dag.get_task("send_surveys")
    template = task.get_template_env()
    rendered = {
        name: template.from_string(text).render(data_interval_end=info.data_interval.end)
        for name, text in task.parameters.items()
    }
    expected_end = pendulum.instance(info.run_after)
    assert rendered == {
        "month_start": expected_end.subtract(months=1).to_date_string(),
        "month_end": expected_end.to_date_string(),
    }


def _core_timetable(dag: Any) -> Any:
    try:
        from airflow.serialization.encoders import coerce_to_core_timetable
    except ImportError:  # Airflow 2
        return dag.timetable
    return coerce_to_core_timetable(dag.timetable)


def test_last_months_orders_are_surveyed_from_postgresql_in_its_parameter_style(
    run_dag: Any, sandbox: Any, connection: str, postgres_warehouse: None, tmp_path: Path
) -> None:
    source = (FOLDER / "survey_from_warehouse.py").read_text()
    for parameter in ("month_start", "month_end"):
        assert source.count(f"${parameter}") == 1
        source = source.replace(f"${parameter}", f"%({parameter})s")
    path = tmp_path / "survey_from_warehouse.py"
    path.write_text(source)
    check_warehouse_run(run_dag(load("survey_from_warehouse", path), logical_date=FIRST_OF_MARCH), sandbox)


def test_rows_from_xcom_are_surveyed(run_dag: Any, sandbox: Any, connection: str) -> None:
    run = run_dag(load("survey_from_xcom"))
    assert run.task_states == {"find_visitors": "success", "send_surveys": "success", "summarize": "success"}
    assert {message["text"].partition("? ")[0] for message in sandbox.messages()} == {
        "Hi Zoë, how was your visit to Harbour Street",
        "Hi 小明, how was your visit to Harbour Street",
        "Hi Amélie, how was your visit to Harbour Street",
    }
    assert run.xcoms["summarize"]["return_value"] == "3 of 3 visitors surveyed"
    (batch_id,) = run.xcoms["send_surveys"]["batch_ids"]
    assert f"3 of 3 visitors surveyed, in 8x8's batches {batch_id}" in run.log


def test_the_xcom_example_keeps_phone_numbers_out_of_the_log(run_dag: Any, sandbox: Any, connection: str) -> None:
    run = run_dag(load("survey_from_xcom"))
    rows = run.xcoms["find_visitors"]["return_value"]
    assert len(rows) == sandbox.stats()["accepted"] == 3
    # At DEBUG level Airflow itself logs what goes into XCom; nobody runs a deployment so.
    log = "\n".join(line for line in run.log.splitlines() if "debug" not in line.lower())
    assert "Found 3 visitors" in log
    for row in rows:
        assert row["destination"] not in log
        assert "".join(filter(str.isdigit, row["destination"])) not in log


def test_shards_survey_everybody_once(
    run_dag: Any,
    sandbox: Any,
    connection: str,
    postgres_server: str,
    postgres_warehouse: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import psycopg2

    with contextlib.closing(psycopg2.connect(postgres_server)) as warehouse, warehouse, warehouse.cursor() as cursor:
        cursor.execute("DELETE FROM customers WHERE first_name = 'Amélie'")  # whose number is none
        cursor.execute("INSERT INTO customers VALUES (5, 'Zoë', '+12025550123'), (12, 'Robin', '+12025550199')")
    monkeypatch.setenv("AIRFLOW_CONN_JOURNAL", json.dumps({"conn_type": "sqlite", "host": str(tmp_path / "journal")}))

    run = run_dag(load("survey_in_shards"), logical_date=FIRST_OF_MARCH)

    shards = {f"send_surveys[{shard}]" for shard in range(8)}
    assert run.task_states == dict.fromkeys({*shards, "summarize"}, "success"), run.log[-3000:]
    assert sorted(message["text"].partition(",")[0] for message in sandbox.messages()) == [
        "Hi Robin",
        "Hi Zoë",
        "Hi נועה",
        "Hi 小明",
    ]
    assert run.xcoms["summarize"]["return_value"] == {"surveyed": 4, "already_sent": 1}
    assert {run.xcoms[shard]["campaign_id"] for shard in shards} == {"yearly-customers-2026"}
