"""8x8's logs are waited for without a worker: whole DAGs against the sandbox, with triggers that Airflow runs here."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_8x8.exceptions import (
    EightByEightRefusedFinalError,
    EightByEightSurveyError,
    EightByEightUnknownOutcomeError,
)
from tests.conftest import API_KEY
from tests.operators.test_survey_batch import person, result_of, survey_dag, with_state_store, without_state_store
from tests.support.dag_runs import DagRunResult

PEOPLE = [person(number) for number in range(20)]
CANARY = "+12025550199"
LOST = {"on": "survey_batch", "kind": "close_before_accept"}
ANSWER_LOST = {"on": "survey_batch", "kind": "close_after_accept"}
SHOWN_LATE = {"on": "log_export", "kind": "log_lag_seconds", "seconds": 1_000_000, "times": 1}
NEVER_SHOWN = {**SHOWN_LATE, "times": 1_000}
MINUTES = timedelta(minutes=2)
DEFERRED = "running trigger in line"

Run = Callable[..., DagRunResult]


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The argument that makes the operator remember on any Airflow."""
    fields = {"conn_type": "sqlite", "host": str(tmp_path / "journal.sqlite")}
    monkeypatch.setenv("AIRFLOW_CONN_JOURNAL", json.dumps(fields))
    return {"journal_conn_id": "journal"}


def dag_of(**arguments: Any) -> Any:
    return survey_dag(
        **{"rows": PEOPLE, "batch_size": 5, "deferrable": True, "reconcile_timeout": MINUTES, **arguments}
    )


def test_a_try_goes_on_where_it_was(
    run_dag: Run, sandbox: Any, connection: str, journal: dict[str, Any], tmp_path: Path
) -> None:
    sandbox.faults([ANSWER_LOST, SHOWN_LATE])
    rows = [*PEOPLE, PEOPLE[0], person(30, destination="12")]
    run = run_dag(dag_of(**journal, rows=rows, report_path=str(tmp_path / "report")))
    assert run.task_states["send"] == "success", run.log[-3000:]
    assert run.log.count(DEFERRED) == 1
    assert run.try_numbers["send"] == 1
    result = result_of(run)
    assert (result["rows_read"], result["accepted_count"], result["unknown_count"]) == (22, 20, 0)
    assert (result["invalid_count"], result["duplicate_count"], result["already_sent_count"]) == (1, 1, 0)
    assert len(result["batch_ids"]) == 4
    assert sandbox.stats()["max_per_key"] == 1
    assert sandbox.stats()["accepted"] == 20
    assert "this try sent 20" in run.log


def test_the_time_for_the_logs_is_that_of_the_whole_try(
    run_dag: Run, sandbox: Any, connection: str, journal: dict[str, Any]
) -> None:
    sandbox.faults([ANSWER_LOST, NEVER_SHOWN])
    failures: list[Any] = []
    run = run_dag(
        dag_of(
            **journal,
            reconcile_timeout=timedelta(seconds=12),
            on_failure_callback=lambda context: failures.append(context["exception"]),
        )
    )
    assert run.task_states["send"] == "failed"
    assert run.log.count(DEFERRED) == 2, "after 5 s, and when the time is over"
    assert run.log.count("8x8 has not said whether it accepted") == 1
    result = result_of(run)
    assert (result["accepted_count"], result["unknown_count"]) == (15, 5)
    assert "this try sent 15 and may have sent 5 more" in run.log
    assert sandbox.stats()["accepted"] == 20, "8x8 has them"
    (failure,) = failures
    assert isinstance(failure, EightByEightUnknownOutcomeError)


def test_what_takes_two_seconds_is_waited_for_in_the_worker(
    run_dag: Run, sandbox: Any, connection: str, journal: dict[str, Any]
) -> None:
    """Another process takes longer to begin; one that does not may come before Airflow has seen the first one's end."""
    sandbox.faults([ANSWER_LOST, NEVER_SHOWN])
    run = run_dag(dag_of(**journal, reconcile_timeout=timedelta(seconds=2), on_unknown="assume_sent"))
    assert run.task_states["send"] == "success"
    assert DEFERRED not in run.log
    assert result_of(run)["unknown_count"] == 5


def test_an_export_that_takes_its_time_is_waited_for_without_a_worker(
    run_dag: Run, sandbox: Any, connection: str, journal: dict[str, Any]
) -> None:
    sandbox.faults([ANSWER_LOST, {"on": "log_export_result", "kind": "500", "times": 7}])
    run = run_dag(dag_of(**journal))
    assert run.task_states["send"] == "success", run.log[-3000:]
    assert run.log.count(DEFERRED) == 1
    assert result_of(run)["accepted_count"] == sandbox.stats()["accepted"] == 20


def test_why_a_try_has_stopped_is_not_forgotten(
    run_dag: Run, sandbox: Any, connection: str, journal: dict[str, Any]
) -> None:
    sandbox.faults([ANSWER_LOST, ANSWER_LOST, ANSWER_LOST, SHOWN_LATE])
    run = run_dag(dag_of(**journal, batch_size=2))
    assert run.task_states["send"] == "failed"
    assert "3 batches in a row have an unknown outcome" in run.log
    result = result_of(run)
    assert result["accepted_count"] == sandbox.stats()["accepted"] == 6, "it has sent no more, and knows what it has"
    assert result["unknown_count"] == 0


