"""Deliveries counted from the lines of 8x8's logs, and how batches may be named."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from airflow_provider_8x8.api.models import LogLine
from airflow_provider_8x8.surveys.outcomes.deliveries import Deliveries, DeliveryReport
from airflow_provider_8x8.surveys.outcomes.sent_batches import SentBatches


def line(number: int, status: str = "delivered", batch_id: str = "b1", **fields: Any) -> LogLine:
    priced = {"currency": "USD", "price": "0.01"}
    return LogLine(f"umid-{number}", str(number), "ours", batch_id, status, **{
        "code": None, "description": None, "detail": None, **priced, **fields
    })  # fmt: skip


def report_of(*lines: LogLine, batches: SentBatches | None = None) -> DeliveryReport:
    deliveries = Deliveries(batches or SentBatches(("b1",)))
    deliveries.add(lines)
    return deliveries.report("2026-10-01T08:00:00+00:00")


def test_other_batches_and_messages_of_none_do_not_count() -> None:
    report = report_of(line(1), line(2, batch_id="b2"), line(3, batch_id=""))
    assert (report.messages_seen, report.states, report.cost) == (1, {"delivered": 1}, {"USD": 0.01})


@pytest.mark.parametrize(
    ("lines", "state"),
    [
        ([line(1, "queued"), line(1, "delivered")], "delivered"),
        ([line(1, "delivered"), line(1, "sent")], "delivered"),
        ([line(1, "queued"), line(1, "sent")], "sent"),
        ([line(1, "delivered"), line(1, "read")], "read"),
    ],
)
def test_a_message_of_two_lines_counts_once(lines: list[LogLine], state: str) -> None:
    report = report_of(*lines)
    assert (report.messages_seen, report.states, report.cost) == (1, {state: 1}, {"USD": 0.01})


def test_money_is_added_without_a_rounding_error_and_by_currency() -> None:
    lines = [line(number, price="0.1") for number in range(3)]
    report = report_of(*lines, line(3, price="0.07", currency="SGD"))
    assert report.cost == {"SGD": 0.07, "USD": 0.3}
    assert report.priced_count == 4


@pytest.mark.parametrize("price", [None, "", "free", "NaN", "Infinity", "-1", "1e999999"])
def test_what_is_no_price_costs_nothing_and_is_not_counted_as_priced(price: str | None) -> None:
    report = report_of(line(1, price=price), line(2), line(3, currency=None))
    assert (report.cost, report.priced_count) == ({"USD": 0.01}, 1)


def test_the_most_frequent_errors_come_first_and_hold_no_number() -> None:
    lines = [line(number, "undelivered", code=str(30 + number % 12), description="no") for number in range(24)]
    lines += [line(24, "rejected", code="1002", description="Invalid MSISDN +12025550123")] * 2
    lines += [line(25 + n, "undelivered", code="7", description="+12025550123 is off") for n in range(3)]
    report = report_of(*lines)
    assert report.errors[0] == {"code": "7", "description": "+12*******23 is off", "count": 3}
    assert len(report.errors) == 10
    assert "5550123" not in json.dumps(msgspec.to_builtins(report))


def test_states_and_details_that_look_like_numbers_are_masked() -> None:
    report = report_of(line(1, "+12025550123", detail="+12025550123", currency="+12025550123"))
    assert "5550123" not in json.dumps(msgspec.to_builtins(report)) + report.in_words


@pytest.mark.parametrize("logs_have_what_was_rejected", [False, True])
def test_what_was_rejected_at_once_is_none_of_what_was_accepted(logs_have_what_was_rejected: bool) -> None:
    batches = SentBatches(("b1",), accepted=10, rejected=2)
    rejected = [line(100 + number, "rejected") for number in range(2)] if logs_have_what_was_rejected else []
    report = report_of(*rejected, *map(line, range(8)), batches=batches)
    assert (report.share_final, report.share_delivered) == (0.8, 0.8)
    assert not report.is_settled(0.9, None)
    assert report.is_settled(0.8, None)


def test_where_nothing_was_accepted_nothing_is_waited_for() -> None:
    report = report_of(batches=SentBatches(("b1",), accepted=0, rejected=2))
    assert (report.share_final, report.share_delivered) == (None, None)
    assert report.is_settled(1.0, None)
    assert not report.has_delivered(0.5)


def test_without_a_number_to_expect_all_are_there_once_no_more_come_and_no_batch_is_missing() -> None:
    batches = SentBatches(("b1", "b2"))
    one = report_of(line(1), batches=batches)
    assert (one.batches_not_seen, one.share_delivered) == (["b2"], 1.0)
    assert not one.is_settled(0.5, 1)
    assert not one.has_delivered(0.5)
    assert one.has_delivered(1)
    both = report_of(line(1), line(2, "queued", "b2"), batches=batches)
    assert not both.is_settled(0.5, 1)
    assert both.is_settled(0.5, 2)
    assert not both.is_settled(0.6, 2)


def test_a_batch_whose_id_only_the_logs_know_is_found_by_our_own() -> None:
    batches = SentBatches(("b1",), accepted=2, client_ids=("c1", "c2"), without_id=1)
    report = report_of(
        line(1),
        msgspec.structs.replace(line(2, batch_id="b2"), client_batch_id="c2"),
        line(3, batch_id="b3"),
        batches=batches,
    )
    assert (report.messages_seen, report.share_delivered) == (2, 1.0)
    assert (report.batch_ids, report.batches_not_seen) == (["b1", "b2"], [])


RESULT = {"batch_ids": ["b1", "b2"], "accepted_count": 7, "rejected_count": 1, "report": None}


@pytest.mark.parametrize(
    ("given", "batches"),
    [
        (None, SentBatches()),
        ("", SentBatches()),
        ("None", SentBatches()),
        ([], SentBatches()),
        ([None], SentBatches()),
        ("b1", SentBatches(("b1",))),
        (["b1", "b2", "b1"], SentBatches(("b1", "b2"))),
        (iter([["b1"], ["b2"], []]), SentBatches(("b1", "b2"))),
        ("['b1', 'b2']", SentBatches(("b1", "b2"))),
        (RESULT, SentBatches(("b1", "b2"), 7, 1)),
        (str(RESULT), SentBatches(("b1", "b2"), 7, 1)),
        (json.dumps(RESULT), SentBatches(("b1", "b2"), 7, 1)),
        ([RESULT, RESULT], SentBatches(("b1", "b2"), 7, 1)),
        ([RESULT, {**RESULT, "batch_ids": ["b3"]}, None], SentBatches(("b1", "b2", "b3"), 14, 2)),
        ([RESULT, "b3"], SentBatches(("b1", "b2", "b3"))),
        ({**RESULT, "batch_ids": [], "accepted_count": 0}, SentBatches((), 0, 1)),
        ('"b1"', SentBatches(("b1",))),
        ("'b1', 'b2'", SentBatches(("b1", "b2"))),
        # An earlier result of a task, and a later one that has all its batches.
        ([{**RESULT, "batch_ids": ["b1"], "accepted_count": 4}, RESULT], SentBatches(("b1", "b2"), 7, 1)),
        ([RESULT, {**RESULT, "batch_ids": ["b2", "b3"]}], SentBatches(("b1", "b2", "b3"))),
        # A batch of which only our own id is known.
        ({**RESULT, "client_batch_ids": ["c1", "c2"]}, SentBatches(("b1", "b2"), 7, 1)),
        (
            {**RESULT, "client_batch_ids": ["c1", "c2", "c3"]},
            SentBatches(("b1", "b2"), 7, 1, client_ids=("c1", "c2", "c3"), without_id=1),
        ),
        (
            {**RESULT, "batch_ids": [], "client_batch_ids": ["c1"], "accepted_count": 0},
            SentBatches(client_ids=("c1",), without_id=1),
        ),
    ],
)
def test_batches_are_named_in_many_ways(given: Any, batches: SentBatches) -> None:
    assert SentBatches.of(given) == batches


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"batch_ids": "b1"},
        {"batch_ids": ["b1"]},
        {"batch_ids": ["b1"], "accepted_count": "7", "rejected_count": 0},
        {"batch_ids": [None], "accepted_count": 7, "rejected_count": 0},
        7,
        ["a b"],
        ["a;b"],
        "a,b",
        {**RESULT, "client_batch_ids": [7]},
        "[b1",
        "{{1}}",
        "12025550123",
        "1 202 555 0123",
        ["(202)5550123"],
    ],
)
def test_what_names_no_batches_is_refused_without_a_number(given: Any) -> None:
    with pytest.raises(ValueError, match=r"batch_ids .*expected") as caught:
        SentBatches.of(given)
    assert "5550123" not in str(caught.value)
