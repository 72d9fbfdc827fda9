"""What became of messages: whole DAGs against the sandbox, in a worker and through a trigger that Airflow runs here."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_8x8.api.client import EightByEightClient
from airflow_provider_8x8.sandbox.platform.money import price_total
from tests.conftest import API_KEY
from tests.operators.test_survey_batch import BODY, START, TAKES_XCOM_OF_NONE, person, with_state_store
from tests.support.dag_runs import DagRunResult, go_on

Run = Callable[..., DagRunResult]

SECOND = timedelta(seconds=1)
REFUSED = "+210 555 0123 45"
"""No such calling code: only 8x8 can tell."""

both_ways = pytest.mark.parametrize("deferrable", [False, True], ids=["in a worker", "deferred"])


def sent_and_reported(
    rows: list[dict[str, Any]], *, batch_ids: Any = None, sending: dict[str, Any] | None = None, **arguments: Any
) -> Any:
    """A DAG that sends, and reports; ``batch_ids`` makes the report's argument out of the sending task."""
    from airflow.providers.common.compat.sdk import DAG

    from airflow_provider_8x8.operators.delivery_report import EightByEightDeliveryReportOperator
    from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator

    with DAG("survey", schedule=None, start_date=START, catchup=False) as dag:
        send = EightByEightSurveyBatchOperator(
            task_id="send",
            survey_id="orders",
            template_body=BODY,
            rows=rows,
            retries=0,
            on_empty="succeed",
            **{"batch_size": 5, **(sending or {})},
        )
        report = EightByEightDeliveryReportOperator(
            task_id="report",
            batch_ids=send.output if batch_ids is None else batch_ids(send),
            **{"retries": 0, "timeout": timedelta(minutes=5), "poll_interval": SECOND, **arguments},
        )
        send >> report
    return dag


def report_of(run: DagRunResult) -> dict[str, Any]:
    result: dict[str, Any] = run.xcoms["report"]["return_value"]
    xcoms = {name: value for name, value in run.xcoms["report"].items() if name != "return_value"}
    assert xcoms == {name: value for name, value in result.items() if TAKES_XCOM_OF_NONE or value is not None}
    return result


@both_ways
def test_states_and_cost_are_those_of_8x8(run_dag: Run, sandbox: Any, connection: str, deferrable: bool) -> None:
    long = "a customer with a name that takes a text of more than one part: " + "x" * 160
    rows = [person(number) for number in range(11)] + [person(11, firstName=long), person(12, destination=REFUSED)]
    run = run_dag(sent_and_reported(rows, deferrable=deferrable))
    assert run.task_states == {"send": "success", "report": "success"}, run.log[-3000:]
    messages = sandbox.messages()
    result = report_of(run)
    assert result["states"] == Counter(message["status"] for message in messages) == {"delivered": 12, "rejected": 1}
    assert result["details"] == {"delivered_to_recipient": 12}
    parts = [message["parts"] for message in messages if message["status"] == "delivered"]
    assert sum(parts) > len(parts)
    assert result["cost"] == {"USD": pytest.approx(sum(map(price_total, parts)), abs=1e-9)}
    assert result["priced_count"] == result["messages_seen"] == 13
    (error,) = result["errors"]
    assert (error["code"], error["count"]) == ("1002", 1)
    assert "E.164" in error["description"]
    assert (result["messages_expected"], result["delivered_count"], result["final_count"]) == (12, 12, 13)
    assert (result["share_final"], result["share_delivered"], result["timed_out"]) == (1.0, 1.0, False)
    assert result["batch_ids"] == run.xcoms["send"]["batch_ids"]
    assert result["batches_not_seen"] == []
    assert ("running trigger in line" in run.log) == deferrable


