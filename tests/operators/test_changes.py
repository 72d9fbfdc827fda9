"""What is changed between the tries of a task: where it remembers, and its connections. Nobody twice."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_8x8.surveys.journal import transactions
from tests.operators.changes import (
    PEOPLE,
    STORE,
    A,
    B,
    Run,
    any_journal,
    assert_sent_once,
    change,
    dag_of,
    empty_the_store,
    every_change,
    lead,
)
from tests.operators.test_survey_batch import BODY, START, result_of, with_state_store, without_state_store

pytestmark = pytest.mark.usefixtures("databases")


# where it remembers


@every_change
def test_a_task_that_had_sent_all_sends_nothing_when_it_is_cleared(
    run_dag: Run,
    clear_and_run: Run,
    sandbox: Any,
    connection: str,
    before: dict[str, Any],
    after: dict[str, Any],
) -> None:
    first = run_dag(dag_of(**before))
    assert_sent_once(sandbox, first)
    for journal in (after, before):
        run = clear_and_run(dag_of(**journal), first.run_id)
        assert_sent_once(sandbox, run)
        assert result_of(run)["batch_ids"] == result_of(first)["batch_ids"]
        assert sandbox.stats()["requests"] == 4


@every_change
def test_what_a_try_had_sent_is_known_to_the_next_one(
    run_dag: Run,
    sandbox: Any,
    connection: str,
    at_batch: Any,
    before: dict[str, Any],
    after: dict[str, Any],
) -> None:
    dag = dag_of(**before, retries=1)
    at_batch(3, lambda: change(dag, **after))
    run = run_dag(dag)
    assert run.try_numbers == {"send": 2}
    assert_sent_once(sandbox, run)
    assert sandbox.stats()["requests"] == 4


@with_state_store
def test_a_journal_connection_that_leads_elsewhere_than_before_is_refused(
    run_dag: Run,
    clear_and_run: Run,
    sandbox: Any,
    connection: str,
    at_batch: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_batch(3, lambda: lead(monkeypatch, "journal_a", tmp_path / "b.sqlite"))
    run = run_dag(dag_of(**A, retries=1))
    assert (run.task_states, run.try_numbers) == ({"send": "failed"}, {"send": 2})
    assert sandbox.stats()["accepted"] == 15
    assert run.log.count("(journal_conn_id 'journal_a')") >= 2
    assert "which this try cannot read; it would use" in run.log
    lead(monkeypatch, "journal_a", tmp_path / "a.sqlite")
    assert_sent_once(sandbox, clear_and_run(dag_of(**A), run.run_id))


@without_state_store
@pytest.mark.parametrize("where", ["another connection", "the same connection"])
def test_without_a_store_another_database_is_refused(
    run_dag: Run,
    clear_and_run: Run,
    sandbox: Any,
    connection: str,
    at_batch: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    dag = dag_of(**A, retries=1)
    at_batch(
        3,
        lambda: (
            change(dag, **B) if where == "another connection" else lead(monkeypatch, "journal_a", tmp_path / "b.sqlite")
        ),
    )
    run = run_dag(dag)
    assert (run.task_states, run.try_numbers) == ({"send": "failed"}, {"send": 2})
    assert sandbox.stats()["accepted"] == 15
    assert "knows nothing of the tries before it" in run.log
    lead(monkeypatch, "journal_a", tmp_path / "a.sqlite")
    assert_sent_once(sandbox, clear_and_run(dag_of(**A), run.run_id))


@without_state_store
@pytest.mark.parametrize(("before", "after"), [(STORE, A), (A, STORE), (STORE, STORE)])
def test_without_a_store_a_journal_that_is_added_or_removed_is_refused(
    run_dag: Run,
    clear_and_run: Run,
    sandbox: Any,
    connection: str,
    before: dict[str, Any],
    after: dict[str, Any],
) -> None:
    first = run_dag(dag_of(**before))
    assert_sent_once(sandbox, first)
    run = clear_and_run(dag_of(**after), first.run_id)
    assert run.task_states == {"send": "failed"}
    assert "sent is not known" in run.log or "knows nothing of the tries before it" in run.log
    assert "Nothing was sent" not in run.log
    assert sandbox.stats()["requests"] == 4


@with_state_store
@pytest.mark.parametrize("after", [STORE, A])
def test_a_store_that_was_emptied_by_hand_is_no_proof_that_nothing_was_sent(
    run_dag: Run, clear_and_run: Run, sandbox: Any, connection: str, after: dict[str, Any]
) -> None:
    first = run_dag(dag_of(**STORE))
    empty_the_store()
    for _ in range(2):
        run = clear_and_run(dag_of(**after, retries=1), first.run_id)
        assert run.task_states == {"send": "failed"}
        assert "knows nothing of the tries before it" in run.log
        assert 'settled_batches={"before try ' in run.log
        assert "Nothing was sent" not in run.log
    assert sandbox.stats()["requests"] == 4


@with_state_store
def test_a_store_that_was_emptied_by_hand_does_not_matter_to_a_sql_journal(
    run_dag: Run, clear_and_run: Run, sandbox: Any, connection: str
) -> None:
    first = run_dag(dag_of(**A))
    empty_the_store()
    assert_sent_once(sandbox, clear_and_run(dag_of(**A), first.run_id))
    assert sandbox.stats()["requests"] == 4


# tries that failed before anything was sent


@any_journal
def test_a_task_whose_connection_was_missing_at_first_can_be_cleared(
    run_dag: Run,
    clear_and_run: Run,
    sandbox: Any,
    connection: str,
    monkeypatch: pytest.MonkeyPatch,
    journal: dict[str, Any],
) -> None:
    fields = os.environ["AIRFLOW_CONN_EIGHT_BY_EIGHT_DEFAULT"]
    monkeypatch.delenv("AIRFLOW_CONN_EIGHT_BY_EIGHT_DEFAULT")
    first = run_dag(dag_of(**journal, retries=1))
    assert first.task_states == {"send": "failed"}
    assert result_of(first)["rows_read"] == 0
    assert "Nothing was sent" in first.log
    monkeypatch.setenv("AIRFLOW_CONN_EIGHT_BY_EIGHT_DEFAULT", fields)
    assert_sent_once(sandbox, clear_and_run(dag_of(**journal), first.run_id))


@with_state_store
@pytest.mark.parametrize(
    "broken",
    [
        None,
        "",
        "nonsense",
        "{nonsense",
        "[1]",
        "postgres://[::1",
        "sqlite://",
        '{"conn_type": "mysql", "host": "127.0.0.1", "extra": {"client": "pymysql", "nonsense": 1}}',
        '{"conn_type": "sqlite", "host": "/nowhere/at/all.sqlite"}',
    ],
)
def test_a_task_whose_journal_could_not_be_used_at_first_can_be_cleared(
    run_dag: Run,
    clear_and_run: Run,
    sandbox: Any,
    connection: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    broken: str | None,
) -> None:
    monkeypatch.setattr(transactions._RETRYING, "sleep", lambda seconds: None)
    if broken is None:
        monkeypatch.delenv("AIRFLOW_CONN_JOURNAL_A")
    else:
        monkeypatch.setenv("AIRFLOW_CONN_JOURNAL_A", broken)
    first = run_dag(dag_of(**A))
    assert first.task_states == {"send": "failed"}
    assert result_of(first)["rows_read"] == 0
    assert "journal_a" in first.task_logs["send"]
    assert sandbox.stats()["requests"] == 0
    lead(monkeypatch, "journal_a", tmp_path / "a.sqlite")
    assert_sent_once(sandbox, clear_and_run(dag_of(**A), first.run_id))


@any_journal
@pytest.mark.parametrize("is_mapped", [False, True])
def test_a_template_that_failed_at_first_does_not_stop_the_next_try(
    run_dag: Run, sandbox: Any, connection: str, journal: dict[str, Any], is_mapped: bool
) -> None:
    from airflow.providers.common.compat.sdk import DAG

    from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator

    failures = [OSError("no variables just now")]

    def month() -> str:
        if failures:
            raise failures.pop()
        return "March"

    arguments: dict[str, Any] = {
        "task_id": "send",
        "survey_id": "orders",
        "template_body": BODY,
        "template_variables": {"month": "{{ month() }}"},
        "reconcile_timeout": timedelta(),
        "retries": 1,
        "retry_delay": timedelta(),
        **journal,
    }
    with DAG("survey", schedule=None, start_date=START, catchup=False, user_defined_macros={"month": month}) as dag:
        if is_mapped:
            EightByEightSurveyBatchOperator.partial(**arguments).expand(rows=[PEOPLE[:10], PEOPLE[10:]])
        else:
            EightByEightSurveyBatchOperator(**arguments, rows=PEOPLE)
    run = run_dag(dag)
    assert set(run.task_states.values()) == {"success"}, run.log
    assert max(run.try_numbers.values()) == 2
    stats = sandbox.stats()
    assert (stats["accepted"], stats["max_per_key"]) == (20, 1)


@pytest.mark.parametrize("campaign_id", ["April", None])
def test_a_campaign_that_was_changed_is_refused_with_the_result_of_the_one_that_was_sent(
    run_dag: Run, clear_and_run: Run, sandbox: Any, connection: str, campaign_id: str | None
) -> None:
    first = run_dag(dag_of(campaign_id="March", **A))
    run = clear_and_run(dag_of(campaign_id=campaign_id, **A), first.run_id)
    assert run.task_states == {"send": "failed"}
    assert ", campaign 'March'; this one would send by " in run.log
    assert result_of(run) == {**result_of(first), "campaign_id": "March"}
    assert sandbox.stats()["accepted"] == 20


def test_whoever_only_looks_at_what_a_task_would_be_leaves_nothing(airflow_db: None, tmp_path: Path) -> None:
    """As Airflow's page of rendered templates does for a task that has not begun."""
    task = dag_of(**A, survey_id="{{ 'orders' }}").get_task("send")
    ti = SimpleNamespace(dag_id="survey", run_id="run", task_id="send", map_index=-1, try_number=1, state=None)
    task.render_template_fields({"ti": ti})
    assert task.survey_id == "orders"
    assert not (tmp_path / "a.sqlite").exists()


