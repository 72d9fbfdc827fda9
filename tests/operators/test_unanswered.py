"""8x8 does not answer: what the log says at the first wait and at the end, and that the ways out it names are ones."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_8x8.surveys.sending.unanswered import MAX_LINE_LENGTH
from tests.operators.test_survey_batch import person, result_of, survey_dag, with_state_store, without_state_store
from tests.support.dag_runs import DagRunResult

PEOPLE = [person(number) for number in range(20)]
CANARY = "+12025550199"
LOST = {"on": "survey_batch", "kind": "close_before_accept"}
ANSWER_LOST = {"on": "survey_batch", "kind": "close_after_accept"}
NEVER_SHOWN = {"on": "log_export", "kind": "log_lag_seconds", "seconds": 1_000_000}
MOMENT = r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC"

Run = Callable[..., DagRunResult]


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The argument that makes the operator remember on any Airflow."""
    fields = {"conn_type": "sqlite", "host": str(tmp_path / "journal.sqlite")}
    monkeypatch.setenv("AIRFLOW_CONN_JOURNAL", json.dumps(fields))
    return {"journal_conn_id": "journal"}


def dag_of(**arguments: Any) -> Any:
    return survey_dag(**{"rows": PEOPLE, "batch_size": 5, "reconcile_timeout": timedelta(seconds=3), **arguments})


def at_the_first_wait(run: DagRunResult) -> str:
    """The record that says what is looked for."""
    (said,) = re.findall(r"8x8 has not said whether it accepted.*?\nThe journal keeps[^\n]*", run.log, re.DOTALL)
    return str(said)


def at_the_end(run: DagRunResult) -> str:
    """What the task failed with."""
    said = re.findall(
        r"Whether 8x8 accepted [^\n\\]*its logs[^\n\\]*\n.*?docs/runbook\.md says how", run.log, re.DOTALL
    )
    assert len(set(said)) == 1
    return str(said[0])


def moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)


def test_the_first_wait_says_what_would_prove_it_how_long_it_waits_and_what_the_ways_out_are(
    run_dag: Run, sandbox: Any, connection: str, journal: dict[str, Any]
) -> None:
    began = datetime.now(UTC).replace(microsecond=0)
    sandbox.faults([LOST])
    run = run_dag(dag_of(**journal))
    said = at_the_first_wait(run)
    (client_batch_id,) = set(result_of(run)["client_batch_ids"]) & set(re.findall(r"\w{20}", said))
    assert f"client batch ids {client_batch_id}\n" in said
    assert said.startswith("8x8 has not said whether it accepted 5 messages: looking for 1 batch in its logs until ")
    until = moment(re.findall(MOMENT, said)[0])
    younger = moment(re.findall(f"began at {MOMENT} or later", said)[0])
    tells = moment(re.findall(f"Another try can tell, at the earliest, from {MOMENT} on", said)[0])
    worth = moment(re.findall(f"worth waiting until {MOMENT}", said)[0])
    assert began <= until < younger < tells < worth
    assert tells - younger == timedelta(minutes=10), "log_settle_time"
    assert "10 min (log_settle_time)" in said
    assert "canary_destination" in said
    for choice in ("'fail' (set here): ", "'assume_sent': ", "'resend': "):
        assert f"\n- {choice}" in said
    assert f'settled_batches={{"{client_batch_id}": "accepted"}}' in said
    assert "this is the last try; cleared, the task goes on from there" in said


def test_the_end_says_the_same_in_short_and_the_reason_first(
    run_dag: Run, sandbox: Any, connection: str, journal: dict[str, Any]
) -> None:
    sandbox.faults([LOST])
    run = run_dag(dag_of(**journal))
    said = at_the_end(run)
    assert said.splitlines()[:2] == [
        "Whether 8x8 accepted 5 messages is not known, and its logs did not tell in time",
        "20 rows were read: 15 accepted, 5 unknown; this try sent 15 and may have sent 5 more",
    ]
    assert "another try looks again" in said
    assert re.search(f"Another try can tell, at the earliest, from {MOMENT} on", said)
    assert re.search(r'settled_batches=\{"\w{20}": "accepted"\}', said)


