"""Cancelling scheduled batches: whole DAGs against the sandbox, and what the journal makes of it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.operators.test_survey_batch import (
    BODY,
    START,
    TAKES_XCOM_OF_NONE,
    person,
    with_state_store,
    without_state_store,
)
from tests.support.dag_runs import DagRunResult

Run = Callable[..., DagRunResult]
NOBODY = "d0b3e4c8-3f38-4a7c-9d1e-5c1f2a6b7e90"
LATER = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture(autouse=True)
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_JOURNAL", json.dumps({"conn_type": "sqlite", "host": str(tmp_path / "journal")}))


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses between two calls pass at once."""
    monkeypatch.setattr("airflow_provider_8x8.surveys.clock.SystemClock.sleep", lambda clock, seconds: None)


def sending(rows: list[dict[str, Any]], dag_id: str = "send", **arguments: Any) -> Any:
    from airflow.providers.common.compat.sdk import DAG

    from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator

    with DAG(dag_id, schedule=None, start_date=START, catchup=False) as dag:
        EightByEightSurveyBatchOperator(
            task_id="send",
            **{
                "survey_id": "orders",
                "template_body": BODY,
                "rows": rows,
                "retries": 0,
                "batch_size": 5,
                "scheduled": LATER,
                "campaign_id": "orders",
                "journal_conn_id": "journal",
                **arguments,
            },
        )
    return dag


def cancelling(batch_ids: Any, **arguments: Any) -> Any:
    from airflow.providers.common.compat.sdk import DAG

    from airflow_provider_8x8.operators.cancel_batch import EightByEightCancelBatchOperator

    options = arguments.pop("dag", {})
    with DAG("cancel", schedule=None, start_date=START, catchup=False, **options) as dag:
        EightByEightCancelBatchOperator(
            task_id="cancel", batch_ids=batch_ids, **{"retries": 0, "retry_delay": timedelta(), **arguments}
        )
    return dag


BY_JOURNAL = {"campaign_id": "orders", "journal_conn_id": "journal"}


def people(count: int) -> list[dict[str, Any]]:
    return [person(number) for number in range(count)]


def report_of(run: DagRunResult) -> dict[str, Any]:
    result: dict[str, Any] = run.xcoms["cancel"]["return_value"]
    xcoms = {name: value for name, value in run.xcoms["cancel"].items() if name != "return_value"}
    assert xcoms == {name: value for name, value in result.items() if TAKES_XCOM_OF_NONE or value is not None}
    return result


def sent_by(run: DagRunResult) -> dict[str, Any]:
    result: dict[str, Any] = run.xcoms["send"]["return_value"]
    return result


def texted(sandbox: Any) -> dict[str, int]:
    """How many texts each number has that are not cancelled."""
    counts: dict[str, int] = {}
    for message in sandbox.messages(1000):
        counts.setdefault(message["destination"], 0)
        counts[message["destination"]] += message["status"] in ("queued", "delivered")
    return counts


def test_what_is_cancelled_as_a_whole_is_free_and_sent_once_by_the_next_try(
    run_dag: Run, clear_and_run: Run, sandbox: Any, connection: str
) -> None:
    dag = sending(people(12))
    sent = run_dag(dag)
    batch_ids = sent_by(sent)["batch_ids"]
    run = run_dag(cancelling(batch_ids[:2], **BY_JOURNAL))
    assert run.task_states == {"cancel": "success"}, run.log[-3000:]
    result = report_of(run)
    assert (result["cancelled_count"], result["accepted_count"], result["freed_count"]) == (10, 10, 10)
    assert result["cancelled_batch_ids"] == batch_ids[:2] == result["batch_ids"]
    assert result["not_cancelled_batch_ids"] == result["unknown_batch_ids"] == []
    assert set(texted(sandbox).values()) == {0, 1}
    again = clear_and_run(dag, sent.run_id)
    counts = sent_by(again)
    assert (counts["accepted_count"], counts["rows_read"], counts["not_sent_count"]) == (12, 12, 0)
    assert len(counts["batch_ids"]) == 3
    assert not set(batch_ids[:2]) & set(counts["batch_ids"])
    assert "this try sent 10, 2 were sent by an earlier try" in again.log
    assert set(texted(sandbox).values()) == {1}
    assert sandbox.stats()["max_per_key"] == 1
    # What was cancelled stays so, however often it is asked for.
    repeated = report_of(run_dag(cancelling(batch_ids[:2], **BY_JOURNAL)))
    assert (repeated["cancelled_count"], repeated["freed_count"]) == (10, 10)
    assert set(texted(sandbox).values()) == {1}