# the journal that the connection to 8x8 names


def name_in_extra(monkeypatch: pytest.MonkeyPatch, journal: Any) -> None:
    """Have the connection to 8x8 name a journal, or none."""
    fields = json.loads(os.environ["AIRFLOW_CONN_EIGHT_BY_EIGHT_DEFAULT"])
    fields["extra"] = {} if journal is None else {"journal_conn_id": journal}
    monkeypatch.setenv("AIRFLOW_CONN_EIGHT_BY_EIGHT_DEFAULT", json.dumps(fields))


@every_change
def test_a_task_that_had_sent_all_sends_nothing_when_the_connection_names_another_journal(
    run_dag: Run,
    clear_and_run: Run,
    sandbox: Any,
    connection: str,
    monkeypatch: pytest.MonkeyPatch,
    before: dict[str, Any],
    after: dict[str, Any],
) -> None:
    name_in_extra(monkeypatch, before["journal_conn_id"])
    first = run_dag(dag_of())
    assert_sent_once(sandbox, first)
    for journal in (after, before):
        name_in_extra(monkeypatch, journal["journal_conn_id"])
        assert_sent_once(sandbox, clear_and_run(dag_of(), first.run_id))
        assert sandbox.stats()["requests"] == 4


@every_change
def test_what_a_try_had_sent_is_known_to_the_next_one_when_the_connection_names_another_journal(
    run_dag: Run,
    sandbox: Any,
    connection: str,
    at_batch: Any,
    monkeypatch: pytest.MonkeyPatch,
    before: dict[str, Any],
    after: dict[str, Any],
) -> None:
    name_in_extra(monkeypatch, before["journal_conn_id"])
    at_batch(3, lambda: name_in_extra(monkeypatch, after["journal_conn_id"]))
    run = run_dag(dag_of(retries=1))
    assert run.try_numbers == {"send": 2}
    assert_sent_once(sandbox, run)
    assert sandbox.stats()["requests"] == 4


