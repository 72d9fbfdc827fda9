"""What the events of a task's outlets say of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_8x8.operators.delivery_report import EightByEightDeliveryReportOperator
from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator
from tests.conftest import ROOT
from tests.operators.test_survey_batch import BODY, START, person, survey_dag
from tests.support.airflow_version import IS_AIRFLOW_3


def asset(name: str) -> Any:
    from airflow.providers.common.compat.sdk import Asset

    return Asset(name)


@pytest.fixture
def run_known_dag(run_dag: Any) -> Callable[..., Any]:
    """Run a DAG whose datasets Airflow 2 knows, as from a parsed file."""

    def run(dag: Any) -> Any:
        if not IS_AIRFLOW_3:
            dag.sync_to_db()
        return run_dag(dag)

    return run


def events(run: Any) -> list[tuple[str, dict[str, Any]]]:
    """Name and extra of the events that a run has made, in order."""
    from airflow.utils.session import create_session

    with create_session() as session:
        if IS_AIRFLOW_3:
            from airflow.models.asset import AssetEvent as Event
        else:
            from airflow.models.dataset import DatasetEvent as Event  # type: ignore[no-redef]
        made = session.query(Event).filter_by(source_run_id=run.run_id).order_by(Event.id)
        return [(event.name if IS_AIRFLOW_3 else event.uri, event.extra) for event in made]


def test_they_have_the_result(run_known_dag: Any, sandbox: Any, connection: str) -> None:
    def say_who(context: Any) -> None:
        context["outlet_events"][asset("surveyed")].extra["team"] = "care"

    outlets = [asset("surveyed"), asset("texted")]
    rows = [person(1), person(2), person(3, destination="call +1 202 555 0123 today")]
    run = run_known_dag(survey_dag(rows=rows, batch_size=1, outlets=outlets, pre_execute=say_who))
    result = run.xcoms["send"]["return_value"]
    assert len(result["batch_ids"]) == 2
    assert sorted(events(run)) == [("surveyed", {"team": "care", **result}), ("texted", result)]
    assert "5550123" not in json.dumps(result).replace(" ", "")


@pytest.mark.parametrize(("arguments", "state"), [({"on_empty": "fail"}, "failed"), ({"on_empty": "skip"}, "skipped")])
def test_there_is_none_where_nobody_was_surveyed(
    run_known_dag: Any, sandbox: Any, connection: str, arguments: dict[str, Any], state: str
) -> None:
    run = run_known_dag(survey_dag(rows=[], outlets=[asset("nobody")], **arguments))
    assert run.task_states == {"send": state}
    assert events(run) == []


def test_each_mapped_instance_says_its_own_and_the_delivery_report_does_too(
    run_known_dag: Any, sandbox: Any, connection: str
) -> None:
    from airflow.providers.common.compat.sdk import DAG

    with DAG("survey_outlets", schedule=None, start_date=START, catchup=False) as dag:
        send: Any = EightByEightSurveyBatchOperator.partial(
            task_id="send", survey_id="orders", template_body=BODY, retries=0, outlets=[asset("parts")]
        ).expand(rows=[[person(1)], [person(2), person(3)]])
        EightByEightDeliveryReportOperator(
            task_id="report",
            batch_ids=send.output,
            timeout=timedelta(),
            retries=0,
            outlets=[asset("deliveries")],
        )
    run = run_known_dag(dag)
    assert run.state == "success"
    parts = [(name, extra.get("accepted_count")) for name, extra in events(run)[:2]]
    assert sorted(parts) == [("parts", 1), ("parts", 2)]
    assert events(run)[2:] == [("deliveries", run.xcoms["report"]["return_value"])]


@pytest.mark.skipif(not IS_AIRFLOW_3, reason="Airflow 2 has no references to datasets")
def test_an_asset_that_is_referred_to_gets_it_and_what_stands_for_others_is_left_alone(
    run_dag: Any, sandbox: Any, connection: str
) -> None:
    from airflow.sdk import Asset, AssetAlias

    by_name, by_uri = asset("by_name"), Asset("by_uri", uri="s3://surveys.example.com/sent")
    run_dag(survey_dag(rows=[person(1)], outlets=[by_name, by_uri]))  # so that Airflow knows them
    outlets = [Asset.ref(name="by_name"), Asset.ref(uri=by_uri.uri), AssetAlias("others")]
    run = run_dag(survey_dag(rows=[person(1)], outlets=outlets))
    result = run.xcoms["send"]["return_value"]
    assert dict(events(run)) == {"by_name": result, "by_uri": result}


@pytest.mark.skipif(not IS_AIRFLOW_3, reason="on Airflow 2 the events are datasets', under other names")
def test_the_dag_of_the_docs_reads_them(
    run_dag: Any, run_due: Any, sandbox: Any, connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "observing.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    namespace: dict[str, Any] = {"__name__": "observing"}
    # Nothing is waited for: the sandbox delivers at once, and no triggerer runs.
    exec(compile(code.replace("deferrable=True", "deferrable=False"), "observing.md", "exec"), namespace)  # noqa: S102  # our own
    sent = run_dag(survey_dag(rows=[person(1), person(2)], outlets=[namespace["SURVEYED"]]))
    run = run_due(namespace["after_the_survey"](), "asset", datetime.now(UTC), by=sent.run_id)
    assert run.state == "success", run.log[-2000:]
    result = run.xcoms["delivery_report"]["return_value"]
    assert result["batch_ids"] == sent.xcoms["send"]["batch_ids"]
    assert (result["messages_expected"], result["delivered_count"]) == (2, 2)
