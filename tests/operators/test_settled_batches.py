"""What a person says of batches of unknown outcome, and what on_unknown decides of what an answer leaves out."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from airflow_provider_8x8.api.client import EightByEightClient
from airflow_provider_8x8.api.models import BatchResponse
from tests.operators.changes import PEOPLE, STORE, A, Run, any_journal, assert_sent_once, dag_of, empty_the_store
from tests.operators.send_within import send_within
from tests.operators.test_survey_batch import (
    BODY,
    COUNTS,
    START,
    result_of,
    with_state_store,
    without_state_store,
)

pytestmark = pytest.mark.usefixtures("databases")


# a person's word


@any_journal
@pytest.mark.parametrize("said", ["accepted", "not_accepted"])
@pytest.mark.parametrize("form", ["mapping", "params"])
def test_a_person_settles_what_8x8s_logs_do_not_tell(
    run_dag: Run,
    clear_and_run: Run,
    sandbox: Any,
    connection: str,
    monkeypatch: pytest.MonkeyPatch,
    journal: dict[str, Any],
    said: str,
    form: str,
) -> None:
    send_within(monkeypatch, 1.0)
    sandbox.faults([{"on": "survey_batch", "kind": "close_before_accept", "times": 1}])
    first = run_dag(dag_of(**journal))
    assert first.task_states == {"send": "failed"}
    unknown = [name for name in result_of(first)["client_batch_ids"] if f'settled_batches={{"{name}"' in first.log]
    assert len(unknown) == 1
    settled: Any = {unknown[0]: said}
    if form == "params":
        dag = dag_of(**journal, settled_batches="{{ params.settled_batches | tojson }}")
        dag.params["settled_batches"] = settled
    else:
        dag = dag_of(**journal, settled_batches=settled)
    run = clear_and_run(dag, first.run_id)
    assert run.task_states == {"send": "success"}, run.log
    assert [result_of(run)[name] for name in COUNTS] == [20, 0, 0, 0, 0, 0, 0]
    assert sandbox.stats()["accepted"] == (15 if said == "accepted" else 20)
    assert f"settled_batches: somebody says that batch {unknown[0]} was {said}" in run.log
    assert (unknown[0] in result_of(run)["client_batch_ids"]) == (said == "accepted")
    again = clear_and_run(dag, first.run_id)
    assert again.task_states == {"send": "success"}
    assert sandbox.stats()["accepted"] == (15 if said == "accepted" else 20)


@any_journal
@pytest.mark.parametrize("on_unknown", ["fail", "assume_sent"])
def test_a_batch_that_is_none_of_the_campaigns_is_refused_by_name_where_another_is_unknown(
    run_dag: Run, clear_and_run: Run, sandbox: Any, connection: str, journal: dict[str, Any], on_unknown: str
) -> None:
    sandbox.faults([{"on": "survey_batch", "kind": "close_before_accept"}])
    arguments = {**journal, "rows": PEOPLE[:5], "on_unknown": on_unknown}
    first = run_dag(dag_of(**arguments))
    (unknown,) = result_of(first)["client_batch_ids"]
    said = {"nobody-knows-it": "not_accepted"}
    run = clear_and_run(dag_of(**{**arguments, "rows": PEOPLE}, settled_batches=said), first.run_id)
    assert run.task_states == {"send": "failed"}
    assert "settled_batches names nobody-knows-it" in run.log
    assert f"those of unknown outcome are: {unknown}" in run.log
    assert sandbox.stats()["accepted"] == 0


@any_journal
def test_shards_that_are_campaigns_of_their_own_may_all_be_told_of_ones_batch(
    run_dag: Run,
    clear_and_run: Run,
    sandbox: Any,
    connection: str,
    monkeypatch: pytest.MonkeyPatch,
    journal: dict[str, Any],
) -> None:
    send_within(monkeypatch, 1.0)
    sandbox.faults([{"on": "survey_batch", "kind": "close_before_accept"}])
    first = run_dag(in_shards(**journal))
    (failed,) = (name for name, state in first.task_states.items() if state == "failed")  # whichever was first
    (other,) = first.task_states.keys() - {failed}
    assert first.task_states[other] == "success"
    (unknown,) = first.xcoms[failed]["client_batch_ids"]
    run = clear_and_run(in_shards(**journal, settled_batches={unknown: "not_accepted"}), first.run_id)
    assert run.task_states == {"send[0]": "success", "send[1]": "success"}, run.log[-3000:]
    assert f"settled_batches names batches that are none of this campaign's: {unknown}" in run.task_logs[other]
    assert sandbox.stats()["accepted"] == 10


def in_shards(**arguments: Any) -> Any:
    from airflow.providers.common.compat.sdk import DAG

    from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator

    with DAG("survey", schedule=None, start_date=START, catchup=False) as dag:
        EightByEightSurveyBatchOperator.partial(
            task_id="send",
            survey_id="orders",
            template_body=BODY,
            retries=0,
            reconcile_timeout=timedelta(),
            **arguments,
        ).expand(rows=[PEOPLE[:5], PEOPLE[5:10]])
    return dag


@any_journal
def test_what_8x8_has_said_beats_what_a_person_says(
    run_dag: Run, clear_and_run: Run, sandbox: Any, connection: str, journal: dict[str, Any]
) -> None:
    first = run_dag(dag_of(**journal))
    said = dict.fromkeys(result_of(first)["client_batch_ids"], "not_accepted")
    run = clear_and_run(dag_of(**journal, settled_batches={**said, "before try 2": "not_accepted"}), first.run_id)
    assert_sent_once(sandbox, run)


@with_state_store
@pytest.mark.parametrize("journal", [STORE, A])
def test_a_person_can_say_that_nothing_was_sent_that_no_journal_knows(
    run_dag: Run, clear_and_run: Run, sandbox: Any, connection: str, journal: dict[str, Any]
) -> None:
    first = run_dag(dag_of(**STORE, rows=PEOPLE[:5]))
    empty_the_store()
    said = {"before try 2": "not_accepted"}
    run = clear_and_run(dag_of(**journal, rows=PEOPLE[5:], settled_batches=said), first.run_id)
    assert result_of(run)["accepted_count"] == 15
    run = clear_and_run(dag_of(**journal, rows=PEOPLE[5:], settled_batches=said), first.run_id)
    assert result_of(run)["accepted_count"] == 15
    assert sandbox.stats()["max_per_key"] == 1


@without_state_store
def test_a_person_can_say_that_nothing_was_sent_where_there_is_no_journal(
    run_dag: Run, clear_and_run: Run, sandbox: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_dag(dag_of())
    assert first.task_states == {"send": "failed"}
    fields = {"conn_type": "eight_by_eight", "host": sandbox.url, "login": "sandbox_hq", "password": "sandbox-key-7f3a"}
    monkeypatch.setenv("AIRFLOW_CONN_EIGHT_BY_EIGHT_DEFAULT", json.dumps(fields))
    refused = clear_and_run(dag_of(), first.run_id)
    assert refused.task_states == {"send": "failed"}
    assert sandbox.stats()["requests"] == 0
    run = clear_and_run(dag_of(settled_batches={"before try 3": "not_accepted"}), first.run_id)
    assert_sent_once(sandbox, run)


# an answer that leaves rows unknown


@any_journal
@pytest.mark.parametrize(
    ("on_unknown", "state", "counts", "sent"),
    [
        ("fail", "failed", {"accepted_count": 19, "unknown_count": 1}, 20),
        ("assume_sent", "success", {"accepted_count": 19, "unknown_count": 1}, 20),
        ("resend", "success", {"accepted_count": 20, "unknown_count": 0}, 21),
    ],
)
def test_on_unknown_decides_about_rows_that_8x8s_answer_leaves_out(
    run_dag: Run,
    clear_and_run: Run,
    sandbox: Any,
    connection: str,
    monkeypatch: pytest.MonkeyPatch,
    journal: dict[str, Any],
    on_unknown: str,
    state: str,
    counts: dict[str, int],
    sent: int,
) -> None:
    """8x8's logs do not have them yet, either."""
    sandbox.faults([{"on": "log_export", "kind": "log_lag_seconds", "seconds": 3600}])
    send = EightByEightClient.send_survey_batch
    answers: list[BatchResponse] = []

    def without_one(*arguments: Any, **options: Any) -> BatchResponse:
        answers.append(send(*arguments, **options))
        if len(answers) > 1:
            return answers[-1]
        listed = (answers[-1].messages or [])[1:]
        return msgspec.structs.replace(answers[-1], messages=listed, accepted_count=len(listed))

    monkeypatch.setattr(EightByEightClient, "send_survey_batch", without_one)
    first = run_dag(dag_of(**journal, on_unknown=on_unknown))
    for run in (first, clear_and_run(dag_of(**journal, on_unknown=on_unknown), first.run_id)):
        assert run.task_states == {"send": state}, run.log
        assert {name: result_of(run)[name] for name in counts} == counts
        assert sandbox.stats()["accepted"] == sent