def test_the_operators_own_journal_wins_and_naming_it_there_instead_changes_nothing(
    run_dag: Run, clear_and_run: Run, sandbox: Any, connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_in_extra(monkeypatch, "journal_that_is_not_there")
    first = run_dag(dag_of(**A))
    assert_sent_once(sandbox, first)
    assert "journal: SQL, connection 'journal_a'" in first.log
    name_in_extra(monkeypatch, "journal_a")
    second = clear_and_run(dag_of(), first.run_id)
    assert_sent_once(sandbox, second)
    assert "journal: SQL, connection 'journal_a'" in second.log
    assert sandbox.stats()["requests"] == 4


@without_state_store
@pytest.mark.parametrize(("before", "after"), [(None, "journal_a"), ("journal_a", None), ("journal_a", "journal_b")])
def test_without_a_store_another_journal_in_the_connection_is_refused(
    run_dag: Run,
    clear_and_run: Run,
    sandbox: Any,
    connection: str,
    monkeypatch: pytest.MonkeyPatch,
    before: str | None,
    after: str | None,
) -> None:
    name_in_extra(monkeypatch, before)
    first = run_dag(dag_of())
    assert_sent_once(sandbox, first)
    name_in_extra(monkeypatch, after)
    run = clear_and_run(dag_of(), first.run_id)
    assert run.task_states == {"send": "failed"}
    assert "Nothing was sent" not in run.log
    assert sandbox.stats()["requests"] == 4


def test_a_connection_that_is_away_for_a_try_does_not_change_the_journal(
    run_dag: Run, sandbox: Any, connection: str, at_batch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_in_extra(monkeypatch, "journal_a")
    fields = os.environ["AIRFLOW_CONN_EIGHT_BY_EIGHT_DEFAULT"]

    def go_away() -> None:
        monkeypatch.delenv("AIRFLOW_CONN_EIGHT_BY_EIGHT_DEFAULT")

    def come_back(context: Any) -> None:
        if context["ti"].try_number == 2:
            monkeypatch.setenv("AIRFLOW_CONN_EIGHT_BY_EIGHT_DEFAULT", fields)

    at_batch(3, go_away)
    run = run_dag(dag_of(retries=2, on_retry_callback=come_back, on_failure_callback=come_back))
    assert sandbox.stats()["max_per_key"] == 1
    assert "eight_by_eight_conn_id 'eight_by_eight_default': there is no such connection" in run.log
    if run.try_numbers == {"send": 3}:  # with a store; without one, nothing is known by the try between
        assert_sent_once(sandbox, run)


@pytest.mark.parametrize("named", [["journal_a"], {"a": 1}, "postgresql://me:hunter2@127.0.0.1/journal", True])
def test_what_the_connection_names_must_be_a_connections_id(
    run_dag: Run, sandbox: Any, connection: str, monkeypatch: pytest.MonkeyPatch, named: Any
) -> None:
    name_in_extra(monkeypatch, named)
    run = run_dag(dag_of())
    assert run.task_states == {"send": "failed"}
    assert "Connection 'eight_by_eight_default': in its extra journal_conn_id is" in run.log
    # At DEBUG level Airflow itself logs the connection that it hands out; nobody runs a deployment so.
    assert not [line for line in run.log.splitlines() if "hunter2" in line and "debug" not in line.lower()]
    assert sandbox.stats()["requests"] == 0
