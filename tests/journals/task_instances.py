"""One task instance, try after try, on SQLite files and a task state store: what each try knows and enters."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from airflow_provider_8x8.surveys.journal.database import JournalDatabase
from airflow_provider_8x8.surveys.journal.entries import Entry, EntryState
from airflow_provider_8x8.surveys.journal.errors import JournalError
from airflow_provider_8x8.surveys.journal.header import Header
from airflow_provider_8x8.surveys.journal.ledger import Ledger
from airflow_provider_8x8.surveys.journal.marks import JournalName, Mark, Memory
from airflow_provider_8x8.surveys.journal.remembered import RememberedJournal
from airflow_provider_8x8.surveys.journal.sql_memory import SqlMemory
from airflow_provider_8x8.surveys.journal.state_store import StateStoreMemory
from airflow_provider_8x8.surveys.journal.task_memory import TaskMemory
from airflow_provider_8x8.surveys.settings import Run
from tests.journals.entries import HEADER, NOW, TASK_INSTANCE, entry_of
from tests.journals.task_state_store import NEVER, Store

STORE = None
"""In place of a ``journal_conn_id``: the task state store's journal."""

NOTHING_KNOWN = r"this is try \d of the task instance, and .* knows nothing of the tries before it"


class Clock:
    """Time that stands still but for a second a try."""

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


class Try:
    """One try of the task instance, with its memories and its journal."""

    def __init__(self, memory: TaskMemory, campaign_id: str, number: int) -> None:
        self.memory = memory
        self.number = number
        self.journal: RememberedJournal = memory.journal(campaign_id)
        self.ledger = Ledger(self.journal, Run(campaign_id, TASK_INSTANCE, number))

    def open(self, header: Header = HEADER) -> Try:
        """Open the journal and read it, as a sender does first."""
        self.ledger.open(header)
        return self

    def send(self, *names: str, **changes: Any) -> Try:
        """Open the journal, and have 8x8 take batches."""
        self.open()
        for name in names:
            self.begin(name, **changes)
            self.ledger.settle(self.ledger[name], state=EntryState.SENT, batch_id=f"8x8-{name}")
        return self

    def begin(self, name: str, **changes: Any) -> Entry | None:
        return self.ledger.begin(lambda: entry_of(name, try_number=self.number, **changes))

    @property
    def known(self) -> list[str]:
        """Which batches it knows."""
        return [entry.client_batch_id for entry in self.ledger.entries() if entry.is_batch]


class TaskInstance:
    """
    The tries of one task instance, its databases and its store.

    :param has_store: Airflow has a task state store
    """

    def __init__(self, folder: Path, *, has_store: bool = True) -> None:
        self.values: dict[str, str] | None = {} if has_store else None
        self.stores: list[Store] = []
        self.files = {name: folder / f"{name}.sqlite" for name in ("a", "b")}
        """Which SQLite file each connection leads to."""
        self.urls: dict[str, str] = {}
        """Which other database, likewise."""
        self.clock = Clock()
        self.deployment: str | None = None
        self.number = 0
        self._opened: list[TaskMemory] = []

    def next_try(
        self, journal_conn_id: str | None, campaign_id: str = TASK_INSTANCE, *, number: int | None = None
    ) -> Try:
        """Begin the next try with this configuration; it leaves its mark as the operator has it."""
        self.number = self.number + 1 if number is None else number
        self.clock.sleep(60)
        memories: list[Memory] = []
        if self.values is not None:
            self.stores.append(Store(self.values))
            memories.append(
                StateStoreMemory(
                    self.stores[-1],
                    TASK_INSTANCE,
                    try_number=self.number,
                    never_expire=NEVER,
                    sleep=lambda seconds: None,
                )
            )
        if journal_conn_id is not None:
            memories.append(self.sql_memory(journal_conn_id))
        memory = TaskMemory(
            TASK_INSTANCE,
            self.number,
            memories,
            connect=self.connect,
            clock=self.clock,
        )
        self._opened.append(memory)
        with contextlib.suppress(JournalError):  # it is tried again when the journal is opened
            memory.begin()
        return Try(memory, campaign_id, self.number)

    def sql_memory(self, conn_id: str) -> SqlMemory:
        if conn_id not in {**self.files, **self.urls}:
            raise ValueError(f"{conn_id!r}: there is no such connection")
        url = self.urls.get(conn_id) or f"sqlite:///{self.files[conn_id]}"
        engine = sa.create_engine(url, future=True)
        return SqlMemory(JournalDatabase(engine, conn_id), TASK_INSTANCE, deployment=self.deployment)

    def connect(self, name: JournalName) -> SqlMemory:
        return self.sql_memory(str(name.conn_id))

    def marks(self, conn_id: str | None) -> list[Mark]:
        """What has been left in a memory."""
        if conn_id is None:
            store = StateStoreMemory(
                Store(self.values or {}), TASK_INSTANCE, try_number=99, never_expire=NEVER, sleep=lambda seconds: None
            )
            return list(store.marks())
        memory = self.sql_memory(conn_id)
        try:
            return sorted(memory.marks(), key=lambda mark: mark.try_number)
        finally:
            memory.close()

    def execute(self, conn_id: str, *statements: str) -> None:
        with sqlite3.connect(self.files[conn_id]) as connection:
            for statement in statements:
                connection.execute(statement)
        connection.close()

    def close(self) -> None:
        for memory in self._opened:
            memory.close()
