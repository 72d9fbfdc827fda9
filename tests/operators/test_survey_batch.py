"""Whole DAGs against the sandbox: what a user sees."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from tests.support.airflow_version import AIRFLOW, HAS_TASK_STATE_STORE

with_state_store = pytest.mark.skipif(not HAS_TASK_STATE_STORE, reason="this Airflow has no task state store")
without_state_store = pytest.mark.skipif(HAS_TASK_STATE_STORE, reason="this Airflow has a task state store")

TAKES_XCOM_OF_NONE = not Version("3.0") <= AIRFLOW < Version("3.1")

BODY = "Hi {{firstName}}, how was order {{order_nr}}? {{url:order_nr}}"
START = datetime(2026, 1, 1, tzinfo=UTC)
COUNTS = (
    "accepted_count",
    "rejected_count",
    "invalid_count",
    "duplicate_count",
    "already_sent_count",
    "not_sent_count",
    "unknown_count",
)


def person(number: int, **columns: Any) -> dict[str, Any]:
    """A row; the numbers +1 AAA 555 01NN are reserved for fiction."""
    return {
        "destination": f"+1{201 + number // 100}55501{number % 100:02d}",
        "firstName": f"Person {number}",
        "order_nr": number,
        **columns,
    }


def survey_dag(**arguments: Any) -> Any:
    from airflow.providers.common.compat.sdk import DAG

    from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator

    with DAG("survey", schedule=None, start_date=START, catchup=False) as dag:
        EightByEightSurveyBatchOperator(
            task_id="send",
            **{
                "survey_id": "orders",
                "template_body": BODY,
                "retries": 0,
                "reconcile_timeout": timedelta(),
                **arguments,
            },
        )
    return dag


def result_of(run: Any) -> dict[str, Any]:
    result: dict[str, Any] = run.xcoms["send"]["return_value"]
    assert sum(result[name] for name in COUNTS) == result["rows_read"]
    xcoms = {name: value for name, value in run.xcoms["send"].items() if name != "return_value"}
    assert xcoms == {name: value for name, value in result.items() if TAKES_XCOM_OF_NONE or value is not None}
    return result


def test_rows_of_an_upstream_task_are_sent_in_batches(run_dag: Any, sandbox: Any, connection: str) -> None:
    from airflow.providers.common.compat.sdk import DAG, task

    from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator

    people = [person(number) for number in range(25)]
    with DAG("survey_from_xcom", schedule=None, start_date=START, catchup=False) as dag:

        @task
        def extract() -> list[dict[str, Any]]:
            return people

        @task
        def use(batch_ids: list[str], accepted: int) -> str:
            return f"{accepted} in {len(batch_ids)}"

        send = EightByEightSurveyBatchOperator(
            task_id="send", survey_id="orders", template_body=BODY, rows=extract(), batch_size=10, retries=0
        )
        output: Any = send.output  # Airflow's type does not say that it has keys
        use(output["batch_ids"], output["accepted_count"])
    run = run_dag(dag)
    assert run.task_states == {"extract": "success", "send": "success", "use": "success"}
    assert run.xcoms["use"]["return_value"] == "25 in 3"
    result = result_of(run)
    assert (result["rows_read"], result["accepted_count"], len(result["client_batch_ids"])) == (25, 25, 3)
    assert result["batch_id"] == result["batch_ids"][0]
    stats = sandbox.stats()
    assert (stats["batches"], stats["accepted"], stats["distinct_keys"], stats["max_per_key"]) == (3, 25, 25, 1)
    texts = {message["text"] for message in sandbox.messages(100)}
    assert any(text.startswith("Hi Person 7, how was order 7? ") for text in texts)
    assert run.rendered["send"]["rows"] == "<25 rows>"


def test_rows_of_mapped_tasks_are_one_campaign(run_dag: Any, sandbox: Any, connection: str) -> None:
    from airflow.providers.common.compat.sdk import DAG, task

    from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator

    with DAG("survey_mapped", schedule=None, start_date=START, catchup=False) as dag:

        @task
        def extract(part: int) -> list[dict[str, Any]]:
            return [person(number) for number in range(part * 10, part * 10 + 10)]

        EightByEightSurveyBatchOperator(
            task_id="send", survey_id="orders", template_body=BODY, rows=extract.expand(part=[0, 1, 2]), retries=0
        )
    result = result_of(run_dag(dag))
    assert (result["rows_read"], result["accepted_count"]) == (30, 30)
    assert sandbox.stats()["batches"] == 1


def test_every_row_ends_in_one_outcome(run_dag: Any, sandbox: Any, connection: str, tmp_path: Path) -> None:
    rows = [
        person(1),
        person(2, destination="+210 555 0123 45"),  # no such calling code: only 8x8 can tell
        person(3, destination="0412345678"),
        person(1, destination="(1) 201-555.0101", firstName="the first again"),
        person(4, order_nr=None),
    ]
    run = run_dag(survey_dag(rows=rows, report_path=str(tmp_path)))
    assert run.task_states == {"send": "success"}
    result = result_of(run)
    assert [result[name] for name in COUNTS] == [1, 1, 2, 1, 0, 0, 0]
    assert result["invalid_samples"] == [
        "Row 3: destination '04******78' has a leading 0; give an international number, or country='AU' with 412345678",
        "Row 5: there is no value for {{order_nr}}",
    ]
    files = Path(result["report"].removeprefix("file://")).iterdir()
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert Counter(line["outcome"] for line in lines) == {"accepted": 1, "rejected": 1, "invalid": 2, "duplicate": 1}
    assert {line["umid"] for line in lines if line["outcome"] == "accepted"} == {
        message["umid"] for message in sandbox.messages(10) if message["status"] != "rejected"
    } - {line["umid"] for line in lines if line["outcome"] == "rejected"}


def test_neither_api_key_nor_phone_number_shows(run_dag: Any, sandbox: Any, connection: str) -> None:
    from tests.conftest import API_KEY

    rows = [person(number) for number in range(20)] + [person(33, destination="+65 9123 4567 89 01 23")]
    sandbox.faults([{"on": "survey_batch", "kind": "500_after_accept", "times": 1}])
    run = run_dag(survey_dag(rows=rows, batch_size=5))
    assert run.task_states == {"send": "success"}
    assert "outcome unknown" in run.log
    # Airflow's test run shows at DEBUG level how it hands a secret to its own masker.
    log = re.sub(r"MaskSecret\(.*?\)|\S*et\(value='[^']*', name=None, type='MaskSecret'\)", "", run.log)
    everything = log + json.dumps(run.xcoms) + json.dumps(run.rendered)
    assert API_KEY not in everything
    digits = re.sub(r"[\s().-]", "", everything)
    assert not [row["destination"] for row in rows if row["destination"].lstrip("+").replace(" ", "") in digits]


@pytest.mark.parametrize("kind", ["500_after_accept", "close_after_accept", "truncate", "not_json"])
def test_a_lost_answer_is_found_in_8x8s_logs(run_dag: Any, sandbox: Any, connection: str, kind: str) -> None:
    sandbox.faults([{"on": "survey_batch", "kind": kind, "times": 1}])
    rows = [person(number) for number in range(19)] + [person(19, destination="+21055501230")]
    run = run_dag(survey_dag(rows=rows, batch_size=20))
    assert run.task_states == {"send": "success"}
    result = result_of(run)
    assert (result["accepted_count"], result["rejected_count"], result["unknown_count"]) == (19, 1, 0)
    assert result["batch_ids"] == [message["batch_id"] for message in sandbox.messages(1)]
    assert sandbox.stats()["requests"] == 1


def test_a_batch_that_the_logs_lack_stays_unknown(run_dag: Any, sandbox: Any, connection: str) -> None:
    sandbox.faults([{"on": "survey_batch", "kind": "close_before_accept", "times": 1}])
    run = run_dag(survey_dag(rows=[person(number) for number in range(20)], batch_size=5))
    assert run.task_states == {"send": "failed"}
    result = result_of(run)
    assert (result["accepted_count"], result["unknown_count"]) == (15, 5)
    assert f"client batch ids {result['client_batch_ids'][0]}" in run.log
    assert sandbox.stats()["max_per_key"] == 1


def test_an_unknown_batch_may_be_assumed_sent(run_dag: Any, sandbox: Any, connection: str) -> None:
    sandbox.faults([{"on": "survey_batch", "kind": "500", "times": 1}])
    run = run_dag(survey_dag(rows=[person(1), person(2)], on_unknown="assume_sent"))
    assert run.task_states == {"send": "success"}
    assert result_of(run)["unknown_count"] == 2
    assert sandbox.stats()["requests"] == 1


def test_three_unknown_batches_in_a_row_stop_the_task(run_dag: Any, sandbox: Any, connection: str) -> None:
    sandbox.faults([{"on": "survey_batch", "kind": "500", "times": 5}])
    run = run_dag(survey_dag(rows=[person(number) for number in range(20)], batch_size=2))
    assert run.task_states == {"send": "failed"}
    assert sandbox.stats()["requests"] == 3
    assert result_of(run)["unknown_count"] == 6


def test_one_bad_row_is_found_by_halving(run_dag: Any, sandbox: Any, connection: str) -> None:
    rows = [person(number) for number in range(40)]
    rows[17]["country"] = "ZZ"
    run = run_dag(survey_dag(rows=rows))
    assert run.task_states == {"send": "success"}
    result = result_of(run)
    assert (result["accepted_count"], result["rejected_count"]) == (39, 1)
    assert sandbox.stats()["max_per_key"] == 1


@pytest.mark.parametrize(
    ("bad", "batch_size"), [({0, 1}, 40), ({0, 1}, 2), ({38, 39}, 1), (set(range(12)), 10), ({0, 7, 13, 21, 39}, 40)]
)
def test_bad_neighbours_are_found_wherever_they_are(
    run_dag: Any, sandbox: Any, connection: str, bad: set[int], batch_size: int, tmp_path: Path
) -> None:
    rows = [person(number, **({"country": "ZZ"} if number in bad else {})) for number in range(40)]
    run = run_dag(survey_dag(rows=rows, batch_size=batch_size, report_path=str(tmp_path)))
    assert run.task_states == {"send": "success"}
    result = result_of(run)
    assert (result["accepted_count"], result["rejected_count"]) == (40 - len(bad), len(bad))
    stats = sandbox.stats()
    assert (stats["accepted"], stats["max_per_key"]) == (40 - len(bad), 1)
    files = Path(result["report"].removeprefix("file://")).iterdir()
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert Counter(line["outcome"] for line in lines) == {"accepted": 40 - len(bad), "rejected": len(bad)}
    assert {line["code"] for line in lines if line["outcome"] == "rejected"} == {3018}


def test_scattered_bad_rows_of_large_batches_are_found(run_dag: Any, sandbox: Any, connection: str) -> None:
    rows = [person(number) for number in range(3000)]
    for number in range(17, 3000, 600):
        rows[number]["country"] = "ZZ"
    run = run_dag(survey_dag(rows=rows, batch_size=1500, unique_by="order_nr"))
    assert run.task_states == {"send": "success"}
    result = result_of(run)
    assert (result["accepted_count"], result["rejected_count"]) == (2995, 5)
    assert sandbox.stats()["max_per_key"] == 1


def test_what_is_refused_whatever_row_is_sent_ends_the_task_after_a_few_rows_from_each_batch(
    run_dag: Any, sandbox: Any, connection: str
) -> None:
    rows = [person(number, country="ZZ") for number in range(40)]
    run = run_dag(survey_dag(rows=rows, batch_size=20, retries=2, retry_delay=timedelta()))
    assert (run.task_states, run.try_numbers) == ({"send": "failed"}, {"send": 1})
    result = result_of(run)
    assert (result["accepted_count"], result["rejected_count"], result["not_sent_count"]) == (0, 0, 40)
    assert sandbox.stats()["requests"] == 22
    assert "none of 20 rows from different places" in run.log


def test_one_row_alone_is_rejected(run_dag: Any, sandbox: Any, connection: str) -> None:
    run = run_dag(survey_dag(rows=[person(1, country="ZZ")]))
    assert run.task_states == {"send": "failed"}
    assert result_of(run)["rejected_count"] == 1
    assert "Nobody was surveyed" in run.log


def test_a_wrong_api_key_sends_nothing(run_dag: Any, sandbox: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {"conn_type": "eight_by_eight", "host": sandbox.url, "login": "sandbox_hq", "password": "wrong-key"}
    monkeypatch.setenv("AIRFLOW_CONN_EIGHT_BY_EIGHT_DEFAULT", json.dumps(wrong))
    run = run_dag(survey_dag(rows=[person(1)]))
    assert run.task_states == {"send": "failed"}
    assert result_of(run)["not_sent_count"] == 1
    assert "code 1200" in run.log
    assert sandbox.stats()["accepted"] == 0


def test_rate_limited_batches_are_sent_again_as_late_as_8x8_asks(run_dag: Any, sandbox: Any, connection: str) -> None:
    sandbox.faults([{"on": "survey_batch", "kind": "429", "times": 2, "retry_after": 0}])
    run = run_dag(survey_dag(rows=[person(1)]))
    assert run.task_states == {"send": "success"}
    assert sandbox.stats() | {"requests": 3, "accepted": 1, "max_per_key": 1} == sandbox.stats()


def test_more_rows_than_max_messages_send_nothing(run_dag: Any, sandbox: Any, connection: str) -> None:
    run = run_dag(survey_dag(rows=[person(number) for number in range(11)], batch_size=5, max_messages=10))
    assert run.task_states == {"send": "failed"}
    assert "max_messages=10" in run.log
    assert sandbox.stats()["requests"] == 0


def test_an_invalid_row_can_forbid_to_send_any(run_dag: Any, sandbox: Any, connection: str) -> None:
    rows = [person(number) for number in range(11)] + [person(12, destination="none")]
    run = run_dag(survey_dag(rows=rows, batch_size=5, on_invalid="fail"))
    assert run.task_states == {"send": "failed"}
    assert "Row 12" in run.log
    assert sandbox.stats()["requests"] == 0


@pytest.mark.parametrize(("on_empty", "state"), [("skip", "skipped"), ("fail", "failed"), ("succeed", "success")])
def test_an_empty_source(run_dag: Any, sandbox: Any, connection: str, on_empty: str, state: str) -> None:
    run = run_dag(survey_dag(rows=[], on_empty=on_empty))
    assert run.task_states == {"send": state}
    assert result_of(run)["rows_read"] == 0


@pytest.mark.parametrize(("max_rejected", "state"), [(2, "success"), (1, "failed"), (0.5, "success"), (0.4, "failed")])
def test_too_many_rejected_fail_the_task_after_its_results(
    run_dag: Any, sandbox: Any, connection: str, max_rejected: float, state: str
) -> None:
    rows = [person(1), person(2), *(person(3, destination=f"+21055501230{digit}") for digit in range(2))]
    run = run_dag(survey_dag(rows=rows, max_rejected=max_rejected))
    assert run.task_states == {"send": state}
    assert result_of(run)["rejected_count"] == 2


def test_braces_in_rows_are_data(run_dag: Any, sandbox: Any, connection: str) -> None:
    run = run_dag(survey_dag(rows=[person(1, firstName="{{ boom( }} {% x %}"), person(2, firstName='"\\ 😀 {')]))
    assert run.task_states == {"send": "success"}
    assert any("{{ boom( }} {% x %}" in message["text"] for message in sandbox.messages(10))


def test_jinja_goes_into_template_variables(run_dag: Any, sandbox: Any, connection: str) -> None:
    run = run_dag(
        survey_dag(
            rows=[person(1)], template_body="Your {{month}}: {{url}}", template_variables={"month": "{{ dag.dag_id }}"}
        )
    )
    assert run.task_states == {"send": "success"}
    assert sandbox.messages(1)[0]["text"].startswith("Your survey: ")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "exactly one of rows and sql"),
        ({"rows": [], "sql": "SELECT 1", "sql_conn_id": "x"}, "exactly one of rows and sql"),
        ({"sql": "SELECT 1"}, "sql_conn_id"),
        ({"rows": {"destination": "+12025550123"}}, "list of mappings"),
        ({"rows": [], "template_body": "no link"}, "no link"),
        ({"rows": [], "template_body": "{{firstName} {{url}}"}, "do not pair up"),
        ({"rows": [], "template_body": "{{ x | upper }} {{url}}"}, "is not a name"),
        ({"rows": [], "scheduled": "2026-01-01T09:00:00"}, "without an offset"),
        ({"rows": [], "scheduled": "soon"}, "ISO 8601"),
        ({"rows": [], "expiry": datetime(2026, 1, 1)}, "without an offset"),  # noqa: DTZ001  # naive is the point
        ({"rows": [], "source": "a" * 17}, "at most 16 characters"),
        ({"rows": [], "encoding": "UTF-8"}, "encoding"),
        ({"rows": [], "batch_size": 0}, "1 to 10000"),
        ({"rows": [], "batch_size": 10_001}, "1 to 10000"),
        ({"rows": [], "client_batch_id_prefix": "123456789"}, "at most 8"),
        ({"rows": [], "max_rejected": 1.0}, "max_rejected"),
        ({"rows": [], "max_messages": 0}, "max_messages"),
        ({"rows": [], "on_invalid": "ignore"}, "skip, fail"),
        ({"rows": [], "reconcile_timeout": 900}, "expected a timedelta"),
        ({"rows": [], "log_settle_time": timedelta(seconds=-1)}, "expected a timedelta"),
        ({"rows": [], "campaign_id": "march"}, "campaign_id needs journal_conn_id"),
        ({"rows": [], "not_after": "2026-01-31T09:00:00"}, "without an offset from UTC"),
        ({"rows": [], "not_after": ""}, "not_after is ''; expected a datetime, or ISO 8601 with offset"),
        ({"rows": [], "campaign_id": "", "journal_conn_id": "journal"}, "1 to 768 characters"),
        ({"rows": [], "campaign_id": "m" * 769, "journal_conn_id": "journal"}, "1 to 768 characters"),
    ],
)
def test_wrong_arguments_show_when_the_dag_is_parsed(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        survey_dag(**wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"survey_id": ""}, "survey_id is empty; expected the id that 8x8 gave the survey"),
        ({"survey_id": 1.5}, "survey_id is 1.5, of type float; expected text, or a whole number"),
        ({"survey_id": True}, "survey_id is True, of type bool; expected text"),
        ({"survey_id": ["+12025550123"]}, r"survey_id is \['\+12\*+23'\], of type list; expected text"),
        ({"survey_id": "half \ud83d"}, "survey_id holds half a character"),
        ({"template_body": 5}, "template_body is 5, of type int; expected a text with {{url}} in it"),
        ({"template_body": ""}, "template_body: the template body is empty"),
        ({"template_body": "{{12025550123}} {{url}}"}, r"template_body: the template has '\{\{12\*+23\}\}'"),
        ({"template_variables": ["month"]}, "template_variables is of type list; expected a mapping"),
        ({"template_variables": {5: "x"}}, "template_variables has a name that is 5; expected a mapping"),
        ({"template_variables": {"order_nr": {}}}, r"template_variables\['order_nr'\] is of type dict; expected text"),
        ({"rows": 5}, "rows is of type int; expected a list of mappings"),
        (
            {"sql": ["SELECT 1"], "sql_conn_id": "x", "rows": None},
            "sql is \\['SELECT 1'\\], of type list; expected text",
        ),
        ({"sql": " ", "sql_conn_id": "x", "rows": None}, "sql is empty; expected one statement"),
        ({"sql": "SELECT 1", "sql_conn_id": ["x"], "rows": None}, "sql_conn_id is of type list; expected the id"),
        ({"sql_conn_id": "postgres://user:s3cret@host/db"}, "sql_conn_id is a connection; expected its id"),
        ({"parameters": "+12025550123"}, "parameters is of type str; expected a mapping, a list or a tuple"),
        ({"parameters": {1, 2}}, "parameters is of type set; expected a mapping, a list or a tuple"),
        ({"sql_hook_params": "s3cret"}, "sql_hook_params is of type str; expected a mapping"),
        ({"unique_by": ["a"]}, "unique_by is .* of type list; expected text"),
        ({"unique_by": ""}, "unique_by is empty; expected the name of a column"),
        ({"source": "+1202555012312345"}, r"source is '\+12\*+45'; expected at most 16 characters"),
        ({"source": 1.5}, "source is 1.5, of type float; expected text"),
        ({"encoding": 7}, "encoding is '7'; expected AUTO, GSM7 or UCS2"),
        ({"scheduled": 20260131}, r"scheduled is 20\*+31; expected a datetime, or ISO 8601"),
        ({"expiry": timedelta(1)}, "expiry is .*; expected a datetime, or ISO 8601"),
        ({"dlr_callback_url": "ftp://user:s3cret@example.com/x"}, r"is ftp://\*+@example.com/\*+; expected a URL"),
        ({"dlr_callback_url": 5}, "dlr_callback_url is .*; expected a URL that begins with https://"),
        ({"client_batch_id_prefix": "q4/2026-"}, "client_batch_id_prefix is 'q4/2026-'; expected at most 8 characters"),
        ({"client_batch_id_prefix": "../../"}, "client_batch_id_prefix is .*first a letter or digit"),
        ({"client_batch_id_prefix": ".q4"}, "client_batch_id_prefix is '.q4'; expected"),
        ({"client_batch_id_prefix": "q 4"}, "client_batch_id_prefix is 'q 4'; expected"),
        ({"client_batch_id_prefix": "q4\n"}, "client_batch_id_prefix is .*; expected"),
        ({"client_batch_id_prefix": 'a"b'}, "client_batch_id_prefix is .*; expected"),
        ({"client_batch_id_prefix": "märz"}, "client_batch_id_prefix is 'märz'; expected"),
        ({"client_batch_id_prefix": None}, "client_batch_id_prefix is None"),
        ({"batch_size": "100"}, "batch_size is '100'; expected 1 to 10000"),
        ({"batch_size": True}, "batch_size is True, of type bool; expected 1 to 10000"),
        ({"batch_size": 1e3}, "batch_size is 1000.0, of type float; expected 1 to 10000"),
        ({"batch_size": None}, "batch_size is None"),
        ({"max_messages": "12025550123"}, r"max_messages is '12\*+23'; expected a whole number of at least 1"),
        ({"max_rejected": float("nan")}, "max_rejected is nan, of type float; expected a whole number, or a float"),
        ({"max_rejected": "1"}, "max_rejected is '1'; expected a whole number, or a float"),
        ({"on_invalid": ["skip"]}, "on_invalid is .* of type list; expected one of skip, fail"),
        ({"on_empty": None}, "on_empty is None"),
        ({"on_unknown": "retry"}, "on_unknown is 'retry'; expected one of fail, assume_sent, resend"),
        ({"log_settle_time": None}, "log_settle_time is None"),
        ({"canary_destination": "12345"}, "canary_destination is 12345; expected a phone number"),
        ({"canary_destination": ["+12025550123"]}, "canary_destination is .* of type list; expected text"),
        ({"canary_destination": 12025550123.0}, r"canary_destination is 12\*+\d+, of type float; expected text"),
        ({"campaign_id": "one\ntwo", "journal_conn_id": "journal"}, "campaign_id is .* can be printed"),
        ({"campaign_id": 1.5, "journal_conn_id": "journal"}, "campaign_id is 1.5, of type float; expected text"),
        ({"journal_conn_id": ""}, "journal_conn_id is empty; expected the id of an Airflow connection"),
        ({"journal_conn_id": {"host": "s3cret"}}, "journal_conn_id is of type dict; expected the id"),
        ({"eight_by_eight_conn_id": None}, "eight_by_eight_conn_id is of type NoneType"),
        ({"eight_by_eight_conn_id": "eight-by-eight://x:s3cret@/"}, "eight_by_eight_conn_id is a connection"),
        ({"sql_conn_id": '{"password": "s3cret"}'}, "sql_conn_id is a connection; expected its id"),
        ({"survey_id": None}, "survey_id is None, of type NoneType; expected text"),
        ({"subaccount_id": "a b"}, "subaccount_id is 'a b'; expected 3 to 50 letters"),
        ({"report_path": "reports"}, "report_path is 'reports'; expected an absolute path, or a URL"),
        ({"report_path": ["x"]}, "report_path is .* of type list; expected text"),
        ({"report_path": "ftp://user:s3cret@example.com/x"}, "report_path holds a password or a query; expected the"),
        ({"report_path": "ftp://user:ab/s3cret@example.com/x"}, "report_path holds a password or a query"),
        ({"report_path": "memory://bucket/folder?sig=s3cret"}, "report_path holds a password or a query"),
    ],
)
def test_each_argument_says_what_is_wrong_with_it(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message) as refused:
        survey_dag(**{"rows": [], **wrong})
    assert "s3cret" not in str(refused.value)
    assert "2025550123" not in str(refused.value)


def test_a_path_of_airflows_holds_no_password_either() -> None:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    with pytest.raises(ValueError, match="report_path holds a password or a query; expected the id of a") as refused:
        survey_dag(rows=[], report_path=ObjectStoragePath("s3://key:s3cret@bucket/folder"))
    assert "s3cret" not in str(refused.value)
    survey_dag(rows=[], report_path=ObjectStoragePath("s3://connection@bucket/folder"))


@pytest.mark.parametrize(
    "right",
    [
        {"client_batch_id_prefix": "Q4-26_a."},
        {"client_batch_id_prefix": ""},
        {"report_path": Path("/reports")},
        {"report_path": "s3://connection@bucket/folder"},
        {"report_path": "webhdfs://host:9870/folder@x"},
        {"report_path": ""},
        {"source": "", "encoding": "", "scheduled": "", "expiry": "", "dlr_callback_url": "", "canary_destination": ""},
        {"canary_destination": 12025550199},
        {"template_variables": {"firstName": None, "order_nr": date(2026, 1, 31)}},
        {"template_variables": "{{ params.variables }}"},
        {"parameters": "{{ params.parameters }}"},
        {"survey_id": lambda context, jinja_env: "orders"},
        {"campaign_id": "märz {{ ds }}", "journal_conn_id": "journal"},
        {"subaccount_id": 1234},
    ],
)
def test_what_can_be_used_is_taken(right: dict[str, Any]) -> None:
    survey_dag(**{"rows": [], **right})


@without_state_store
def test_retries_without_a_journal_warn_when_the_dag_is_parsed() -> None:
    with pytest.warns(UserWarning, match="set journal_conn_id, or retries=0"):
        survey_dag(rows=[], retries=2)


@pytest.mark.parametrize("arguments", [{"journal_conn_id": "journal"}, pytest.param({}, marks=with_state_store)])
def test_retries_with_a_journal_do_not_warn(arguments: dict[str, Any], recwarn: pytest.WarningsRecorder) -> None:
    survey_dag(rows=[], retries=2, **arguments)
    assert not [warning for warning in recwarn if "retries" in str(warning.message)]


def test_a_long_sender_name_warns_when_the_dag_is_parsed() -> None:
    with pytest.warns(UserWarning, match="more than 11 characters"):
        survey_dag(rows=[], source="ExampleBrand")


def test_scheduled_beyond_seven_days_sends_nothing(run_dag: Any, sandbox: Any, connection: str) -> None:
    run = run_dag(survey_dag(rows=[person(1)], scheduled="{{ macros.datetime(2126, 1, 1) }}+00:00"))
    assert run.task_states == {"send": "failed"}
    assert "at most 7 days ahead" in run.log
    assert sandbox.stats()["requests"] == 0


def test_a_missing_connection_is_named(run_dag: Any) -> None:
    run = run_dag(survey_dag(rows=[person(1)], eight_by_eight_conn_id="nowhere"))
    assert run.task_states == {"send": "failed"}
    assert "nowhere" in run.log


def test_a_report_that_cannot_be_written_stops_the_sending(
    run_dag: Any, sandbox: Any, connection: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_provider_8x8.surveys.outcomes import report

    def fail(*arguments: Any) -> None:
        raise OSError("the storage is full")

    monkeypatch.setattr(report, "_write_whole", fail)
    rows = [person(number) for number in range(20)]
    run = run_dag(survey_dag(rows=rows, batch_size=5, report_path=str(tmp_path)))
    assert run.task_states == {"send": "failed"}
    assert "the storage is full" in run.log
    result = result_of(run)
    # A batch is reported while the next one is on the wire.
    assert (result["accepted_count"], result["rows_read"]) == (10, 10)
    assert sandbox.stats()["requests"] == 2


def test_an_unknown_batch_is_sent_again_if_the_user_chose_so(run_dag: Any, sandbox: Any, connection: str) -> None:
    sandbox.faults([{"on": "survey_batch", "kind": "500", "times": 1}])
    run = run_dag(survey_dag(rows=[person(1), person(2)], on_unknown="resend"))
    assert run.task_states == {"send": "success"}
    result = result_of(run)
    assert (result["accepted_count"], len(result["client_batch_ids"])) == (2, 2)


def test_nobody_surveyed_is_a_failure(run_dag: Any, sandbox: Any, connection: str) -> None:
    rows = [person(number, destination="none") for number in range(12)]
    run = run_dag(survey_dag(rows=rows))
    assert run.task_states == {"send": "failed"}
    result = result_of(run)
    assert (result["invalid_count"], len(result["invalid_samples"])) == (12, 10)
    assert "Nobody was surveyed" in run.log


@pytest.fixture
def refuse_xcom(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have Airflow refuse some XComs, by key or by value."""
    try:
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance as TaskInstance
    except ImportError:
        from airflow.models.taskinstance import TaskInstance  # type: ignore[assignment]  # Airflow 2's
    push = TaskInstance.xcom_push

    def refuse(refused: Callable[[str, Any], bool]) -> None:
        def xcom_push(self: Any, key: str, value: Any, **options: Any) -> None:
            if refused(key, value):
                raise RuntimeError("no XCom for +1 202 555 0123")
            push(self, key=key, value=value, **options)

        monkeypatch.setattr(TaskInstance, "xcom_push", xcom_push)

    return refuse


