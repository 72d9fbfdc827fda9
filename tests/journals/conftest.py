"""Journals of the tests' own databases, and time that passes at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_8x8.surveys.clock import SystemClock

if TYPE_CHECKING:
    from airflow_provider_8x8.surveys.journal.sql import SqlJournal
    from airflow_provider_8x8.surveys.journal.task_memory import TaskMemory
    from tests.journals.task_instances import TaskInstance
    from tests.support.databases import Database


@pytest.fixture
def new_journal(journal_database: Database) -> Iterator[Callable[..., SqlJournal]]:
    """Make SQL journals the way a task does; each is closed in the end."""
    from airflow_provider_8x8.journals.sql import engine_of
    from airflow_provider_8x8.surveys.journal.database import JournalDatabase
    from airflow_provider_8x8.surveys.journal.sql import SqlJournal

    made: list[SqlJournal] = []

    def make(campaign_id: str = "campaign") -> SqlJournal:
        made.append(SqlJournal(JournalDatabase(engine_of("journal"), "journal"), campaign_id))
        return made[-1]

    yield make
    for journal in made:
        journal.close()


@pytest.fixture
def new_memory(journal_database: Database) -> Iterator[Callable[..., TaskMemory]]:
    """Make what one try of a task instance knows, with a SQL journal alone; each is closed in the end."""
    from airflow_provider_8x8.journals.sql import engine_of
    from airflow_provider_8x8.surveys.journal.database import JournalDatabase
    from airflow_provider_8x8.surveys.journal.sql_memory import SqlMemory
    from airflow_provider_8x8.surveys.journal.task_memory import TaskMemory

    made: list[TaskMemory] = []

    def connect(name: Any) -> Any:
        raise ValueError(f"there is no other journal, such as {name}")

    def make(task_instance: str, try_number: int = 1) -> TaskMemory:
        memory = SqlMemory(JournalDatabase(engine_of("journal"), "journal"), task_instance)
        clock = SystemClock(threading.Event())
        made.append(TaskMemory(task_instance, try_number, [memory], connect=connect, clock=clock))
        return made[-1]

    yield make
    for memory in made:
        memory.close()


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """No pauses between a transaction's tries; how long they would have been."""
    from airflow_provider_8x8.surveys.journal import transactions

    pauses: list[float] = []
    monkeypatch.setattr(transactions._RETRYING, "sleep", pauses.append)
    return pauses


@pytest.fixture
def task(tmp_path: Path, no_pauses: list[float]) -> Iterator[TaskInstance]:
    """A task instance of an Airflow that has a task state store."""
    from tests.journals.task_instances import TaskInstance

    task = TaskInstance(tmp_path)
    yield task
    task.close()


@pytest.fixture
def old_task(tmp_path: Path, no_pauses: list[float]) -> Iterator[TaskInstance]:
    """A task instance of an Airflow that has none."""
    from tests.journals.task_instances import TaskInstance

    task = TaskInstance(tmp_path, has_store=False)
    yield task
    task.close()
