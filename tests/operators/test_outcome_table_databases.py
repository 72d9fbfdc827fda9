"""Outcome tables as the databases have them: what a role has to be allowed, names, and tables that others have made."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_8x8.api.models import LogLine
from airflow_provider_8x8.operators.outcome_tables import database_of
from airflow_provider_8x8.surveys.outcomes.deliveries import Deliveries
from airflow_provider_8x8.surveys.outcomes.outcome import Outcome
from airflow_provider_8x8.surveys.outcomes.sent_batches import SentBatches
from airflow_provider_8x8.surveys.outcomes.sinks import SinkError
from airflow_provider_8x8.surveys.outcomes.table_columns import Values
from airflow_provider_8x8.surveys.outcomes.table_database import OutcomeTableError, utc
from airflow_provider_8x8.surveys.outcomes.table_deliveries import DeliveryColumns
from tests.conftest import ROOT
from tests.journals.sql_journals import at_once, drop_role, lesser_role
from tests.operators.test_delivery_report import sent_and_reported
from tests.operators.test_outcome_table import EXPECTED, ROWS
from tests.operators.test_survey_batch import START, person, result_of, survey_dag
from tests.operators.test_tries import sql_journal
from tests.support.dag_runs import DagRunResult
from tests.support.databases import Database
from tests.support.warehouses import Warehouse

Run = Callable[..., DagRunResult]

RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE")
with_roles = pytest.mark.parametrize("warehouse", ["postgres", "mariadb"], indirect=True)


def prepare(table: str = "outcomes", **common: Any) -> None:
    database = database_of(table, "warehouse")
    try:
        database.prepare(common)
    finally:
        database.close()


def a_row(**columns: Any) -> Values:
    common = dict.fromkeys(("campaign_id", "dag_id", "task_id", "run_id"), "a")
    rest = dict.fromkeys(("source_row", "row_key", "client_message_id", "code", "description", "batch_id", "umid"))
    more = {"client_batch_id": None, "parts": None, "sent_at": None, "map_index": -1, "updated_at": utc(0)}
    return {**common, **rest, **more, "owner": "batch", "row_id": "1", "outcome": "accepted", **columns}


def count(warehouse: Warehouse, table: str = "outcomes") -> int:
    ((rows,),) = warehouse.rows("count(*)", table)
    return int(rows)


@pytest.fixture
def as_role(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have Airflow's connection be a role's that may do no more than this with the table."""
    made: list[Database] = []
    assert warehouse.database is not None
    owner = warehouse.database

    def be(*rights: str) -> None:
        role = lesser_role(owner, *rights, tables=["outcomes"])
        made.append(role)
        monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", role.airflow_connection)

    yield be
    for role in made:
        drop_role(role, owner)


@with_roles
def test_a_role_that_may_make_no_tables_can_use_one(
    run_dag: Run, sandbox: Any, connection: str, warehouse: Warehouse, as_role: Any
) -> None:
    prepare()
    as_role(*RIGHTS)
    run = run_dag(survey_dag(rows=[person(1)], outcome_table="outcomes", outcome_conn_id="warehouse"))
    assert run.task_states == {"send": "success"}, run.log[-3000:]
    assert warehouse.outcomes() == {"accepted": 1}


@with_roles
@pytest.mark.parametrize("lacking", RIGHTS)
def test_a_right_that_a_role_lacks_is_named(warehouse: Warehouse, as_role: Any, no_pauses: None, lacking: str) -> None:
    prepare()
    as_role(*(right for right in RIGHTS if right != lacking))
    with pytest.raises(OutcomeTableError) as caught:
        prepare()
    said = str(caught.value)
    assert said.startswith("the outcome table outcomes (outcome_conn_id 'warehouse')")
    assert ("could not be read" if lacking == "SELECT" else f"cannot be written, {lacking} has failed") in said
    assert "denied" in said
    assert "needs SELECT, INSERT, UPDATE and DELETE on it" in said
    assert count(warehouse) == 0


@pytest.mark.parametrize("warehouse", ["postgres"], indirect=True)
def test_nobody_is_texted_where_a_role_lacks_a_right(
    run_dag: Run, sandbox: Any, connection: str, warehouse: Warehouse, as_role: Any, no_pauses: None
) -> None:
    prepare()
    as_role("SELECT", "INSERT", "UPDATE")
    run = run_dag(survey_dag(rows=[person(1)], outcome_table="outcomes", outcome_conn_id="warehouse"))
    assert run.task_states == {"send": "failed"}
    assert "cannot be written, DELETE has failed: InsufficientPrivilege" in run.log
    assert result_of(run)["accepted_count"] == 0
    assert sandbox.stats()["requests"] == 0
    assert count(warehouse) == 0


