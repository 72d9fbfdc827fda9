"""The hook and the operator, as DAG files use them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from airflow.providers.common.compat.sdk import BaseHook, BaseOperator

from airflow_provider_8x8 import __version__, get_provider_info
from airflow_provider_8x8.api.client import EightByEightClient
from airflow_provider_8x8.hooks.eight_by_eight import EightByEightHook
from airflow_provider_8x8.journals.sql import prune_journal
from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator


def package() -> None:
    assert_type(__version__, str)
    assert_type(get_provider_info(), dict[str, Any])


def hook() -> BaseHook:
    hook = EightByEightHook()
    assert_type(hook.client, EightByEightClient)
    assert_type(hook.get_conn(), EightByEightClient)
    assert_type(hook.test_connection(), tuple[bool, str])
    assert_type(hook.eight_by_eight_conn_id, str)
    assert_type(hook.subaccount_id, str | None)
    EightByEightHook("eight_by_eight", subaccount_id="hq")
    EightByEightHook("eight_by_eight", "hq")  # type: ignore[call-arg]  # the sub-account goes by its name
    EightByEightHook(None)  # type: ignore[arg-type]  # it has a default
    EightByEightHook(api_key="key")  # type: ignore[call-arg]  # never an argument
    return hook


def prune() -> None:
    assert_type(prune_journal("journal", timedelta(days=90)), int)
    prune_journal("journal", older_than=timedelta(days=90))
    prune_journal("journal", 90)  # type: ignore[arg-type]  # of what?
    prune_journal("journal")  # type: ignore[call-arg]  # nothing is deleted by default


def least() -> BaseOperator:
    operator = EightByEightSurveyBatchOperator(task_id="send", survey_id="survey", rows=[])
    assert_type(operator, EightByEightSurveyBatchOperator)
    assert_type(operator.template_fields, Sequence[str])
    assert_type(operator.rows, Any)
    return operator


def whole() -> None:
    EightByEightSurveyBatchOperator(
        task_id="send",
        retries=2,
        survey_id="survey",
        template_body="Hi {{firstName}} {{url}}",
        template_variables={"month": "{{ ds }}"},
        sql="SELECT phone AS destination FROM orders WHERE day = ?",
        sql_conn_id="warehouse",
        parameters=["{{ ds }}"],
        sql_hook_params={"schema": "sales"},
        unique_by="order_nr",
        source="Orders",
        encoding="AUTO",
        scheduled=datetime(2026, 1, 1, tzinfo=UTC),
        expiry="2026-01-02T00:00:00Z",
        dlr_callback_url="https://example.com/receipts",
        client_batch_id_prefix="q3",
        batch_size=1_000,
        max_messages=100_000,
        not_after="{{ data_interval_end }}",
        max_rejected=0.1,
        on_invalid="fail",
        on_empty="succeed",
        on_unknown="assume_sent",
        reconcile_timeout=timedelta(minutes=30),
        log_settle_time=timedelta(minutes=20),
        canary_destination="+12025550123",
        settled_batches={"q3-1": "accepted"},
        campaign_id="orders {{ ds }}",
        journal_conn_id="journal",
        report_path="s3://reports@bucket/surveys",
        eight_by_eight_conn_id="eight_by_eight",
        subaccount_id="hq",
    )
    EightByEightSurveyBatchOperator(
        task_id="send", survey_id="s", sql="SELECT 1", parameters={"day": 1}, max_rejected=5
    )
    EightByEightSurveyBatchOperator(task_id="send", survey_id="s", rows=[], settled_batches="{{ var.value.settled }}")


def wrong(now: datetime) -> None:
    make = EightByEightSurveyBatchOperator
    make("survey", task_id="send")  # type: ignore[call-arg]  # all goes by its name
    make(task_id="send", rows=[])  # type: ignore[call-arg]  # which survey?
    make(task_id="send", survey_id=7)  # type: ignore[arg-type]  # an id is text
    make(task_id="send", survey_id="s", sql=["SELECT 1"])  # type: ignore[arg-type]  # one statement
    make(task_id="send", survey_id="s", template_variables=["month"])  # type: ignore[arg-type]  # a mapping
    make(task_id="send", survey_id="s", batch_size="1000")  # type: ignore[arg-type]  # a number
    make(task_id="send", survey_id="s", max_messages=1.5)  # type: ignore[arg-type]  # a whole number
    make(task_id="send", survey_id="s", max_rejected="10%")  # type: ignore[arg-type]  # a number
    make(task_id="send", survey_id="s", on_unknown=None)  # type: ignore[arg-type]  # somebody has to decide
    make(task_id="send", survey_id="s", scheduled=now.timestamp())  # type: ignore[arg-type]  # a datetime or text
    make(task_id="send", survey_id="s", reconcile_timeout=900)  # type: ignore[arg-type]  # of what?
    make(task_id="send", survey_id="s", log_settle_time=600)  # type: ignore[arg-type]  # of what?
    make(task_id="send", survey_id="s", settled_batches=["q3-1"])  # type: ignore[arg-type]  # what became of it?
    make(task_id="send", survey_id="s", eight_by_eight_conn_id=None)  # type: ignore[arg-type]  # it has a default
