"""What became of rows, in a table of the team's: whole DAGs against the sandbox and real databases."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.operators.test_survey_batch import person, result_of, survey_dag, with_state_store
from tests.operators.test_tries import sql_journal
from tests.support.dag_runs import DagRunResult
from tests.support.warehouses import Warehouse

Run = Callable[..., DagRunResult]

REFUSED = "+210 555 0123 45"
"""No such calling code: only 8x8 can tell."""

ROWS = [
    *(person(number) for number in range(23)),
    person(5),  # a duplicate
    person(30, destination=REFUSED),
    person(31, destination="none"),
    person(32, firstName="x" * 160),
]
EXPECTED = {"accepted": 24, "rejected": 1, "invalid": 1, "duplicate": 1}

sqlite_or_another = pytest.mark.parametrize("warehouse", ["sqlite", "another"], indirect=True)
only_sqlite = pytest.mark.parametrize("warehouse", ["sqlite"], indirect=True)


def into_table(**arguments: Any) -> Any:
    given = {"outcome_table": "outcomes", "outcome_conn_id": "warehouse", "batch_size": 10, **arguments}
    return survey_dag(**given)


def test_there_is_one_row_for_each_row_read(run_dag: Run, sandbox: Any, connection: str, warehouse: Warehouse) -> None:
    run = run_dag(into_table(rows=ROWS))
    assert run.task_states == {"send": "success"}, run.log[-3000:]
    result = result_of(run)
    assert warehouse.outcomes() == EXPECTED
    assert result["rows_read"] == len(ROWS)
    messages = {message["umid"]: message for message in sandbox.messages(100)}
    sent = warehouse.rows("umid, row_key, parts, batch_id, client_batch_id", rest="WHERE outcome = 'accepted'")
    assert {row[0] for row in sent} == {umid for umid, its in messages.items() if its["status"] != "rejected"}
    for umid, row_key, parts, batch_id, client_batch_id in sent:
        assert (row_key, parts) == (messages[umid]["destination"].removeprefix("+"), messages[umid]["parts"])
        assert (batch_id in result["batch_ids"], client_batch_id in result["client_batch_ids"]) == (True, True)
    assert warehouse.rows("DISTINCT campaign_id, dag_id, task_id, map_index") == [
        (result["campaign_id"], "survey", "send", -1)
    ]
    ((code, description),) = warehouse.rows("code, description", rest="WHERE outcome = 'rejected'")
    assert "E.164" in description
    assert code
    assert {number for (number,) in warehouse.rows("source_row")} == set(range(1, len(ROWS) + 1))
    assert warehouse.rows("count(*)", rest="WHERE sent_at IS NULL") == [(2,)]


def test_a_value_of_any_length_tells_rows_apart_in_the_table_too(
    run_dag: Run, sandbox: Any, connection: str, warehouse: Warehouse
) -> None:
    long = "é" * 70_000
    run = run_dag(into_table(rows=[person(1, key=long), person(2, key=long + "!")], unique_by="key"))
    assert run.task_states == {"send": "success"}, run.log[-3000:]
    assert {row_key for (row_key,) in warehouse.rows("row_key")} == {long, long + "!"}


def test_the_delivery_report_adds_states_and_prices(
    run_dag: Run, sandbox: Any, connection: str, warehouse: Warehouse
) -> None:
    from tests.operators.test_delivery_report import report_of, sent_and_reported

    table = {"outcome_table": "outcomes", "outcome_conn_id": "warehouse"}
    run = run_dag(sent_and_reported(ROWS, sending=table, **table))
    assert run.task_states == {"send": "success", "report": "success"}, run.log[-3000:]
    states = dict(warehouse.rows("delivery_state, count(*)", rest="WHERE umid IS NOT NULL GROUP BY delivery_state"))
    result = report_of(run)
    assert states == result["states"]
    ((price,),) = warehouse.rows("sum(price)", rest="WHERE currency = 'USD'")
    assert float(price) == pytest.approx(result["cost"]["USD"])
    assert warehouse.rows("DISTINCT delivery_detail", rest="WHERE delivery_state = 'delivered'") == [
        ("delivered_to_recipient",)
    ]
    assert warehouse.rows("delivery_error", rest="WHERE delivery_state = 'rejected'") == [("1002",)]
    assert warehouse.outcomes() == EXPECTED


@with_state_store
@sqlite_or_another
def test_a_try_after_a_crash_completes_the_table(
    run_dag: Run, sandbox: Any, connection: str, warehouse: Warehouse, at_batch: Any
) -> None:
    at_batch(2, lambda: None)
    run = run_dag(into_table(rows=ROWS, retries=2, retry_delay=timedelta(), reconcile_timeout=timedelta(minutes=1)))
    assert run.task_states == {"send": "success"}, run.log[-3000:]
    assert warehouse.outcomes() == EXPECTED
    accepted = warehouse.rows("row_key, umid, parts", rest="WHERE outcome = 'accepted'")
    assert Counter((row_key, umid) for row_key, umid, _ in accepted) == Counter(
        (message["destination"].removeprefix("+"), message["umid"])
        for message in sandbox.messages(100)
        if message["status"] != "rejected"
    )
    assert {parts for _, _, parts in accepted} == {1, 2}
    assert sandbox.stats()["max_per_key"] == 1


@only_sqlite
@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("CREATE TABLE outcomes (owner TEXT, row_id TEXT)", "is there and lacks the columns campaign_id, dag_id"),
        (None, "could not be read: OperationalError"),
    ],
)
def test_nothing_is_sent_where_the_table_cannot_be_written(
    run_dag: Run, sandbox: Any, connection: str, warehouse: Warehouse, statement: str | None, message: str
) -> None:
    if statement is not None:
        warehouse.execute(statement)
    run = run_dag(into_table(rows=ROWS, outcome_table="outcomes" if statement else "nowhere.outcomes"))
    assert run.task_states == {"send": "failed"}
    assert "(outcome_conn_id 'warehouse')" in run.log
    assert message in run.log
    assert sandbox.stats()["requests"] == 0


@only_sqlite
def test_a_table_that_is_gone_in_mid_campaign_fails_the_task_and_holds_nobody_up(
    run_dag: Run, sandbox: Any, connection: str, warehouse: Warehouse, no_pauses: Any, monkeypatch: Any
) -> None:
    from airflow_provider_8x8.surveys.outcomes.table import OutcomeTable

    write = OutcomeTable.write_answers

    def gone(*arguments: Any) -> None:
        warehouse.execute("DROP TABLE IF EXISTS outcomes")
        write(*arguments)

    monkeypatch.setattr(OutcomeTable, "write_answers", gone)
    run = run_dag(into_table(rows=ROWS))
    assert run.task_states == {"send": "failed"}
    assert result_of(run)["accepted_count"] == EXPECTED["accepted"]
    assert "could not be written: OperationalError: no such table" in run.log
    assert sandbox.stats()["max_per_key"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"outcome_table": None}, "outcome_conn_id needs outcome_table"),
        ({"outcome_conn_id": None}, "outcome_table needs outcome_conn_id"),
        ({"outcome_table": "a; DROP TABLE b"}, "outcome_table is 'a; DROP TABLE b'; expected the name of a table"),
        ({"outcome_conn_id": "postgresql://me:secret@db"}, "outcome_conn_id is a connection; expected its id"),
    ],
)
def test_arguments_are_checked_when_the_dag_is_parsed(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        into_table(rows=ROWS, **arguments)
    assert "secret" not in str(caught.value)


@only_sqlite
@pytest.mark.parametrize("settled", [False, True])
def test_deliveries_reach_rows_of_a_batch_that_only_a_person_or_nobody_knows_of(
    run_dag: Run,
    clear_and_run: Run,
    sandbox: Any,
    connection: str,
    warehouse: Warehouse,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settled: bool,
) -> None:
    from tests.operators.send_within import send_within
    from tests.operators.test_delivery_report import report_of, sent_and_reported

    send_within(monkeypatch, 1.0)
    table = {"outcome_table": "outcomes", "outcome_conn_id": "warehouse"}
    sending = {**sql_journal(tmp_path, monkeypatch), **table, "reconcile_timeout": timedelta()}
    rows = [person(number) for number in range(10)]
    sandbox.faults(
        [{"on": "survey_batch", "kind": "close_after_accept"}, {"on": "log_export", "kind": "404", "times": 1}]
    )
    if settled:
        first = run_dag(sent_and_reported(rows, sending=sending, **table))
        ((lost,),) = warehouse.rows("DISTINCT client_batch_id", rest="WHERE outcome = 'unknown'")
        said = {"settled_batches": {lost: "accepted"}}
        run = clear_and_run(sent_and_reported(rows, sending={**sending, **said}, **table), first.run_id)
    else:
        run = run_dag(sent_and_reported(rows, sending={**sending, "on_unknown": "assume_sent"}, **table))
    assert run.task_states == {"send": "success", "report": "success"}, run.log[-3000:]
    assert warehouse.outcomes() == ({"accepted": 10} if settled else {"accepted": 5, "unknown": 5})
    assert report_of(run)["states"] == {"delivered": 10}
    assert Counter(warehouse.rows("row_key, umid, batch_id, delivery_state, price")) == Counter(
        (message["destination"].removeprefix("+"), message["umid"], message["batch_id"], "delivered", 0.01)
        for message in sandbox.messages(100)
    )


@only_sqlite
def test_rows_are_there_once_where_the_campaign_was_changed_before_anything_was_sent(
    run_dag: Run,
    clear_and_run: Run,
    sandbox: Any,
    connection: str,
    warehouse: Warehouse,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    journal = sql_journal(tmp_path, monkeypatch)
    rows = [ROWS[-2], *ROWS[:9]]
    first = run_dag(into_table(rows=rows, campaign_id="March", not_after="2026-01-01T00:00:00Z", **journal))
    assert warehouse.outcomes() == {"not_sent": 9, "invalid": 1}
    run = clear_and_run(into_table(rows=ROWS, campaign_id="April", **journal), first.run_id)
    assert run.task_states == {"send": "success"}, run.log[-3000:]
    assert warehouse.outcomes() == EXPECTED
    assert warehouse.rows("DISTINCT campaign_id") == [("April",)]


@only_sqlite
@pytest.mark.parametrize(
    ("fault", "becomes", "after_clearing"),
    [
        ("close_after_accept", {"already_sent": 10}, {"accepted": 10}),
        ("close_before_accept", {"accepted": 5, "already_sent": 5}, {"accepted": 5, "already_sent": 5}),
    ],
)
def test_each_run_of_a_campaign_has_its_own_rows_also_of_a_batch_that_another_run_has_found_out_about(
    run_dag: Run,
    clear_and_run: Run,
    sandbox: Any,
    connection: str,
    warehouse: Warehouse,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    becomes: dict[str, int],
    after_clearing: dict[str, int],
) -> None:
    from tests.operators.send_within import send_within

    def has(run: DagRunResult) -> dict[str, int]:
        """Return what the table has of a run, which is what its result says."""
        outcomes = dict(warehouse.rows("outcome, count(*)", rest=f"WHERE run_id = '{run.run_id}' GROUP BY outcome"))
        counts = {name.removesuffix("_count"): its for name, its in result_of(run).items() if name.endswith("_count")}
        assert outcomes == {name: its for name, its in counts.items() if its}
        lines = [
            json.loads(line)["outcome"]
            for file in (tmp_path / "reports").rglob("*.jsonl")
            if quote(run.run_id).lower() in file.name.lower() or file.stem in result_of(run)["client_batch_ids"]
            for line in file.read_text().splitlines()
        ]
        assert Counter(lines) == outcomes
        return outcomes

    def sending(**arguments: Any) -> Any:
        rows = [person(number) for number in range(10)]
        folder = (tmp_path / "reports").as_uri()
        proof = {"log_settle_time": timedelta(seconds=1), "canary_destination": "+12025550199"}
        known = {"batch_size": 5, "campaign_id": "March", "report_path": folder, **proof, **journal}
        return into_table(rows=rows, **known, **arguments)

    send_within(monkeypatch, 1.0)
    journal = sql_journal(tmp_path, monkeypatch)
    hidden = {"on": "log_export", "kind": "404"}
    sandbox.faults([{"on": "survey_batch", "kind": fault}, hidden])
    lost = run_dag(sending(reconcile_timeout=timedelta()))
    assert has(lost) == {"accepted": 5, "unknown": 5}
    sandbox.faults([hidden])
    does_not_know = run_dag(sending(reconcile_timeout=timedelta()))
    assert has(does_not_know) == {"already_sent": 5, "unknown": 5}
    finds_out = run_dag(sending(reconcile_timeout=timedelta(minutes=1)))
    assert has(finds_out) == becomes
    for first in (lost, does_not_know):
        again = clear_and_run(sending(reconcile_timeout=timedelta(minutes=1)), first.run_id)
        assert again.task_states == {"send": "success"}, again.log[-3000:]
        assert has(again) == (after_clearing if first is lost else {"already_sent": 10})
    assert sandbox.stats()["max_per_key"] == 1


@only_sqlite
def test_what_a_person_tells_one_run_of_anothers_batch_the_other_takes_from_the_journal(
    run_dag: Run,
    clear_and_run: Run,
    sandbox: Any,
    connection: str,
    warehouse: Warehouse,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """8x8's logs never have the batch: they are not waited for, since nobody asked them."""
    from tests.operators.send_within import send_within

    send_within(monkeypatch, 1.0)
    folder = (tmp_path / "reports").as_uri()
    known = {"campaign_id": "March", "report_path": folder, **sql_journal(tmp_path, monkeypatch)}
    sending = {"rows": ROWS[:5], "reconcile_timeout": timedelta(), **known}
    sandbox.faults([{"on": "survey_batch", "kind": "close_before_accept"}])
    first = run_dag(into_table(**sending))
    (lost,) = result_of(first)["client_batch_ids"]
    assert warehouse.outcomes() == {"unknown": 5}
    for file in (tmp_path / "reports").rglob("*.jsonl"):
        file.unlink()
    other = run_dag(survey_dag(**sending, settled_batches={lost: "accepted"}))
    assert other.task_states == {"send": "success"}, other.log[-3000:]
    assert result_of(other)["already_sent_count"] == 5
    again = clear_and_run(into_table(**sending), first.run_id)
    assert again.task_states == {"send": "success"}, again.log[-3000:]
    assert warehouse.outcomes() == {"accepted": 5}
    (file,) = (tmp_path / "reports").rglob(f"{lost}.jsonl")
    assert len(file.read_text().splitlines()) == 5