@with_roles
def test_a_table_that_is_not_there_and_may_not_be_made_is_named(
    warehouse: Warehouse, as_role: Any, no_pauses: None
) -> None:
    prepare()
    as_role(*RIGHTS)
    with pytest.raises(OutcomeTableError, match=r"table others .*could not be made either: .*denied.*needs .*CREATE"):
        prepare("others")


def test_a_table_in_a_schema_is_used_as_it_is_named(warehouse: Warehouse) -> None:
    database = warehouse.database
    if database is not None and database.kind == "mariadb":
        schema = database.connection["schema"]
    elif warehouse.fields["conn_type"] == "sqlite":
        schema = "main"
    else:
        schema = "crm"
        warehouse.execute("CREATE SCHEMA crm")
    for _ in range(2):
        prepare(f"{schema}.outcomes")
    assert count(warehouse, f"{schema}.outcomes") == 0


def test_a_schema_that_is_not_there_is_not_made(warehouse: Warehouse, no_pauses: None) -> None:
    with pytest.raises(OutcomeTableError, match=r"table nowhere.outcomes .*could not be read.*a schema that is there"):
        prepare("nowhere.outcomes")


@pytest.mark.parametrize("name", ["Outcomes", "order", "select", "a$_1"])
def test_names_with_capitals_and_of_sqls_own_words_are_quoted(warehouse: Warehouse, name: str) -> None:
    for _ in range(2):
        prepare(name)
    quote = "`" if warehouse.fields["conn_type"] == "mysql" else '"'
    assert count(warehouse, f"{quote}{name}{quote}") == 0


@pytest.mark.parametrize("warehouse", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "a b",
        "a.b.c.d",
        "a..b",
        ".a",
        "a.",
        '"a"',
        "a'b",
        "`a`",
        "[a]",
        "a;b",
        "a\n",
        "1a",
        "é",
        "a-b",
        7,
        None,
    ],
)
def test_other_names_are_refused_when_the_dag_is_parsed(warehouse: Warehouse, name: Any) -> None:
    with pytest.raises(ValueError, match="outcome_table"):
        survey_dag(rows=[], outcome_table=name, outcome_conn_id="warehouse")


def test_what_is_written_twice_is_there_once_with_its_delivery(warehouse: Warehouse) -> None:
    prepare()
    database = database_of("outcomes", "warehouse")
    first = [a_row(row_id=str(number), row_key=f"key {number}", umid=f"umid {number}") for number in range(1_500)]
    database.run(lambda connection: database.write(connection, first), "be written")
    warehouse.execute("UPDATE outcomes SET delivery_state = 'delivered', price = 0.0375")
    again = [a_row(row_id=str(number), outcome="rejected") for number in range(1_499, 2_000)]
    for _ in range(2):
        database.run(lambda connection: database.write(connection, again), "be written")
    database.close()
    assert warehouse.outcomes() == {"accepted": 1_499, "rejected": 501}
    ((row_key, umid, state, price),) = warehouse.rows(
        "row_key, umid, delivery_state, price", rest="WHERE row_id = '1499'"
    )
    assert (row_key, umid, state, float(price)) == ("key 1499", "umid 1499", "delivered", 0.0375)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("DROP COLUMN umid", "is there and lacks the columns umid"),
        ("ADD COLUMN mine INTEGER NOT NULL", "INSERT has failed: .*mine"),
        ("ALTER COLUMN row_id TYPE BIGINT USING 1", "INSERT has failed: .*row_id"),
        ("ALTER COLUMN row_key TYPE BIGINT USING 1", "INSERT has failed: .*row_key"),
        ("ALTER COLUMN sent_at TYPE BIGINT USING 1", "INSERT has failed: .*sent_at"),
        ("ALTER COLUMN delivery_detail TYPE BIGINT USING 1", "INSERT has failed: .*delivery_detail"),
        ("ALTER COLUMN outcome TYPE VARCHAR(3)", "INSERT has failed: .*too long"),
        ("ALTER COLUMN price TYPE BIGINT", "has a column price that keeps no fractions"),
        ("ALTER COLUMN price TYPE NUMERIC(6, 4)", "INSERT has failed: .*overflow.*docs/warehouse.md"),
        ("ALTER COLUMN source_row TYPE SMALLINT", "INSERT has failed: .*out of range"),
        ("ALTER COLUMN outcome TYPE CHAR(16)", "gives back other text than was written into outcome; make it VARCHAR"),
        ("ADD CHECK (outcome <> 'unknown')", "INSERT of a row of which little is known has failed: .*check"),
        ("ADD CHECK (owner = '')", "INSERT has failed: .*check"),
        ("ALTER COLUMN umid SET NOT NULL", "INSERT of a row of which little is known has failed: .*umid"),
        ("ALTER COLUMN sent_at SET NOT NULL", "INSERT of a row of which little is known has failed: .*sent_at"),
        ("ADD CHECK (client_batch_id IS NOT NULL)", "INSERT of a row of which little is known has failed: .*check"),
        ("DROP CONSTRAINT outcomes_pkey", "to write over a row has failed: .*ON CONFLICT"),
        ('RENAME COLUMN outcome TO "Outcome"', "INSERT has failed: .*outcome"),
    ],
)
@pytest.mark.parametrize("warehouse", ["postgres"], indirect=True)
def test_a_table_that_others_have_made_otherwise_is_found_out(
    warehouse: Warehouse, no_pauses: None, change: str, message: str
) -> None:
    prepare()
    warehouse.execute(f"ALTER TABLE outcomes {change}")
    with pytest.raises(SinkError, match=message):
        prepare()
    assert count(warehouse) == 0


