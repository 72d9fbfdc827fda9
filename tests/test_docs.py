"""The pages' code is run: what it calls exists, and its operators take what they are given."""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.operators.test_survey_batch import BODY, START, with_state_store, without_state_store

BLOCKS = [
    (page.name, textwrap.dedent(code))
    for page in sorted((ROOT / "docs").glob("*.md"))
    for code in re.findall(r"^ *```python\n(.*?)^ *```", page.read_text(), re.DOTALL | re.MULTILINE)
]
WITH_POLICY = [(page, code) for page, code in BLOCKS if "retry_policy" in code]
MADE = {
    "cancelling.md": {"cancel_surveys"},
    "delivery.md": {"delivery_report"},
    "guarantees.md": set(),
    "observing.md": {"sent", "delivery_report"},
    "preview.md": {"preview_surveys", "send_surveys"},
    "runbook.md": set(),
    "sandbox.md": set(),
    "scaling.md": {"send_surveys"},
    "warehouse.md": {"send_surveys", "delivery_report"},
}
"""The tasks that the pages' code makes."""


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {"conn_type": "sqlite", "host": str(tmp_path / "journal")}
    monkeypatch.setenv("AIRFLOW_CONN_JOURNAL", json.dumps(fields))


def tasks_of(code: str, page: str) -> set[str]:
    """Run code as a DAG file's; return what tasks it makes, also by functions that want no more than a sending task."""
    from airflow.providers.common.compat.sdk import DAG

    from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator

    namespace: dict[str, Any] = {"__name__": page}
    with DAG("page", schedule=None, start_date=START, catchup=False) as dag:
        exec(compile(code, page, "exec"), namespace)  # noqa: S102  # our own page
        for name in re.findall(r"^def (\w+)", code, re.MULTILINE):
            wanted = set(inspect.signature(namespace[name]).parameters)
            if wanted == {"send_surveys"}:
                send = EightByEightSurveyBatchOperator(
                    task_id="given", survey_id="orders", template_body=BODY, rows=[], retries=0
                )
                namespace[name](send)
            elif not wanted:
                made = namespace[name]()
                if isinstance(made, DAG):
                    return set(made.task_ids)
    return set(dag.task_ids) - {"given"}


def test_every_page_with_code_is_known() -> None:
    assert {page for page, _ in BLOCKS} == MADE.keys()


@pytest.mark.parametrize(("page", "code"), [block for block in BLOCKS if block not in WITH_POLICY])
def test_python_blocks_run(page: str, code: str, journal: None) -> None:
    assert tasks_of(code, page) == MADE[page]


@with_state_store
@pytest.mark.parametrize(("page", "code"), WITH_POLICY)
def test_a_retry_policy_is_given_to_a_task(page: str, code: str) -> None:
    assert tasks_of(code, page) == {"send_surveys"}


@with_state_store
def test_with_the_policy_a_task_waits_for_8x8s_logs() -> None:
    from datetime import timedelta

    from airflow_provider_8x8.exceptions import EightByEightSurveyError, EightByEightUnknownOutcomeError

    ((_, code),) = WITH_POLICY
    namespace: dict[str, Any] = {"__name__": "guarantees"}
    exec(compile(code, "guarantees.md", "exec"), namespace)  # noqa: S102  # our own page
    task = namespace["survey_with_retry_policy"]().get_task("send_surveys")
    context: Any = {"task": task}
    policy = task.retry_policy
    assert policy.evaluate(EightByEightUnknownOutcomeError("?"), 1, 4, context).retry_delay == task.log_settle_time
    assert policy.evaluate(EightByEightSurveyError("?"), 1, 4, context).retry_delay is None
    assert task.retry_delay == timedelta(minutes=1)


@without_state_store
@pytest.mark.parametrize(("page", "code"), WITH_POLICY)
def test_an_older_airflow_says_that_it_has_no_retry_policies(page: str, code: str) -> None:
    from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException

    with pytest.raises(AirflowOptionalProviderFeatureException):
        tasks_of(code, page)