@both_ways
def test_it_looks_again_while_the_logs_lag(run_dag: Run, sandbox: Any, connection: str, deferrable: bool) -> None:
    lag = {"on": "log_export", "kind": "log_lag_seconds", "seconds": 1_000_000, "times": 2}
    sandbox.faults([lag])
    run = run_dag(sent_and_reported([person(number) for number in range(10)], deferrable=deferrable))
    assert report_of(run)["delivered_count"] == 10
    assert sandbox.stats()["accepted"] == 10
    assert "8x8's logs of" in run.log
    assert "have 0 messages of 10 accepted: none" in run.log


@both_ways
@pytest.mark.parametrize("kind", ["truncate", "gzip_truncate", "no_length_truncate"])
def test_a_file_that_is_cut_off_counts_as_none(
    run_dag: Run, sandbox: Any, connection: str, deferrable: bool, kind: str
) -> None:
    sandbox.faults([{"on": "log_export_download", "kind": kind}])
    rows = [person(number) for number in range(10)]
    run = run_dag(sent_and_reported(rows, deferrable=deferrable, timeout=timedelta()))
    assert run.task_states == {"send": "success", "report": "failed"}
    result = report_of(run)
    assert (result["as_of"], result["messages_seen"], result["states"], result["timed_out"]) == (None, 0, {}, True)
    sandbox.faults([{"on": "log_export_download", "kind": kind}])
    run = run_dag(sent_and_reported(rows, deferrable=deferrable))
    assert report_of(run)["states"] == {"delivered": 10}


@both_ways
@pytest.mark.parametrize("on", ["log_export", "log_export_result"])
def test_what_fails_is_tried_again(run_dag: Run, sandbox: Any, connection: str, deferrable: bool, on: str) -> None:
    is_gone = ["404"] if on == "log_export_result" else []  # an export; else it is 8x8's word on the sub-account
    sandbox.faults([{"on": on, "kind": kind} for kind in ("500", "429", *is_gone, "close_before_accept")])
    run = run_dag(sent_and_reported([person(1)], deferrable=deferrable))
    assert report_of(run)["states"] == {"delivered": 1}


@both_ways
@pytest.mark.parametrize("on", ["log_export", "log_export_result"])
def test_it_does_not_wait_for_longer_than_it_has_time(
    run_dag: Run, sandbox: Any, connection: str, deferrable: bool, on: str
) -> None:
    asked = 2 if deferrable and on == "log_export_result" else 1  # by the trigger, then by the task
    sandbox.faults([{"on": on, "kind": "429", "retry_after": 86_400, "times": asked}])
    run = run_dag(sent_and_reported([person(1)], deferrable=deferrable, timeout=timedelta(minutes=10)))
    assert run.task_states["report"] == "failed"
    assert "it asks to wait 86400 s" in run.log
    assert report_of(run)["timed_out"]


def test_ids_alone_count_once_a_second_look_sees_no_more(run_dag: Run, sandbox: Any, connection: str) -> None:
    dag = sent_and_reported([person(number) for number in range(10)], batch_ids=lambda send: send.output["batch_ids"])
    run = run_dag(dag)
    result = report_of(run)
    assert (result["messages_expected"], result["messages_seen"], result["share_delivered"]) == (None, 10, 1.0)
    assert run.log.count("have 10 messages: 10 delivered") == 2
    assert run.rendered["report"]["batch_ids"] in (result["batch_ids"], json.dumps(result["batch_ids"]))


@pytest.mark.parametrize(
    "batch_ids",
    [
        "{{ ti.xcom_pull('send') }}",
        "{{ ti.xcom_pull('send', key='batch_ids') }}",
        "{{ ti.xcom_pull('send', key='batch_ids') | tojson }}",
        ["{{ ti.xcom_pull('send', key='batch_ids')[0] }}", "{{ ti.xcom_pull('send', key='batch_ids')[1] }}"],
    ],
)
def test_batches_may_come_out_of_jinja(run_dag: Run, sandbox: Any, connection: str, batch_ids: Any) -> None:
    rows = [person(number) for number in range(10)]
    run = run_dag(sent_and_reported(rows, batch_ids=lambda send: batch_ids))
    assert report_of(run)["delivered_count"] == 10, run.log[-3000:]