NARROWEST = {
    "owner": 37,
    "row_id": 20,
    "campaign_id": 8,
    "dag_id": 6,
    "task_id": 4,
    "run_id": 3,
    "client_message_id": 50,
    "outcome": 12,
    "code": 64,
    "description": 300,
    "batch_id": 36,
    "client_batch_id": 20,
    "umid": 36,
    "delivery_state": 11,
    "delivery_detail": 100,
    "delivery_error": 64,
    "currency": 8,
}
"""The least width of each column, for the task of :data:`MINE`."""
MINE: dict[str, Any] = {
    "campaign_id": "campaign",
    "dag_id": "survey",
    "task_id": "send",
    "run_id": "run",
    "map_index": 7,
}


def narrow(warehouse: Warehouse, column: str, width: int) -> None:
    verb = "MODIFY {} VARCHAR({})" if warehouse.fields["conn_type"] == "mysql" else "ALTER COLUMN {} TYPE VARCHAR({})"
    null = " NOT NULL" if "MODIFY" in verb and column in ("owner", "row_id") else ""
    warehouse.execute(f"ALTER TABLE outcomes {verb.format(column, width)}{null}")


@with_roles
def test_a_column_that_is_too_narrow_is_named_with_its_width_and_the_one_that_is_needed(
    warehouse: Warehouse, no_pauses: None
) -> None:
    prepare()
    for column, width in NARROWEST.items():
        narrow(warehouse, column, width)
    prepare(**MINE)
    for column in ("umid", "run_id", "description"):
        width = NARROWEST[column]
        narrow(warehouse, column, width - 1)
        said = f"Too narrow: {column} has {width - 1} characters, and {width} are needed"
        with pytest.raises(OutcomeTableError, match=said):
            prepare(**MINE)
        narrow(warehouse, column, width)
    for column, width in NARROWEST.items():
        narrow(warehouse, column, width - 1)
    with pytest.raises(OutcomeTableError) as caught:
        prepare(**MINE)
    for column, width in NARROWEST.items():
        assert f"{column} has {width - 1} characters, and {width} are needed" in str(caught.value)
    assert count(warehouse) == 0


@pytest.mark.parametrize("warehouse", ["postgres"], indirect=True)
def test_a_task_and_its_delivery_report_need_no_wider_columns(
    run_dag: Run, sandbox: Any, connection: str, warehouse: Warehouse
) -> None:
    prepare()
    for column, width in NARROWEST.items():
        if column not in MINE:
            narrow(warehouse, column, width)
    table = {"outcome_table": "outcomes", "outcome_conn_id": "warehouse"}
    run = run_dag(sent_and_reported([*ROWS, person(40, firstName="x" * 5_000)], sending=table, **table))
    assert run.task_states == {"send": "success", "report": "success"}, run.log[-3000:]
    assert warehouse.outcomes() == {**EXPECTED, "invalid": EXPECTED["invalid"] + 1}


