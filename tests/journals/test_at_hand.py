"""The memories that a running task has at hand."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_8x8.journals import sql as journals_sql
from airflow_provider_8x8.journals.at_hand import JournalsAtHand, name_of
from airflow_provider_8x8.surveys.clock import SystemClock
from airflow_provider_8x8.surveys.journal.errors import JournalLostError
from airflow_provider_8x8.surveys.journal.memory import MemoryJournal
from airflow_provider_8x8.surveys.journal.protocol import Journal
from airflow_provider_8x8.surveys.settings import Said
from tests.journals.entries import HEADER
from tests.journals.task_state_store import Store
from tests.operators.test_survey_batch import with_state_store


def at_hand(try_number: int, store: Store | None, journal_conn_id: str | None = None) -> JournalsAtHand:
    ti = SimpleNamespace(dag_id="dag", run_id="run", task_id="send", map_index=-1, try_number=try_number)
    context: Any = {"ti": ti, "task_state_store": store}
    clock = SystemClock(threading.Event())
    return JournalsAtHand(context, lambda: journal_conn_id, deployment=None, clock=clock)


def journal_of(task: JournalsAtHand, said: dict[str, Said] | None = None) -> Journal:
    task.choose("dag/run/send")
    return task.journal(said or {})


@pytest.mark.parametrize(("map_index", "name"), [(None, "dag/run/send"), (-1, "dag/run/send"), (0, "dag/run/send/0")])
def test_a_task_instance_is_named_with_its_map_index(map_index: int | None, name: str) -> None:
    ti = SimpleNamespace(dag_id="dag", run_id="run", task_id="send", map_index=map_index)
    context: Any = {"ti": ti}
    assert name_of(context) == name


@with_state_store
@pytest.mark.parametrize("error", [RuntimeError, ValueError, TypeError, KeyError])
def test_whatever_airflow_raises_for_the_journals_connection_the_store_knows_that_the_try_has_begun(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(conn_id: str) -> Any:
        raise error("the secrets backend is away")

    values: dict[str, str] = {}
    with monkeypatch.context() as patched:
        patched.setattr(journals_sql, "engine_of", fail)
        first = at_hand(1, Store(values), "journal")
        first.leave_mark()
        with pytest.raises(error, match="the secrets backend is away"):
            journal_of(first)
    second = at_hand(2, Store(values))
    second.leave_mark()
    journal_of(second).open(HEADER)
    assert second.known_entries() == []


def test_where_nothing_remembers_only_the_first_try_may_send() -> None:
    first = at_hand(1, None)
    assert isinstance(journal_of(first), MemoryJournal)
    assert (first.known_entries(), first.outlive_try) == ([], False)
    second = at_hand(2, None)
    with pytest.raises(ValueError, match=r"this is try 2 of the task instance, .* set journal_conn_id"):
        journal_of(second)
    assert second.known_entries() is None


@pytest.mark.parametrize("store", [None, pytest.param({}, marks=with_state_store)])
def test_a_persons_word_that_nothing_was_sent_before_holds_for_one_try(store: dict[str, str] | None) -> None:
    def try_of(number: int) -> JournalsAtHand:
        return at_hand(number, None if store is None else Store({}))

    said: dict[str, Said] = {"before try 2": "not_accepted"}
    journal_of(try_of(2), said).open(HEADER)
    with pytest.raises((ValueError, JournalLostError), match="this is try 3 of the task instance"):
        journal_of(try_of(3), said).open(HEADER)
