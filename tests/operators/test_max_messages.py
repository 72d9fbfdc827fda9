"""``max_messages``, a number or a template of one: what was approved is not surpassed."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.operators.test_survey_batch import BODY, START, person, result_of, survey_dag, with_state_store
from tests.operators.test_tries import sql_journal

APPROVED = "{{ params.approved }}"


def approved_dag(approved: Any, *, native: bool, max_messages: Any = APPROVED, **arguments: Any) -> Any:
    dag = survey_dag(max_messages=max_messages, **arguments)
    dag.params["approved"] = approved
    dag.render_template_as_native_obj = native
    return dag


@pytest.mark.parametrize(
    ("approved", "native", "template", "state"),
    [
        (3, False, APPROVED, "success"),
        (3, True, APPROVED, "success"),
        ("003", True, "\n {{ params.approved }} ", "success"),
        (2, False, APPROVED, "failed"),
        (2, True, APPROVED, "failed"),
        (0, False, APPROVED, "failed"),
        (0, True, APPROVED, "failed"),
    ],
)
def test_no_more_is_sent_than_a_template_says(
    run_dag: Any, sandbox: Any, connection: str, approved: Any, native: bool, template: str, state: str
) -> None:
    run = run_dag(
        approved_dag(approved, native=native, max_messages=template, rows=[person(number) for number in range(3)])
    )
    assert run.task_states == {"send": state}, run.log[-3000:]
    assert sandbox.stats()["accepted"] == result_of(run)["accepted_count"] == (3 if state == "success" else 0)
    assert ("has more than max_messages=" in run.log) == (state == "failed")
    assert str(run.rendered["send"]["max_messages"]) == str(int(approved))


def test_that_nothing_may_be_sent_is_no_matter_where_there_is_nothing(
    run_dag: Any, sandbox: Any, connection: str
) -> None:
    run = run_dag(approved_dag(0, native=False, rows=[]))
    assert run.task_states == {"send": "skipped"}


@pytest.mark.parametrize(
    ("approved", "native", "found"),
    [
        (None, False, "max_messages was rendered to None; expected a value"),
        (None, True, "max_messages was rendered to None; expected a value"),
        ("", True, "max_messages is ''; expected a whole number of at least 0"),
        ("1_000", True, "max_messages is '1_000'; expected a whole number of at least 0"),
        ("-1", False, "max_messages is '-1'; expected a whole number of at least 0"),
    ],
)
def test_a_template_that_comes_to_no_number_sends_nothing(
    run_dag: Any, sandbox: Any, connection: str, approved: Any, native: bool, found: str
) -> None:
    run = run_dag(approved_dag(approved, native=native, rows=[person(1)]))
    assert run.task_states == {"send": "failed"}
    assert found in run.log
    assert result_of(run)["rows_read"] == 0
    assert sandbox.stats()["requests"] == 0


@pytest.mark.parametrize("value", [True, 3.0, -1, "3.0", "1e3", "٣", "True", [3], {}, "12025550123x"])
def test_what_is_no_whole_number_is_named(value: Any) -> None:
    from airflow_provider_8x8.operators.checks import CHECKS

    with pytest.raises(ValueError, match=r"max_messages is .*; expected a whole number of at least 0") as raised:
        CHECKS["max_messages"]("max_messages", value)
    assert "12025550123" not in str(raised.value)


@pytest.mark.parametrize("value", [0, "0", "5", -1, 1.0])
def test_in_a_dag_file_it_is_a_number_of_at_least_1(value: Any) -> None:
    with pytest.raises(ValueError, match=r"max_messages is .*; expected a whole number of at least 1"):
        survey_dag(rows=[], max_messages=value)


def test_it_may_be_the_output_of_a_task_also_of_each_mapped_one(run_dag: Any, sandbox: Any, connection: str) -> None:
    from airflow.providers.common.compat.sdk import DAG, task

    from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator

    arguments: dict[str, Any] = {
        "survey_id": "orders",
        "template_body": BODY,
        "retries": 0,
        "rows": [person(number) for number in range(2)],
    }
    with DAG("survey", schedule=None, start_date=START, catchup=False) as dag:

        @task
        def count() -> int:
            return 0

        @task
        def counts() -> list[Any]:
            return [0, 2, "2"]

        EightByEightSurveyBatchOperator(
            task_id="send",
            max_messages=count(),  # type: ignore[arg-type]  # Airflow hands on the result
            **arguments,
        )
        EightByEightSurveyBatchOperator.partial(task_id="each", **arguments).expand(max_messages=counts())
    run = run_dag(dag)
    states = {name: state for name, state in run.task_states.items() if not name.startswith("count")}
    assert states == {"send": "failed", "each[0]": "failed", "each[1]": "success", "each[2]": "success"}
    assert sandbox.stats()["accepted"] == 4
    assert "has more than max_messages=0 rows to send" in run.log


@with_state_store
def test_what_an_earlier_try_has_sent_is_of_the_approved_ones(run_dag: Any, sandbox: Any, connection: str) -> None:
    sandbox.faults([{"on": "survey_batch", "kind": "close_before_accept", "times": 1}])
    run = run_dag(
        approved_dag(
            15,
            native=False,
            rows=[person(number) for number in range(15)],
            batch_size=5,
            retries=1,
            retry_delay=timedelta(),
            log_settle_time=timedelta(),
            on_unknown="resend",
        )
    )
    assert result_of(run)["accepted_count"] == 15, run.log[-3000:]
    assert sandbox.stats()["max_per_key"] == 1


@pytest.mark.parametrize(("approved", "sent"), [(10, 10), (9, 4)])
def test_what_the_campaign_has_sent_before_counts_as_in_the_preview(
    run_dag: Any,
    sandbox: Any,
    connection: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    approved: int,
    sent: int,
) -> None:
    campaign = {**sql_journal(tmp_path, monkeypatch), "campaign_id": "c"}
    rows = [person(number) for number in range(10)]
    run_dag(survey_dag(rows=rows[:4], **campaign))
    run_dag(approved_dag(approved, native=False, rows=rows, **campaign))
    assert sandbox.stats()["accepted"] == sent
