"""8x8's logs are waited for without a worker: whole DAGs against the sandbox, with triggers that Airflow runs here."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.operators.test_survey_batch import person, result_of, survey_dag
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
