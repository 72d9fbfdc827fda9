"""The example DAGs: what users copy parses anywhere and does what it says."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import sys
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from packaging.version import Version

from tests.support.airflow_version import AIRFLOW

FOLDER = Path(__file__).parents[2] / "example_dags"
WITH_APPROVAL = "survey_with_approval"
HAS_APPROVAL = Version("3.1") <= AIRFLOW
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if HAS_APPROVAL or path.stem != WITH_APPROVAL)
LATE = {"within_days": 100_000}
"""The configuration of a run for the month of these orders, however long ago that is."""

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


def load(name: str, path: Path | None = None, *, dag: str | None = None) -> Any:
    """The DAG of an example file that is called as the file is, or another of it."""
    return getattr(module_of(name, path), dag or name)()


def module_of(name: str, path: Path | None = None) -> Any:
    spec = importlib.util.spec_from_file_location(name, path or FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
    from airflow.providers.common.compat.sdk import BaseHook, task

    assert task.survey_batch, "so that Airflow has asked all providers for their decorators, as it does once"

    def no_connection(*args: Any) -> None:
        pytest.fail("a connection was asked for when the DAG was parsed")

    monkeypatch.setattr(BaseHook, "get_connection", no_connection)
    for module in ("duckdb", "airflow.providers.duckdb", "psycopg2", "airflow.providers.postgres"):
        monkeypatch.setitem(sys.modules, module, None)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert load(name).dag_id == name


@pytest.mark.parametrize("name", NAMES)
def test_it_is_set_as_a_user_should_set_it(name: str) -> None:
    dag = load(name)
    assert dag.catchup is False
    assert dag.start_date.astimezone(dag.timezone).replace(tzinfo=None) == datetime(2025, 1, 1)  # noqa: DTZ001
    assert {task.retries for task in dag.tasks} == {2}
    send = dag.get_task("send_surveys")
    arguments = getattr(send, "partial_kwargs", None) or vars(send)
    assert arguments["journal_conn_id"] == "journal"
    assert (arguments["campaign_id"] is not None) == (name != "survey_from_xcom")


@pytest.mark.skipif(HAS_APPROVAL, reason="this Airflow has approvals")
def test_without_approvals_in_airflow_there_is_no_dag_that_asks_for_one() -> None:
    assert not hasattr(module_of(WITH_APPROVAL), WITH_APPROVAL)


@pytest.mark.skipif(not HAS_APPROVAL, reason="this Airflow has no approvals")
def test_what_is_approved_is_the_previews_page_and_no_more_is_sent_than_it_counts() -> None:
    dag = load(WITH_APPROVAL)
    assert dag.get_task("approve").body.key == "markdown"
    assert dag.get_task("approve").downstream_task_ids == {"send_surveys"}
    assert dag.get_task("send_surveys").max_messages.key == "sendable_count"
    preview, send = vars(dag.get_task("preview_surveys")), vars(dag.get_task("send_surveys"))
    assert {name: preview[name] for name in ("sql", "template_body", "campaign_id")} == {
        name: send[name] for name in ("sql", "template_body", "campaign_id")
    }


@pytest.fixture(autouse=True)
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_JOURNAL", json.dumps({"conn_type": "sqlite", "host": str(tmp_path / "journal")}))


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
    run = run_dag(load("survey_from_warehouse"), logical_date=logical_date, conf=LATE)
    check_warehouse_run(run, sandbox)
    assert run.xcoms["send_surveys"]["campaign_id"] == "monthly-orders 2026-02-01"


def test_a_month_that_has_long_been_over_is_not_surveyed(
    run_due: Any, sandbox: Any, connection: str, duckdb_warehouse: None, tmp_path: Path
) -> None:
    order(tmp_path / "warehouse.duckdb", 203, datetime(2026, 4, 14, 12, tzinfo=UTC))
    run = run_due(load("survey_from_warehouse"), "scheduled", datetime(2026, 5, 1, tzinfo=UTC))  # as unpausing makes it
    assert run.task_states["send_surveys"] == "failed"
    assert "it is later than not_after, 2026-05-08T00:00:00+00:00" in run.log
    assert sandbox.stats()["requests"] == 0


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
    macros = SimpleNamespace(timedelta=timedelta)
    rendered = {
        name: template.from_string(text).render(
            data_interval_end=info.data_interval.end, dag=dag, dag_run=object(), macros=macros
        )
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
    run = run_dag(load("survey_from_warehouse", path), logical_date=FIRST_OF_MARCH, conf=LATE)
    check_warehouse_run(run, sandbox)


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
) -> None:
    import psycopg2

    with contextlib.closing(psycopg2.connect(postgres_server)) as warehouse, warehouse, warehouse.cursor() as cursor:
        cursor.execute("DELETE FROM customers WHERE first_name = 'Amélie'")  # whose number is none
        cursor.execute("INSERT INTO customers VALUES (5, 'Zoë', '+12025550123'), (12, 'Robin', '+12025550199')")

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


def texts(sandbox: Any) -> list[str]:
    return sorted(message["text"].partition("?")[0] for message in sandbox.messages())


def test_each_shop_has_its_own_words_and_nobody_is_asked_by_two(
    run_dag: Any, clear_and_run: Any, sandbox: Any, connection: str, duckdb_warehouse: None
) -> None:
    run = run_dag(load("survey_per_shop"))
    sent = ["send_surveys[0]", "send_surveys[1]"]
    assert run.task_states == dict.fromkeys(["shops", *sent], "success"), run.log[-3000:]
    assert texts(sandbox) == [
        "Hi Zoë, how do you like our shop in Station Road",
        "Hi נועה, how do you like our shop in Harbour Street",
        "Hi 小明, how do you like our shop in Harbour Street",
    ]
    assert {message["source"] for message in sandbox.messages()} == {"HARBOUR", "STATION"}
    assert len({run.xcoms[task]["campaign_id"] for task in sent}) == 1


@pytest.mark.parametrize(("most_parts", "state"), [(3, "success"), (2, "upstream_failed")])
def test_a_campaign_is_looked_at_before_it_is_sent(
    run_dag: Any, sandbox: Any, connection: str, duckdb_warehouse: None, most_parts: int, state: str
) -> None:
    dag = load("survey_preview")
    for looked_at in dag.tasks:
        looked_at.retries = 0
    run = run_dag(dag, conf={"most_parts": most_parts})
    assert run.task_states["send_surveys"] == state, run.log[-3000:]
    preview = run.xcoms["preview_surveys"]["return_value"]
    assert sandbox.stats()["accepted"] == (preview["would_be_sent_count"] if state == "success" else 0)
    assert "texts would be sent" in run.log


@pytest.mark.parametrize(("is_good", "chosen"), [(False, "ask_for_better_data"), (True, "be_content")])
def test_the_counts_choose_what_comes_next(
    run_dag: Any,
    sandbox: Any,
    connection: str,
    duckdb_warehouse: None,
    tmp_path: Path,
    is_good: bool,
    chosen: str,
) -> None:
    import duckdb

    if is_good:
        with duckdb.connect(tmp_path / "warehouse.duckdb") as warehouse:
            warehouse.execute("DELETE FROM customers WHERE customer_id = 3")  # whose number is none
    run = run_dag(load("survey_and_branch"))
    other = {"ask_for_better_data": "be_content", "be_content": "ask_for_better_data"}[chosen]
    assert run.task_states == {"send_surveys": "success", "choose": "success", chosen: "success", other: "skipped"}
    assert sandbox.stats()["accepted"] == 3


@pytest.mark.parametrize(("limit", "state"), [(0.5, "success"), (4, "failed")])
def test_what_arrived_is_told_also_where_it_is_too_little(
    run_dag: Any, sandbox: Any, connection: str, duckdb_warehouse: None, limit: float, state: str
) -> None:
    dag = load("survey_delivery")
    report = dag.get_task("delivery_report")
    assert report.deferrable
    report.min_delivered, report.retries = limit, 0
    run = run_dag(dag)
    assert run.task_states == {"send_surveys": "success", "delivery_report": state, "tell": "success"}
    assert run.xcoms["tell"]["return_value"] == "3 of 3 texts arrived, for 0.03 USD"


def test_where_there_is_nobody_nothing_is_told_of_deliveries(
    run_dag: Any, sandbox: Any, connection: str, duckdb_warehouse: None, tmp_path: Path
) -> None:
    import duckdb

    with duckdb.connect(tmp_path / "warehouse.duckdb") as warehouse:
        warehouse.execute("DELETE FROM customers")
    dag = load("survey_delivery")
    dag.get_task("tell").retries = 0
    run = run_dag(dag)
    assert run.task_states == dict.fromkeys(["send_surveys", "delivery_report", "tell"], "skipped")


def test_a_table_has_what_became_of_each_row_of_a_function(
    run_dag: Any, sandbox: Any, connection: str, duckdb_warehouse: None, tmp_path: Path
) -> None:
    import duckdb

    lines = ["visit,phone,name", "1,+12025550101,Zoë", "2,+12025550102,נועה", "3,12,Bob"]
    (tmp_path / "2026-02-01.csv").write_text("\n".join(lines), encoding="utf-8")
    run = run_dag(load("survey_from_function"), conf={"folder": str(tmp_path), "day": "2026-02-01"})
    assert run.task_states == {"send_surveys": "success", "delivery_report": "success"}, run.log[-3000:]
    assert texts(sandbox) == ["Hi Zoë, how was your visit", "Hi נועה, how was your visit"]
    with duckdb.connect(tmp_path / "warehouse.duckdb") as warehouse:
        found = warehouse.execute(
            "SELECT campaign_id, source_row, row_key, outcome, delivery_state, currency FROM survey_outcomes ORDER BY 2"
        ).fetchall()
    of = "visits of 2026-02-01"
    assert found == [
        (of, 1, "1", "accepted", "delivered", "USD"),
        (of, 2, "2", "accepted", "delivered", "USD"),
        (of, 3, "3", "invalid", None, None),
    ]


def test_what_was_sent_can_be_taken_back_and_is_sent_once_in_the_end(
    run_dag: Any, clear_and_run: Any, sandbox: Any, connection: str, duckdb_warehouse: None
) -> None:
    dag, undo = load("survey_with_undo"), load("survey_with_undo", dag="undo_survey")
    run = run_dag(dag)
    assert run.task_states == {"send_surveys": "success", "say_how_to_undo": "success"}, run.log[-3000:]
    conf = run.xcoms["say_how_to_undo"]["return_value"]
    assert f"trigger undo_survey with {json.dumps(conf)}" in run.log
    assert {message["status"] for message in sandbox.messages()} == {"queued"}
    undone = run_dag(undo, conf=conf)
    assert undone.task_states == {"cancel_surveys": "success"}, undone.log[-3000:]
    assert undone.xcoms["cancel_surveys"]["freed_count"] == 3
    assert {message["status"] for message in sandbox.messages()} == {"cancelled"}
    again = clear_and_run(dag, run.run_id)
    assert again.xcoms["send_surveys"]["accepted_count"] == 3
    assert sandbox.stats()["max_per_key"] == 1


def order(warehouse: Path, order_nr: int, completed_at: datetime) -> None:
    import duckdb

    with duckdb.connect(warehouse) as connection:
        connection.execute(
            "INSERT INTO orders VALUES (?, 2, 'completed', ?)", [order_nr, completed_at.replace(tzinfo=None)]
        )


def test_todays_customers_are_asked_tomorrow_morning_at_the_dags_local_time(
    run_due: Any, sandbox: Any, connection: str, duckdb_warehouse: None, tmp_path: Path
) -> None:
    from pendulum import FixedTimezone

    # Where the run that was last due at 20:00 was due within the last hour.
    zone = FixedTimezone((20 - datetime.now(UTC).hour) % 24 * 3600)
    path = tmp_path / "survey_tomorrow_morning.py"
    source = (FOLDER / path.name).read_text()
    path.write_text(source.replace('"Europe/Paris"', f"pendulum.FixedTimezone({zone.offset})"))
    due = datetime.now(zone).replace(hour=20, minute=0, second=0, microsecond=0)
    order(tmp_path / "warehouse.duckdb", 201, due - timedelta(hours=1))
    order(tmp_path / "warehouse.duckdb", 202, due - timedelta(days=1))
    run = run_due(load("survey_tomorrow_morning", path), "scheduled", due)
    assert run.task_states == {"send_surveys": "success"}, run.log[-3000:]
    assert texts(sandbox) == ["Good morning 小明, how was order 201"]
    assert run.rendered["send_surveys"]["scheduled"].startswith(f"{due + timedelta(days=1):%Y-%m-%d} 09:00:00")


def test_a_query_from_a_file_is_run_when_an_asset_was_updated_and_updates_one(
    run_due: Any, sandbox: Any, connection: str, duckdb_warehouse: None
) -> None:
    run = run_due(load("survey_from_sql_file"), "asset", datetime(2026, 2, 15, 1, 30, tzinfo=UTC))
    assert run.task_states == {"send_surveys": "success"}, run.log[-3000:]
    assert texts(sandbox) == ["Hi 小明, how was order 103"]
    assert run.xcoms["send_surveys"]["campaign_id"] == "order-feedback 2026-02-14"
    assert updated_assets() == {"order_surveys"}


def updated_assets() -> set[str]:
    from airflow.utils.session import create_session

    try:
        from airflow.models.asset import AssetEvent
    except ImportError:  # Airflow 2
        from airflow.models.dataset import DatasetEvent

        with create_session() as session:
            return {event.uri for event in session.query(DatasetEvent)}
    with create_session() as session:
        return {event.name for event in session.query(AssetEvent)}
