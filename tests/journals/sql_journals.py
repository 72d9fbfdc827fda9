"""SQL journals: opened, side by side, of roles that may do less, and on a server that lets go of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import sqlalchemy as sa

from airflow_provider_8x8.surveys.journal.database import JournalDatabase
from airflow_provider_8x8.surveys.journal.sql import SqlJournal
from airflow_provider_8x8.surveys.journal.tables import METADATA
from tests.journals.entries import HEADER
from tests.support.databases import Database


def new_opened(new_journal: Callable[..., SqlJournal], campaign_id: str = "campaign") -> SqlJournal:
    journal = new_journal(campaign_id)
    journal.open(HEADER)
    return journal


def at_once(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Call a function in threads that start at the same moment; return its results."""
    barrier = threading.Barrier(count)

    def start(number: int) -> Any:
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(start, range(count)))


def kill_other_connections(database: Database) -> None:
    if database.kind == "mariadb":
        with database.connect() as cursor:
            cursor.execute(
                "SELECT id FROM information_schema.processlist WHERE id <> connection_id() AND db = database()"
            )
            for (number,) in cursor.fetchall():
                cursor.execute(f"KILL {number}")
    else:
        database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def lesser_role(database: Database, *rights: str, tables: Iterable[str] = METADATA.tables) -> Database:
    """Make a role that may do no more than this with the journal's tables."""
    name = f"lesser_{database.connection['schema'][-8:]}"
    if database.kind == "mariadb":
        database.execute(f"CREATE USER {name}@localhost")
        for table in tables:
            database.execute(f"GRANT {', '.join(rights)} ON {table} TO {name}@localhost")
    else:
        database.execute(f"CREATE ROLE {name} LOGIN")
        database.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        if rights != ("USAGE",):
            database.execute(f"GRANT {', '.join(rights)} ON ALL TABLES IN SCHEMA public TO {name}")
            database.execute(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {name}")
    return database.as_user(name)


def drop_role(role: Database, database: Database) -> None:
    name = role.connection["login"]
    if database.kind == "mariadb":
        database.execute(f"DROP USER {name}@localhost")
    else:
        database.execute(f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def journal_of(role: Database) -> SqlJournal:
    return SqlJournal(JournalDatabase(sa.create_engine(role.url, future=True), "journal"), "of a lesser role")
