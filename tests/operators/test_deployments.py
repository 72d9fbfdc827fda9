"""Several Airflows and one database for journals."""

from __future__ import annotations

from typing import Any

import pytest

from tests.operators.changes import A, Run, assert_sent_once, dag_of
from tests.operators.test_survey_batch import START, person, result_of

pytestmark = pytest.mark.usefixtures("databases")


def deployment(monkeypatch: pytest.MonkeyPatch, *, name: str = "", address: str = "") -> None:
    """Be another Airflow."""
    monkeypatch.setenv("AIRFLOW__EIGHT_BY_EIGHT__DEPLOYMENT", name)
    for section in ("API", "WEBSERVER"):
        monkeypatch.setenv(f"AIRFLOW__{section}__BASE_URL", address)


NAMES = [
    ({"name": "production"}, {"name": "staging"}, ("'production'", "'staging'")),
    (
        {"address": "http://localhost:18080/production/"},
        {"address": "http://localhost:18080/staging"},
        ("'http://localhost:18080/production'", "'http://localhost:18080/staging'"),
    ),
]


@pytest.mark.parametrize(("ours", "theirs", "said"), NAMES)
def test_two_deployments_do_not_share_a_campaign_by_accident(
    run_dag: Run,
    sandbox: Any,
    connection: str,
    monkeypatch: pytest.MonkeyPatch,
    ours: dict[str, str],
    theirs: dict[str, str],
    said: tuple[str, str],
) -> None:
    deployment(monkeypatch, **ours)
    assert_sent_once(sandbox, run_dag(dag_of(**A, campaign_id="march")))
    deployment(monkeypatch, **theirs)
    run = run_dag(dag_of(**A, campaign_id="march", rows=[person(50)], retries=1))
    assert (run.task_states, run.try_numbers) == ({"send": "failed"}, {"send": 1})
    for word in (*said, "[eight_by_eight] deployment"):
        assert word in run.log
    assert sandbox.stats()["accepted"] == 20
    deployment(monkeypatch, **ours)
    assert result_of(run_dag(dag_of(**A, campaign_id="march")))["already_sent_count"] == 20


def test_two_deployments_with_campaigns_of_their_own_share_a_database(
    run_dag: Run, sandbox: Any, connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their task instances go by the same names, since both have the same DAG and the same logical date."""
    for name in ("production", "staging"):
        deployment(monkeypatch, name=name)
        run = run_dag(dag_of(**A, campaign_id=f"march on {name}"), logical_date=START)
        assert run.task_states == {"send": "success"}
        assert result_of(run)["accepted_count"] == 20
    assert sandbox.stats()["accepted"] == 40


def test_two_deployments_that_are_named_as_one_share_a_campaign(
    run_dag: Run, sandbox: Any, connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for address in ("http://localhost:18080/blue", "http://localhost:18080/green"):
        deployment(monkeypatch, name="production", address=address)
        run = run_dag(dag_of(**A, campaign_id="march"))
    assert result_of(run)["already_sent_count"] == 20
