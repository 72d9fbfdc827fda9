"""Whole DAGs against the sandbox: what a user sees."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

with_state_store = pytest.mark.skipif(
    not version("apache-airflow").startswith("3."), reason="Airflow 2 has no task state store"
)
without_state_store = pytest.mark.skipif(
    not version("apache-airflow").startswith("2."), reason="this Airflow has a task state store"
)

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
    assert {name: value for name, value in run.xcoms["send"].items() if name != "return_value"} == result
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
        use(send.output["batch_ids"], send.output["accepted_count"])
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
        ({"rows": [], "campaign_id": "", "journal_conn_id": "journal"}, "1 to 250 characters"),
        ({"rows": [], "campaign_id": "m" * 251, "journal_conn_id": "journal"}, "1 to 250 characters"),
    ],
)
def test_wrong_arguments_show_when_the_dag_is_parsed(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        survey_dag(**wrong)


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
    from airflow_provider_8x8.surveys import report

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
