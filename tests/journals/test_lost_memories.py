"""What a try makes of memories that were thrown away, are out of reach, were copied, or have no marks yet."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from airflow_provider_8x8.journals.sql import prune_journal
from airflow_provider_8x8.surveys.journal.errors import JournalLostError, JournalMismatchError, JournalUnavailableError
from airflow_provider_8x8.surveys.journal.marks import Memory
from airflow_provider_8x8.surveys.journal.state_store import StateStoreMemory
from airflow_provider_8x8.surveys.journal.task_memory import TaskMemory
from tests.journals.entries import HEADER, TASK_INSTANCE, keys
from tests.journals.task_instances import NOTHING_KNOWN, STORE, TaskInstance
from tests.journals.task_state_store import NEVER, Store

# what was thrown away


def test_a_store_that_was_emptied_is_refused_by_every_try_after_it(task: TaskInstance) -> None:
    assert task.values is not None
    task.next_try(STORE).send("batch-1")
    task.values.clear()
    for _ in range(2):
        with pytest.raises(JournalLostError, match=NOTHING_KNOWN):
            task.next_try(STORE).open()
        assert task.values == {}


@pytest.mark.parametrize("late", ["8x8/header", "8x8/begun/1", "8x8/mark/1"])
def test_a_store_that_was_emptied_is_missed_though_a_value_of_an_overtaken_try_is_stored_late(
    task: TaskInstance, late: str
) -> None:
    assert task.values is not None
    task.next_try(STORE).open()
    value = task.values[late]
    task.next_try(STORE).send("batch-1")
    task.values.clear()
    task.values[late] = value
    for _ in range(2):
        with pytest.raises(JournalLostError, match=NOTHING_KNOWN):
            task.next_try(STORE).open()


def test_it_is_missed_though_the_late_one_says_that_another_journal_was_used(task: TaskInstance) -> None:
    assert task.values is not None
    begun = task.next_try("a")
    first = dict(task.values)
    begun.open()
    late = task.values["8x8/mark/1"]
    task.values.clear()
    task.values.update(first)  # the second try does not see yet that the first has opened its journal
    task.next_try("b").send("batch-1")
    task.values.clear()
    task.values["8x8/mark/1"] = late
    for _ in range(2):
        with pytest.raises(JournalLostError, match=NOTHING_KNOWN):
            task.next_try("a").open()


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