def test_mapped_tasks_are_reported_together(run_dag: Run, sandbox: Any, connection: str) -> None:
    from airflow.providers.common.compat.sdk import DAG

    from airflow_provider_8x8.operators.delivery_report import EightByEightDeliveryReportOperator
    from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator

    with DAG("survey", schedule=None, start_date=START, catchup=False) as dag:
        send = EightByEightSurveyBatchOperator.partial(
            task_id="send", survey_id="orders", template_body=BODY, retries=0
        ).expand(rows=[[person(1), person(2)], [person(3)]])
        EightByEightDeliveryReportOperator(task_id="report", batch_ids=send.output, retries=0)
        EightByEightDeliveryReportOperator.partial(task_id="each", retries=0).expand(batch_ids=send.output)
    run = run_dag(dag)
    result = report_of(run)
    assert (result["messages_expected"], result["delivered_count"], len(result["batch_ids"])) == (3, 3, 2)
    assert [run.xcoms[f"each[{index}]"]["delivered_count"] for index in range(2)] == [2, 1]


@both_ways
def test_too_few_delivered_fail_the_task_after_its_result_was_pushed(
    run_dag: Run, sandbox: Any, connection: str, deferrable: bool
) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    rows = [person(number, scheduled=tomorrow.isoformat() if number < 4 else None) for number in range(10)]
    arguments: dict[str, Any] = {
        "deferrable": deferrable,
        "timeout": timedelta(),
        "retries": 1,
        "retry_delay": timedelta(),
    }
    run = run_dag(sent_and_reported(rows, **arguments, min_delivered=0.9))
    assert run.task_states["report"] == "failed"
    assert run.try_numbers["report"] == 2, "more may arrive"
    assert "Less than min_delivered=0.9 was delivered" in run.log
    result = report_of(run)
    assert result["states"] == {"delivered": 6, "queued": 4}
    assert (result["share_delivered"], result["share_final"], result["timed_out"]) == (0.6, 0.6, True)
    run = run_dag(sent_and_reported(rows, **arguments, min_delivered=7, final_share=0.5))
    assert run.task_states["report"] == "failed"
    assert run.try_numbers["report"] == 1, "it is final"
    assert report_of(run)["delivered_count"] == 6
    run = run_dag(sent_and_reported(rows, **arguments, min_delivered=0.6))
    assert run.task_states["report"] == "success"


@pytest.fixture
def tomorrow_comes_once_looked_for(sandbox: Any, monkeypatch: pytest.MonkeyPatch) -> datetime:
    """A time tomorrow, which it is to the sandbox after an export of its logs was read."""
    from airflow_provider_8x8.sandbox.platform import api
    from airflow_provider_8x8.sandbox.platform.log_exports import to_csv
    from airflow_provider_8x8.sandbox.wire.times import to_text

    late = datetime.now(UTC) + timedelta(days=1)
    was_read = threading.Event()
    now = api._now

    def noted(*args: Any) -> Any:
        yield from to_csv(*args)
        was_read.set()

    monkeypatch.setattr(api, "to_csv", noted)
    monkeypatch.setattr(api, "_now", lambda: to_text(late) if was_read.is_set() else now())
    return late


@both_ways
def test_all_can_be_wanted_and_are_waited_for(
    run_dag: Run, sandbox: Any, connection: str, tomorrow_comes_once_looked_for: datetime, deferrable: bool
) -> None:
    late = tomorrow_comes_once_looked_for.isoformat()
    rows = [person(number) for number in range(19)] + [person(19, scheduled=late)]
    run = run_dag(sent_and_reported(rows, min_delivered=1.0, deferrable=deferrable))
    assert run.task_states == {"send": "success", "report": "success"}, run.log[-3000:]
    assert "19 delivered, 1 queued" in run.log
    assert report_of(run)["share_delivered"] == 1.0
    rows.append(person(20, destination=REFUSED))  # none of those that 8x8 has accepted
    assert run_dag(sent_and_reported(rows, min_delivered=1.0)).task_states["report"] == "success"