@without_state_store
def test_without_a_journal_the_worker_is_kept(run_dag: Run, sandbox: Any, connection: str) -> None:
    sandbox.faults([ANSWER_LOST, SHOWN_LATE])
    run = run_dag(dag_of(retries=0))
    assert run.log.count("deferrable has no effect without a journal") == 1
    assert DEFERRED not in run.log
    assert result_of(run)["accepted_count"] == 20


@with_state_store
def test_airflows_own_store_is_journal_enough(run_dag: Run, sandbox: Any, connection: str) -> None:
    sandbox.faults([ANSWER_LOST, SHOWN_LATE])
    run = run_dag(dag_of())
    assert run.log.count(DEFERRED) == 1
    assert result_of(run)["accepted_count"] == sandbox.stats()["accepted"] == 20


def waiting_run(dag: Any) -> str:
    """Run a DAG until its task waits without a worker; return the run's id."""
    from tests.support.dag_runs import run_due

    run = run_due(dag, "manual", datetime.now(UTC))
    assert run.task_states["send"] == "deferred", run.log[-3000:]
    return run.run_id


@pytest.mark.usefixtures("airflow_db")
def test_a_try_that_waits_holds_no_slot_and_gives_away_no_number(
    sandbox: Any, connection: str, journal: dict[str, Any]
) -> None:
    from tests.support.dag_runs import go_on, what_waits

    sandbox.faults([ANSWER_LOST, {**LOST, "kind": "close_before_accept"}, SHOWN_LATE])
    dag = dag_of(**journal, canary_destination=CANARY)
    run_id = waiting_run(dag)
    given, slots = what_waits(dag, run_id)
    assert slots == 0
    written = json.dumps(given)
    assert not any(row["destination"].lstrip("+") in written for row in PEOPLE)
    assert CANARY[1:] not in written
    assert API_KEY not in written
    before = sandbox.stats()["accepted"]
    run = go_on(dag, run_id)
    assert run.task_states["send"] == "deferred", "of the second batch the logs have nothing yet"
    assert sandbox.stats()["accepted"] == before


@pytest.mark.usefixtures("airflow_db")
def test_when_the_trigger_fails_the_task_says_what_was_sent(
    sandbox: Any, connection: str, journal: dict[str, Any]
) -> None:
    from tests.support.dag_runs import go_on

    sandbox.faults([ANSWER_LOST, {**SHOWN_LATE, "times": 2}])
    dag = dag_of(**journal)
    run = go_on(dag, waiting_run(dag), trigger_fails=True)
    assert run.task_states["send"] == "failed"
    assert "8x8's logs could not be waited for without a worker: Trigger failure" in run.log
    result = result_of(run)
    assert (result["accepted_count"], result["unknown_count"], result["rows_read"]) == (15, 5, 20)
    assert sandbox.stats()["accepted"] == 20


@pytest.mark.usefixtures("airflow_db")
def test_a_try_whose_journal_is_gone_when_it_goes_on_sends_nothing(
    sandbox: Any, connection: str, journal: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.support.dag_runs import go_on

    sandbox.faults([ANSWER_LOST, NEVER_SHOWN])
    dag = dag_of(**journal)
    run_id = waiting_run(dag)
    fields = {"conn_type": "sqlite", "host": str(tmp_path / "another.sqlite")}
    monkeypatch.setenv("AIRFLOW_CONN_JOURNAL", json.dumps(fields))
    made = sandbox.stats()["batches"]
    run = go_on(dag, run_id)
    assert run.task_states["send"] == "failed"
    assert sandbox.stats()["batches"] == made
    assert sandbox.stats()["max_per_key"] == 1


@pytest.mark.usefixtures("airflow_db")
@pytest.mark.parametrize("on_unknown", ["resend", "assume_sent"])
def test_before_it_decides_a_try_that_has_waited_too_long_looks_once_more(
    sandbox: Any, connection: str, journal: dict[str, Any], on_unknown: str
) -> None:
    """The triggerer was away: the export that was asked for is as old as that."""
    from tests.support.dag_runs import go_on

    sandbox.faults(
        [ANSWER_LOST, {**SHOWN_LATE, "times": 2}, {"on": "log_export_result", "kind": "500", "times": 1_000}]
    )
    dag = dag_of(**journal, on_unknown=on_unknown, reconcile_timeout=timedelta(seconds=12))
    run_id = waiting_run(dag)
    time.sleep(13)
    sandbox.faults([])
    run = go_on(dag, run_id)
    while run.task_states["send"] == "deferred":
        run = go_on(dag, run_id)
    assert run.task_states["send"] == "success", run.log[-3000:]
    result = result_of(run)
    assert (result["accepted_count"], result["unknown_count"]) == (20, 0)
    assert sandbox.stats()["max_per_key"] == 1


def test_a_refused_key_is_told_by_its_class(
    run_dag: Run, sandbox: Any, connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"conn_type": "eight_by_eight", "host": sandbox.url, "login": "sandbox_hq", "password": "another"}
    monkeypatch.setenv("AIRFLOW_CONN_EIGHT_BY_EIGHT_DEFAULT", json.dumps(fields))
    failures: list[Any] = []
    run = run_dag(dag_of(retries=0, on_failure_callback=lambda context: failures.append(context["exception"])))
    assert run.task_states["send"] == "failed"
    (failure,) = failures
    assert isinstance(failure, EightByEightRefusedFinalError)
    assert isinstance(failure, EightByEightSurveyError)
