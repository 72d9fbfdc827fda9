"""The demo ends well only if task, sandbox and seed tell the same story."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
from outcome import MismatchError, Outcome, check
from seed import Warehouse

WAREHOUSE = Warehouse(
    customers=100,
    orders=200,
    troubles=Counter({"null": 10, "email": 5, "no_name": 1, "unassigned": 3, "second_account": 2}),
)
RESULT: dict[str, Any] = {
    "batch_ids": ["first", "second"],
    "rows_read": 100,
    "accepted_count": 79,
    "rejected_count": 3,
    "invalid_count": 16,
    "duplicate_count": 2,
    "already_sent_count": 0,
    "not_sent_count": 0,
    "unknown_count": 0,
}
STATS = {
    "requests": 2,
    "batches": 2,
    "accepted": 79,
    "rejected": 3,
    "distinct_keys": 79,
    "max_per_key": 1,
    "singles": 0,
}


def test_the_last_line_has_the_counts_of_the_task_s_result() -> None:
    outcome = check(RESULT, STATS, WAREHOUSE)
    assert outcome == Outcome(rows=100, accepted=79, rejected=3, invalid=16, duplicate=2)
    assert str(outcome) == "demo: rows=100 accepted=79 rejected=3 invalid=16 duplicate=2"


@pytest.mark.parametrize(
    ("result", "stats", "message"),
    [
        ({"accepted_count": 78}, {}, "the rows differ: rows read: 100, outcomes together: 99"),
        ({"unknown_count": 1, "accepted_count": 78}, {}, "outcomes together: 99"),
        ({"rows_read": 99, "accepted_count": 78}, {}, "rows differ: task: 99, seeded: 100"),
        ({}, {"accepted": 80}, "accepted differ: task: 79, sandbox: 80, seeded: 79"),
        ({}, {"rejected": 0}, "rejected differ: task: 3, sandbox: 0, seeded: 3"),
        ({"invalid_count": 15, "duplicate_count": 3}, {}, "invalid differ: task: 15, seeded: 16"),
        ({}, {"batches": 3}, "batches differ: task: 2, sandbox: 3"),
        ({}, {"distinct_keys": 78}, "people surveyed differ: task: 79, sandbox: 78"),
    ],
)
def test_counts_that_differ_are_said(result: dict[str, int], stats: dict[str, int], message: str) -> None:
    with pytest.raises(MismatchError, match=re.escape(message)):
        check(RESULT | result, STATS | stats, WAREHOUSE)


def test_an_outcome_that_does_not_show_is_said() -> None:
    result = RESULT | {"accepted_count": 81, "duplicate_count": 0}
    stats = STATS | {"accepted": 81, "distinct_keys": 81}
    troubles = WAREHOUSE.troubles - Counter({"second_account": 2})
    with pytest.raises(MismatchError, match="there is none of: duplicate"):
        check(result, stats, Warehouse(100, 200, troubles))
