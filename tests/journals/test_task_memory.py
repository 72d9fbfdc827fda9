"""What a try knows of those before it, whatever was changed between them: on SQLite files and a task state store."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from airflow_provider_8x8.journals.sql import prune_journal
from airflow_provider_8x8.surveys.journal import transactions
from airflow_provider_8x8.surveys.journal.database import JournalDatabase
from airflow_provider_8x8.surveys.journal.entries import Entry, EntryState
from airflow_provider_8x8.surveys.journal.errors import (
    JournalError,
    JournalLostError,
    JournalMismatchError,
    JournalUnavailableError,
    SupersededError,
)
from airflow_provider_8x8.surveys.journal.header import Header
from airflow_provider_8x8.surveys.journal.ledger import Ledger
from airflow_provider_8x8.surveys.journal.marks import JournalName, Mark, Memory
from airflow_provider_8x8.surveys.journal.sql_memory import SqlMemory
from airflow_provider_8x8.surveys.journal.state_store import StateStoreMemory
from airflow_provider_8x8.surveys.journal.task_memory import RememberedJournal, TaskMemory
from airflow_provider_8x8.surveys.settings import Run
from tests.journals.entries import HEADER, NOW, TASK_INSTANCE, always, entry_of, keys, settled
from tests.journals.task_state_store import NEVER, Store
from tests.support.databases import Database

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


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions._RETRYING, "sleep", lambda seconds: None)


@pytest.fixture
def task(tmp_path: Path) -> Iterator[TaskInstance]:
    """A task instance of an Airflow that has a task state store."""
    task = TaskInstance(tmp_path)
    yield task
    task.close()


@pytest.fixture
def old_task(tmp_path: Path) -> Iterator[TaskInstance]:
    """A task instance of an Airflow that has none."""
    task = TaskInstance(tmp_path, has_store=False)
    yield task
    task.close()


# the journal is another one than before

EVERYTHING = [
    entry_of("pending", keys(1, 2), message_keys=keys(8, 9), scheduled=NOW + 9, answer_by=NOW + 90, unique_by="nr"),
    entry_of("seen", keys(3), watermark_begun=NOW + 700, watermark_seen=NOW + 800, unique_by="nr"),
    settled(
        entry_of("sent", keys(4, 5, 6, 7, 8), unique_by="nr"),
        rejected_keys=keys(4),
        unknown_keys=keys(5),
        assumed_keys=keys(6),
        resent_keys=keys(7),
    ),
    entry_of("not sent", keys(9), state=EntryState.NOT_SENT, unique_by="nr"),
    entry_of("assumed", keys(10), state=EntryState.ASSUMED_SENT, unique_by="nr"),
    entry_of("resent", keys(11), state=EntryState.RESENT, unique_by="nr"),
    entry_of("canary", b"", state=EntryState.CANARY, unique_by="", answer_by=NOW + 60),
]


@pytest.mark.parametrize(("before", "after"), [(STORE, "a"), ("a", STORE), ("a", "b"), ("a", "a"), (STORE, STORE)])
def test_all_that_a_try_has_entered_is_found_by_the_next_one(
    task: TaskInstance, before: str | None, after: str | None
) -> None:
    first = task.next_try(before).open()
    for entry in EVERYTHING:
        first.journal.begin(always(entry))
    second = task.next_try(after).open()
    assert [entry for entry in second.ledger.entries() if entry.state is not EntryState.MOVED] == EVERYTHING
    third = task.next_try(after).open()
    assert [entry for entry in third.ledger.entries() if entry.state is not EntryState.MOVED] == EVERYTHING
    assert third.journal.first_begun == NOW + 60


@pytest.mark.parametrize(("before", "after"), [(STORE, "real"), ("real", STORE), ("a", "real"), ("real", "a")])
def test_it_is_found_in_databases_of_all_kinds(
    task: TaskInstance, journal_database: Database, before: str | None, after: str | None
) -> None:
    task.urls["real"] = journal_database.url
    alive = task.next_try(before).open()
    for entry in EVERYTHING:
        alive.journal.begin(always(entry))
    second = task.next_try(after).open()
    assert [entry for entry in second.ledger.entries() if entry.state is not EntryState.MOVED] == EVERYTHING
    if before is not STORE:
        with pytest.raises(SupersededError):
            alive.begin("batch-1", row_keys=keys(99))
    third = task.next_try(before).send("batch-2", row_keys=keys(100))
    assert third.known == task.next_try(after).open().known == [*second.known, "batch-2"]


@pytest.mark.parametrize(
    "journals",
    [
        (STORE, "a", STORE),
        ("a", STORE, "a"),
        ("a", "b", "a"),
        ("a", "b", STORE),
        (STORE, "a", "b", STORE, "b", "a"),
        ("a", "a", STORE, STORE, "b"),
    ],
)
def test_what_was_sent_adds_up_wherever_each_try_enters_it(task: TaskInstance, journals: Sequence[str | None]) -> None:
    sent: list[str] = []
    for number, journal in enumerate(journals, 1):
        one = task.next_try(journal).open()
        assert sorted(one.known) == sent
        assert {one.ledger[name].batch_id for name in sent} == {f"8x8-{name}" for name in sent}
        one.begin(f"batch-{number}", row_keys=keys(number))
        one.ledger.settle(one.ledger[f"batch-{number}"], state=EntryState.SENT, batch_id=f"8x8-batch-{number}")
        sent.append(f"batch-{number}")


def test_what_was_learnt_elsewhere_of_a_batch_that_is_known_here_is_taken_over_too(task: TaskInstance) -> None:
    task.next_try("a").open().begin("batch-1")
    there = task.next_try(STORE).open()
    there.ledger.settle(there.ledger["batch-1"], state=EntryState.SENT, batch_id="8x8-1")
    assert task.next_try("a").open().ledger["batch-1"].batch_id == "8x8-1"


def test_every_mark_names_all_journals_that_were_used_before(task: TaskInstance) -> None:
    for journal in (STORE, "a", "b"):
        task.next_try(journal).send()
    for memory in (STORE, "a", "b"):
        newest = task.marks(memory)[-1]
        assert (newest.try_number, newest.began, newest.had_store) == (3, NOW + 60, True)
        assert [place.journal.conn_id for place in newest.places] == [None, "a", "b"]


def test_another_connection_to_the_same_database_is_the_same_journal(task: TaskInstance) -> None:
    task.next_try("a").send("batch-1")
    task.files["renamed"] = task.files.pop("a")
    second = task.next_try("renamed").open()
    assert second.known == ["batch-1"]
    assert len(task.marks("renamed")[-1].places) == 1


def test_a_taking_over_that_ended_in_the_middle_goes_on(task: TaskInstance) -> None:
    task.next_try("a").send("batch-1", "batch-2", "batch-3")
    second = task.next_try(STORE)
    store = task.stores[-1]
    set_value, written = store.set, []

    def set_two(key: str, value: Any, **options: Any) -> None:
        written.append(key)
        if len([key for key in written if key.count("/") == 2 and "mark" not in key]) > 2:
            raise OSError("the worker is gone")
        set_value(key, value, **options)

    store.set = set_two  # type: ignore[method-assign]  # this store's alone
    with pytest.raises(JournalUnavailableError):
        second.open()
    third = task.next_try(STORE).open()
    assert third.known == ["batch-1", "batch-2", "batch-3"]
    assert task.next_try(STORE).open().known == ["batch-1", "batch-2", "batch-3"]


# what cannot be read


def test_a_connection_that_leads_elsewhere_than_before_is_refused_and_both_are_named(task: TaskInstance) -> None:
    task.next_try("a").send("batch-1")
    task.files["a"] = task.files["b"]
    second = task.next_try("a")
    with pytest.raises(JournalMismatchError) as caught:
        second.open()
    ids = [place.journal.journal_id for place in task.marks(STORE)[-1].places]
    assert f"the SQL journal {ids[0]} (journal_conn_id 'a')" in str(caught.value)
    assert f"it would use the SQL journal {second.memory._kept_in.name.journal_id}" in str(caught.value)
    assert ids[0] != second.memory._kept_in.name.journal_id


def test_a_journal_whose_connection_is_gone_is_refused_and_both_are_named(task: TaskInstance) -> None:
    task.next_try("a").send("batch-1")
    del task.files["a"]
    with pytest.raises(JournalMismatchError, match=r"\(journal_conn_id 'a'\).*it would use Airflow's task state store"):
        task.next_try(STORE).open()


def test_a_journal_that_cannot_be_reached_just_now_may_be_reached_by_another_try(task: TaskInstance) -> None:
    task.next_try("a").send("batch-1")
    file = task.files["a"]
    task.files["a"] = Path("/nowhere/at/all.sqlite")
    with pytest.raises(JournalUnavailableError, match=r"journal_conn_id 'a'.*cannot be read just now.*state store"):
        task.next_try(STORE).open()
    task.files["a"] = file
    assert task.next_try(STORE).open().known == ["batch-1"]


@pytest.mark.parametrize("after", ["b", "a"])
def test_without_a_store_another_database_is_refused_and_no_mark_is_left(old_task: TaskInstance, after: str) -> None:
    task = old_task
    task.next_try("a").send("batch-1")
    files = dict(task.files)
    task.files["a"] = task.files["b"]
    for _ in range(2):
        with pytest.raises(JournalLostError, match=NOTHING_KNOWN) as caught:
            task.next_try(after).open()
    assert 'settled_batches={"before try ' in str(caught.value)
    assert "trigger a new DAG run" in str(caught.value)
    assert f"journal_conn_id '{after}'" in str(caught.value)
    assert task.marks(after) == []
    task.files.update(files)
    assert task.next_try("a").open().known == ["batch-1"]


# what was thrown away


def test_a_store_that_was_emptied_is_refused_by_every_try_after_it(task: TaskInstance) -> None:
    assert task.values is not None
    task.next_try(STORE).send("batch-1")
    task.values.clear()
    for _ in range(2):
        with pytest.raises(JournalLostError, match=NOTHING_KNOWN):
            task.next_try(STORE).open()
        assert task.values == {}


def test_a_store_that_was_emptied_does_not_matter_to_a_sql_journal(task: TaskInstance) -> None:
    assert task.values is not None
    task.next_try("a").send("batch-1")
    task.values.clear()
    assert task.next_try("a").open().known == ["batch-1"]
    assert [mark.try_number for mark in task.marks(STORE)] == [2]


def test_a_store_that_was_emptied_after_the_journal_was_added_is_missed(task: TaskInstance) -> None:
    assert task.values is not None
    task.next_try(STORE).send("batch-1")
    assert task.next_try("a").open().known == ["batch-1"]
    task.values.clear()
    with pytest.raises(
        JournalLostError, match=r"Airflow's task state store, campaign .*, and left a mark .* not there any more"
    ):
        task.next_try("a").open()


def test_a_store_that_was_emptied_while_a_sql_journal_was_added_is_refused(task: TaskInstance) -> None:
    assert task.values is not None
    task.next_try(STORE).send("batch-1")
    task.values.clear()
    with pytest.raises(JournalLostError, match=NOTHING_KNOWN):
        task.next_try("a").open()
    assert task.marks("a") == []


@pytest.mark.parametrize("after", ["a", STORE, "b"])
def test_a_database_that_was_emptied_is_missed(task: TaskInstance, after: str | None) -> None:
    task.next_try("a").send("batch-1")
    task.execute("a", "DELETE FROM eight_by_eight_batch", "DELETE FROM eight_by_eight_campaign")
    with pytest.raises(JournalLostError, match="any more"):
        task.next_try(after).open()


def test_a_database_that_was_made_anew_is_missed(task: TaskInstance) -> None:
    task.next_try("a").send("batch-1")
    task.files["a"].unlink()
    with pytest.raises(JournalMismatchError, match=r"journal_conn_id 'a'.*journal_conn_id 'a'"):
        task.next_try("a").open()


def test_a_campaign_that_was_pruned_is_not_sent_again(
    task: TaskInstance, old_task: TaskInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"conn_type": "sqlite", "host": str(old_task.files["a"])}
    monkeypatch.setenv("AIRFLOW_CONN_JOURNAL", json.dumps(fields))
    old_task.clock.time = 1_500_000_000.0
    old_task.next_try("a").send("batch-1")
    old_task.execute("a", "UPDATE eight_by_eight_campaign SET used = '2020-01-01 00:00:00.000000'")
    assert prune_journal("journal", timedelta(days=400)) == 1
    assert old_task.marks("a") == []
    with pytest.raises(JournalLostError, match=NOTHING_KNOWN):
        old_task.next_try("a").open()


def test_marks_of_tries_that_are_not_old_are_not_pruned(
    old_task: TaskInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"conn_type": "sqlite", "host": str(old_task.files["a"])}
    monkeypatch.setenv("AIRFLOW_CONN_JOURNAL", json.dumps(fields))
    old_task.next_try("a")
    assert prune_journal("journal", timedelta(days=400)) == 0
    assert old_task.next_try("a").open().known == []


# nothing was sent yet


@pytest.mark.parametrize(("before", "after"), [(STORE, STORE), (STORE, "a"), ("a", "a"), ("a", "b"), ("a", STORE)])
def test_a_try_that_failed_before_it_opened_its_journal_does_not_stop_the_next_one(
    task: TaskInstance, before: str | None, after: str | None
) -> None:
    task.next_try(before)
    assert task.next_try(after).send("batch-1").known == ["batch-1"]


def test_without_a_store_neither(old_task: TaskInstance) -> None:
    for _ in range(3):
        old_task.next_try("a")
    assert old_task.next_try("a").send("batch-1").known == ["batch-1"]


def test_a_first_try_that_never_began_is_not_known_to_have_sent_nothing(
    task: TaskInstance, old_task: TaskInstance
) -> None:
    for each, journal in ((task, STORE), (task, "a"), (old_task, "a")):
        each.number = 1
        with pytest.raises(JournalLostError, match=NOTHING_KNOWN):
            each.next_try(journal).open()


# tries that have left nothing, between others that have


@pytest.mark.parametrize("journal", [STORE, "a"])
def test_a_try_that_never_began_between_two_that_did_does_not_matter(task: TaskInstance, journal: str | None) -> None:
    task.next_try(journal).send("batch-1")
    task.number += 1
    assert task.next_try(journal).open().known == ["batch-1"]


def test_without_a_store_neither_does_one_that_found_another_database_empty(old_task: TaskInstance) -> None:
    old_task.next_try("a").send("batch-1")
    with pytest.raises(JournalLostError):
        old_task.next_try("b").open()
    assert old_task.next_try("a").open().known == ["batch-1"]


def test_a_database_that_missed_a_try_which_the_store_knew_is_no_proof(task: TaskInstance) -> None:
    """The first try entered nothing; what the second has sent stood in the store alone, and is gone."""
    assert task.values is not None
    task.next_try("a")
    task.next_try(STORE).send("batch-2")
    task.values.clear()
    with pytest.raises(JournalLostError, match=NOTHING_KNOWN):
        task.next_try("a").open()


def test_airflows_upgrade_between_two_tries_does_not_matter_to_a_sql_journal(old_task: TaskInstance) -> None:
    old_task.next_try("a").send("batch-1")
    old_task.values = {}
    assert old_task.next_try("a").open().known == ["batch-1"]
    assert old_task.next_try(STORE).open().known == ["batch-1"]


def test_a_try_of_before_airflows_upgrade_that_opens_its_journal_at_the_last_moment_is_known_of(
    old_task: TaskInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = old_task.next_try("a")
    old_task.values = {}
    read = SqlMemory.marks

    def marks_just_before_the_journal_is_opened(memory: SqlMemory) -> Sequence[Mark]:
        monkeypatch.setattr(SqlMemory, "marks", read)
        found = memory.marks()
        first.open()
        return found

    monkeypatch.setattr(SqlMemory, "marks", marks_just_before_the_journal_is_opened)
    old_task.next_try("a")
    third = old_task.next_try("b").open()
    with pytest.raises(SupersededError):
        first.begin("one")
    assert third.known == []


def test_airflows_upgrade_is_no_proof_that_nothing_was_sent(old_task: TaskInstance) -> None:
    old_task.number = 1
    old_task.values = {}
    with pytest.raises(JournalLostError, match=NOTHING_KNOWN):
        old_task.next_try(STORE).open()


# campaigns of several runs


def test_another_campaign_id_is_refused_once_something_was_sent_and_both_are_named(task: TaskInstance) -> None:
    task.next_try("a", "march").send("batch-1")
    with pytest.raises(JournalMismatchError, match=r"campaign 'march'; this one would send by .* campaign 'april'"):
        task.next_try("a", "april").open()
    assert task.next_try("a", "march").open().known == ["batch-1"]


@pytest.mark.parametrize(("before", "after"), [("march", TASK_INSTANCE), (TASK_INSTANCE, "march")])
def test_a_campaign_id_that_is_added_or_removed_is_refused_once_something_was_sent(
    task: TaskInstance, before: str, after: str
) -> None:
    task.next_try("a", before).send("batch-1")
    with pytest.raises(JournalMismatchError, match=f"campaign '{before}'.*campaign '{after}'"):
        task.next_try("a", after).open()


def test_a_campaign_of_several_runs_is_not_moved(task: TaskInstance) -> None:
    task.next_try("a", "march").send("batch-1", task_instance="dag/another run/send")
    with pytest.raises(JournalMismatchError, match=r"journal_conn_id 'a'.*journal_conn_id 'b'"):
        task.next_try("b", "march").open()


def test_a_campaign_id_may_be_changed_while_the_task_instance_has_sent_nothing(task: TaskInstance) -> None:
    first = task.next_try("a", "march").send("batch-1", task_instance="dag/another run/send")
    first.begin("refused", row_keys=keys(9))
    first.ledger.settle(first.ledger["refused"], state=EntryState.NOT_SENT)
    assert task.next_try("a", "april").send("batch-2").known == ["batch-2"]


def test_a_campaign_of_which_nothing_was_sent_may_be_moved(task: TaskInstance) -> None:
    task.next_try("a", "march").send()
    assert task.next_try("b", "march").send("batch-1").known == ["batch-1"]


# a try that is still alive


@pytest.mark.parametrize("after", [STORE, "b"])
def test_a_try_that_is_still_alive_cannot_send_by_the_journal_of_before(task: TaskInstance, after: str | None) -> None:
    alive = task.next_try("a").send("batch-1")
    alive.begin("on the wire", row_keys=keys(4))
    second = task.next_try(after).open()
    with pytest.raises(SupersededError, match="try 2 of this task instance keeps what is sent in another journal"):
        alive.begin("batch-3", row_keys=keys(5))
    assert second.known == ["batch-1", "on the wire"]
    answered = alive.ledger.settle(alive.ledger["on the wire"], state=EntryState.SENT, batch_id="8x8-2")
    assert answered.batch_id == "8x8-2"
    third = task.next_try("a").open()
    assert third.ledger["on the wire"] == answered
    assert third.begin("batch-4", row_keys=keys(6)) is not None


def test_a_try_that_is_still_alive_cannot_send_by_the_store(task: TaskInstance) -> None:
    alive = task.next_try(STORE).send("batch-1")
    task.stores[-1].is_superseded = True
    assert task.next_try("a").open().known == ["batch-1"]
    with pytest.raises(SupersededError):
        alive.begin("batch-2", row_keys=keys(4))


@pytest.mark.parametrize(("conn_id", "campaign_id"), [("a", "april"), ("b", "march")])
def test_a_try_that_is_still_alive_cannot_send_in_a_campaign_that_was_left(
    task: TaskInstance, conn_id: str, campaign_id: str
) -> None:
    alive = task.next_try("a", "march").open()
    task.next_try(conn_id, campaign_id).send("batch-1")
    with pytest.raises(SupersededError):
        alive.begin("batch-2", row_keys=keys(4))


def test_a_try_that_had_only_begun_cannot_open_its_journal_any_more(task: TaskInstance) -> None:
    alive = task.next_try("a")
    task.stores[-1].is_superseded = True
    task.next_try("b").send("batch-1")
    with pytest.raises(SupersededError):
        alive.open()


@pytest.mark.parametrize("journal", [STORE, "a"])
def test_two_tries_of_one_number_know_of_each_other(task: TaskInstance, journal: str | None) -> None:
    task.next_try(journal).send("batch-1")
    assert task.next_try(journal, number=1).send("batch-2").known == ["batch-1", "batch-2"]
    assert len(task.marks(journal)) == 1
    assert task.next_try(journal).open().known == ["batch-1", "batch-2"]


def test_two_tries_of_one_number_with_other_journals_do_not_send_side_by_side(task: TaskInstance) -> None:
    alive = task.next_try("a").send("batch-1")
    assert task.next_try("b", number=1).send("batch-2").known == ["batch-1", "batch-2"]
    with pytest.raises(SupersededError):
        alive.begin("batch-3", row_keys=keys(4))


# what versions without marks have left


def forget_marks(task: TaskInstance) -> None:
    """Leave what the version before would have left."""
    values = task.values or {}
    for key in [key for key in values if key.startswith("8x8/mark/")]:
        del values[key]
    for name, file in task.files.items():
        if file.exists():
            task.execute(name, "DELETE FROM eight_by_eight_mark")


@pytest.mark.parametrize(("before", "after"), [(STORE, STORE), (STORE, "a"), ("a", "a")])
def test_a_journal_without_marks_goes_on(task: TaskInstance, before: str | None, after: str | None) -> None:
    first = task.next_try(before)
    first.open(msgspec.structs.replace(HEADER, journal_format=1))
    first.begin("batch-1")
    forget_marks(task)
    second = task.next_try(after).open(msgspec.structs.replace(HEADER, deployment="here"))
    assert second.known == ["batch-1"]
    forget_marks(task)
    with pytest.raises(JournalMismatchError, match="deployment 'here', and this task has 'there'"):
        task.next_try(after).open(msgspec.structs.replace(HEADER, deployment="there"))


def test_a_sql_journal_without_marks_is_not_found_from_elsewhere(task: TaskInstance) -> None:
    task.next_try("a").send("batch-1")
    forget_marks(task)
    for journal in (STORE, "b"):
        with pytest.raises(JournalLostError, match=NOTHING_KNOWN):
            task.next_try(journal).open()


def test_entries_of_another_task_instance_are_no_marks_of_this_one(old_task: TaskInstance) -> None:
    old_task.next_try("a", "march").send("batch-1", task_instance="dag/another run/send")
    forget_marks(old_task)
    with pytest.raises(JournalLostError, match=NOTHING_KNOWN):
        old_task.next_try("a", "march").open()


def test_a_journal_without_marks_that_could_not_be_opened_is_not_forgotten(task: TaskInstance) -> None:
    task.next_try("a").send("batch-1")
    forget_marks(task)
    with pytest.raises(JournalMismatchError, match="survey_id"):
        task.next_try("a").open(msgspec.structs.replace(HEADER, survey_id="visits"))
    assert task.next_try("b").open().known == ["batch-1"]


# a person's word


@pytest.mark.parametrize("journal", [STORE, "a"])
def test_a_person_can_say_that_nothing_was_sent(task: TaskInstance, journal: str | None) -> None:
    task.number = 1
    with pytest.raises(JournalLostError):
        task.next_try(journal).open()
    third = task.next_try(journal)
    third.memory.trust()
    third.send("batch-1")
    assert task.next_try(journal).open().known == ["batch-1"]


def test_a_persons_word_does_not_make_a_journal_forgotten_that_is_known(task: TaskInstance) -> None:
    task.next_try("a").send("batch-1")
    second = task.next_try(STORE)
    second.memory.trust()
    assert second.open().known == ["batch-1"]
    del task.files["a"]
    third = task.next_try("b")
    third.memory.trust()
    with pytest.raises(JournalMismatchError, match="journal_conn_id 'a'"):
        third.open()


# memories that cannot be reached


def test_a_store_that_cannot_be_reached_at_first_is_asked_again(task: TaskInstance) -> None:
    assert task.values is not None
    memory = StateStoreMemory(
        store := Store(task.values), TASK_INSTANCE, try_number=1, never_expire=NEVER, sleep=lambda seconds: None
    )
    at_hand: list[Memory] = [memory, task.sql_memory("a")]
    both = TaskMemory(TASK_INSTANCE, 1, at_hand, connect=task.connect, clock=task.clock)
    store.failures = [OSError("away")] * 4
    with pytest.raises(JournalUnavailableError, match="task state store could not be read"):
        both.begin()
    assert [mark.try_number for mark in task.marks("a")] == [1]
    assert task.marks(STORE) == []
    both.journal(TASK_INSTANCE).open(HEADER)
    assert [len(mark.places) for mark in (*task.marks("a"), *task.marks(STORE))] == [1, 1]
    both.close()


@pytest.mark.parametrize("is_there_later", [True, False])
def test_a_database_that_cannot_be_reached_at_first_stops_what_comes_unless_it_is_there_later(
    task: TaskInstance, tmp_path: Path, is_there_later: bool
) -> None:
    folder = tmp_path / "mounted later"
    task.files["a"] = folder / "a.sqlite"
    first = task.next_try("a")
    assert [mark.places for mark in task.marks(STORE)] == [[]]
    if is_there_later:
        folder.mkdir()
        assert first.send("batch-1").known == ["batch-1"]
        assert task.next_try(STORE).open().known == ["batch-1"]
        return
    with pytest.raises(JournalUnavailableError, match="unable to open database file"):
        first.open()
    assert task.next_try(STORE).open().known == []


def test_a_mark_that_cannot_be_left_stops_the_try(task: TaskInstance) -> None:
    first = task.next_try("a")
    task.stores[-1].failures = [OSError("away")] * 99
    with pytest.raises(JournalUnavailableError):
        first.open()
    assert task.next_try("a").open().known == []


@pytest.mark.parametrize("after", ["a", "b", STORE])
def test_a_try_that_cannot_send_knows_what_was_sent_wherever_it_is_entered(
    task: TaskInstance, after: str | None
) -> None:
    task.next_try("a").send("batch-1")
    task.next_try(STORE).send("batch-2")
    known = task.next_try(after).journal.known_entries()
    assert sorted(entry.client_batch_id for entry in known if entry.is_batch) == ["batch-1", "batch-2"]


def test_a_try_that_cannot_send_says_so_where_it_does_not_know_all(task: TaskInstance) -> None:
    assert task.values is not None
    task.next_try("a").send("batch-1")
    file = task.files.pop("a")
    with pytest.raises(JournalLostError):
        task.next_try(STORE).journal.known_entries()
    task.files["a"] = file
    task.execute("a", "DELETE FROM eight_by_eight_batch", "DELETE FROM eight_by_eight_campaign")
    for journal in ("a", STORE):
        with pytest.raises(JournalLostError):
            task.next_try(journal).journal.known_entries()
    task.values.clear()
    with pytest.raises(JournalLostError):
        task.next_try("b").journal.known_entries()


# copies


@pytest.mark.parametrize("after", ["a", STORE, "b"])
def test_a_database_that_was_restored_is_told_from_the_one_that_was_used(task: TaskInstance, after: str | None) -> None:
    task.next_try("a").send("batch-1")
    copy = task.files["a"].read_bytes()
    task.next_try("a").send("batch-2", row_keys=keys(4))
    used = task.files["a"].read_bytes()
    task.files["a"].write_bytes(copy)
    with pytest.raises(JournalLostError):
        task.next_try(after).journal.known_entries()
    with pytest.raises(JournalLostError, match="was emptied or restored, or is a copy"):
        task.next_try(after).open()
    task.files["a"].write_bytes(used)
    assert task.next_try(after).open().known == ["batch-1", "batch-2"]


def test_a_try_that_has_opened_no_journal_leaves_no_riddle(task: TaskInstance) -> None:
    """Its mark may be missing in a database that was away just then."""
    task.next_try("a").send("batch-1")
    file = task.files["a"]
    task.files["a"] = Path("/nowhere/at/all.sqlite")
    with pytest.raises(JournalUnavailableError):
        task.next_try("a").open()
    task.files["a"] = file
    assert task.next_try("a").open().known == ["batch-1"]


def test_a_place_that_only_another_places_mark_knows_of_is_taken_over_too(task: TaskInstance) -> None:
    assert task.values is not None
    task.next_try("a").send("batch-1")
    task.next_try("b").send("batch-2", row_keys=keys(4))
    marks = {key: value for key, value in task.values.items() if key.startswith("8x8/mark/")}
    for key, value in marks.items():  # as if only the second database had been known to the store
        mark = json.loads(value)
        mark["places"] = [place for place in mark["places"] if place["journal"].get("conn_id") == "b"]
        task.values[key] = json.dumps(mark)
    task.execute("b", "DELETE FROM eight_by_eight_batch WHERE client_batch_id = 'batch-1'")
    assert task.next_try(STORE).open().known == ["batch-2", "batch-1"]


# several deployments


def test_marks_of_another_deployment_are_not_this_ones(old_task: TaskInstance) -> None:
    task = old_task
    task.deployment = "production"
    task.next_try("a", "march").send("batch-1")
    task.deployment = "staging"
    task.number = 0
    assert task.next_try("a", "march on staging").send("batch-2").known == ["batch-2"]
    assert task.next_try("a", "march on staging").open().known == ["batch-2"]
    task.deployment = "production"
    assert task.next_try("a", "march").open().known == ["batch-1"]


def test_marks_from_before_the_deployment_had_a_name_are_found(old_task: TaskInstance) -> None:
    old_task.next_try("a").send("batch-1")
    old_task.deployment = "production"
    assert old_task.next_try("a").open().known == ["batch-1"]
