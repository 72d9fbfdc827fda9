"""The memories that a running task has at hand."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_8x8.journals import engines
from airflow_provider_8x8.journals.at_hand import JournalsAtHand, name_of
from airflow_provider_8x8.surveys.clock import SystemClock
from airflow_provider_8x8.surveys.journal import MemoryJournal
from tests.journals.entries import HEADER
from tests.journals.task_state_store import Store
from tests.operators.test_survey_batch import with_state_store


def at_hand(try_number: int, store: Store | None, journal_conn_id: str | None = None) -> JournalsAtHand:
    ti = SimpleNamespace(dag_id="dag", run_id="run", task_id="send", map_index=-1, try_number=try_number)
    context: Any = {"ti": ti, "task_state_store": store}
    clock = SystemClock(threading.Event())
    return JournalsAtHand(context, journal_conn_id, deployment=None, clock=clock)


@pytest.mark.parametrize(("map_index", "name"), [(None, "dag/run/send"), (-1, "dag/run/send"), (0, "dag/run/send/0")])
def test_a_task_instance_is_named_with_its_map_index(map_index: int | None, name: str) -> None:
    ti = SimpleNamespace(dag_id="dag", run_id="run", task_id="send", map_index=map_index)
    assert name_of({"ti": ti}) == name  # type: ignore[typeddict-item]


@with_state_store
@pytest.mark.parametrize("error", [RuntimeError, ValueError, TypeError, KeyError])
def test_whatever_airflow_raises_for_the_journals_connection_the_store_knows_that_the_try_has_begun(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(conn_id: str) -> Any:
        raise error("the secrets backend is away")

    values: dict[str, str] = {}
    with monkeypatch.context() as patched:
        patched.setattr(engines, "engine_of", fail)
        first = at_hand(1, Store(values), "journal")
        first.leave_mark()
        with pytest.raises(error, match="the secrets backend is away"):
            first.journal("dag/run/send")
    second = at_hand(2, Store(values))
    second.leave_mark()
    second.journal("dag/run/send").open(HEADER)
    assert second.known_entries() == []


def test_where_nothing_remembers_only_the_first_try_may_send() -> None:
    first = at_hand(1, None)
    assert isinstance(first.journal("dag/run/send"), MemoryJournal)
    assert (first.known_entries(), first.outlive_try) == ([], False)
    second = at_hand(2, None)
    with pytest.raises(ValueError, match=r"this is try 2 of the task instance, .* set journal_conn_id"):
        second.journal("dag/run/send")
    assert second.known_entries() is None
    assert isinstance(second.journal("dag/run/send", nothing_else_was_sent=True), MemoryJournal)