def test_what_is_scheduled_is_seen_when_it_is_due(
    run_dag: Run, sandbox: Any, connection: str, tomorrow_comes_once_looked_for: datetime
) -> None:
    sending = {"scheduled": tomorrow_comes_once_looked_for}
    run = run_dag(sent_and_reported([person(1)], sending=sending, deferrable=True, final_share=1))
    assert "have 1 messages of 1 accepted: 1 queued" in run.log
    assert report_of(run)["states"] == {"delivered": 1}


@pytest.mark.parametrize(("on_empty", "state"), [("skip", "skipped"), ("succeed", "success"), ("fail", "failed")])
@pytest.mark.parametrize("batch_ids", [None, lambda send: None, lambda send: "{{ None }}"], ids=["", "None", "Jinja"])
def test_no_batches_are_what_no_rows_are(
    run_dag: Run, sandbox: Any, connection: str, on_empty: str, state: str, batch_ids: Any
) -> None:
    run = run_dag(sent_and_reported([], batch_ids=batch_ids, on_empty=on_empty))
    assert run.task_states == {"send": "success", "report": state}
    assert report_of(run)["batch_ids"] == []


def test_a_batch_of_which_the_logs_have_nothing_is_named(run_dag: Run, sandbox: Any, connection: str) -> None:
    sent = run_dag(sent_and_reported([person(1)])).xcoms["send"]["batch_ids"]
    time.sleep(2)  # exports begin at a whole second
    late = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    dag = sent_and_reported([], batch_ids=lambda send: sent, sent_after=late, timeout=2 * SECOND, min_delivered=0.5)
    run = run_dag(dag)
    result = report_of(run)
    assert (result["batches_not_seen"], result["messages_seen"], result["timed_out"]) == (sent, 0, True)
    assert run.task_states["report"] == "failed"
    assert (
        f"have nothing of the batches {sent[0]}: if they were sent before the run was due, give sent_after" in run.log
    )


def test_a_batch_of_unknown_outcome_is_found_by_our_own_id(run_dag: Run, sandbox: Any, connection: str) -> None:
    sandbox.faults([{"on": "survey_batch", "kind": "close_after_accept"}, {"on": "log_export", "kind": "500"}])
    unknown = {"reconcile_timeout": timedelta(), "on_unknown": "assume_sent"}
    run = run_dag(sent_and_reported([person(number) for number in range(3)], sending=unknown))
    assert run.task_states == {"send": "success", "report": "success"}, run.log[-3000:]
    assert (run.xcoms["send"]["batch_ids"], run.xcoms["send"]["unknown_count"]) == ([], 3)
    result = report_of(run)
    assert (result["messages_expected"], result["states"]) == (None, {"delivered": 3})
    assert result["batch_ids"] == [sandbox.messages()[0]["batch_id"]]


@pytest.mark.usefixtures("airflow_db")
def test_when_the_trigger_fails_that_nothing_was_read_is_pushed(run_due: Run, sandbox: Any, connection: str) -> None:
    dag = sent_and_reported([person(1)], deferrable=True)
    run = run_due(dag, "manual", datetime.now(UTC))
    run = go_on(dag, run.run_id, trigger_fails=True)
    assert run.task_states["report"] == "failed"
    result = report_of(run)
    assert (result["as_of"], result["messages_expected"], result["batch_ids"]) == (
        None,
        1,
        run.xcoms["send"]["batch_ids"],
    )
    assert "8x8's logs could not be waited for without a worker: Trigger failure" in run.log


