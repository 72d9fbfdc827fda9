"""What arguments may be, by kinds: each operator that has one refuses what it cannot be when its DAG is parsed."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_8x8.operators.cancel_batch import EightByEightCancelBatchOperator
from airflow_provider_8x8.operators.delivery_report import EightByEightDeliveryReportOperator
from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator
from airflow_provider_8x8.operators.survey_preview import EightByEightSurveyPreviewOperator
from tests.operators.test_survey_batch import BODY, START

BATCH = "8a1e9d5e-2f1c-4c3e-9d55-0c1d9a1e5b7f"
SURVEY = {"survey_id": "orders", "template_body": BODY}

Make = Callable[..., Any]


def batch(**arguments: Any) -> Any:
    return EightByEightSurveyBatchOperator(task_id="task", **{**SURVEY, "rows": [], "retries": 0, **arguments})


def preview(**arguments: Any) -> Any:
    return EightByEightSurveyPreviewOperator(task_id="task", **{**SURVEY, "rows": [], **arguments})


def report(**arguments: Any) -> Any:
    return EightByEightDeliveryReportOperator(task_id="task", **{"batch_ids": [BATCH], **arguments})


def cancel(**arguments: Any) -> Any:
    return EightByEightCancelBatchOperator(task_id="task", **{"batch_ids": [BATCH], **arguments})


def decorated(**arguments: Any) -> Any:
    from airflow.providers.common.compat.sdk import DAG, task

    with DAG("survey", schedule=None, start_date=START):

        @task.survey_batch(task_id="task", retries=0, **{**SURVEY, **arguments})
        def rows() -> list[dict[str, Any]]:
            return []

        return rows()


WRONG: dict[str, tuple[dict[str, tuple[Make, ...]], list[Any]]] = {
    "true or false": ({"deferrable": (batch, decorated, report)}, ["true", "False", "", 1, 0, None, [], 1.0]),
    "durations": (
        {
            "reconcile_timeout": (batch, decorated),
            "log_settle_time": (batch,),
            "timeout": (report,),
            "poll_interval": (report,),
        },
        [timedelta(seconds=-1), timedelta(days=31), timedelta.max, 60, 60.0, "60", "PT1M", None, True],
    ),
    "shares": (
        {"final_share": (report,)},
        [0, 0.0, -0.5, 1.01, 2, True, False, math.nan, math.inf, "0.5", "", None, Decimal("0.5")],
    ),
    "numbers or shares": (
        {"max_rejected": (batch, decorated), "max_invalid": (batch,)},
        [-1, -0.5, 0.0, 1.0, 1.5, True, False, math.nan, math.inf, "0.5", "", Decimal("0.5")],
    ),
    "numbers or shares that may be all": (
        {"min_delivered": (report,)},
        [-1, -0.5, 0.0, 1.001, 1.5, True, False, math.nan, math.inf, "0.5", "", Decimal("0.5")],
    ),
    "whole numbers": (
        {"batch_size": (batch, preview), "brake_after": (batch,), "first_batch_size": (batch,)},
        [0, -1, 1.0, True, False, "", "5"],
    ),
    "one of some": (
        {
            "on_empty": (batch, decorated, report, cancel),
            "on_invalid": (batch,),
            "on_unknown": (batch,),
        },
        ["", "Skip", "ignore", None, True, 0, ["skip"]],
    ),
    "times": ({"sent_after": (report,), "not_after": (batch,)}, ["", " ", "None", "yesterday", "2026-02-01", 7, True]),
    "connections": (
        {
            "eight_by_eight_conn_id": (batch, preview, report, cancel),
            "journal_conn_id": (batch, preview, cancel),
        },
        ["", " ", 7.5, ["a"], "mysql://me:secret@db"],
    ),
    "campaigns": ({"campaign_id": (batch, preview, cancel)}, ["", " ", "x" * 769, "a\nb", True, 7.5, ["a"]]),
    "sub-accounts": ({"subaccount_id": (batch, preview, report, cancel)}, ["", "a b", "ab", True, ["hq"]]),
    "tables": ({"outcome_table": (batch, report)}, ["", " ", True, 7.5, ["a"]]),
}


@pytest.mark.parametrize(
    ("name", "make", "value"),
    [
        pytest.param(name, make, value, id=f"{make.__name__} {name}={str(value)[:20]!r}")
        for kind, (arguments, values) in WRONG.items()
        for name, makes in arguments.items()
        for make in makes
        for value in values
    ],
)
def test_what_an_argument_cannot_be_is_named(name: str, make: Make, value: Any) -> None:
    needed = {"outcome_table": {"outcome_conn_id": "warehouse"}, "campaign_id": {"journal_conn_id": "journal"}}
    with pytest.raises(ValueError, match=f"^Task 'task': {name} (is|has) ") as caught:
        make(**{name: value, **needed.get(name, {})})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        (batch, {"deferrable": True, "reconcile_timeout": timedelta(), "log_settle_time": timedelta(days=30)}),
        (decorated, {"deferrable": False, "max_rejected": 0, "max_invalid": 0.999}),
        (report, {"deferrable": True, "final_share": 1, "timeout": timedelta(), "poll_interval": timedelta(days=30)}),
        (report, {"final_share": 0.001, "min_delivered": 0, "poll_interval": timedelta(seconds=1)}),
        (report, {"min_delivered": 1.0}),
        (
            report,
            {"sent_after": "{{ ts }}", "outcome_table": "{{ params.table }}", "outcome_conn_id": "{{ params.c }}"},
        ),
        (cancel, {"campaign_id": "{{ params.campaign_id }}", "on_empty": "succeed", "subaccount_id": "hq_1"}),
        (cancel, {"campaign_id": 20260201, "journal_conn_id": "journal"}),
    ],
)
def test_what_an_argument_may_be_is_taken(make: Make, arguments: dict[str, Any]) -> None:
    make(**arguments)


def rendered(make: Make, *, native: bool, **arguments: Any) -> Any:
    from airflow.providers.common.compat.sdk import DAG

    with DAG("survey", schedule=None, start_date=START, render_template_as_native_obj=native) as dag:
        task = make(**arguments)
    task.render_template_fields({"dag": dag, "nothing": None, "empty": ""}, dag.get_template_env())
    return task


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("template", ["{{ nothing }}", "{{ empty }}", "{{ 1 / 0 }}", "{{ unknown.name }}"])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (report, "sent_after"),
        (report, "outcome_table"),
        (report, "outcome_conn_id"),
        (cancel, "campaign_id"),
        (batch, "not_after"),
        (batch, "outcome_table"),
        (preview, "campaign_id"),
    ],
)
def test_what_a_template_comes_to_is_no_value_that_stands_for_another(
    make: Make, name: str, template: str, native: bool
) -> None:
    """Nothing is not "left out", and text that says None is no value."""
    needed = {"outcome_table": {"outcome_conn_id": "w"}, "outcome_conn_id": {"outcome_table": "t"}}
    if make is not cancel:
        needed["campaign_id"] = {"journal_conn_id": "journal"}
    task = rendered(make, native=native, **{name: template, **needed.get(name, {})})
    assert repr(getattr(task, name)).startswith(f"<{name} ")
    assert "could not be rendered" in repr(getattr(task, name)) or "expected" in repr(getattr(task, name))


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("template", ["{{ unknown }}", "{{ dag.unknown }}"])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (make, name)
        for make, operator in (
            (batch, EightByEightSurveyBatchOperator),
            (preview, EightByEightSurveyPreviewOperator),
            (report, EightByEightDeliveryReportOperator),
            (cancel, EightByEightCancelBatchOperator),
        )
        for name in operator.template_fields
    ],
)
def test_a_name_that_a_template_does_not_know_is_said_and_the_task_goes_on_to_say_what_was_sent(
    make: Make, name: str, template: str, native: bool
) -> None:
    needed: dict[str, dict[str, Any]] = {
        "outcome_table": {"outcome_conn_id": "w"},
        "outcome_conn_id": {"outcome_table": "t"},
        "sql": {"sql_conn_id": "w", "rows": None},
        "sql_conn_id": {"sql": "SELECT 1", "rows": None},
        "campaign_id": {"journal_conn_id": "journal"} if make is not cancel else {},
    }
    task = rendered(make, native=native, **{name: template, **needed.get(name, {})})
    assert repr(getattr(task, name)).startswith(f"<{name} could not be rendered: UndefinedError: ")


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        (batch, {"parameters": {"day": "{{ unknown }}"}}),
        (batch, {"template_variables": {"day": "{{ unknown }}"}}),
        (report, {"batch_ids": ["{{ unknown }}"]}),
    ],
)
def test_a_name_that_a_template_in_an_argument_does_not_know_is_said_too(make: Make, arguments: dict[str, Any]) -> None:
    (name,) = arguments
    task = rendered(make, native=True, **arguments)
    assert repr(getattr(task, name)).startswith(f"<{name} could not be rendered: UndefinedError: ")


@pytest.mark.parametrize(("make", "name"), [(batch, "rows"), (preview, "rows"), (report, "batch_ids")])
@pytest.mark.parametrize("template", ["{{ dag.get_template_env }}", "{{ '{' ~ '{ x }' ~ '}' }}"])
def test_a_function_or_a_template_that_a_template_comes_to_is_no_value(make: Make, name: str, template: str) -> None:
    task = rendered(make, native=True, **{name: template})
    assert repr(getattr(task, name)).startswith(f"<{name} was rendered to ")
    assert "expected a value" in repr(getattr(task, name))


def test_of_a_long_value_an_error_says_the_beginning_and_an_example_is_not_masked() -> None:
    for name in ("not_after", "canary_destination"):
        reason = repr(getattr(rendered(batch, native=True, **{name: "{{ 'x' * 100_000 }}"}), name))
        assert len(reason) < 200
    with pytest.raises(ValueError, match=r"ISO 8601 with an offset such as \+08:00 or Z$"):
        batch(not_after="tomorrow")


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("make", [report, cancel])
def test_batches_that_a_template_comes_to_are_their_ids(make: Make, native: bool) -> None:
    assert rendered(make, native=native, batch_ids="{{ empty }}").batch_ids.shown == []
    assert rendered(make, native=native, batch_ids="{{ nothing }}").batch_ids.shown == []
    assert rendered(make, native=native, batch_ids=[f"{{{{ '{BATCH}' }}}}"]).batch_ids.shown == [BATCH]
    failed = rendered(make, native=native, batch_ids="{{ '+1202' ~ '5550123' }}{{ 1 / 0 }}")
    assert repr(failed.batch_ids) == "<batch_ids could not be rendered: ZeroDivisionError: division by zero>"


def test_native_rendering_leaves_a_campaign_and_a_connection_as_they_are_written() -> None:
    assert rendered(cancel, native=True, campaign_id="{{ '1_000' }}").campaign_id == "1_000"
    task = rendered(report, native=True, outcome_table="{{ 't' }}", outcome_conn_id="{{ '007' }}")
    assert (task.outcome_table, task.outcome_conn_id) == ("t", "007")
