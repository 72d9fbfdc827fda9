"""The sandbox as what an operator sends to."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("airflow")

from airflow_provider_8x8.sandbox.server import Sandbox
from tests.sandbox.caller import API_KEY


@pytest.mark.parametrize("form", ["connection_json", "connection_uri"])
def test_the_connection_that_it_says_leads_to_it(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_8x8.hooks.eight_by_eight import EightByEightHook

    with Sandbox(api_key="it's/a+k%&e", subaccount="my_sub.1") as sandbox:
        monkeypatch.setenv("AIRFLOW_CONN_EIGHT_BY_EIGHT_DEFAULT", getattr(sandbox, form))
        hook = EightByEightHook()
        assert hook.client.base_url == sandbox.url
        assert hook.test_connection()[0], hook.test_connection()


@pytest.mark.parametrize("own_ids", [False, True])
def test_a_survey_that_there_is_not_is_sent_to_nobody(
    run_dag: Any, monkeypatch: pytest.MonkeyPatch, own_ids: bool
) -> None:
    from tests.operators.test_survey_batch import person, result_of, survey_dag

    rows = [person(n) | ({"client_message_id": f"id-{n}"} if own_ids else {}) for n in range(20)]
    with Sandbox(api_key=API_KEY, surveys=["order-feedback"]) as sandbox:
        monkeypatch.setenv("AIRFLOW_CONN_EIGHT_BY_EIGHT_DEFAULT", sandbox.connection_json)
        run = run_dag(survey_dag(rows=rows, survey_id="order-fedback"))
        assert run.task_states == {"send": "failed"}
        assert "Invalid surveyId." in run.log
        assert result_of(run)["not_sent_count"] == 20
        assert sandbox.stats()["accepted"] == 0
