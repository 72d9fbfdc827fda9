"""Where the button on a task instance's page leads to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import API_KEY, SUBACCOUNT
from tests.operators.test_survey_batch import person, survey_dag
from tests.support.dag_runs import links_of


def lead(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    connection = {"conn_type": "eight_by_eight", "login": SUBACCOUNT, "password": API_KEY, **fields}
    monkeypatch.setenv("AIRFLOW_CONN_EIGHT_BY_EIGHT_DEFAULT", json.dumps(connection))


def test_it_leads_to_the_sandboxs_page(run_dag: Any, sandbox: Any, connection: str) -> None:
    run = run_dag(dag := survey_dag(rows=[person(1)]))
    assert links_of(dag, run) == {"send": {"8x8 Connect": f"{sandbox.url}/sandbox"}}


def test_it_is_there_when_the_task_fails_and_pushes_nothing_else(run_dag: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lead(monkeypatch, extra={"region": "europe"})
    run = run_dag(dag := survey_dag(rows=[], on_empty="fail", do_xcom_push=False))
    assert (run.task_states, run.xcoms) == ({"send": "failed"}, {"send": {}})
    assert links_of(dag, run) == {"send": {"8x8 Connect": "https://connect.8x8.com/"}}


def test_there_is_none_where_the_connection_leads_nowhere(run_dag: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lead(monkeypatch, host="https://somebody:f7a1-pass@sandbox.example.com")
    run = run_dag(dag := survey_dag(rows=[person(1)]))
    assert run.task_states == {"send": "failed"}
    assert links_of(dag, run) == {"send": {}}
    assert "f7a1-pass" not in run.log


def test_each_mapped_instance_has_its_own(run_dag: Any, sandbox: Any, connection: str) -> None:
    from airflow.providers.common.compat.sdk import DAG

    from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator
    from tests.operators.test_survey_batch import BODY, START

    with DAG("survey_links", schedule=None, start_date=START, catchup=False) as dag:
        EightByEightSurveyBatchOperator.partial(
            task_id="send", survey_id="orders", template_body=BODY, retries=0
        ).expand(rows=[[person(1)], [person(2)]])
    run = run_dag(dag)
    assert links_of(dag, run) == {f"send[{index}]": {"8x8 Connect": f"{sandbox.url}/sandbox"} for index in range(2)}