def test_what_is_not_cancelled_as_a_whole_stays_held(
    run_dag: Run, clear_and_run: Run, sandbox: Any, connection: str
) -> None:
    rows = [person(number, scheduled=None if number == 0 else LATER.isoformat()) for number in range(10)]
    dag = sending(rows, scheduled=None)
    sent = run_dag(dag)
    first, second = sent_by(sent)["batch_ids"]
    run = run_dag(cancelling(sent_by(sent), **BY_JOURNAL, retries=1))
    assert (run.task_states["cancel"], run.try_numbers["cancel"]) == ("failed", 1), "another try could do no better"
    result = report_of(run)
    assert (result["cancelled_count"], result["accepted_count"], result["freed_count"]) == (9, 10, 5)
    assert (result["cancelled_batch_ids"], result["not_cancelled_batch_ids"]) == ([second], [first])
    part = result["batches"][0]
    assert (part["outcome"], part["cancelled_count"], part["accepted_count"]) == ("partly_cancelled", 4, 5)
    assert not part["is_free"]
    assert "8x8 has cancelled 9 of 10 messages" in run.log
    assert "stay held" in run.log
    clear_and_run(dag, sent.run_id)
    assert [texted(sandbox)[person(number)["destination"][1:]] for number in (0, 1, 4, 5, 9)] == [1, 0, 0, 1, 1]


@pytest.mark.usefixtures("no_waits")
def test_a_lost_answer_is_not_taken_for_nothing_cancelled(run_dag: Run, sandbox: Any, connection: str) -> None:
    sent = run_dag(sending(people(10)))
    batch_ids = sent_by(sent)["batch_ids"]
    sandbox.faults([{"on": "cancel_batch", "kind": "close_after_accept"}])
    dag = cancelling(batch_ids, **BY_JOURNAL)
    run = run_dag(dag)
    assert run.task_states["cancel"] == "failed"
    result = report_of(run)
    assert (result["unknown_batch_ids"], result["cancelled_batch_ids"]) == (batch_ids[:1], batch_ids[1:])
    assert (result["cancelled_count"], result["freed_count"]) == (5, 5)
    assert "is not known" in run.log
    assert sent_by(run_dag(sending(people(10))))["accepted_count"] == 5, "the others are held"
    assert max(texted(sandbox).values()) == 1


@pytest.mark.usefixtures("no_waits")
def test_what_8x8_refuses_keeps_the_others_from_nothing(run_dag: Run, sandbox: Any, connection: str) -> None:
    sent = run_dag(sending(people(5)))
    (batch_id,) = sent_by(sent)["batch_ids"]
    run = run_dag(cancelling([NOBODY, batch_id], retries=1))
    assert (run.task_states["cancel"], run.try_numbers["cancel"]) == ("failed", 1)
    result = report_of(run)
    assert (result["not_cancelled_batch_ids"], result["cancelled_batch_ids"]) == ([NOBODY], [batch_id])
    assert "Invalid batchId" in result["batches"][0]["reason"]
    assert (result["freed_count"], result["campaign_id"]) == (None, None)


@with_state_store
@pytest.mark.usefixtures("no_waits")
def test_without_a_journal_airflow_remembers_what_earlier_tries_were_answered(
    run_dag: Run, clear_and_run: Run, sandbox: Any, connection: str
) -> None:
    sent = run_dag(sending(people(10)))
    dag = cancelling(sent_by(sent)["batch_ids"])
    run = run_dag(dag)
    assert report_of(run)["cancelled_count"] == 10
    again = clear_and_run(dag, run.run_id)
    assert again.task_states["cancel"] == "success", again.log[-2000:]
    assert report_of(again)["cancelled_count"] == 10


