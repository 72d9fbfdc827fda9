"""What fails at a SQL journal's database and passes, and its transactions: on all of the real databases."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from airflow_provider_8x8.surveys.journal import transactions
from airflow_provider_8x8.surveys.journal.entries import Entry
from airflow_provider_8x8.surveys.journal.errors import JournalUnavailableError
from airflow_provider_8x8.surveys.journal.sql import SqlJournal
from tests.journals.entries import NOW, always, entry_of, keys, settled
from tests.journals.sql_journals import kill_other_connections, new_opened
from tests.support.databases import Database

# failures that may pass


def test_a_lost_connection_is_made_again(
    new_journal: Callable[..., SqlJournal], journal_database: Database, no_pauses: list[float]
) -> None:
    if journal_database.kind == "sqlite":
        pytest.skip("SQLite has no connection to lose")
    journal = new_opened(new_journal)
    calls: list[Sequence[Entry]] = []

    def compose(news: Sequence[Entry]) -> Entry:
        calls.append(news)
        if len(calls) == 1:
            kill_other_connections(journal_database)
        return entry_of("batch-1")

    assert journal.begin(compose) == entry_of("batch-1")
    assert len(calls) == 2
    assert list(new_opened(new_journal).news()) == [entry_of("batch-1")]


def lose_answers(journal: SqlJournal, *, committed: bool, times: int) -> None:
    """Let the answers to commits be lost, whether or not the server had committed."""
    dialect: Any = journal._database._engine.dialect
    commit, left = dialect.do_commit, [times]

    def do_commit(connection: Any) -> Any:
        if not left[0]:
            return commit(connection)
        left[0] -= 1
        (commit if committed else dialect.do_rollback)(connection)
        raise dialect.dbapi.OperationalError("server closed the connection unexpectedly")

    dialect.do_commit = do_commit


@pytest.mark.parametrize("committed", [True, False])
def test_a_lost_answer_to_a_beginning_neither_loses_nor_doubles_it(
    new_journal: Callable[..., SqlJournal], no_pauses: list[float], committed: bool
) -> None:
    journal = new_opened(new_journal)
    tries: list[float] = []

    def compose(news: Sequence[Entry]) -> Entry:
        tries.append(NOW + len(tries))
        return entry_of("batch-1", begun=tries[-1])

    lose_answers(journal, committed=committed, times=1)
    entry = journal.begin(compose)
    assert entry == entry_of("batch-1", begun=NOW if committed else NOW + 1)
    assert list(new_opened(new_journal).news()) == [entry]
    assert len(no_pauses) == 1


@pytest.mark.parametrize("committed", [True, False])
def test_a_lost_answer_to_a_settling_is_asked_for_again(
    new_journal: Callable[..., SqlJournal], no_pauses: list[float], committed: bool
) -> None:
    journal = new_opened(new_journal)
    journal.begin(always(entry_of("batch-1")))
    after = settled(entry_of("batch-1"))
    lose_answers(journal, committed=committed, times=1)
    assert journal.settle(after) == after
    assert list(new_opened(new_journal).news()) == [after]


@pytest.mark.parametrize("is_one_left", [True, False])
@pytest.mark.parametrize("committed", [True, False])
def test_a_lost_answer_to_both_at_once_neither_loses_nor_doubles_either(
    new_journal: Callable[..., SqlJournal], no_pauses: list[float], committed: bool, is_one_left: bool
) -> None:
    journal = new_opened(new_journal)
    first, second = entry_of("batch-1"), entry_of("batch-2", keys(4)) if is_one_left else None
    journal.begin(always(first))
    lose_answers(journal, committed=committed, times=1)
    assert journal.settle_and_begin(settled(first), always(second)) == (settled(first), second)
    assert list(journal.news()) == []
    assert list(new_opened(new_journal).news()) == [settled(first), *filter(None, [second])]
    assert len(no_pauses) == 1


def test_what_does_not_pass_ends_in_an_error_without_rows(
    new_journal: Callable[..., SqlJournal], no_pauses: list[float]
) -> None:
    journal = new_opened(new_journal)
    lose_answers(journal, committed=False, times=99)
    with pytest.raises(JournalUnavailableError) as caught:
        journal.begin(always(entry_of("batch-secret")))
    assert str(caught.value) == (
        "could not begin a batch in the journal's database (journal_conn_id 'journal'): "
        "OperationalError: server closed the connection unexpectedly"
    )
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert len(no_pauses) == 6
    assert no_pauses[0] < 1 < 6 < no_pauses[-1]


def test_a_lock_is_not_waited_for_for_ever(
    new_journal: Callable[..., SqlJournal], monkeypatch: pytest.MonkeyPatch, no_pauses: list[float]
) -> None:
    """A worker that stalls inside its transaction stops the others' tries, and not for ever."""
    statements = {
        "postgresql": ["SET LOCAL lock_timeout = '1s'"],
        "mysql": ["SET SESSION innodb_lock_wait_timeout = 1"],
        "sqlite": [],
    }
    monkeypatch.setattr(transactions, "_FIRST_STATEMENTS", statements)
    monkeypatch.setattr(transactions, "LOCK_SECONDS", 1)
    stalling, waiting = new_opened(new_journal), new_opened(new_journal)

    def stall(news: Sequence[Entry]) -> Entry:
        with pytest.raises(JournalUnavailableError, match=r"lock|Lock"):
            waiting.begin(always(entry_of("waiting")))
        return entry_of("stalling")

    monkeypatch.setattr(transactions._RETRYING, "stop", lambda state: True)
    stalling.begin(stall)
    assert [entry.client_batch_id for entry in waiting.news()] == ["stalling"]


