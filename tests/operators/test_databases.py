"""What stands in a connection's extra, or in the hook's parameters, holds for the rows' query."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.operators.test_survey_batch import result_of, survey_dag
from tests.support.databases import Database, mariadb_database, postgres_database
from tests.support.tcp_forwarder import TcpForwarder

SELECT = 'SELECT phone AS destination, first_name AS "firstName", order_nr FROM orders ORDER BY order_nr'
MYSQL_SELECT = SELECT.replace('"', "`")
PASSWORD = "Pa55/word:with@signs"
ROWS = 12
# People of two tables of the same name: only the last four digits of their numbers tell them apart.
UAT, PRODUCTION = "0101", "0199"


def table(name: str, last_digits: str) -> list[str]:
    """Return the statements that make a table of orders, all from people whose numbers end alike."""
    values = ", ".join(f"('+1{201 + number}555{last_digits}', 'Person {number}', {number})" for number in range(ROWS))
    return [
        f"CREATE TABLE {name} (phone VARCHAR(40), first_name VARCHAR(40), order_nr INTEGER)",
        f"INSERT INTO {name} VALUES {values}",
    ]


@pytest.fixture
def postgres(postgres_cluster: Any) -> Iterator[Database]:
    """A database with two tables named orders: production's in the schema public, and another in uat."""
    with postgres_database(postgres_cluster, "read committed") as database:
        database.execute(*table("orders", PRODUCTION), "CREATE SCHEMA uat", *table("uat.orders", UAT))
        yield database


@pytest.fixture
def mariadb(mariadb_server: Any) -> Iterator[tuple[Database, Database]]:
    """Two databases, each with a table named orders: production's, and another."""
    with mariadb_database(mariadb_server) as production, mariadb_database(mariadb_server) as uat:
        production.execute(*table("orders", PRODUCTION))
        uat.execute(*table("orders", UAT))
        yield production, uat


def connect(monkeypatch: pytest.MonkeyPatch, database: Database, *, extra: dict[str, Any], **fields: Any) -> None:
    extra = {**database.connection.get("extra", {}), **extra}
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({**database.connection, "extra": extra, **fields}))


def texted(sandbox: Any) -> set[str]:
    """Return the last four digits of the numbers that were texted."""
    return {message["destination"][-4:] for message in sandbox.messages(100)}


def shows_no_password(log: str) -> bool:
    """Look at all that was logged, but for how Airflow tells its own processes what to mask."""
    lines = [line for line in log.splitlines() if "MaskSecret" not in line]
    return not any(form in line for line in lines for form in (PASSWORD, "Pa55%2Fword"))


# PostgreSQL


@pytest.mark.parametrize(
    ("extra", "hook_params"),
    [
        ({"options": "-c search_path=uat"}, None),
        ({"options": "-c search_path=uat", "cursor": "dictcursor"}, None),
        ({}, {"options": "-c search_path=uat"}),
        ({"options": "-c search_path=public"}, {"options": "-c search_path=public"}),
    ],
)
def test_the_search_path_of_the_connection_decides_whose_table_is_read(
    run_dag: Any,
    sandbox: Any,
    connection: str,
    postgres: Database,
    monkeypatch: pytest.MonkeyPatch,
    extra: dict[str, Any],
    hook_params: dict[str, Any] | None,
) -> None:
    connect(monkeypatch, postgres, extra=extra)
    run = run_dag(survey_dag(sql=SELECT, sql_conn_id="warehouse", sql_hook_params=hook_params))
    assert run.task_states == {"send": "success"}, run.log[-3000:]
    assert result_of(run)["accepted_count"] == ROWS
    assert texted(sandbox) == ({PRODUCTION} if "public" in str(extra) else {UAT})


