"""Airflow connections that lead to a journal's database, and those that do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from airflow_provider_8x8.journals.sql import engine_of
from airflow_provider_8x8.rows import SqlRows
from airflow_provider_8x8.surveys.journal.database import JournalDatabase
from airflow_provider_8x8.surveys.journal.entries import Entry, EntryState
from airflow_provider_8x8.surveys.journal.errors import JournalUnavailableError
from airflow_provider_8x8.surveys.journal.header import Header
from airflow_provider_8x8.surveys.journal.sql import SqlJournal
from airflow_provider_8x8.surveys.journal.transactions import Transactions
from airflow_provider_8x8.surveys.messages.row_keys import ROW_KEY_RULES
from tests.support.databases import Database, mariadb_database
from tests.support.tcp_forwarder import TcpForwarder

HEADER = Header(survey_id="orders", subaccount_id="sandbox_hq", row_key_rules=ROW_KEY_RULES)


def connect(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_JOURNAL", json.dumps(fields))


def test_every_kind_of_database_is_reached(journal_database: Database) -> None:
    engine = engine_of("journal")
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT 1")).scalar() == 1
    engine.dispose()


# what stands in the connection's extra


def connect_to(monkeypatch: pytest.MonkeyPatch, database: Database, extra: dict[str, Any], **fields: Any) -> None:
    known = database.connection
    connect(monkeypatch, **{**known, **fields, "extra": {**known.get("extra", {}), **extra}})


def keep_a_batch() -> list[Entry]:
    """Make an entry, settle it, and read it back over another connection."""
    entry = Entry(
        client_batch_id="batch-1",
        task_instance="run",
        try_number=1,
        unique_by="",
        row_keys=b"0" * 10,
        begun=0.0,
        send_by=30.0,
    )
    written, read = (SqlJournal(JournalDatabase(engine_of("journal"), "journal"), "campaign") for _ in range(2))
    written.open(HEADER)
    begun = written.begin(lambda news: entry)
    assert begun == entry
    written.settle(msgspec.structs.replace(entry, state=EntryState.SENT, batch_id="b-1"))
    read.open(HEADER)
    kept = list(read.news())
    written.close()
    read.close()
    return kept


@pytest.mark.parametrize("journal_database", ["postgresql at read committed"], indirect=True)
@pytest.mark.parametrize("cursor", [None, "dictcursor", "realdictcursor", "namedtuplecursor"])
def test_a_postgresql_journal_is_where_the_search_path_leads_whatever_the_cursor(
    journal_database: Database, monkeypatch: pytest.MonkeyPatch, cursor: str | None
) -> None:
    journal_database.execute("CREATE SCHEMA uat")
    connect_to(
        monkeypatch, journal_database, {"options": "-c search_path=uat", **({"cursor": cursor} if cursor else {})}
    )
    assert [entry.batch_id for entry in keep_a_batch()] == ["b-1"]
    assert journal_database.execute("SELECT count(*) FROM uat.eight_by_eight_batch") == [(1,)]
    assert journal_database.execute("SELECT to_regclass('public.eight_by_eight_batch')") == [(None,)]


@pytest.mark.parametrize("journal_database", ["mariadb"], indirect=True)
@pytest.mark.parametrize("cursor", ["SSCursor", "DictCursor", "SSDictCursor"])
def test_a_mysql_journal_is_where_the_first_command_leads_whatever_the_cursor(
    journal_database: Database, mariadb_server: Any, monkeypatch: pytest.MonkeyPatch, cursor: str
) -> None:
    with mariadb_database(mariadb_server) as other:
        name = other.connection["schema"]
        connect_to(monkeypatch, journal_database, {"init_command": f"USE {name}", "cursor": cursor})
        assert [entry.batch_id for entry in keep_a_batch()] == ["b-1"]
        assert other.execute("SELECT count(*) FROM eight_by_eight_batch")[0] == (1,)
        assert journal_database.execute("SHOW TABLES") == []


@pytest.mark.parametrize("journal_database", ["postgresql at serializable", "mariadb"], indirect=True)
def test_a_connection_that_commits_by_itself_has_transactions_at_read_committed(
    journal_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    if journal_database.kind == "mariadb":
        extra: dict[str, Any] = {"init_command": "SET autocommit = 1, SESSION tx_isolation = 'SERIALIZABLE'"}
        level = "SELECT @@tx_isolation"
    else:
        # psycopg 3 takes it as an argument of connect; psycopg2 has none.
        extra = {"autocommit": True} if is_psycopg3() else {}
        level = "SHOW transaction_isolation"
    connect_to(monkeypatch, journal_database, extra)
    transactions = Transactions(engine_of("journal"), "journal")
    found = transactions.run(lambda connection: connection.exec_driver_sql(level).scalar(), "look")
    assert str(found).lower().replace("-", " ") == "read committed"
    journal_database.execute("CREATE TABLE kept (id INTEGER)")

    def write_and_fail(connection: sa.engine.Connection) -> None:
        connection.exec_driver_sql("INSERT INTO kept VALUES (1)")
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        transactions.run(write_and_fail, "write")
    transactions.close()
    assert journal_database.execute("SELECT count(*) FROM kept")[0][0] == 0


@pytest.mark.parametrize("journal_database", ["postgresql at read committed"], indirect=True)
@pytest.mark.parametrize("autocommit", [False, True])
def test_what_a_hook_does_with_a_new_connection_stays_done(
    journal_database: Database, monkeypatch: pytest.MonkeyPatch, autocommit: bool
) -> None:
    from airflow.providers.postgres.hooks.postgres import PostgresHook

    get_conn = PostgresHook.get_conn

    def get_conn_as_somebody(hook: PostgresHook) -> Any:
        """As hooks of companies do it: a role, a schema, and whatever else."""
        connection: Any = get_conn(hook)
        connection.autocommit = autocommit
        connection.cursor().execute("SET search_path = uat")
        return connection

    monkeypatch.setattr(PostgresHook, "get_conn", get_conn_as_somebody)
    journal_database.execute("CREATE SCHEMA uat")
    assert [entry.batch_id for entry in keep_a_batch()] == ["b-1"]
    assert journal_database.execute("SELECT count(*) FROM uat.eight_by_eight_batch") == [(1,)]
    rows = SqlRows.from_connection("journal", "SELECT batch_id FROM eight_by_eight_batch")
    assert list(rows) == [("b-1",)]


def is_psycopg3() -> bool:
    from airflow.providers.postgres.hooks import postgres

    return bool(postgres.USE_PSYCOPG3)


@pytest.mark.parametrize("journal_database", ["postgresql at read committed"], indirect=True)
@pytest.mark.parametrize("sslmode", ["require", "verify-full"])
def test_a_journal_is_not_written_in_clear_text_where_tls_is_required(
    journal_database: Database, monkeypatch: pytest.MonkeyPatch, no_pauses: list[float], sslmode: str
) -> None:
    with TcpForwarder(f"{journal_database.connection['host']}/.s.PGSQL.5432") as server:
        fields = {"host": "127.0.0.1", "port": server.port, "password": "Pa55/word"}
        connect_to(monkeypatch, journal_database, {"sslmode": "prefer"}, **fields)
        assert keep_a_batch()
        connect_to(monkeypatch, journal_database, {"sslmode": sslmode, "sslrootcert": "/nowhere.pem"}, **fields)
        with pytest.raises(JournalUnavailableError, match=r"'journal'.*OperationalError: ") as caught:
            keep_a_batch()
    assert "Pa55" not in str(caught.value)


@pytest.mark.parametrize("journal_database", ["postgresql at read committed"], indirect=True)
def test_a_journals_statement_takes_no_longer_than_the_connection_allows(
    journal_database: Database, monkeypatch: pytest.MonkeyPatch, no_pauses: list[float]
) -> None:
    connect_to(monkeypatch, journal_database, {"options": "-c statement_timeout=50ms"})
    transactions = Transactions(engine_of("journal"), "journal")
    with pytest.raises(JournalUnavailableError, match="statement timeout"):
        transactions.run(lambda connection: connection.exec_driver_sql("SELECT pg_sleep(1)"), "sleep")


@pytest.mark.parametrize("journal_database", ["sqlite"], indirect=True)
def test_a_sqlite_journal_that_may_only_be_read_is_not_written(
    journal_database: Database, monkeypatch: pytest.MonkeyPatch, no_pauses: list[float]
) -> None:
    assert keep_a_batch()
    connect_to(monkeypatch, journal_database, {"mode": "ro"})
    with pytest.raises(JournalUnavailableError, match="readonly database"):
        keep_a_batch()


def test_a_connection_that_its_driver_does_not_understand_is_named(
    monkeypatch: pytest.MonkeyPatch, no_pauses: list[float]
) -> None:
    connect(monkeypatch, conn_type="mysql", host="db", password="secret", extra={"client": "pymysql", "colour": "red"})
    transactions = Transactions(engine_of("journal"), "journal")
    with pytest.raises(JournalUnavailableError, match=r"'journal'.*no connection: TypeError: .*colour") as caught:
        transactions.run(lambda connection: None, "look")
    assert "secret" not in str(caught.value)
    assert not no_pauses


@pytest.mark.parametrize("journal_database", ["postgresql at read committed", "mariadb"], indirect=True)
def test_an_engine_knows_no_password(monkeypatch: pytest.MonkeyPatch, journal_database: Database) -> None:
    connect_to(monkeypatch, journal_database, {}, password="secret")
    engine = engine_of("journal")
    assert "secret" not in engine.url.render_as_string(hide_password=False)


# connections that cannot be


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


def test_a_database_for_one_process_at_a_time_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    connect(monkeypatch, conn_type="duckdb", host=str(tmp_path / "journal.duckdb"))
    with pytest.raises(ValueError, match=r"'journal' leads to duckdb; .* was tried on postgresql, mysql, mariadb"):
        SqlJournal(JournalDatabase(engine_of("journal"), "journal"), "campaign")


def test_a_database_whose_locks_were_never_tried_is_refused() -> None:
    engine = sa.create_mock_engine("oracle://", lambda *_: None)
    with pytest.raises(ValueError, match=r"leads to oracle; .* was tried on postgresql, mysql, mariadb, sqlite only"):
        SqlJournal(JournalDatabase(engine, "journal"), "campaign")  # type: ignore[arg-type]  # it only has a dialect


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
