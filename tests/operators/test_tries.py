"""A task that is tried again, cleared, or shares its campaign: nobody twice, nobody left out."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_8x8.api.client import EightByEightClient
from airflow_provider_8x8.api.models import BatchResponse
from tests.operators.send_within import send_within
from tests.operators.test_survey_batch import COUNTS, person, result_of, survey_dag, with_state_store

PEOPLE = [person(number) for number in range(20)]


@pytest.fixture(params=[pytest.param("state_store", marks=with_state_store), "sql"])
def journal(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The arguments that make the operator remember: none for Airflow's own store, or a SQL journal."""
    return {} if request.param == "state_store" else sql_journal(tmp_path, monkeypatch)


def sql_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    connection = {"conn_type": "sqlite", "host": str(tmp_path / "journal.sqlite")}
    monkeypatch.setenv("AIRFLOW_CONN_JOURNAL", json.dumps(connection))
    return {"journal_conn_id": "journal"}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Arguments with which absence from the logs is proven within seconds, by a canary."""
    send_within(monkeypatch, 1.0)
    return {
        "log_settle_time": timedelta(seconds=0.1),
        "reconcile_timeout": timedelta(seconds=120),
        "canary_destination": "+12025550199",
    }


Die = Callable[..., None]


@pytest.fixture
def die(monkeypatch: pytest.MonkeyPatch) -> Die:
    """Let the worker die at its n-th batch, before or after 8x8 gets it, once."""
    send = EightByEightClient.send_survey_batch
    calls = 0

    def arrange(*, at: int, before_8x8: bool) -> None:
        def sent(*arguments: Any, **options: Any) -> BatchResponse:
            nonlocal calls
            calls += 1
            if calls == at and before_8x8:
                raise RuntimeError("the worker is gone")
            response = send(*arguments, **options)
            if calls == at:
                raise RuntimeError("the worker is gone")
            return response

        monkeypatch.setattr(EightByEightClient, "send_survey_batch", sent)

    return arrange


def tried_again(**arguments: Any) -> Any:
    return survey_dag(**{"rows": PEOPLE, "batch_size": 5, "retries": 1, "retry_delay": timedelta(), **arguments})


def report_lines(result: dict[str, Any]) -> list[dict[str, Any]]:
    files = Path(result["report"].removeprefix("file://")).iterdir()
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


@pytest.mark.parametrize("at", [1, 2, 4])
def test_a_batch_that_8x8_got_before_the_worker_died_is_not_sent_again(
    run_dag: Any, sandbox: Any, connection: str, journal: dict[str, Any], die: Die, at: int, tmp_path: Path
) -> None:
    die(at=at, before_8x8=False)
    run = run_dag(tried_again(**journal, report_path=str(tmp_path / "report")))
    assert (run.task_states, run.try_numbers) == ({"send": "success"}, {"send": 2})
    result = result_of(run)
    assert [result[name] for name in COUNTS] == [20, 0, 0, 0, 0, 0, 0]
    assert len(result["batch_ids"]) == len(set(result["client_batch_ids"])) == 4
    stats = sandbox.stats()
    assert (stats["requests"], stats["accepted"], stats["max_per_key"], stats["singles"]) == (4, 20, 1, 0)
    lines = report_lines(result)
    assert {line["umid"] for line in lines} == {message["umid"] for message in sandbox.messages(100)}
    assert Counter(line["outcome"] for line in lines) == {"accepted": 20}


@pytest.mark.parametrize("at", [1, 4])
def test_a_batch_that_8x8_never_got_is_sent_by_the_next_try(
    run_dag: Any,
    sandbox: Any,
    connection: str,
    journal: dict[str, Any],
    quick: dict[str, Any],
    die: Die,
    at: int,
    tmp_path: Path,
) -> None:
    die(at=at, before_8x8=True)
    run = run_dag(tried_again(**journal, **quick, report_path=str(tmp_path / "report")))
    assert (run.task_states, run.try_numbers) == ({"send": "success"}, {"send": 2})
    result = result_of(run)
    assert [result[name] for name in COUNTS] == [20, 0, 0, 0, 0, 0, 0]
    stats = sandbox.stats()
    assert (stats["accepted"], stats["distinct_keys"], stats["max_per_key"]) == (20, 20, 1)
    assert stats["singles"] in ({1} if at == 4 else {0, 1}), "a canary, where no later batch shows how far the logs are"
    assert Counter(line["outcome"] for line in report_lines(result)) == {"accepted": 20}
    assert "202555019" not in json.dumps(run.rendered)


def test_a_source_that_changes_between_tries_sends_what_is_missing(
    run_dag: Any, sandbox: Any, connection: str, journal: dict[str, Any], die: Die, tmp_path: Path, monkeypatch: Any
) -> None:
    warehouse = tmp_path / "warehouse.sqlite"
    with sqlite3.connect(warehouse) as database:
        database.execute("CREATE TABLE people (destination TEXT, firstName TEXT, order_nr INTEGER)")
        database.executemany("INSERT INTO people VALUES (:destination, :firstName, :order_nr)", PEOPLE)
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "sqlite", "host": str(warehouse)}))
    die(at=2, before_8x8=False)
    send = EightByEightClient.send_survey_batch

    def sent(*arguments: Any, **options: Any) -> BatchResponse:
        try:
            return send(*arguments, **options)
        except RuntimeError:
            with sqlite3.connect(warehouse) as database:
                database.execute("DELETE FROM people WHERE order_nr IN (0, 7)")
                database.execute("INSERT INTO people VALUES ('+1-201-555-0102', 'Somebody again', 99)")
                database.execute("INSERT INTO people VALUES ('+14155550142', 'New', 100)")
            raise

    monkeypatch.setattr(EightByEightClient, "send_survey_batch", sent)
    dag = tried_again(**journal, rows=None, sql="SELECT * FROM people ORDER BY order_nr DESC", sql_conn_id="warehouse")
    run = run_dag(dag)
    assert (run.task_states, run.try_numbers) == ({"send": "success"}, {"send": 2})
    result = result_of(run)
    # 19 rows and the two that are gone but 0, which nobody had sent: 7 was in the second batch only if it was sent.
    assert result["accepted_count"] == sandbox.stats()["accepted"]
    assert (result["duplicate_count"], sandbox.stats()["max_per_key"]) == (1, 1)
    assert result["rows_read"] == result["accepted_count"] + 1


def test_rejected_rows_are_not_sent_again_by_the_next_try(
    run_dag: Any, sandbox: Any, connection: str, journal: dict[str, Any], die: Die
) -> None:
    rows = [*PEOPLE[:9], person(9, destination="+21055501230")]
    die(at=2, before_8x8=False)
    run = run_dag(tried_again(**journal, rows=rows))
    result = result_of(run)
    assert (result["accepted_count"], result["rejected_count"]) == (9, 1)
    assert sandbox.stats()["requests"] == 2


def test_what_stays_unknown_fails_every_try_and_is_never_sent_again(
    run_dag: Any, sandbox: Any, connection: str, journal: dict[str, Any]
) -> None:
    sandbox.faults([{"on": "survey_batch", "kind": "close_before_accept", "times": 1}])
    run = run_dag(tried_again(**journal))
    assert (run.task_states, run.try_numbers) == ({"send": "failed"}, {"send": 2})
    assert result_of(run)["unknown_count"] == 5
    assert sandbox.stats()["requests"] == 4
    assert "another try looks again" in run.log


def test_a_failed_source_is_read_again_by_the_next_try(
    run_dag: Any, sandbox: Any, connection: str, journal: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_provider_8x8.rows import GivenRows

    monkeypatch.setattr("airflow_provider_8x8.surveys.sending.reading._ROWS_AT_A_TIME", 5)
    send, read = EightByEightClient.send_survey_batch, GivenRows.__iter__
    failures = iter([OSError("the network is gone")])
    sent: list[Any] = []

    def remember(*arguments: Any, **options: Any) -> BatchResponse:
        sent.append(arguments)
        return send(*arguments, **options)

    def failing_once(self: GivenRows) -> Any:
        for row in read(self):
            if len(sent) == 2 and (failure := next(failures, None)):
                raise failure
            yield row

    monkeypatch.setattr(EightByEightClient, "send_survey_batch", remember)
    monkeypatch.setattr(GivenRows, "__iter__", failing_once)
    run = run_dag(tried_again(**journal))
    assert (run.task_states, run.try_numbers) == ({"send": "success"}, {"send": 2})
    assert "the source failed after" in run.log
    assert result_of(run)["accepted_count"] == 20
    assert sandbox.stats()["max_per_key"] == 1


def test_a_refused_api_key_is_not_tried_again(
    run_dag: Any, sandbox: Any, journal: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = {"conn_type": "eight_by_eight", "host": sandbox.url, "login": "sandbox_hq", "password": "wrong-key"}
    monkeypatch.setenv("AIRFLOW_CONN_EIGHT_BY_EIGHT_DEFAULT", json.dumps(wrong))
    run = run_dag(tried_again(**journal))
    assert (run.task_states, run.try_numbers) == ({"send": "failed"}, {"send": 1})


# a campaign of several runs


def test_another_run_of_the_campaign_sends_only_what_is_missing(
    run_dag: Any, sandbox: Any, connection: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = {**sql_journal(tmp_path, monkeypatch), "campaign_id": "march", "report_path": str(tmp_path / "report")}
    first = result_of(run_dag(survey_dag(rows=PEOPLE[:12], batch_size=5, **campaign)))
    second = result_of(run_dag(survey_dag(rows=PEOPLE[8:], batch_size=5, **campaign)))
    assert (first["campaign_id"], second["campaign_id"]) == ("march", "march")
    assert (first["accepted_count"], second["accepted_count"], second["already_sent_count"]) == (12, 8, 4)
    assert not set(first["batch_ids"]) & set(second["batch_ids"])
    assert sandbox.stats()["max_per_key"] == 1
    outcomes = Counter(line["outcome"] for line in report_lines(second))
    assert outcomes == {"accepted": 20, "already_sent": 4}


def test_another_run_that_finds_all_sent_is_green(
    run_dag: Any, sandbox: Any, connection: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = {**sql_journal(tmp_path, monkeypatch), "campaign_id": "march"}
    run_dag(survey_dag(rows=PEOPLE, **campaign))
    run = run_dag(survey_dag(rows=PEOPLE, **campaign))
    assert run.task_states == {"send": "success"}
    result = result_of(run)
    assert (result["accepted_count"], result["already_sent_count"], result["batch_id"]) == (0, 20, None)
    assert sandbox.stats()["requests"] == 1


def test_another_run_may_try_what_8x8_has_rejected(
    run_dag: Any, sandbox: Any, connection: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = {**sql_journal(tmp_path, monkeypatch), "campaign_id": "march"}
    rows = [*PEOPLE[:3], person(9, destination="+21055501230")]
    run_dag(survey_dag(rows=rows, **campaign))
    result = result_of(run_dag(survey_dag(rows=rows, **campaign)))
    assert (result["already_sent_count"], result["rejected_count"]) == (3, 1)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"survey_id": "other"}, "survey_id 'orders', and this task has 'other'"),
        ({"unique_by": "order_nr"}, "by the column 'destination', this source by 'order_nr'"),
    ],
)
def test_a_run_with_another_meaning_of_row_keys_is_refused(
    run_dag: Any,
    sandbox: Any,
    connection: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changed: dict[str, Any],
    said: str,
) -> None:
    campaign = {**sql_journal(tmp_path, monkeypatch), "campaign_id": "march"}
    run_dag(survey_dag(rows=PEOPLE[:5], **campaign))
    run = run_dag(tried_again(**changed, **campaign))
    assert (run.task_states, run.try_numbers) == ({"send": "failed"}, {"send": 1})
    assert said in run.log
    assert sandbox.stats()["requests"] == 1


def test_new_runs_without_a_campaign_id_send_anew(
    run_dag: Any, sandbox: Any, connection: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        run_dag(survey_dag(rows=PEOPLE, **sql_journal(tmp_path, monkeypatch)))
    assert sandbox.stats()["accepted"] == 40


@pytest.mark.parametrize(
    ("connection_fields", "said"),
    [
        (None, "no such connection"),
        ({"conn_type": "http", "host": "127.0.0.1"}, "journal_conn_id 'journal'"),
        ({"conn_type": "eight_by_eight", "host": "http://127.0.0.1"}, "expected a database"),
        ({"conn_type": "duckdb", "host": ":memory:"}, "duckdb"),
    ],
)
def test_a_journal_connection_that_cannot_serve_sends_nothing(
    run_dag: Any,
    sandbox: Any,
    connection: str,
    monkeypatch: pytest.MonkeyPatch,
    connection_fields: dict[str, Any] | None,
    said: str,
) -> None:
    if connection_fields:
        monkeypatch.setenv("AIRFLOW_CONN_JOURNAL", json.dumps(connection_fields))
    run = run_dag(survey_dag(rows=PEOPLE, journal_conn_id="journal"))
    assert run.task_states == {"send": "failed"}
    assert said in run.log
    assert sandbox.stats()["requests"] == 0


def test_a_campaign_id_that_renders_to_nothing_sends_nothing(
    run_dag: Any, sandbox: Any, connection: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = {**sql_journal(tmp_path, monkeypatch), "campaign_id": "{{ '' }}"}
    run = run_dag(survey_dag(rows=PEOPLE, **campaign))
    assert run.task_states == {"send": "failed"}
    assert "campaign_id is ''" in run.log
    assert sandbox.stats()["requests"] == 0


def test_being_told_to_end_sees_the_batch_on_the_wire_through(
    run_dag: Any, sandbox: Any, connection: str, journal: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator

    send = EightByEightClient.send_survey_batch
    operators: list[Any] = []
    execute = EightByEightSurveyBatchOperator.execute

    def executed(self: Any, context: Any) -> Any:
        operators.append(self)
        return execute(self, context)

    def sent(*arguments: Any, **options: Any) -> BatchResponse:
        if len(operators) == 1:
            operators[0].on_kill()
        return send(*arguments, **options)

    monkeypatch.setattr(EightByEightSurveyBatchOperator, "execute", executed)
    monkeypatch.setattr(EightByEightClient, "send_survey_batch", sent)
    run = run_dag(tried_again(**journal))
    assert (run.task_states, run.try_numbers) == ({"send": "success"}, {"send": 2})
    assert "the task was told to end" in run.log
    assert result_of(run)["accepted_count"] == 20
    assert (sandbox.stats()["requests"], sandbox.stats()["max_per_key"]) == (4, 1)


def test_a_template_that_fails_at_the_retry_says_what_was_sent(
    run_dag: Any, sandbox: Any, connection: str, journal: dict[str, Any], die: Die
) -> None:
    die(at=4, before_8x8=False)
    run = run_dag(tried_again(**journal, template_variables={"x": "{{ 1 // (2 - ti.try_number) }}"}))
    assert (run.task_states, run.try_numbers) == ({"send": "failed"}, {"send": 2})
    assert "template_variables could not be rendered: ZeroDivisionError" in run.log
    result = result_of(run)
    assert (result["accepted_count"], result["unknown_count"], result["rows_read"]) == (15, 5, 20)
    assert sandbox.stats()["max_per_key"] == 1


def test_an_upstream_that_returns_no_rows_at_the_retry_says_what_was_sent(
    run_dag: Any, sandbox: Any, connection: str, journal: dict[str, Any], die: Die
) -> None:
    from airflow.providers.common.compat.sdk import DAG

    from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator

    die(at=4, before_8x8=False)
    with DAG("survey", schedule=None, render_template_as_native_obj=True) as dag:
        EightByEightSurveyBatchOperator(
            task_id="send",
            survey_id="orders",
            template_body="Hi {{firstName}}, how was order {{order_nr}}? {{url}}",
            rows="{{ params.people if ti.try_number == 1 else 'nobody' }}",
            params={"people": PEOPLE},
            batch_size=5,
            retries=1,
            retry_delay=timedelta(),
            **journal,
        )
    run = run_dag(dag)
    assert run.task_states == {"send": "failed"}
    assert "expected a list of mappings" in run.log
    result = result_of(run)
    assert (result["accepted_count"], result["unknown_count"], result["rows_read"]) == (15, 5, 20)
