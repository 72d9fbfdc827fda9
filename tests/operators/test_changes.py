"""What is changed between the tries of a task: where it remembers, its connections, a person's word. Nobody twice."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from airflow_provider_8x8.api.client import EightByEightClient
from airflow_provider_8x8.api.models import BatchResponse
from airflow_provider_8x8.surveys.journal import transactions
from tests.operators.send_within import send_within
from tests.operators.test_survey_batch import (
    BODY,
    COUNTS,
    START,
    person,
    result_of,
    survey_dag,
    with_state_store,
    without_state_store,
)
from tests.support.dag_runs import DagRunResult

PEOPLE = [person(number) for number in range(20)]

STORE: dict[str, Any] = {"journal_conn_id": None}
A: dict[str, Any] = {"journal_conn_id": "journal_a"}
B: dict[str, Any] = {"journal_conn_id": "journal_b"}

every_change = pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(STORE, A, marks=with_state_store, id="added"),
        pytest.param(A, STORE, marks=with_state_store, id="removed"),
        pytest.param(A, B, marks=with_state_store, id="another one"),
        pytest.param(A, A, id="none"),
    ],
)

Run = Callable[..., DagRunResult]


@pytest.fixture(autouse=True)
def databases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two databases for journals."""
    for name in ("a", "b"):
        lead(monkeypatch, f"journal_{name}", tmp_path / f"{name}.sqlite")


def lead(monkeypatch: pytest.MonkeyPatch, conn_id: str, file: Path) -> None:
    """Have a connection lead to a SQLite file."""
    fields = json.dumps({"conn_type": "sqlite", "host": str(file)})
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", fields)


def dag_of(**arguments: Any) -> Any:
    return survey_dag(**{"rows": PEOPLE, "batch_size": 5, "retry_delay": timedelta(), **arguments})


@pytest.fixture
def at_batch(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], None]], None]:
    """Have something happen once 8x8 has the n-th batch, and the worker die of it."""
    send = EightByEightClient.send_survey_batch
    calls: list[Any] = []

    def arrange(number: int, happens: Callable[[], None]) -> None:
        def sent(*arguments: Any, **options: Any) -> BatchResponse:
            response = send(*arguments, **options)
            calls.append(response)
            if len(calls) == number:
                happens()
                raise RuntimeError("the worker is gone")
            return response

        monkeypatch.setattr(EightByEightClient, "send_survey_batch", sent)

    return arrange


def change(dag: Any, **arguments: Any) -> None:
    """Give the task other arguments from its next try on, as an edited DAG file does."""
    for name, value in arguments.items():
        setattr(dag.get_task("send"), name, value)


def assert_sent_once(sandbox: Any, run: DagRunResult, *, people: int = 20) -> None:
    stats = sandbox.stats()
    assert (stats["accepted"], stats["distinct_keys"], stats["max_per_key"]) == (people, people, 1)
    assert run.task_states == {"send": "success"}
    assert [result_of(run)[name] for name in COUNTS] == [people, 0, 0, 0, 0, 0, 0]


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


def empty_the_store() -> None:
    from airflow.models.task_state_store import TaskStateStoreModel
    from airflow.utils.session import create_session

    with create_session() as session:
        session.query(TaskStateStoreModel).delete()


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

any_journal = pytest.mark.parametrize(
    "journal", [pytest.param(STORE, marks=with_state_store, id="store"), pytest.param(A, id="sql")]
)


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


def test_whoever_only_looks_at_what_a_task_would_be_leaves_nothing(airflow_db: None, tmp_path: Path) -> None:
    """As Airflow's page of rendered templates does for a task that has not begun."""
    task = dag_of(**A, survey_id="{{ 'orders' }}").get_task("send")
    ti = SimpleNamespace(dag_id="survey", run_id="run", task_id="send", map_index=-1, try_number=1, state=None)
    task.render_template_fields({"ti": ti})
    assert task.survey_id == "orders"
    assert not (tmp_path / "a.sqlite").exists()


# several deployments


def deployment(monkeypatch: pytest.MonkeyPatch, *, name: str = "", address: str = "") -> None:
    """Be another Airflow."""
    monkeypatch.setenv("AIRFLOW__EIGHT_BY_EIGHT__DEPLOYMENT", name)
    for section in ("API", "WEBSERVER"):
        monkeypatch.setenv(f"AIRFLOW__{section}__BASE_URL", address)


NAMES = [
    ({"name": "production"}, {"name": "staging"}, ("'production'", "'staging'")),
    (
        {"address": "http://localhost:18080/production/"},
        {"address": "http://localhost:18080/staging"},
        ("'http://localhost:18080/production'", "'http://localhost:18080/staging'"),
    ),
]


@pytest.mark.parametrize(("ours", "theirs", "said"), NAMES)
def test_two_deployments_do_not_share_a_campaign_by_accident(
    run_dag: Run,
    sandbox: Any,
    connection: str,
    monkeypatch: pytest.MonkeyPatch,
    ours: dict[str, str],
    theirs: dict[str, str],
    said: tuple[str, str],
) -> None:
    deployment(monkeypatch, **ours)
    assert_sent_once(sandbox, run_dag(dag_of(**A, campaign_id="march")))
    deployment(monkeypatch, **theirs)
    run = run_dag(dag_of(**A, campaign_id="march", rows=[person(50)], retries=1))
    assert (run.task_states, run.try_numbers) == ({"send": "failed"}, {"send": 1})
    for word in (*said, "[eight_by_eight] deployment"):
        assert word in run.log
    assert sandbox.stats()["accepted"] == 20
    deployment(monkeypatch, **ours)
    assert result_of(run_dag(dag_of(**A, campaign_id="march")))["already_sent_count"] == 20


def test_two_deployments_with_campaigns_of_their_own_share_a_database(
    run_dag: Run, sandbox: Any, connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their task instances go by the same names, since both have the same DAG and the same logical date."""
    for name in ("production", "staging"):
        deployment(monkeypatch, name=name)
        run = run_dag(dag_of(**A, campaign_id=f"march on {name}"), logical_date=START)
        assert run.task_states == {"send": "success"}
        assert result_of(run)["accepted_count"] == 20
    assert sandbox.stats()["accepted"] == 40


def test_two_deployments_that_are_named_as_one_share_a_campaign(
    run_dag: Run, sandbox: Any, connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for address in ("http://localhost:18080/blue", "http://localhost:18080/green"):
        deployment(monkeypatch, name="production", address=address)
        run = run_dag(dag_of(**A, campaign_id="march"))
    assert result_of(run)["already_sent_count"] == 20


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
    again = clear_and_run(dag, first.run_id)
    assert again.task_states == {"send": "success"}
    assert sandbox.stats()["accepted"] == (15 if said == "accepted" else 20)


@any_journal
def test_a_batch_that_is_none_of_the_campaigns_is_refused_by_name(
    run_dag: Run, clear_and_run: Run, sandbox: Any, connection: str, journal: dict[str, Any]
) -> None:
    first = run_dag(dag_of(**journal, rows=PEOPLE[:5]))
    run = clear_and_run(dag_of(**journal, settled_batches={"nobody-knows-it": "not_accepted"}), first.run_id)
    assert run.task_states == {"send": "failed"}
    assert "settled_batches names nobody-knows-it" in run.log
    assert sandbox.stats()["accepted"] == 5


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
