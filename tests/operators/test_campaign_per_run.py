"""A DAG that Airflow runs by itself, without ``campaign_id``: the log says what that means, once a try."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.operators.test_survey_batch import BODY, START, person

SAID = "Each run of this DAG is a campaign of its own"


def dag_of(schedule: Any, **arguments: Any) -> Any:
    from airflow.providers.common.compat.sdk import DAG

    from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator

    with DAG("survey_at_times", schedule=schedule, start_date=START, catchup=False, max_active_runs=1) as dag:
        EightByEightSurveyBatchOperator(
            task_id="send", survey_id="orders", template_body=BODY, rows=[person(1)], retries=0, **arguments
        )
    return dag


def schedule_of(name: str | None) -> Any:
    if name != "asset":
        return name
    from airflow.providers.common.compat.sdk import Asset

    return [Asset("orders")]


@pytest.mark.parametrize("schedule", ["@daily", "0 6 * * 1", "@once", "@continuous", "asset"])
def test_it_is_said_once_where_airflow_makes_runs_by_itself(
    run_dag: Any, sandbox: Any, connection: str, schedule: str
) -> None:
    run = run_dag(dag_of(schedule_of(schedule)))
    assert run.task_states == {"send": "success"}
    assert run.task_logs["send"].count(SAID) == 1


def test_it_is_not_said_where_somebody_triggers_each_run(run_dag: Any, sandbox: Any, connection: str) -> None:
    assert SAID not in run_dag(dag_of(None)).log


def test_it_is_not_said_where_runs_share_a_campaign(
    run_dag: Any, sandbox: Any, connection: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_JOURNAL", json.dumps({"conn_type": "sqlite", "host": str(tmp_path / "journal")}))
    run = run_dag(dag_of("@daily", campaign_id="{{ ds }}", journal_conn_id="journal"))
    assert run.task_states == {"send": "success"}
    assert SAID not in run.log
