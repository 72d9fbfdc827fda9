"""What a try knows of those before it, whatever was changed between them: on SQLite files and a task state store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_8x8.surveys.journal.entries import EntryState
from airflow_provider_8x8.surveys.journal.errors import (
    JournalLostError,
    JournalMismatchError,
    JournalUnavailableError,
    SupersededError,
)
from tests.journals.entries import NOW, TASK_INSTANCE, always, entry_of, keys, settled
from tests.journals.task_instances import NOTHING_KNOWN, STORE, TaskInstance
from tests.support.databases import Database

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