def test_no_line_is_so_long_that_a_log_view_cuts_it(
    run_dag: Run, sandbox: Any, connection: str, journal: dict[str, Any]
) -> None:
    sandbox.faults([LOST, LOST, {**LOST, "kind": "close_after_accept"}, NEVER_SHOWN])
    run = run_dag(dag_of(**journal, batch_size=1, client_batch_id_prefix="may-2026", canary_destination=CANARY))
    assert "3 batches in a row have an unknown outcome" in run.log
    lines = [*at_the_first_wait(run).splitlines(), *at_the_end(run).splitlines()]
    assert max(map(len, lines)) <= MAX_LINE_LENGTH


@pytest.mark.parametrize("canary", [None, CANARY])
def test_a_try_that_can_prove_nothing_in_its_time_says_how_late_the_next_one_has_to_come(
    run_dag: Run, sandbox: Any, connection: str, journal: dict[str, Any], canary: str | None
) -> None:
    sandbox.faults([LOST])
    run = run_dag(dag_of(**journal, canary_destination=canary))
    for said in (at_the_first_wait(run), at_the_end(run)):
        assert re.search(r"Set retry_delay to at least (10|11) minutes", said)
    assert ("Give canary_destination a number of your own" in run.log) == (canary is None)
    assert ("The canary is to be such a message, sent at " in run.log) == (canary is not None)
    assert CANARY[1:] not in at_the_first_wait(run)


@with_state_store
def test_a_retry_delay_that_is_long_enough_is_said_to_be(run_dag: Run, sandbox: Any, connection: str) -> None:
    sandbox.faults([LOST])
    said = at_the_first_wait(run_dag(dag_of(retry_delay=timedelta(minutes=30))))
    assert "yours is 30 min" in said
    assert "Set retry_delay" not in said


def test_the_first_of_three_tries_says_that_two_more_go_on_from_there(
    run_dag: Run, sandbox: Any, connection: str, journal: dict[str, Any]
) -> None:
    sandbox.faults([LOST])
    run = run_dag(dag_of(**journal, retries=2, retry_delay=timedelta(), reconcile_timeout=timedelta(seconds=1)))
    follows = re.findall(r"^The journal keeps what this try has seen: (.*)$", run.log, re.MULTILINE)
    assert list(dict.fromkeys(follows)) == [
        "2 more tries (retry_delay 0 s) can go on from there.",
        "1 more try (retry_delay 0 s) can go on from there.",
        "this is the last try; cleared, the task goes on from there.",
    ]
    assert len(re.findall(r"8x8 has not said whether it accepted [^\n]*\n", run.log)) == 3, "once in each try"


@pytest.mark.parametrize(("fault", "what", "requests"), [(ANSWER_LOST, "accepted", 4), (LOST, "not_accepted", 5)])
def test_the_way_out_that_the_message_names_is_one(
    run_dag: Run,
    clear_and_run: Run,
    sandbox: Any,
    connection: str,
    journal: dict[str, Any],
    fault: dict[str, Any],
    what: str,
    requests: int,
) -> None:
    sandbox.faults([fault, NEVER_SHOWN])
    first = run_dag(dag_of(**journal))
    (settled,) = set(re.findall(r"settled_batches=(\{.*?\})", at_the_end(first)))
    said = dict.fromkeys(json.loads(settled), what)
    run = clear_and_run(dag_of(**journal, settled_batches=said), first.run_id)
    assert run.task_states == {"send": "success"}
    assert result_of(run)["accepted_count"] == 20
    stats = sandbox.stats()
    assert (stats["requests"], stats["accepted"], stats["max_per_key"]) == (requests, 20, 1)


def test_assume_sent_says_whom_it_leaves_out_and_how_to_send_to_them_after_all(
    run_dag: Run, clear_and_run: Run, sandbox: Any, connection: str, journal: dict[str, Any]
) -> None:
    sandbox.faults([LOST])
    first = run_dag(dag_of(**journal, on_unknown="assume_sent"))
    assert first.task_states == {"send": "success"}
    assert (
        "Whether 8x8 accepted 5 messages is not known, and on_unknown='assume_sent' decided about batch " in first.log
    )
    (settled,) = re.findall(r"clear the task with settled_batches=(\{.*?\})", first.log)
    again = dag_of(**journal, on_unknown="assume_sent", settled_batches=json.loads(settled))
    run = clear_and_run(again, first.run_id)
    assert (result_of(run)["accepted_count"], sandbox.stats()["max_per_key"]) == (20, 1)


