"""Tries that have left nothing, and tries that are alive beside the one that is told to send."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from airflow_provider_8x8.surveys.journal.entries import EntryState
from airflow_provider_8x8.surveys.journal.errors import JournalLostError, SupersededError
from airflow_provider_8x8.surveys.journal.marks import Mark
from airflow_provider_8x8.surveys.journal.sql_memory import SqlMemory
from tests.journals.entries import keys
from tests.journals.task_instances import NOTHING_KNOWN, STORE, TaskInstance

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