@pytest.mark.usefixtures("airflow_db")
@pytest.mark.parametrize(
    ("batch_ids", "state"), [("{{ none }}", "skipped"), ("{{ 'no id' }}", "failed")], ids=["nothing", "no batches"]
)
def test_batches_that_are_none_any_more_after_a_wait_are_as_before_it(
    run_due: Run, sandbox: Any, connection: str, batch_ids: str, state: str
) -> None:
    run = run_due(sent_and_reported([person(1)], deferrable=True), "manual", datetime.now(UTC))
    edited = sent_and_reported([person(1)], deferrable=True, batch_ids=lambda send: batch_ids)
    assert go_on(edited, run.run_id).task_states["report"] == state


def test_cleared_alone_the_report_finds_what_was_sent_before_the_run_began_anew(
    run_dag: Run, clear_and_run: Run, sandbox: Any, connection: str
) -> None:
    dag = sent_and_reported([person(1)])
    run = run_dag(dag, logical_date=datetime.now(UTC) - timedelta(hours=3))
    again = clear_and_run(dag, run.run_id, "report")
    assert report_of(again)["states"] == {"delivered": 1}
    assert sandbox.stats()["accepted"] == 1


def test_a_refused_key_fails_for_good_and_says_what_to_check(
    run_dag: Run, sandbox: Any, connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"conn_type": "eight_by_eight", "host": sandbox.url, "login": "sandbox_hq", "password": "another-key"}
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps(fields))
    run = run_dag(sent_and_reported([person(1)], eight_by_eight_conn_id="other", retries=1))
    assert (run.task_states["report"], run.try_numbers["report"]) == ("failed", 1)
    assert "Check the API key" in run.log
    result = report_of(run)
    assert (result["as_of"], result["timed_out"]) == (None, False), "its time was not over"


@pytest.mark.usefixtures("airflow_db")
def test_what_8x8_refuses_while_it_waits_is_no_success(run_due: Run, sandbox: Any, connection: str) -> None:
    sandbox.faults([{"on": "log_export", "kind": "log_lag_seconds", "seconds": 1_000_000, "times": 1}])
    dag = sent_and_reported([person(1)], deferrable=True, retries=1)
    run = run_due(dag, "manual", datetime.now(UTC))
    sandbox.faults([{"on": "log_export", "kind": "404", "times": 9}])
    while run.task_states["report"] == "deferred":
        time.sleep(1)
        run = go_on(dag, run.run_id)
    assert (run.task_states["report"], run.try_numbers["report"]) == ("failed", 1), "its time was not over"
    assert "HTTP 404" in run.log
    result = report_of(run)
    assert (result["messages_seen"], result["messages_expected"]) == (0, 1), "what the first look has seen"
    assert not result["timed_out"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"outcome_table": "nowhere.outcomes", "outcome_conn_id": "warehouse"}, "could not be read"),
        ({"outcome_table": "outcomes", "outcome_conn_id": "none"}, "none"),
        ({"eight_by_eight_conn_id": "none"}, "none"),
        ({"sent_after": "{{ 'yesterday' }}"}, "sent_after is 'yesterday'"),
    ],
    ids=["table", "its connection", "connection", "time"],
)
def test_where_it_cannot_begin_its_result_says_that_nothing_is_known(
    run_dag: Run,
    sandbox: Any,
    connection: str,
    monkeypatch: pytest.MonkeyPatch,
    no_pauses: None,
    tmp_path: Path,
    arguments: dict[str, Any],
    said: str,
) -> None:
    warehouse = {"conn_type": "sqlite", "host": str(tmp_path / "warehouse.sqlite")}
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(warehouse))
    run = run_dag(sent_and_reported([person(1)], **arguments))
    assert run.task_states == {"send": "success", "report": "failed"}
    assert said in run.task_logs["report"]
    result = report_of(run)
    assert (result["batch_ids"], result["messages_expected"]) == (run.xcoms["send"]["batch_ids"], 1)
    assert (result["as_of"], result["messages_seen"]) == (None, 0)


