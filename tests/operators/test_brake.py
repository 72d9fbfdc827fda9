"""The brake: once more is rejected, or invalid, than is allowed, no batch is begun any more."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.operators.test_survey_batch import COUNTS, person, result_of, survey_dag, with_state_store
from tests.operators.test_tries import sql_journal


def rejected(number: int) -> dict[str, Any]:
    """A row that 8x8 rejects in its answer: no country has that code."""
    return person(number, destination=f"+210555{number:05d}")


def refused(number: int) -> dict[str, Any]:
    """A row for whose sake 8x8 refuses the batch that it is in."""
    return person(number, country="ZZ")


def invalid(number: int) -> dict[str, Any]:
    return person(number, destination=None)


def people(first: int, last: int) -> list[dict[str, Any]]:
    return [person(number) for number in range(first, last)]


def counts_of(run: Any) -> list[int]:
    return [result_of(run)[name] for name in COUNTS]


def test_a_number_stops_the_sending_as_soon_as_it_is_passed(
    run_dag: Any, sandbox: Any, connection: str, tmp_path: Path
) -> None:
    rows = [*people(0, 8), rejected(8), rejected(9), *people(10, 40)]
    run = run_dag(survey_dag(rows=rows, batch_size=5, max_rejected=1, retries=2, report_path=str(tmp_path)))
    assert (run.task_states, run.try_numbers) == ({"send": "failed"}, {"send": 1})
    assert sandbox.stats()["requests"] == 2
    assert counts_of(run) == [8, 2, 0, 0, 0, 5, 0]
    result = result_of(run)
    assert result["stopped"] == "8x8 rejected more than max_rejected=1 messages, 2 of 10"
    assert f"Sending stopped: {result['stopped']}: no other batch is begun\n" in run.log
    assert "To send what is missing, raise the limit" in run.log
    files = Path(result["report"].removeprefix("file://")).iterdir()
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert Counter(line["outcome"] for line in lines) == {"accepted": 8, "rejected": 2, "not_sent": 5}


@pytest.mark.parametrize(
    ("brake_after", "requests"), [({}, 8), ({"brake_after": 15}, 3), ({"brake_after": 16}, 4), ({"brake_after": 1}, 1)]
)
def test_a_share_stops_the_sending_only_over_a_sample_that_is_large_enough(
    run_dag: Any, sandbox: Any, connection: str, brake_after: dict[str, Any], requests: int
) -> None:
    rows = [*(rejected(number) for number in range(9)), *people(9, 40)]
    run = run_dag(survey_dag(rows=rows, batch_size=5, max_rejected=0.2, **brake_after))
    assert run.task_states == {"send": "failed"}  # at the end of the source it is judged over however few there are
    assert sandbox.stats()["requests"] == requests
    assert ("stopped" in result_of(run)) == (requests < 8)
    assert "8x8 rejected more than max_rejected=0.2 messages, " in run.log


def test_first_rows_that_happen_to_be_bad_do_not_stop_a_campaign(run_dag: Any, sandbox: Any, connection: str) -> None:
    rows = [*(rejected(number) for number in range(9)), *people(9, 40)]
    run = run_dag(survey_dag(rows=rows, batch_size=5, max_rejected=0.25))
    assert run.task_states == {"send": "success"}
    assert counts_of(run) == [31, 9, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("limit", "requests", "said"),
    [
        ({"max_invalid": 3}, 1, "The source has more than max_invalid=3 invalid rows, 4 of "),
        ({"max_invalid": 0}, 0, "The source has more than max_invalid=0 invalid rows, "),
        ({"max_invalid": 0.3, "brake_after": 14}, 1, "The source has more than max_invalid=0.3 invalid rows, 5 of 15"),
        ({"max_invalid": 0.3, "brake_after": 16}, 2, "The source has more than max_invalid=0.3 invalid rows, "),
    ],
)
def test_invalid_rows_stop_the_sending_likewise(
    run_dag: Any, sandbox: Any, connection: str, limit: dict[str, Any], requests: int, said: str
) -> None:
    rows = [*people(0, 3), invalid(3), invalid(4), *people(5, 7), *(invalid(number) for number in range(7, 10))]
    rows += [*people(10, 15), *(invalid(number) for number in range(15, 20)), *people(20, 40)]
    run = run_dag(survey_dag(rows=rows, batch_size=5, retries=1, **limit))
    assert (run.task_states, run.try_numbers) == ({"send": "failed"}, {"send": 1})
    assert sandbox.stats()["requests"] == requests
    assert said in result_of(run)["stopped"] or said.endswith("4 of ")
    assert result_of(run)["not_sent_count"] == 5


def test_few_invalid_rows_fail_a_task_that_has_sent_all_others_after_its_result(
    run_dag: Any, sandbox: Any, connection: str
) -> None:
    rows = [*people(0, 6), *people(0, 6), invalid(6), invalid(7)]
    assert run_dag(survey_dag(rows=rows, max_invalid=0.25)).task_states == {"send": "success"}  # no duplicate counts
    run = run_dag(survey_dag(rows=rows, max_invalid=0.24))
    assert run.task_states == {"send": "failed"}
    assert counts_of(run) == [6, 0, 2, 6, 0, 0, 0]
    assert "stopped" not in result_of(run)
    assert "The source has more than max_invalid=0.24 invalid rows, 2 of 8" in run.log


def test_a_share_that_is_just_reached_is_not_passed(run_dag: Any, sandbox: Any, connection: str) -> None:
    rows = [*people(0, 43), *(rejected(number) for number in range(43, 100))]
    assert run_dag(survey_dag(rows=rows, max_rejected=0.57)).task_states == {"send": "success"}


@pytest.mark.parametrize("limit", [{"max_rejected": 3}, {"max_rejected": 0.1, "brake_after": 20}])
def test_the_brake_holds_while_a_refused_batch_is_halved(
    run_dag: Any, sandbox: Any, connection: str, limit: dict[str, Any]
) -> None:
    rows = [*people(0, 20), *(refused(number) for number in range(20, 30)), *people(30, 60)]
    run = run_dag(survey_dag(rows=rows, batch_size=20, **limit))
    assert run.task_states == {"send": "failed"}
    result = result_of(run)
    assert result["rejected_count"] == (4 if "brake_after" not in limit else 3)
    assert result["accepted_count"] == 20
    assert result["rows_read"] == 60
    assert sandbox.stats()["accepted"] == 20


@pytest.mark.parametrize("journal", [pytest.param("state_store", marks=with_state_store), "sql"])
def test_what_stopped_it_stops_a_cleared_task_at_once(
    run_dag: Any,
    clear_and_run: Any,
    sandbox: Any,
    connection: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    journal: str,
) -> None:
    kept = {} if journal == "state_store" else sql_journal(tmp_path, monkeypatch)
    rows = [*people(0, 6), *(rejected(number) for number in range(6, 10)), *people(10, 40)]
    limits = {"max_rejected": 0.3, "brake_after": 10, "batch_size": 5, **kept}
    first = run_dag(survey_dag(rows=rows, **limits))
    assert counts_of(first) == [6, 4, 0, 0, 0, 5, 0]
    run = clear_and_run(survey_dag(rows=rows, **limits), first.run_id)
    assert run.task_states == {"send": "failed"}
    assert sandbox.stats()["requests"] == 2
    assert counts_of(run) == [6, 4, 0, 0, 0, 5, 0]
    run = clear_and_run(survey_dag(rows=rows, **{**limits, "max_rejected": 0.5}), first.run_id)
    assert run.task_states == {"send": "success"}
    assert counts_of(run) == [36, 4, 0, 0, 0, 0, 0]
    assert sandbox.stats()["max_per_key"] == 1


def test_what_another_run_of_the_campaign_has_counts_neither_way(
    run_dag: Any, sandbox: Any, connection: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = {**sql_journal(tmp_path, monkeypatch), "campaign_id": "march", "batch_size": 5}
    shard = [*people(0, 12), *(rejected(number) for number in range(12, 20))]
    run_dag(survey_dag(rows=shard, **campaign))
    other = [*people(0, 12), *people(20, 30), rejected(30), invalid(31)]
    run = run_dag(survey_dag(rows=other, max_rejected=1, max_invalid=0.1, **campaign))
    assert run.task_states == {"send": "success"}
    assert counts_of(run) == [10, 1, 1, 0, 12, 0, 0]
    run = run_dag(survey_dag(rows=[*other, *people(40, 49)], max_invalid=0.09, **campaign))
    assert "more than max_invalid=0.09 invalid rows, 1 of 11" in run.log  # 9 that are new, and one that was rejected


def test_what_is_pending_is_settled_before_the_task_fails_for_good(
    run_dag: Any, sandbox: Any, connection: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.faults([{"on": "survey_batch", "kind": "close_after_accept"}])
    rows = [*people(0, 5), *(rejected(number) for number in range(5, 10)), *people(10, 40)]
    run = run_dag(
        survey_dag(
            rows=rows,
            batch_size=5,
            max_rejected=4,
            retries=2,
            reconcile_timeout=timedelta(minutes=2),
            **sql_journal(tmp_path, monkeypatch),
        )
    )
    assert (run.task_states, run.try_numbers) == ({"send": "failed"}, {"send": 1})
    assert counts_of(run) == [5, 5, 0, 0, 0, 5, 0]


def test_a_batch_that_stays_unknown_is_looked_up_by_another_try_which_sends_nothing(
    run_dag: Any, sandbox: Any, connection: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.faults(
        [{"on": "survey_batch", "kind": "close_after_accept"}, {"on": "log_export", "kind": "404", "times": 99}]
    )
    rows = [*people(0, 5), *(rejected(number) for number in range(5, 10)), *people(10, 40)]
    run = run_dag(
        survey_dag(
            rows=rows,
            batch_size=5,
            max_rejected=4,
            retries=1,
            retry_delay=timedelta(),
            **sql_journal(tmp_path, monkeypatch),
        )
    )
    assert (run.task_states, run.try_numbers) == ({"send": "failed"}, {"send": 2})
    assert counts_of(run) == [0, 5, 0, 0, 0, 5, 5]
    assert sandbox.stats()["batches"] == 2


# the first batch


def test_a_small_first_batch_goes_before_the_others(run_dag: Any, sandbox: Any, connection: str) -> None:
    run = run_dag(survey_dag(rows=people(0, 40), batch_size=20, first_batch_size=4, max_rejected=0.1))
    assert run.task_states == {"send": "success"}
    sizes = Counter(message["batch_id"] for message in sandbox.messages(100))
    assert [sizes[batch] for batch in result_of(run)["batch_ids"]] == [4, 20, 16]


@pytest.mark.parametrize(
    ("bad", "limit", "said"),
    [
        (2, {"max_rejected": 0.4}, "8x8 rejected more than max_rejected=0.4 messages, 2 of 4"),
        (4, {}, "8x8 rejected all 4 messages of the first batch"),
        (4, {"max_rejected": 100}, "8x8 rejected all 4 messages of the first batch"),
    ],
)
@pytest.mark.parametrize("row", [rejected, refused])
def test_nothing_else_is_sent_where_8x8_rejects_too_much_of_the_first_batch(
    run_dag: Any, sandbox: Any, connection: str, bad: int, limit: dict[str, Any], said: str, row: Any
) -> None:
    rows = [*people(bad, 4), *(row(number) for number in range(bad)), *people(4, 40)]
    run = run_dag(survey_dag(rows=rows, batch_size=20, first_batch_size=4, retries=1, **limit))
    assert (run.task_states, run.try_numbers) == ({"send": "failed"}, {"send": 1})
    if (bad, row) == (4, refused):  # which may be the whole's fault: nobody is rejected
        assert counts_of(run) == [0, 0, 0, 0, 0, 24, 0]
        assert "none of 4 rows from different places" in run.log
        return
    assert counts_of(run) == [4 - bad, bad, 0, 0, 0, 20, 0]
    assert result_of(run)["stopped"] == said


def test_a_first_batch_that_is_good_enough_says_nothing_of_the_next_few_rows(
    run_dag: Any, sandbox: Any, connection: str
) -> None:
    rows = [*people(0, 4), *(rejected(number) for number in range(4, 10)), *people(10, 40)]
    run = run_dag(survey_dag(rows=rows, batch_size=4, first_batch_size=4, max_rejected=0.2))
    assert run.task_states == {"send": "success"}


@pytest.mark.parametrize("size", [1, 2, 3])
def test_nobody_is_rejected_by_a_first_batch_where_8x8_refuses_all(
    run_dag: Any, sandbox: Any, connection: str, size: int
) -> None:
    rows = [refused(number) for number in range(40)]
    run = run_dag(survey_dag(rows=rows, batch_size=20, first_batch_size=size, max_rejected=0.2, retries=1))
    assert (run.task_states, run.try_numbers) == ({"send": "failed"}, {"send": 1})
    assert counts_of(run) == [0, 0, 0, 0, 0, 20 + size, 0]
    assert f"8x8 has taken no batch, and none of {size} rows" in run.log


@with_state_store
def test_a_first_batch_that_was_bad_stops_a_cleared_task_at_once(
    run_dag: Any, clear_and_run: Any, sandbox: Any, connection: str
) -> None:
    rows = [*people(0, 2), rejected(2), rejected(3), *people(4, 40)]
    arguments = {"batch_size": 20, "first_batch_size": 4, "max_rejected": 0.2}
    first = run_dag(survey_dag(rows=rows, **arguments))
    run = clear_and_run(survey_dag(rows=rows, **arguments), first.run_id)
    assert run.task_states == {"send": "failed"}
    assert sandbox.stats()["requests"] == 1


@with_state_store
@pytest.mark.parametrize(
    ("limit", "larger", "goes_on"),
    [
        ({}, {"max_rejected": 100}, False),
        ({}, {"first_batch_size": 8}, True),
        ({}, {"first_batch_size": None}, True),
        ({"max_rejected": 0.2}, {"max_rejected": 0.99}, False),
        ({"max_rejected": 0.2}, {"max_rejected": 0.6, "first_batch_size": 8}, True),
    ],
)
def test_after_a_first_batch_that_was_rejected_whole_another_one_goes_on_or_none_is_needed(
    run_dag: Any,
    clear_and_run: Any,
    sandbox: Any,
    connection: str,
    limit: dict[str, Any],
    larger: dict[str, Any],
    goes_on: bool,
) -> None:
    rows = [*map(rejected, range(4)), *people(4, 40)]
    arguments = {"batch_size": 20, "first_batch_size": 4, **limit}
    first = run_dag(survey_dag(rows=rows, **arguments))
    assert "clear the task with a larger first_batch_size, which sends another small batch, or without one" in first.log
    run = clear_and_run(survey_dag(rows=rows, **{**arguments, **larger}), first.run_id)
    assert run.task_states == {"send": "success" if goes_on else "failed"}
    assert counts_of(run)[:2] == [36 if goes_on else 0, 4]


def test_the_others_wait_until_it_is_known_what_became_of_the_first_batch(
    run_dag: Any, sandbox: Any, connection: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.faults(
        [
            {"on": "survey_batch", "kind": "close_after_accept"},
            {"on": "log_export", "kind": "404"},
        ]
    )
    arguments = {"batch_size": 20, "first_batch_size": 4, "max_rejected": 0.2, **sql_journal(tmp_path, monkeypatch)}
    first = run_dag(survey_dag(rows=people(0, 40), **arguments))
    assert first.task_states == {"send": "failed"}
    assert sandbox.stats()["requests"] == 1
    assert counts_of(first) == [0, 0, 0, 0, 0, 20, 4]
    assert "Sending stopped: 8x8 has not answered the first batch: no other one is begun before it has" in first.log


def test_the_others_go_out_once_the_logs_have_the_first_batch(
    run_dag: Any, sandbox: Any, connection: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.faults([{"on": "survey_batch", "kind": "close_after_accept"}])
    run = run_dag(
        survey_dag(
            rows=people(0, 40),
            batch_size=20,
            first_batch_size=4,
            max_rejected=0.2,
            reconcile_timeout=timedelta(minutes=2),
            **sql_journal(tmp_path, monkeypatch),
        )
    )
    assert run.task_states == {"send": "success"}
    assert counts_of(run) == [40, 0, 0, 0, 0, 0, 0]
    assert sandbox.stats()["max_per_key"] == 1


def test_a_first_batch_that_was_assumed_to_be_sent_is_followed_by_another_small_one(
    run_dag: Any, sandbox: Any, connection: str
) -> None:
    sandbox.faults([{"on": "survey_batch", "kind": "close_after_accept"}])
    run = run_dag(
        survey_dag(rows=people(0, 40), batch_size=20, first_batch_size=4, max_rejected=0.2, on_unknown="assume_sent")
    )
    assert run.task_states == {"send": "success"}
    result = result_of(run)
    assert result["accepted_count"] + result["unknown_count"] == 40
    assert sandbox.stats()["max_per_key"] == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"max_invalid": 1.0},
            "max_invalid is 1.0, of type float; expected a whole number, or a float between 0 and 1",
        ),
        ({"max_invalid": -1}, "max_invalid is -1"),
        ({"max_invalid": "5%"}, "max_invalid is '5%'; expected a whole number, or a float"),
        ({"max_invalid": True}, "max_invalid is True, of type bool; expected a whole number, or a float"),
        ({"brake_after": 0}, "brake_after is 0, of type int; expected a whole number of at least 1"),
        ({"brake_after": 0.5}, "brake_after is 0.5, of type float; expected a whole number of at least 1"),
        ({"brake_after": None}, "brake_after is None"),
        ({"first_batch_size": 0}, "first_batch_size is 0, of type int; expected 1 to 10000"),
        ({"first_batch_size": 51, "batch_size": 50}, "first_batch_size is 51; expected at most batch_size=50"),
    ],
)
def test_wrong_arguments_show_when_the_dag_is_parsed(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="Task 'send': ") as error:
        survey_dag(rows=[], **wrong)
    assert message in str(error.value)