def test_an_airflow_that_takes_no_xcom_of_none_gets_none(
    run_dag: Any, sandbox: Any, connection: str, refuse_xcom: Callable[..., None]
) -> None:
    refuse_xcom(lambda key, value: value is None)
    run = run_dag(survey_dag(rows=[person(1)]))
    assert run.task_states == {"send": "success"}
    xcoms = run.xcoms["send"]
    assert xcoms["return_value"]["report"] is None
    assert set(xcoms["return_value"]) - set(xcoms) == {"report"}


def test_a_result_that_cannot_be_pushed_fails_the_task_and_is_logged(
    run_dag: Any, sandbox: Any, connection: str, refuse_xcom: Callable[..., None]
) -> None:
    refuse_xcom(lambda key, value: key == "rows_read")
    run = run_dag(survey_dag(rows=[person(1), person(2)]))
    assert run.task_states == {"send": "failed"}
    assert "The result could not be pushed: rows_read: RuntimeError: no XCom for +12*******23" in run.log
    assert "2 rows were read: 2 accepted" in run.log
    assert '"accepted_count": 2' in run.log
    assert run.xcoms["send"]["return_value"]["accepted_count"] == 2


def test_why_a_task_fails_is_not_hidden_by_a_result_that_cannot_be_pushed(
    run_dag: Any, sandbox: Any, connection: str, refuse_xcom: Callable[..., None]
) -> None:
    refuse_xcom(lambda key, value: True)
    run = run_dag(survey_dag(rows=[person(number) for number in range(11)], max_messages=10))
    assert run.task_states == {"send": "failed"}
    assert "max_messages=10" in run.log
    assert '"not_sent_count": 0' in run.log or '"not_sent_count": 11' in run.log
    assert run.xcoms["send"] == {}