@with_state_store
@pytest.mark.usefixtures("no_waits")
def test_what_a_try_was_answered_that_has_died_is_not_taken_for_nothing(
    run_dag: Run, sandbox: Any, connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8x8 has cancelled nothing of the first batch when it is asked first, and all of it when it is asked again."""
    from airflow.sdk.exceptions import AirflowTaskTimeout

    from airflow_provider_8x8.api.client import EightByEightClient
    from airflow_provider_8x8.api.errors import UnknownOutcomeError
    from airflow_provider_8x8.api.models import CancelResponse

    first, second = "11111111-3f38-4a7c-9d1e-5c1f2a6b7e90", NOBODY
    answers: dict[str, list[Any]] = {
        first: [0, 5, 0],
        second: [*[UnknownOutcomeError("its answer was lost")] * 5, AirflowTaskTimeout("killed"), 5],
    }

    def answered(client: Any, batch_id: str, **how: Any) -> Any:
        answer = answers[batch_id].pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return CancelResponse(cancelled_count=answer)

    monkeypatch.setattr(EightByEightClient, "cancel_batch", answered)
    run = run_dag(cancelling([first, second], retries=2))
    assert run.try_numbers["cancel"] == 3, run.log[-3000:]
    assert report_of(run)["not_cancelled_batch_ids"] == []
    assert report_of(run)["unknown_batch_ids"] == [first, second]


@without_state_store
def test_without_any_memory_a_second_try_knows_nothing_of_the_first(
    run_dag: Run, clear_and_run: Run, sandbox: Any, connection: str
) -> None:
    sent = run_dag(sending(people(10)))
    dag = cancelling(sent_by(sent)["batch_ids"])
    run = run_dag(dag)
    assert report_of(run)["cancelled_count"] == 10
    again = clear_and_run(dag, run.run_id)
    assert again.task_states["cancel"] == "failed"
    assert report_of(again)["unknown_batch_ids"] == sent_by(sent)["batch_ids"]


@pytest.mark.parametrize("by", [BY_JOURNAL, {}], ids=["by journal", "without"])
@pytest.mark.parametrize("count", [5, 10])
def test_a_batch_whose_id_is_not_known_may_go_out_and_the_task_says_so(
    run_dag: Run, sandbox: Any, connection: str, by: dict[str, Any], count: int
) -> None:
    sandbox.faults([{"on": "survey_batch", "kind": "close_after_accept"}, {"on": "log_export", "kind": "500"}])
    sent = sent_by(run_dag(sending(people(count), on_unknown="assume_sent", reconcile_timeout=timedelta())))
    assert (sent["unknown_count"], len(sent["batch_ids"])) == (5, (count - 5) / 5)
    run = run_dag(cancelling(sent, **by, retries=1))
    assert (run.task_states["cancel"], run.try_numbers["cancel"]) == ("failed", 1)
    assert report_of(run)["cancelled_count"] == count - 5
    assert f"Whether everything was cancelled is not known: 8x8 has cancelled {count - 5}" in run.log
    assert "8x8's id of one batch is not known, so it could not be cancelled" in run.log
    assert ", ".join(sent["client_batch_ids"]) in run.log


def test_a_batch_that_is_not_the_campaigns_is_named_before_anything_is_cancelled(
    run_dag: Run, sandbox: Any, connection: str
) -> None:
    sent = run_dag(sending(people(5)))
    other = run_dag(sending(people(5), campaign_id="another"))
    ids = [*sent_by(sent)["batch_ids"], *sent_by(other)["batch_ids"], NOBODY]
    run = run_dag(cancelling(ids, **BY_JOURNAL, retries=1))
    assert (run.task_states["cancel"], run.try_numbers["cancel"]) == ("failed", 1)
    assert f"campaign 'orders' has no batch {ids[1]}, {NOBODY}" in run.log
    assert "Nothing was cancelled" in run.log
    assert report_of(run)["not_cancelled_batch_ids"] == ids
    assert set(texted(sandbox).values()) == {2}, "one of each campaign"


def test_without_a_journal_nobody_knows_how_many_messages_each_of_several_batches_has(
    run_dag: Run, sandbox: Any, connection: str
) -> None:
    rows = [person(number, scheduled=None if number == 0 else LATER.isoformat()) for number in range(10)]
    sent = run_dag(sending(rows, scheduled=None))
    run = run_dag(cancelling(sent_by(sent)))
    assert run.task_states == {"cancel": "failed"}
    assert "Not everything was cancelled: 8x8 has cancelled 9 of 10 messages" in run.log
    result = report_of(run)
    assert (result["accepted_count"], result["cancelled_batch_ids"]) == (10, result["batch_ids"])
    assert [(each["accepted_count"], each["cancelled_count"]) for each in result["batches"]] == [(None, 4), (None, 5)]


def test_another_8x8_cannot_set_rows_free(
    run_dag: Run, sandbox: Any, connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = run_dag(sending(people(5)))
    fields = {"conn_type": "eight_by_eight", "host": "https://sms.example.com", "login": "sandbox_hq", "password": "k"}
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps(fields))
    run = run_dag(cancelling(sent_by(sent), **BY_JOURNAL, eight_by_eight_conn_id="other"))
    assert run.task_states["cancel"] == "failed"
    assert "was written for 8x8 at" in run.log
    assert "https://sms.example.com" in run.log
    run = run_dag(cancelling(sent_by(sent), campaign_id="order", journal_conn_id="journal"))
    assert "campaign 'order' is not in the journal (connection 'journal')" in run.log
    assert report_of(run)["accepted_count"] == 5
    run = run_dag(cancelling(sent_by(sent), **BY_JOURNAL, subaccount_id="other_hq"))
    assert "was written for subaccount_id 'sandbox_hq', and this task has 'other_hq'" in run.log
    assert set(texted(sandbox).values()) == {1}


def test_the_journal_may_be_the_connections_and_the_campaign_a_task_instance(
    run_dag: Run, clear_and_run: Run, sandbox: Any, connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = json.loads(os.environ["AIRFLOW_CONN_EIGHT_BY_EIGHT_DEFAULT"])
    fields["extra"] = {"journal_conn_id": "journal"}
    monkeypatch.setenv("AIRFLOW_CONN_EIGHT_BY_EIGHT_DEFAULT", json.dumps(fields))
    dag = sending(people(5), campaign_id=None, journal_conn_id=None)
    sent = run_dag(dag)
    run = run_dag(cancelling(sent_by(sent), campaign_id=sent_by(sent)["campaign_id"]))
    assert report_of(run)["freed_count"] == 5
    assert sent_by(clear_and_run(dag, sent.run_id))["accepted_count"] == 5
    assert set(texted(sandbox).values()) == {1}


def test_a_campaign_may_be_a_task_instance_of_a_long_name(run_dag: Run, sandbox: Any, connection: str) -> None:
    sent = sent_by(run_dag(sending(people(5), dag_id="s" * 240, campaign_id=None)))
    assert len(sent["campaign_id"]) > 250
    run = run_dag(cancelling(sent, campaign_id=sent["campaign_id"], journal_conn_id="journal"))
    assert (run.task_states, report_of(run)["freed_count"]) == ({"cancel": "success"}, 5)


def test_batches_of_a_shard_that_has_left_no_result_are_named(
    run_dag: Run, sandbox: Any, connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.providers.common.compat.sdk import DAG

    from airflow_provider_8x8.operators import conclusion, survey_batch
    from airflow_provider_8x8.operators.cancel_batch import EightByEightCancelBatchOperator

    def die(task: Any, context: Any, *arguments: Any, **options: Any) -> Any:
        if context["ti"].map_index == 1:
            raise RuntimeError("the worker is gone")
        return conclusion.conclude(task, context, *arguments, **options)

    monkeypatch.setattr(survey_batch, "conclude", die)
    with DAG("shards", schedule=None, start_date=START, catchup=False) as dag:
        send = survey_batch.EightByEightSurveyBatchOperator.partial(
            task_id="send", survey_id="orders", template_body=BODY, scheduled=LATER, retries=0, **BY_JOURNAL
        ).expand(rows=[people(10)[:4], people(10)[4:7], people(10)[7:]])
        EightByEightCancelBatchOperator(
            task_id="cancel", batch_ids=send.output, trigger_rule="all_done", retries=0, **BY_JOURNAL
        )
    run = run_dag(dag)
    assert run.task_states == {"send[0]": "success", "send[1]": "failed", "send[2]": "success", "cancel": "success"}
    assert report_of(run)["freed_count"] == 7
    said = "Not among the batches to cancel are others of the campaign, with 3 messages that 8x8 has or may have."
    assert run.task_logs["cancel"].count(said) == 1
    assert "Not among the batches" not in run_dag(cancelling(still_held(sandbox), **BY_JOURNAL)).log


def still_held(sandbox: Any) -> list[Any]:
    return list({message["batch_id"] for message in sandbox.messages() if message["status"] == "queued"})


def test_a_campaign_without_a_journal_is_refused(run_dag: Run, sandbox: Any, connection: str) -> None:
    run = run_dag(cancelling([NOBODY], campaign_id="orders", retries=1))
    assert (run.task_states["cancel"], run.try_numbers["cancel"]) == ("failed", 1)
    assert "campaign_id needs journal_conn_id" in run.log


def test_arguments_may_come_out_of_jinja(run_dag: Run, sandbox: Any, connection: str) -> None:
    sent = run_dag(sending(people(5), campaign_id="1_000"))
    conf = {"batch_ids": sent_by(sent)["batch_ids"], "campaign_id": "1_000"}
    dag = cancelling(
        "{{ dag_run.conf.batch_ids }}",
        campaign_id="{{ dag_run.conf.campaign_id }}",
        journal_conn_id="journal",
        dag={"render_template_as_native_obj": True},
    )
    run = run_dag(dag, conf=conf)
    assert report_of(run)["campaign_id"] == "1_000", run.log[-2000:]
    assert report_of(run)["freed_count"] == 5
    assert run.rendered["cancel"]["batch_ids"] in (conf["batch_ids"], json.dumps(conf["batch_ids"]))


@pytest.mark.parametrize(("native", "nothing"), [(True, "{{ None }}"), (False, "{{ '' }}")])
def test_a_campaign_that_comes_to_nothing_is_not_left_out(
    run_dag: Run, sandbox: Any, connection: str, native: bool, nothing: str
) -> None:
    dag = cancelling(
        [NOBODY], campaign_id=nothing, journal_conn_id="journal", dag={"render_template_as_native_obj": native}
    )
    run = run_dag(dag)
    assert run.task_states["cancel"] == "failed"
    assert "campaign_id is ''; expected" in run.log or "campaign_id was rendered to None" in run.log
    assert report_of(run)["not_cancelled_batch_ids"] == [NOBODY]


@pytest.mark.parametrize(
    ("batch_ids", "on_empty", "state"),
    [([None, []], "skip", "skipped"), ("{{ None }}", "fail", "failed")],
)
def test_no_batches_cancel_nothing(
    run_dag: Run, sandbox: Any, connection: str, batch_ids: Any, on_empty: str, state: str
) -> None:
    run = run_dag(cancelling(batch_ids, on_empty=on_empty, **BY_JOURNAL))
    assert run.task_states == {"cancel": state}
    assert report_of(run)["batch_ids"] == []


@pytest.mark.parametrize(
    "argument",
    [
        {"on_empty": "ignore"},
        {"campaign_id": ""},
        {"campaign_id": "x" * 769},
        {"journal_conn_id": "sqlite://secret"},
        {"subaccount_id": "?"},
        {"eight_by_eight_conn_id": ""},
    ],
    ids=lambda argument: " ".join(argument),
)
def test_wrong_arguments_are_named_when_the_dag_is_parsed(argument: dict[str, Any]) -> None:
    (name,) = argument
    with pytest.raises(ValueError, match=f"Task 'cancel': {name} is ") as caught:
        cancelling([NOBODY], **argument)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("batch_ids", [["+12025550123"], "12025550123", {"batch_id": "b"}, [7], b"b"])
def test_batches_that_are_none_are_refused(batch_ids: Any) -> None:
    with pytest.raises(ValueError, match="Task 'cancel': batch_ids ") as caught:
        cancelling(batch_ids)
    assert "0123" not in str(caught.value)


@pytest.mark.usefixtures("no_waits")
def test_a_refused_key_fails_for_good_and_says_what_to_check(
    run_dag: Run, sandbox: Any, connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"conn_type": "eight_by_eight", "host": sandbox.url, "login": "sandbox_hq", "password": "another-key"}
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps(fields))
    run = run_dag(cancelling([NOBODY], eight_by_eight_conn_id="other", retries=1))
    assert (run.task_states["cancel"], run.try_numbers["cancel"]) == ("failed", 1)
    assert "Check the API key" in run.log
    assert "another-key" not in json.dumps([run.xcoms["cancel"], run.rendered["cancel"]])