@both_ways
def test_no_number_and_no_secret_is_shown(run_dag: Run, sandbox: Any, connection: str, deferrable: bool) -> None:
    rows = [person(1), person(2, destination=REFUSED)]
    run = run_dag(sent_and_reported(rows, deferrable=deferrable))
    kept = json.dumps([run.xcoms["report"], run.rendered["report"]])
    for hidden in ("20155501", "210555"):
        assert hidden not in kept + run.task_logs["report"]
    for hidden in (API_KEY, "/download/"):  # a test run's log has what Airflow is told to mask, and the sandbox's own
        assert hidden not in kept


@pytest.mark.parametrize(
    ("batch_ids", "said"),
    [
        (["+12025550123"], "12*******23"),
        ("12025550123", "12*******23"),
        ({"batch_id": "b"}, "without a list of batch_ids"),
        ([7], "batch_ids has 7"),
    ],
)
def test_batches_that_are_none_are_refused_when_the_dag_is_parsed(batch_ids: Any, said: str) -> None:
    with pytest.raises(ValueError, match="Task 'report': batch_ids ") as caught:
        sent_and_reported([], batch_ids=lambda send: batch_ids)
    assert said in str(caught.value)
    assert "0123" not in str(caught.value)


@pytest.mark.parametrize(
    "argument",
    [
        {"final_share": 0},
        {"final_share": 1.5},
        {"timeout": 60},
        {"poll_interval": timedelta()},
        {"min_delivered": 1.5},
        {"min_delivered": 0.0},
        {"min_delivered": -1},
        {"on_empty": "ignore"},
        {"sent_after": "yesterday"},
        {"subaccount_id": "?"},
    ],
    ids=lambda argument: " ".join(f"{name}={value}" for name, value in argument.items()),
)
def test_wrong_arguments_are_named_when_the_dag_is_parsed(argument: dict[str, Any]) -> None:
    (name,) = argument
    with pytest.raises(ValueError, match=f"Task 'report': {name} is "):
        sent_and_reported([], **argument)


def test_batches_that_turn_out_to_be_none_fail_for_good_without_showing_them(
    run_dag: Run, sandbox: Any, connection: str
) -> None:
    run = run_dag(sent_and_reported([], batch_ids=lambda send: "{{ '+1202' ~ '5550123' }}", retries=1))
    assert (run.task_states["report"], run.try_numbers["report"]) == ("failed", 1)
    assert "12025550123" not in json.dumps(run.rendered["report"]) + run.task_logs["report"]


@with_state_store
@both_ways
def test_another_try_reads_the_export_that_the_one_before_has_asked_for(
    run_dag: Run, sandbox: Any, connection: str, monkeypatch: pytest.MonkeyPatch, deferrable: bool
) -> None:
    get_log_export = EightByEightClient.get_log_export
    deaths: list[str] = []

    def dies_once(client: Any, job_id: str, **options: Any) -> Any:
        is_worker = threading.current_thread() is threading.main_thread()  # a trigger asks in another
        if is_worker and not deaths:
            deaths.append(job_id)
            sandbox.faults([{"on": "log_export", "kind": "500", "times": 1_000}])
            raise RuntimeError("the worker is gone")
        assert not deaths or job_id in deaths
        return get_log_export(client, job_id, **options)

    monkeypatch.setattr(EightByEightClient, "get_log_export", dies_once)
    dag = sent_and_reported([person(1)], retries=1, retry_delay=timedelta(), deferrable=deferrable)
    run = run_dag(dag)
    assert report_of(run)["states"] == {"delivered": 1}
    assert (len(deaths), run.try_numbers["report"]) == (1, 2)


def test_whether_it_defers_is_what_airflow_is_set_to() -> None:
    code = (
        "import inspect; from airflow_provider_8x8.operators.delivery_report import EightByEightDeliveryReportOperator;"
        "print(inspect.signature(EightByEightDeliveryReportOperator.__init__).parameters['deferrable'].default)"
    )
    said = subprocess.run(
        [sys.executable, "-c", f"import os; os.environ['AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE'] = 'True'; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "True" in said.stdout.splitlines()