@pytest.mark.parametrize("warehouse", ["sqlite", "duckdb"], indirect=True)
def test_where_a_width_is_only_a_name_it_is_none(warehouse: Warehouse) -> None:
    prepare("template")
    columns = warehouse.execute("SELECT name, type FROM pragma_table_info('template')")
    made = ", ".join(f"{name} {'VARCHAR(3)' if 'CHAR' in kind else kind}" for name, kind in columns)
    warehouse.execute(f"CREATE TABLE outcomes ({made}, PRIMARY KEY (owner, row_id))")
    prepare(**MINE)


@with_roles
def test_nobody_is_texted_where_the_name_of_the_campaign_does_not_fit(
    run_dag: Run, sandbox: Any, connection: str, warehouse: Warehouse, no_pauses: None
) -> None:
    prepare()
    narrow(warehouse, "campaign_id", 10)
    run = run_dag(survey_dag(rows=[person(1)], outcome_table="outcomes", outcome_conn_id="warehouse"))
    assert run.task_states == {"send": "failed"}
    needed = len(result_of(run)["campaign_id"])
    assert f"campaign_id has 10 characters, and {needed} are needed" in run.log
    assert sandbox.stats()["requests"] == 0


@with_roles
def test_a_row_key_that_does_not_fit_fails_the_task_once_all_is_sent_and_is_written_when_it_does(
    run_dag: Run,
    clear_and_run: Run,
    sandbox: Any,
    connection: str,
    warehouse: Warehouse,
    no_pauses: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepare()
    narrow(warehouse, "row_key", 20)
    rows = [person(number, key="k" * (41 if number == 1 else 20)) for number in range(2)]
    dag = survey_dag(
        rows=[*rows, person(3, key="other")],
        unique_by="key",
        batch_size=1,
        outcome_table="outcomes",
        outcome_conn_id="warehouse",
        **sql_journal(tmp_path, monkeypatch),
    )
    run = run_dag(dag)
    assert run.task_states == {"send": "failed"}
    assert result_of(run)["accepted_count"] == 3
    assert "Too narrow: row_key has 20 characters, and 41 are needed" in run.log
    assert warehouse.outcomes() == {"accepted": 1}
    narrow(warehouse, "row_key", 41)
    again = clear_and_run(dag, run.run_id)
    assert again.task_states == {"send": "success"}, again.log[-3000:]
    assert result_of(again)["accepted_count"] == 3
    assert {key for (key,) in warehouse.rows("row_key", rest="WHERE umid IS NOT NULL")} == {"k" * 20, "k" * 41, "other"}
    assert sandbox.stats()["max_per_key"] == 1


@pytest.mark.parametrize("warehouse", ["postgres"], indirect=True)
def test_a_table_with_columns_of_ones_own_and_checks_that_fit_is_used(warehouse: Warehouse) -> None:
    prepare()
    warehouse.execute("ALTER TABLE outcomes ADD COLUMN mine INTEGER, ADD COLUMN seen BOOLEAN NOT NULL DEFAULT FALSE")
    outcomes = ", ".join(f"'{outcome}'" for outcome in Outcome)
    warehouse.execute(f"ALTER TABLE outcomes ADD CHECK (outcome IN ({outcomes})), ALTER sent_at TYPE timestamptz")
    prepare()


@pytest.mark.parametrize("warehouse", ["mariadb", "another"], indirect=True)
def test_a_table_without_a_key(warehouse: Warehouse, no_pauses: None) -> None:
    """Where rows are upserted it would have rows twice; where they are deleted before, it need not have one."""
    prepare("template")
    warehouse.execute("CREATE TABLE outcomes AS SELECT * FROM template")
    if warehouse.database is None:
        prepare()
    else:
        with pytest.raises(OutcomeTableError, match="has no primary key of owner and row_id"):
            prepare()
    assert count(warehouse) == 0


@pytest.mark.parametrize("warehouse", ["duckdb", "postgres"], indirect=True)
def test_the_pages_dag_fills_the_table_that_its_query_reads(
    run_dag: Run, sandbox: Any, connection: str, warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.providers.common.compat.sdk import DAG

    page = (ROOT / "docs" / "warehouse.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (query,) = re.findall(r"^```sql\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    cast = "o.row_key = CAST(c.customer_id AS VARCHAR)"
    assert cast in page
    for statement in (
        "CREATE SCHEMA crm",
        "CREATE TABLE orders (phone VARCHAR, first_name VARCHAR, customer_id INTEGER)",
        "CREATE TABLE customers (customer_id VARCHAR, segment VARCHAR)",
        "CREATE TABLE numbered (customer_id INTEGER, segment VARCHAR)",
        "CREATE TABLE survey_answers (umid VARCHAR, answer VARCHAR)",
        "INSERT INTO orders VALUES ('+12025550101', 'Zoë', 1), ('+12025550102', 'Ann', 2), ('none', 'Bo', 3)",
        "INSERT INTO customers VALUES ('1', 'new'), ('2', 'old'), ('3', 'old')",
        "INSERT INTO numbered VALUES (1, 'new'), (2, 'old'), (3, 'old')",
    ):
        warehouse.execute(statement)
    journal = {"conn_type": "sqlite", "host": str(tmp_path / "journal.sqlite")}
    monkeypatch.setenv("AIRFLOW_CONN_JOURNAL", json.dumps(journal))
    namespace: dict[str, Any] = {"__name__": "warehouse"}
    exec(compile(code, "warehouse.md", "exec"), namespace)  # noqa: S102  # our own page
    with DAG("page", schedule=None, start_date=START, catchup=False, params={"day": "2026-02-01"}) as dag:
        namespace["survey_and_follow"]()
    run = run_dag(dag)
    assert run.task_states == {"send_surveys": "success", "delivery_report": "success"}, run.log[-3000:]
    (umid,) = [message["umid"] for message in sandbox.messages() if "Zoë" in message["text"]]
    warehouse.execute(f"INSERT INTO survey_answers VALUES ('{umid}', 'great')")
    of_numbers = query.replace("customers AS c", "numbered AS c").replace("o.row_key = c.customer_id", cast)
    for asked in (query, of_numbers):
        rows = sorted(warehouse.execute(asked.rstrip().rstrip(";")))
        assert [(str(key), segment, state, float(price), answer) for key, segment, state, price, answer in rows] == [
            ("1", "new", "delivered", 0.01, "great"),
            ("2", "old", "delivered", 0.01, None),
        ]


def test_rows_whose_umid_nobody_knew_are_found_by_their_client_message_ids(warehouse: Warehouse) -> None:
    prepare()
    batch = {"owner": "ours", "client_batch_id": "ours"}
    known = "0123456789abcdef0123"
    rows = [
        a_row(**batch, row_id="a", client_message_id="Order 7"),
        a_row(**batch, row_id=known),  # its source no longer gives it, and its id is made of its row key
        a_row(**batch, row_id="b", client_message_id="order 8", umid="umid 8", batch_id="theirs"),
        a_row(**batch, row_id="c", client_message_id="order 9"),
        a_row(owner="another's", client_batch_id="another's", row_id="a", client_message_id="Order 7"),
    ]
    database = database_of("outcomes", "warehouse")
    database.run(lambda connection: database.write(connection, rows), "be written")
    lines = [
        LogLine(f"umid {number}", message_id, "ours", "theirs", "delivered", None, None, None, "USD", "0.01")
        for number, message_id in [(6, known), (7, "'order  7"), (8, "order 8"), (10, "order 10")]
    ]
    for _ in range(2):
        deliveries = Deliveries(SentBatches(client_ids=("ours",)))
        deliveries.add(lines)
        assert DeliveryColumns(database).write(deliveries, 1_000_000) is None
    columns = "owner, row_id, umid, batch_id, delivery_state"
    assert sorted(warehouse.rows(columns), key=str) == [
        ("another's", "a", None, None, None),
        ("ours", known, "umid 6", "theirs", "delivered"),
        ("ours", "a", "umid 7", "theirs", "delivered"),
        ("ours", "b", "umid 8", "theirs", "delivered"),
        ("ours", "c", None, None, None),
    ]


@pytest.mark.parametrize(
    ("exports", "state", "as_of"),
    [
        ([(100, "sent"), (300, "delivered"), (200, "sent")], "delivered", 300),
        ([(100, "delivered"), (300, "delivered"), (200, "sent")], "delivered", 100),
        ([(100, "delivered"), (200, "sent")], "delivered", 100),
        ([(100, "delivered"), (200, "read")], "read", 200),
        ([(100, "queued"), (200, "sent")], "sent", 200),
    ],
)
def test_a_message_that_has_come_to_its_end_stays_there_whichever_export_is_read_last(
    warehouse: Warehouse, exports: list[tuple[int, str]], state: str, as_of: int
) -> None:
    prepare()
    database = database_of("outcomes", "warehouse")
    database.run(lambda connection: database.write(connection, [a_row(umid="umid 1")]), "be written")
    for asked_at, said in exports:
        deliveries = Deliveries(SentBatches(("theirs",)))
        deliveries.add([LogLine("umid 1", "order 1", "ours", "theirs", said, None, None)])
        assert DeliveryColumns(database).write(deliveries, asked_at) is None
    ((found, when),) = warehouse.rows("delivery_state, delivery_as_of")
    assert (found, str(when)[:19]) == (state, str(utc(as_of)))


@pytest.mark.parametrize(
    ("warehouse", "extra"),
    [("mariadb", {"charset": "latin1"}), ("mariadb", {"charset": "utf8"}), ("postgres", {"client_encoding": "LATIN1"})],
    indirect=["warehouse"],
)
def test_every_letter_is_written_whatever_the_connection_speaks(
    run_dag: Run,
    sandbox: Any,
    connection: str,
    warehouse: Warehouse,
    monkeypatch: pytest.MonkeyPatch,
    extra: dict[str, str],
) -> None:
    fields = {**warehouse.fields, "extra": {**warehouse.fields.get("extra", {}), **extra}}
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(fields))
    rows = [person(1, key="ключ 😀"), person(2, key="Zoë")]
    run = run_dag(survey_dag(rows=rows, unique_by="key", outcome_table="outcomes", outcome_conn_id="warehouse"))
    assert run.task_states == {"send": "success"}, run.log[-3000:]
    ((found,), (other,)) = warehouse.rows("row_key", rest="ORDER BY source_row")
    assert (found, other) == ("ключ 😀", "Zoë")


@pytest.mark.parametrize("warehouse", ["sqlite"], indirect=True)
def test_what_a_driver_cannot_hand_on_is_a_failure_of_the_table(warehouse: Warehouse) -> None:
    prepare()
    database = database_of("outcomes", "warehouse")

    def write(connection: Any) -> None:
        database.write(connection, [a_row(parts=2**70)])

    with pytest.raises(OutcomeTableError, match="could not be written: OverflowError: Python int too large"):
        database.run(write, "be written")
    assert str(database.attempt(write)).startswith("OverflowError")
    database.close()


def test_no_number_is_in_what_8x8_says_of_a_message_and_no_more_of_it_than_fits(
    run_dag: Run, sandbox: Any, connection: str, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_provider_8x8.sandbox.platform import surveys

    monkeypatch.setattr(surveys, "_QUEUED", "queued for +12025550123" + "!" * 70_000)
    run = run_dag(
        survey_dag(rows=[person(1, key="a")], unique_by="key", outcome_table="outcomes", outcome_conn_id="warehouse")
    )
    assert run.task_states == {"send": "success"}, run.log[-3000:]
    ((description,),) = warehouse.rows("description")
    assert description.startswith("queued for +12*******23!!!")


@pytest.mark.parametrize("warehouse", ["sqlite"], indirect=True)
def test_no_number_is_in_what_8x8_says_of_a_delivery(warehouse: Warehouse) -> None:
    prepare()
    database = database_of("outcomes", "warehouse")
    database.run(lambda connection: database.write(connection, [a_row(umid="umid 1")]), "be written")
    deliveries = Deliveries(SentBatches(("theirs",)))
    said = ("undelivered", "12025550123", None, "no such number: +1 (202) 555-0123")
    deliveries.add([LogLine("umid 1", "order 1", "ours", "theirs", *said)])
    assert DeliveryColumns(database).write(deliveries, 1_000_000) is None
    assert warehouse.rows("delivery_error, delivery_detail") == [("12*******23", "no such number: +12*******23")]


@pytest.mark.parametrize(
    ("warehouse", "session", "change"),
    [
        ("postgres", "ALTER DATABASE {} SET timezone = 'America/New_York'", "ALTER COLUMN sent_at TYPE timestamptz"),
        ("mariadb", "SET GLOBAL time_zone = '-05:00'", "MODIFY sent_at TIMESTAMP NULL"),
    ],
    indirect=["warehouse"],
)
def test_times_are_in_utc_whatever_the_sessions_time_zone(warehouse: Warehouse, session: str, change: str) -> None:
    prepare()
    warehouse.execute(f"ALTER TABLE outcomes {change}")
    is_mariadb = warehouse.fields["conn_type"] == "mysql"
    warehouse.execute(session.format(warehouse.fields["schema"]))
    try:
        database = database_of("outcomes", "warehouse")
        values = a_row(sent_at=utc(1_800_000_000))
        database.run(lambda connection: database.write(connection, [values]), "be written")
        database.close()
        seconds = "UNIX_TIMESTAMP(sent_at)" if is_mariadb else "extract(epoch FROM sent_at)"
        ((found,),) = warehouse.rows(seconds)
        assert int(found) == 1_800_000_000
    finally:
        if is_mariadb:
            warehouse.execute("SET GLOBAL time_zone = 'SYSTEM'")


@pytest.mark.parametrize("warehouse", ["mariadb"], indirect=True)
def test_a_lax_mysql_cuts_nothing_off_either(warehouse: Warehouse, no_pauses: None) -> None:
    prepare()
    warehouse.execute("ALTER TABLE outcomes MODIFY row_id VARCHAR(3)")
    fields = {**warehouse.fields, "extra": {**warehouse.fields["extra"], "init_command": "SET sql_mode = ''"}}
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(fields))
        with pytest.raises(OutcomeTableError, match=r"INSERT has failed: .*too long for column"):
            prepare()
    assert count(warehouse) == 0


def test_what_8x8_has_said_stays_where_somebody_later_writes_that_it_is_not_known(warehouse: Warehouse) -> None:
    prepare()
    database = database_of("outcomes", "warehouse")
    outcomes = ("accepted", "rejected", "unknown")
    said = [
        a_row(row_id=f"{before} {after}", outcome=before, code="1", description="said", umid="umid")
        for before in outcomes
        for after in outcomes
    ]
    later = [{**row, "outcome": row["row_id"].split()[1], "code": None, "description": "later"} for row in said]
    database.run(lambda connection: database.write(connection, said), "be written")
    database.run(lambda connection: database.write(connection, later), "be written")
    database.close()
    known = {row_id: tuple(rest) for row_id, *rest in warehouse.rows("row_id, outcome, code, description")}
    kept = {"accepted unknown": ("accepted", "1", "said"), "rejected unknown": ("rejected", "1", "said")}
    assert known == {row["row_id"]: (row["outcome"], None, "later") for row in later} | kept


@pytest.mark.parametrize("warehouse", ["sqlite", "postgres", "mariadb"], indirect=True)
def test_tasks_and_a_delivery_report_make_the_table_and_write_into_it_at_once(warehouse: Warehouse) -> None:
    """The report sets the states of the very rows that two of the tasks write again and again."""
    rows = [a_row(row_id=f"{number:03}", umid=f"umid {number}") for number in range(300)]

    def write(writer: int) -> None:
        prepare()
        database = database_of("outcomes", "warehouse")
        own = rows if writer < 2 else [{**row, "owner": f"batch {writer}", "umid": None} for row in rows]
        for _ in range(5):
            own = own[::-1]
            some = list(own)
            database.run(lambda connection, some=some: database.write(connection, some), "be written")  # type: ignore[misc]
        database.close()

    def report(_: int) -> None:
        database = database_of("outcomes", "warehouse")
        for asked_at in range(5):
            deliveries = Deliveries(SentBatches(("theirs",)))
            state = "delivered" if asked_at == 4 else "sent"
            said = [(f"umid {number}", "id", "ours", "theirs", state, str(asked_at), None) for number in range(300)]
            deliveries.add([LogLine(*line) for line in said])
            assert DeliveryColumns(database).write(deliveries, 1_000 + asked_at) is None

    at_once(4, write)
    at_once(4, lambda number: report(number) if number == 3 else write(number))
    assert warehouse.outcomes() == {"accepted": 900}
    assert warehouse.rows("delivery_state, count(*)", rest="WHERE umid IS NOT NULL GROUP BY delivery_state") == [
        ("delivered", 300)
    ]