def test_what_assume_sent_has_decided_is_not_looked_for_again_when_the_source_fails(
    run_dag: Run, sandbox: Any, connection: str, journal: dict[str, Any]
) -> None:
    rows = [*PEOPLE, {"destination": "nobody"}]
    sandbox.faults([LOST])
    run = run_dag(dag_of(**journal, rows=rows, on_unknown="assume_sent", max_rejected=0))
    assert run.task_states == {"send": "success"}
    sandbox.faults([LOST, *[{"on": "survey_batch", "kind": "429", "retry_after": 9999}]])
    run = run_dag(dag_of(**journal, on_unknown="assume_sent"))
    assert run.task_states == {"send": "failed"}
    said = at_the_end(run)
    assert "decided about by on_unknown='assume_sent', and are never sent again" in said
    assert "looks again" not in said


def test_resend_says_who_is_texted_twice_and_how_to_have_the_logs_tell_before(
    run_dag: Run, sandbox: Any, connection: str, journal: dict[str, Any]
) -> None:
    sandbox.faults([LOST])
    run = run_dag(dag_of(**journal, on_unknown="resend", reconcile_timeout=timedelta(seconds=1)))
    assert run.task_states == {"send": "success"}
    assert "on_unknown='resend' decided about batch " in run.log
    assert "They are free to be sent again. Whom 8x8 has reached by the first is texted twice" in run.log
    said = at_the_first_wait(run)
    assert re.search(r"Set reconcile_timeout to at least 21 minutes", said)
    assert "Set retry_delay" not in said


def test_a_try_that_cannot_begin_says_what_an_earlier_one_has_left_unknown(
    run_dag: Run, sandbox: Any, connection: str, journal: dict[str, Any]
) -> None:
    sandbox.faults([LOST])
    arguments = {**journal, "retries": 1, "retry_delay": timedelta(), "reconcile_timeout": timedelta()}
    source = "{{ 'Shop' if ti.try_number == 1 else 'far too long to be a sender' }}"
    run = run_dag(dag_of(**arguments, source=source))
    assert run.task_states == {"send": "failed"}
    assert "This try has not looked into the logs." in run.log
    assert "None" not in run.log[run.log.rindex("This try sent nothing") :].partition("docs/runbook.md")[0]


def test_a_final_failure_does_not_promise_the_tries_that_airflow_will_not_make(
    run_dag: Run, sandbox: Any, connection: str, journal: dict[str, Any]
) -> None:
    sandbox.faults([LOST, {"on": "survey_batch", "kind": "404"}])
    run = run_dag(dag_of(**journal, retries=2, retry_delay=timedelta()))
    assert (run.task_states, run.try_numbers) == ({"send": "failed"}, {"send": 1})
    assert "this is the last try; cleared, the task goes on from there" in at_the_end(run)


@without_state_store
def test_without_a_journal_no_other_try_is_promised(run_dag: Run, sandbox: Any, connection: str) -> None:
    sandbox.faults([LOST])
    run = run_dag(dag_of())
    assert run.task_states == {"send": "failed"}
    said = at_the_end(run)
    assert "looks again" not in said
    assert "No other try can look: without journal_conn_id nothing is remembered" in said
    assert "trigger a new DAG run with the rows that are missing" in said
    assert "settled_batches" not in said


def test_the_minutes_of_a_scheduled_batch_reach_beyond_its_time(
    run_dag: Run, sandbox: Any, connection: str, journal: dict[str, Any]
) -> None:
    scheduled = datetime.now(UTC) + timedelta(days=2)
    sandbox.faults([LOST])
    said = at_the_first_wait(run_dag(dag_of(**journal, scheduled=scheduled.isoformat())))
    (minutes,) = re.findall(r"Set retry_delay to at least ([\d,]+) minutes", said)
    assert math.isclose(int(minutes.replace(",", "")), 2 * 24 * 60 + 10, abs_tol=3)
