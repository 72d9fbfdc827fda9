"""The provider in an Airflow 3 as it is deployed: what its pages show, and the example DAGs."""

from __future__ import annotations

import re
from functools import partial
from typing import Any
from urllib.parse import quote

import pytest

from tests.conftest import API_KEY
from tests.examples.test_example_dags import CUSTOMERS
from tests.support.airflow_version import IS_AIRFLOW_3
from tests.support.deployment import Airflow3

pytestmark = pytest.mark.skipif(not IS_AIRFLOW_3, reason="the API that this drives is Airflow 3's")

FINAL = frozenset({"success", "failed", "skipped", "upstream_failed"})


def run_of(airflow: Airflow3, dag_id: str, **conf: Any) -> dict[str, str]:
    """Trigger a run of a DAG; the states of its tasks, once it and what the schedule makes beside it have ended."""
    airflow.start_run(dag_id, **conf)

    def ended() -> Any:
        runs = airflow.call("GET", f"/api/v2/dags/{dag_id}/dagRuns")["dag_runs"]
        if not {run["state"] for run in runs} <= {"success", "failed"}:
            return []
        return [run["dag_run_id"] for run in runs if run["run_type"] == "manual"]

    (run_id,) = airflow.wait_for("the end of its runs", dag_id, ended)
    return final_states(airflow, dag_id, run_id)


def final_states(airflow: Airflow3, dag_id: str, run_id: str) -> dict[str, str]:
    """The states of a run's tasks, once all have ended; none before."""
    tasks = airflow.call("GET", tasks_path(dag_id, run_id))["task_instances"]
    states = {task["task_id"]: task["state"] for task in tasks}
    return states if FINAL.issuperset(states.values()) else {}


def awaits_an_answer(airflow: Airflow3, dag_id: str, run_id: str) -> bool:
    """Tell whether a run's question is asked and its task at rest: to an earlier answer, Airflow lets the task fail."""
    task = airflow.call("GET", f"{tasks_path(dag_id, run_id)}/approve")
    has_come_to_rest = airflow.has_seen_the_end_of(dag_id, run_id, "approve", task["try_number"])
    return bool(task["state"] == "awaiting_input" and has_come_to_rest)


def tasks_path(dag_id: str, run_id: str) -> str:
    return f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/taskInstances"


def question_path(dag_id: str, run_id: str) -> str:
    return f"{tasks_path(dag_id, run_id)}/approve/-1/hitlDetails"


def test_the_connections_form_shows_its_fields(airflow: Airflow3) -> None:
    metas = airflow.call("GET", "/ui/connections/hook_meta")
    meta = next(meta for meta in metas if meta["connection_type"] == "eight_by_eight")
    assert meta["hook_name"] == "8x8"
    assert set(meta["extra_fields"]) == {"region", "account_id", "timeout", "journal_conn_id"}
    assert "europe" in meta["extra_fields"]["region"]["schema"]["enum"]
    assert meta["standard_fields"]["password"]["title"] == "API key"
    assert meta["standard_fields"]["url_schema"]["hidden"] is True


def test_test_connection_works_and_fails_clearly(airflow: Airflow3, default_sandbox: Any) -> None:
    good = {
        "connection_id": "try",
        "conn_type": "eight_by_eight",
        "host": default_sandbox.url,
        "login": "sandbox_hq",
        "password": API_KEY,
    }
    answer = airflow.call("POST", "/api/v2/connections/test", json=good)
    assert answer["status"] is True, answer
    answer = airflow.call("POST", "/api/v2/connections/test", json={**good, "password": "wrong-key"})
    assert answer["status"] is False
    assert "code 1200" in answer["message"]
    assert "wrong-key" not in answer["message"]


@pytest.mark.parametrize(
    ("dag_id", "conf"), [("survey_from_xcom", {}), ("survey_from_warehouse", {"within_days": 31})], ids=["xcom", "sql"]
)
def test_the_example_dags_run_green(airflow: Airflow3, default_sandbox: Any, dag_id: str, conf: dict[str, Any]) -> None:
    default_sandbox.forget()
    states = run_of(airflow, dag_id, **conf)
    assert set(states.values()) == {"success"}, airflow.log_text(dag_id)[-4000:]
    assert default_sandbox.stats()["accepted"] == 3
    assert default_sandbox.stats()["max_per_key"] == 1


def test_what_a_person_approves_is_sent_and_what_a_person_rejects_is_not(
    airflow: Airflow3, default_sandbox: Any
) -> None:
    dag_id = "survey_with_approval"
    default_sandbox.forget()
    airflow.unpause(dag_id)
    runs = {}
    for answer in ("Reject", "Approve"):
        run = {"logical_date": None, "conf": {"campaign": answer}}
        runs[answer] = airflow.call("POST", f"/api/v2/dags/{dag_id}/dagRuns", json=run)["dag_run_id"]
    for answer, run_id in runs.items():
        airflow.wait_for("the question", dag_id, partial(awaits_an_answer, airflow, dag_id, run_id))
        asked = airflow.call("GET", question_path(dag_id, run_id))
        assert asked["subject"] == f"Surveys to the customers: {answer}"
        assert "3 texts would be sent." in asked["body"]
    assert default_sandbox.stats()["requests"] == 0
    for answer, run_id in runs.items():
        airflow.call("PATCH", question_path(dag_id, run_id), json={"chosen_options": [answer]})
    states = {
        answer: airflow.wait_for("a run's end", dag_id, partial(final_states, airflow, dag_id, run_id))
        for answer, run_id in runs.items()
    }
    first = {"preview_surveys": "success", "approve": "success"}
    assert states["Reject"] == first | {"send_surveys": "skipped", "delivery_report": "skipped"}
    assert states["Approve"] == first | {"send_surveys": "success", "delivery_report": "success"}
    assert default_sandbox.stats()["accepted"] == 3
    assert airflow.result(dag_id, "delivery_report")["delivered_count"] == 3


def test_the_survey_tasks_logs_at_debug_level_hold_neither_key_nor_number(airflow: Airflow3) -> None:
    for log in map(airflow.log_text, ("survey_from_xcom", "survey_from_warehouse")):
        assert '"debug"' in log
        assert API_KEY not in log
        digits = re.sub(r"[\s().-]", "", log)
        assert not [phone for _, _, phone in CUSTOMERS if phone.replace(" ", "").lstrip("+") in digits]
        assert not [number for number in ("12025550123", "447700900123", "33639981234") if number in digits]