def test_the_database_of_the_hooks_parameters_is_read(
    run_dag: Any,
    sandbox: Any,
    connection: str,
    postgres: Database,
    postgres_cluster: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with postgres_database(postgres_cluster, "read committed") as other:
        other.execute(*table("orders", UAT))
        connect(monkeypatch, postgres, extra={})
        run = run_dag(
            survey_dag(sql=SELECT, sql_conn_id="warehouse", sql_hook_params={"database": other.connection["schema"]})
        )
    assert run.task_states == {"send": "success"}, run.log[-3000:]
    assert texted(sandbox) == {UAT}


@pytest.mark.parametrize("sslmode", ["require", "verify-ca", "verify-full"])
def test_rows_do_not_come_in_clear_text_where_tls_is_required(
    run_dag: Any,
    sandbox: Any,
    connection: str,
    postgres: Database,
    monkeypatch: pytest.MonkeyPatch,
    sslmode: str,
) -> None:
    socket = f"{postgres.connection['host']}/.s.PGSQL.5432"
    with TcpForwarder(socket) as server:
        fields = {"host": "127.0.0.1", "port": server.port, "password": PASSWORD}
        connect(monkeypatch, postgres, extra={}, **fields)
        clear = run_dag(survey_dag(sql=f"{SELECT} LIMIT 1", sql_conn_id="warehouse"))
        connect(monkeypatch, postgres, extra={"sslmode": sslmode, "sslrootcert": "/nowhere.pem"}, **fields)
        run = run_dag(survey_dag(sql=SELECT, sql_conn_id="warehouse"))
    assert clear.task_states == {"send": "success"}, clear.log[-3000:]
    assert run.task_states == {"send": "failed"}
    assert sandbox.stats()["accepted"] == 1
    assert "sql_conn_id 'warehouse' could not be connected to: OperationalError: " in run.log
    assert shows_no_password(run.log)


def test_the_time_that_a_statement_may_take_is_the_connections(
    run_dag: Any, sandbox: Any, connection: str, postgres: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(monkeypatch, postgres, extra={"options": "-c statement_timeout=200ms"})
    slow = SELECT.replace("order_nr FROM", "order_nr, pg_sleep(1) FROM")
    run = run_dag(survey_dag(sql=slow, sql_conn_id="warehouse"))
    assert run.task_states == {"send": "failed"}
    assert "statement timeout" in run.log
    assert sandbox.stats()["requests"] == 0


@pytest.mark.parametrize("cursor", ["dictcursor", "realdictcursor", "namedtuplecursor"])
def test_rows_are_the_same_whatever_cursor_the_connection_asks_for(
    run_dag: Any, sandbox: Any, connection: str, postgres: Database, monkeypatch: pytest.MonkeyPatch, cursor: str
) -> None:
    connect(monkeypatch, postgres, extra={"cursor": cursor})
    run = run_dag(survey_dag(sql=SELECT, sql_conn_id="warehouse", max_messages=ROWS))
    assert run.task_states == {"send": "success"}, run.log[-3000:]
    assert {re.sub(r"\? .*", "", message["text"]) for message in sandbox.messages(100)} == {
        f"Hi Person {number}, how was order {number}" for number in range(ROWS)
    }
    assert "server-side cursor" not in run.log


def test_the_driver_of_the_hook_is_used_whatever_scheme_is_for_sqlalchemy(
    run_dag: Any, sandbox: Any, connection: str, postgres: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(monkeypatch, postgres, extra={"sqlalchemy_scheme": "postgresql+psycopg2"})
    run = run_dag(
        survey_dag(sql=SELECT, sql_conn_id="warehouse", journal_conn_id="warehouse", sql_hook_params={"log_sql": False})
    )
    assert run.task_states == {"send": "success"}, run.log[-3000:]


# MariaDB


@pytest.mark.parametrize("place", ["extra", "parameters of the hook"])
def test_the_command_that_begins_a_mysql_session_decides_what_is_read(
    run_dag: Any,
    sandbox: Any,
    connection: str,
    mariadb: tuple[Database, Database],
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    production, uat = mariadb
    command = {"init_command": f"USE {uat.connection['schema']}"}
    connect(monkeypatch, production, extra=command if place == "extra" else {})
    hook_params = None if place == "extra" else command
    run = run_dag(survey_dag(sql=MYSQL_SELECT, sql_conn_id="warehouse", sql_hook_params=hook_params))
    assert run.task_states == {"send": "success"}, run.log[-3000:]
    assert texted(sandbox) == {UAT}


@pytest.mark.parametrize("cursor", ["SSCursor", "DictCursor", "SSDictCursor"])
def test_mysql_rows_are_the_same_whatever_cursor_the_connection_asks_for(
    run_dag: Any,
    sandbox: Any,
    connection: str,
    mariadb: tuple[Database, Database],
    monkeypatch: pytest.MonkeyPatch,
    cursor: str,
) -> None:
    production, uat = mariadb
    connect(monkeypatch, production, extra={"cursor": cursor})
    run = run_dag(
        survey_dag(
            sql=f"{MYSQL_SELECT} LIMIT %(most)s",
            parameters={"most": 10},
            sql_conn_id="warehouse",
            sql_hook_params={"schema": uat.connection["schema"]},
            max_messages=ROWS,
        )
    )
    assert run.task_states == {"send": "success"}, run.log[-3000:]
    assert result_of(run)["accepted_count"] == 10
    assert texted(sandbox) == {UAT}
    assert "server-side cursor" not in run.log


def test_mysql_is_read_with_a_server_side_cursor(
    airflow_db: None, mariadb: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    import pymysql

    from airflow_provider_8x8.databases import Database as AirflowDatabase
    from airflow_provider_8x8.databases import server_side_cursor

    connect(monkeypatch, mariadb[0], extra={"cursor": "DictCursor"})
    with contextlib.closing(AirflowDatabase("warehouse", named_by="sql_conn_id").connect()) as opened:
        assert type(server_side_cursor(opened)) is pymysql.cursors.SSCursor


def test_mysql_rows_do_not_come_in_clear_text_where_tls_is_required(
    run_dag: Any,
    sandbox: Any,
    connection: str,
    mariadb: tuple[Database, Database],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connect(monkeypatch, mariadb[0], extra={"ssl": {"check_hostname": False}})
    run = run_dag(survey_dag(sql=MYSQL_SELECT, sql_conn_id="warehouse"))
    assert run.task_states == {"send": "failed"}
    assert "asks for TLS, which the server does not offer" in run.log
    assert sandbox.stats()["requests"] == 0


# other databases


def test_duckdb_is_opened_as_its_hook_opens_it_and_the_log_says_once_how_it_is_read(
    run_dag: Any, sandbox: Any, connection: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import duckdb

    with duckdb.connect(tmp_path / "production.duckdb") as production, duckdb.connect(tmp_path / "uat.duckdb") as uat:
        for statement in table("orders", PRODUCTION):
            production.execute(statement)
        for statement in table("orders", UAT):
            uat.execute(statement)
    fields = {"conn_type": "duckdb", "host": str(tmp_path / "production.duckdb")}
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(fields))
    hook_params = {"database": str(tmp_path / "uat.duckdb"), "read_only": True}
    run = run_dag(survey_dag(sql=SELECT, sql_conn_id="warehouse", sql_hook_params=hook_params, max_messages=ROWS))
    assert run.task_states == {"send": "success"}, run.log[-3000:]
    assert texted(sandbox) == {UAT}
    assert run.log.count("sql_conn_id 'warehouse': no server-side cursor is known for duckdb") == 1


# rows that are no tuples


class OneCursor:
    """A database whose connections have cursors of a certain kind."""

    def __init__(self, row_factory: Any) -> None:
        self._row_factory = row_factory

    def __str__(self) -> str:
        return "sql_conn_id 'warehouse'"

    def connect(self) -> Any:
        import sqlite3

        database = sqlite3.connect(":memory:")
        database.row_factory = self._row_factory
        return database


def as_mapping(cursor: Any, values: tuple[Any, ...]) -> dict[str, Any]:
    names = [column[0] for column in cursor.description]
    return dict(sorted(zip(names, values, strict=True)))


def as_sqlite_row(cursor: Any, values: tuple[Any, ...]) -> Any:
    import sqlite3

    return sqlite3.Row(cursor, values)


@pytest.mark.parametrize("row_factory", [None, as_mapping, as_sqlite_row, lambda _, values: list(values)])
def test_values_of_a_row_are_in_the_order_of_the_columns(row_factory: Any) -> None:
    from airflow_provider_8x8.rows import SqlRows

    rows = SqlRows(OneCursor(row_factory), "SELECT 1 AS b, 2 AS a UNION ALL SELECT 3, 4")  # type: ignore[arg-type]  # it does what is needed
    assert [tuple(row) for row in rows] == [(1, 2), (3, 4)]
    assert rows.columns == ["b", "a"]


def test_mappings_with_other_names_than_the_columns_are_refused() -> None:
    from airflow_provider_8x8.rows import SqlRows
    from airflow_provider_8x8.surveys.messages.builder import ColumnsError

    rows = SqlRows(OneCursor(lambda _, values: {"A": values[0]}), "SELECT 1 AS a")  # type: ignore[arg-type]  # it does what is needed
    with pytest.raises(ColumnsError, match="mappings without the query's column a"):
        list(rows)


# connections that cannot be


@pytest.mark.parametrize(
    ("fields", "hook_params", "message"),
    [
        (None, None, "sql_conn_id 'warehouse': there is no such connection"),
        (
            {"conn_type": "oracle", "host": "db"},
            None,
            "sql_conn_id 'warehouse' is of type 'oracle', which no installed",
        ),
        ({"conn_type": "fs"}, {"database": "x"}, "sql_conn_id 'warehouse' is of type 'fs'; expected a database"),
        (
            {"conn_type": "duckdb"},
            {"duckdb_conn_id": "x"},
            "sql_conn_id 'warehouse': sql_hook_params do not fit DuckDBHook",
        ),
        ({"conn_type": "sqlite"}, "{{ ds }}", "sql_hook_params is of type str; expected a mapping"),
        (
            {"conn_type": "mysql", "host": "127.0.0.1", "port": 1, "password": PASSWORD},
            None,
            "sql_conn_id 'warehouse' could not be connected to: RuntimeError: You do not have `mysqlclient`",
        ),
        (
            {"conn_type": "mysql", "host": "127.0.0.1", "password": PASSWORD, "extra": {"client": "pymysql", "x": "y"}},
            None,
            "sql_conn_id 'warehouse' could not be connected to: TypeError: ",
        ),
        (
            {"conn_type": "postgres", "host": "127.0.0.1", "port": 1, "login": "me", "password": PASSWORD},
            None,
            "sql_conn_id 'warehouse' could not be connected to: OperationalError: ",
        ),
        (
            {"conn_type": "postgres", "host": "127.0.0.1", "password": PASSWORD, "extra": {"sslmod": "require"}},
            None,
            "sql_conn_id 'warehouse' could not be connected to: ProgrammingError: ",
        ),
        (
            {"conn_type": "duckdb", "host": f"/nowhere/{PASSWORD}", "password": ""},
            None,
            "sql_conn_id 'warehouse' could not be connected to: IOException: ",
        ),
    ],
)
def test_a_connection_that_cannot_be_is_named(
    run_dag: Any,
    sandbox: Any,
    connection: str,
    monkeypatch: pytest.MonkeyPatch,
    fields: dict[str, Any] | None,
    hook_params: Any,
    message: str,
) -> None:
    if fields is None:
        monkeypatch.delenv("AIRFLOW_CONN_WAREHOUSE", raising=False)
    else:
        monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(fields))
    run = run_dag(survey_dag(sql=SELECT, sql_conn_id="warehouse", sql_hook_params=hook_params))
    assert run.task_states == {"send": "failed"}
    assert message in run.log
    assert sandbox.stats()["requests"] == 0
    if fields and fields.get("password"):
        assert shows_no_password(run.log)


@pytest.mark.parametrize("text", [f"tried me:{PASSWORD}@db", "tried postgresql://me:Pa55%2Fword%3Awith%40signs@db/x"])
def test_a_drivers_text_shows_no_secret(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    from airflow_provider_8x8.databases import Database as AirflowDatabase
    from airflow_provider_8x8.databases import UnreachableDatabaseError

    fields = {"conn_type": "sqlite", "host": "/x", "password": PASSWORD}
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(fields))
    database = AirflowDatabase("warehouse", named_by="sql_conn_id")

    def fail() -> None:
        raise RuntimeError(text)

    monkeypatch.setattr(database._hook, "get_conn", fail)
    with pytest.raises(UnreachableDatabaseError, match="tried") as caught:
        database.connect()
    assert "word" not in str(caught.value)