@pytest.mark.parametrize("arguments", [{}, {"max_messages": 1}, {"rows": []}])
def test_a_task_that_is_to_push_nothing_pushes_nothing(
    run_dag: Any, sandbox: Any, connection: str, arguments: dict[str, Any]
) -> None:
    run = run_dag(survey_dag(**{"rows": [person(1), person(2)], "do_xcom_push": False, **arguments}))
    assert run.xcoms["send"] == {}


@pytest.mark.parametrize(
    ("arguments", "state"),
    [
        ({"max_messages": 1}, "failed"),
        ({"on_invalid": "fail", "rows": [person(1, destination="none")]}, "failed"),
        ({"rows": [], "on_empty": "skip"}, "skipped"),
        ({"rows": [], "on_empty": "fail"}, "failed"),
        ({"rows": [person(1, destination="none")]}, "failed"),
        ({"rows": [person(1, destination="+21055501230"), person(2)], "max_rejected": 0}, "failed"),
    ],
)
def test_every_end_has_its_result(
    run_dag: Any, sandbox: Any, connection: str, arguments: dict[str, Any], state: str
) -> None:
    run = run_dag(survey_dag(**{"rows": [person(1), person(2)], **arguments}))
    assert run.task_states == {"send": state}
    result_of(run)


@pytest.mark.parametrize("campaign", ["..", ".", "a/b", "../../x", "CON", "x.", "x" * 250])
def test_a_campaign_of_any_name_reports_into_the_folder(
    run_dag: Any, sandbox: Any, connection: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, campaign: str
) -> None:
    journal = {"conn_type": "sqlite", "host": str(tmp_path / "journal.sqlite")}
    monkeypatch.setenv("AIRFLOW_CONN_JOURNAL", json.dumps(journal))
    folder = tmp_path / "outer" / "reports"
    run = run_dag(
        survey_dag(rows=[person(1)], campaign_id=campaign, journal_conn_id="journal", report_path=str(folder))
    )
    assert run.task_states == {"send": "success"}
    assert Path(result_of(run)["report"].removeprefix("file://")).parent == folder
    files = [path for path in tmp_path.rglob("*.jsonl") if path.is_file()]
    assert len(files) == 1
    assert files[0].parent.parent == folder