# transactions


def test_the_isolation_level_is_ours_not_the_servers(
    new_journal: Callable[..., SqlJournal], journal_database: Database
) -> None:
    journal, levels = new_opened(new_journal), []
    question = {"mariadb": "SELECT @@tx_isolation, @@autocommit", "sqlite": None}.get(
        journal_database.kind, "SHOW transaction_isolation"
    )
    if question is None:
        pytest.skip("SQLite has one level, and one writer")

    def ask(connection: Any, cursor: Any, statement: str, *_: object) -> None:
        if statement.startswith("UPDATE"):
            cursor.execute(question)
            levels.append(cursor.fetchone())

    sa.event.listen(journal._database._engine, "before_cursor_execute", ask)
    journal.begin(always(None))
    assert levels == [("READ-COMMITTED", 0) if journal_database.kind == "mariadb" else ("read committed",)]


def test_sqlites_write_lock_is_taken_before_anything_is_read(
    new_journal: Callable[..., SqlJournal], journal_database: Database
) -> None:
    if journal_database.kind != "sqlite":
        pytest.skip("SQLite's own locks")
    journal, refused = new_opened(new_journal), []

    def write(connection: Any, cursor: Any, statement: str, *_: object) -> None:
        if statement.lstrip().startswith("SELECT"):
            other = sqlite3.connect(journal_database.connection["host"], timeout=0)
            with contextlib.closing(other), pytest.raises(sqlite3.OperationalError, match="database is locked"):
                other.execute("BEGIN IMMEDIATE")
            refused.append(statement)

    sa.event.listen(journal._database._engine, "before_cursor_execute", write)
    journal.news()
    assert refused


def test_the_tables_on_mariadb_are_binary_and_transactional(
    new_journal: Callable[..., SqlJournal], journal_database: Database
) -> None:
    if journal_database.kind != "mariadb":
        pytest.skip("MariaDB's own options")
    new_opened(new_journal)
    rows = journal_database.execute(
        "SELECT engine, table_collation FROM information_schema.tables WHERE table_schema = database()"
    )
    assert rows == [("InnoDB", "utf8mb4_bin")] * 4


def test_one_connection_is_kept_until_the_journal_is_closed(
    new_journal: Callable[..., SqlJournal], journal_database: Database
) -> None:
    if not journal_database.kind.startswith("postgresql"):
        pytest.skip("one way of counting connections is enough")
    count = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
        "AND backend_type = 'client backend'"
    )
    journal = new_opened(new_journal)
    for number in range(3):
        journal.begin(always(entry_of(f"batch-{number}")))
        assert journal_database.execute(count) == [(1,)]
    journal.close()
    end = time.monotonic() + 60
    while journal_database.execute(count) != [(0,)]:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_connection_that_was_closed_at_rest_is_replaced(
    new_journal: Callable[..., SqlJournal], journal_database: Database, no_pauses: list[float]
) -> None:
    if journal_database.kind == "sqlite":
        pytest.skip("SQLite has no connection to lose")
    journal = new_opened(new_journal)
    kill_other_connections(journal_database)
    assert journal.begin(always(entry_of("batch-1"))) == entry_of("batch-1")
    assert no_pauses == []
