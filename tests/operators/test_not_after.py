"""``not_after``: a run that comes too late sends nothing more, and knows what was sent."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_8x8.surveys.clock import SystemClock
from tests.operators.test_survey_batch import COUNTS, person, result_of, survey_dag, with_state_store

PEOPLE = [person(number) for number in range(20)]
PAST = datetime(2026, 1, 31, 9, tzinfo=UTC)
SAID = "it is later than not_after, 2026-01-31T09:00:00+00:00: nothing more is sent"


def later(**time: float) -> datetime:
    return datetime.now(UTC) + timedelta(**time)


@pytest.mark.parametrize(
    "not_after",
    [PAST, "2026-01-31T17:00:00+08:00", "{{ macros.datetime(2026, 1, 31, 9).isoformat() }}Z", "2026-01-31 09:00:00Z"],
)
@pytest.mark.parametrize("native", [False, True])
def test_a_run_that_comes_later_sends_nothing_and_fails_for_good(
    run_dag: Any, sandbox: Any, connection: str, not_after: Any, native: bool
) -> None:
    dag = survey_dag(rows=PEOPLE, not_after=not_after, retries=1)
    dag.render_template_as_native_obj = native
    run = run_dag(dag)
    assert (run.task_states, run.try_numbers) == ({"send": "failed"}, {"send": 1})
    assert "it is later than not_after, 2026-01-31T" in run.log
    assert sandbox.stats()["requests"] == 0
    assert result_of(run)["not_sent_count"] == 20


@pytest.mark.parametrize("not_after", [None, "{{ (dag_run.start_date + macros.timedelta(hours=1)) }}"])
def test_a_run_that_comes_in_time_sends(run_dag: Any, sandbox: Any, connection: str, not_after: str | None) -> None:
    run = run_dag(survey_dag(rows=PEOPLE, not_after=not_after))
    assert result_of(run)["accepted_count"] == 20


@pytest.mark.parametrize(
    "not_after",
    ["{{ none }}", "", "2026-01-31T09:00:00", "tomorrow", "2026-01-31", "{{ macros.datetime(2026, 1, 1) }}"],
)
@pytest.mark.parametrize("native", [False, True])
def test_a_limit_that_comes_out_as_none_is_no_leave_to_send(
    run_dag: Any, sandbox: Any, connection: str, not_after: str, native: bool
) -> None:
    dag = survey_dag(rows=PEOPLE, not_after=not_after if "{{" in not_after else f"{{{{ '{not_after}' }}}}")
    dag.render_template_as_native_obj = native
    run = run_dag(dag)
    assert run.task_states == {"send": "failed"}
    assert "Nothing was sent: not_after" in run.log
    assert sandbox.stats()["requests"] == 0


def test_no_batch_is_begun_once_the_time_has_come(
    run_dag: Any, sandbox: Any, connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun_after = later(hours=1)

    def now(clock: SystemClock) -> float:
        return time.time() + (7200 if sandbox.stats()["batches"] >= 2 else 0)

    monkeypatch.setattr(SystemClock, "now", now)
    run = run_dag(survey_dag(rows=PEOPLE, batch_size=5, not_after=begun_after, retries=1, retry_delay=timedelta()))
    assert sandbox.stats()["accepted"] == 10
    result = result_of(run)
    assert result["accepted_count"] == 10
    assert result["not_sent_count"] > 0
    assert run.task_states == {"send": "failed"}


@with_state_store
def test_a_cleared_task_that_had_sent_all_is_green_also_when_it_is_late(
    run_dag: Any, clear_and_run: Any, sandbox: Any, connection: str
) -> None:
    first = run_dag(survey_dag(rows=PEOPLE, not_after=later(hours=1)))
    run = clear_and_run(survey_dag(rows=PEOPLE, not_after=PAST), first.run_id)
    assert run.task_states == {"send": "success"}
    assert [result_of(run)[name] for name in COUNTS] == [20, 0, 0, 0, 0, 0, 0]
    run = clear_and_run(survey_dag(rows=[*PEOPLE, person(20)], not_after=PAST), first.run_id)
    assert run.task_states == {"send": "failed"}
    assert f"Sending stopped: {SAID}" in run.log
    assert [result_of(run)[name] for name in COUNTS] == [20, 0, 0, 0, 0, 1, 0]
    assert sandbox.stats()["accepted"] == 20


@with_state_store
def test_a_batch_of_unknown_outcome_is_still_looked_up_when_it_is_late(
    run_dag: Any, clear_and_run: Any, sandbox: Any, connection: str
) -> None:
    sandbox.faults(
        [{"on": "survey_batch", "kind": "close_after_accept"}, {"on": "log_export", "kind": "500", "times": 99}]
    )
    first = run_dag(survey_dag(rows=PEOPLE, not_after=later(hours=1)))
    assert result_of(first)["unknown_count"] == 20
    late = survey_dag(rows=[*PEOPLE, person(20)], not_after=PAST, retries=1, retry_delay=timedelta())
    run = clear_and_run(late, first.run_id)
    assert [result_of(run)[name] for name in COUNTS] == [0, 0, 0, 0, 0, 1, 20]
    assert run.try_numbers["send"] > first.try_numbers["send"] + 1  # another try looks again
    sandbox.faults([])
    run = clear_and_run(survey_dag(rows=[*PEOPLE, person(20)], not_after=PAST), first.run_id)
    assert run.task_states == {"send": "failed"}
    assert [result_of(run)[name] for name in COUNTS] == [20, 0, 0, 0, 0, 1, 0]
    assert sandbox.stats()["accepted"] == 20
