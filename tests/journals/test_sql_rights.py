"""What a role has to be allowed for a SQL journal, and what is said where it is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from airflow_provider_8x8.journals.sql import engine_of
from airflow_provider_8x8.surveys.journal.database import JournalDatabase
from airflow_provider_8x8.surveys.journal.errors import JournalUnavailableError
from airflow_provider_8x8.surveys.journal.marks import Mark, Place
from airflow_provider_8x8.surveys.journal.sql import SqlJournal
from airflow_provider_8x8.surveys.journal.sql_memory import SqlMemory
from tests.journals.entries import HEADER, NOW, always, entry_of, settled
from tests.journals.sql_journals import drop_role, journal_of, lesser_role, new_opened
from tests.support.databases import Database


def test_a_role_that_may_make_no_tables_can_use_them(
    new_journal: Callable[..., SqlJournal], journal_database: Database
) -> None:
    if journal_database.kind == "sqlite":
        pytest.skip("SQLite has no roles")
    new_opened(new_journal)
    role = lesser_role(journal_database, "SELECT", "INSERT", "UPDATE")
    try:
        journal = journal_of(role)
        journal.open(HEADER)
        entry = journal.begin(always(entry_of("batch-1")))
        assert entry is not None
        journal.settle(settled(entry))
        journal.close()
        memory = SqlMemory(JournalDatabase(sa.create_engine(role.url, future=True), "journal"), "dag/run/send")
        memory.marks()
        for places in ([], [Place(memory.name, "of a lesser role")]):
            memory.leave(Mark(try_number=1, began=NOW, places=places, had_store=False))
        memory.close()
    finally:
        drop_role(role, journal_database)


def test_a_role_that_may_only_read_is_found_out_when_it_opens(
    new_journal: Callable[..., SqlJournal], journal_database: Database, no_pauses: list[float]
) -> None:
    new_opened(new_journal, "of a lesser role")
    if journal_database.kind == "sqlite":
        file = journal_database.connection["host"]
        with pytest.raises(JournalUnavailableError, match="attempt to write a readonly database"):
            journal_of(Database("sqlite", f"sqlite:///file:{file}?mode=ro&uri=true", {})).open(HEADER)
        return
    role = lesser_role(journal_database, "SELECT")
    try:
        with pytest.raises(JournalUnavailableError, match=r"could not write a campaign .*denied"):
            journal_of(role).open(HEADER)
    finally:
        drop_role(role, journal_database)


def test_a_database_that_may_only_be_read_is_found_out_when_it_opens(
    new_journal: Callable[..., SqlJournal], journal_database: Database, no_pauses: list[float]
) -> None:
    if not journal_database.kind.startswith("postgresql"):
        pytest.skip("PostgreSQL's standbys")
    new_opened(new_journal)
    name = journal_database.connection["schema"]
    journal_database.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with pytest.raises(JournalUnavailableError, match="ReadOnlySqlTransaction: cannot execute UPDATE in a read-only"):
        new_journal().open(HEADER)


def test_tables_that_are_not_there_and_cannot_be_made_are_named(
    journal_database: Database, no_pauses: list[float]
) -> None:
    if not journal_database.kind.startswith("postgresql"):
        pytest.skip("one database with roles is enough")
    role = lesser_role(journal_database, "USAGE")
    try:
        with pytest.raises(
            JournalUnavailableError,
            match=r"InsufficientPrivilege: permission denied.*no table eight_by_eight_campaign.* eight_by_eight_mark",
        ):
            journal_of(role).open(HEADER)
    finally:
        drop_role(role, journal_database)


def test_the_tables_are_looked_for_once_in_a_try(
    new_journal: Callable[..., SqlJournal], journal_database: Database
) -> None:
    new_opened(new_journal)  # they are there
    memory = SqlMemory(JournalDatabase(engine_of("journal"), "journal"), "dag/run/send")
    looks: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if "FROM eight_by_eight_journal" in statement.replace("\n", ""):
            looks.append(statement)

    sa.event.listen(sa.engine.Engine, "before_cursor_execute", note)
    try:
        memory.marks()
        journal = memory.journal("campaign")
        journal.entries()
        journal.open(HEADER)
        memory.leave(Mark(try_number=1, began=NOW, places=[Place(memory.name, "campaign")], had_store=False))
    finally:
        sa.event.remove(sa.engine.Engine, "before_cursor_execute", note)
        memory.close()
    assert len(looks) == 1
