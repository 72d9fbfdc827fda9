"""What a task makes of its rows' outcomes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from airflow_provider_8x8.api.errors import NeverSentError, RateLimitedError, RefusedError, UnknownOutcomeError
from airflow_provider_8x8.surveys.journal.errors import (
    CorruptJournalError,
    JournalLostError,
    JournalMismatchError,
    JournalUnavailableError,
    SupersededError,
)
from airflow_provider_8x8.surveys.outcomes.summary import Summary
from airflow_provider_8x8.surveys.outcomes.verdict import Ending, OnEmpty, Verdict, judge, may_go_better
from airflow_provider_8x8.surveys.settings import Limits, OnUnknown

SUCCESS, SKIP, FAIL, FOR_GOOD = Ending


def summary_of(outcomes: dict[Any, int], **fields: Any) -> Summary:
    rows_read = fields.pop("rows_read", sum(outcomes.values()))
    return Summary("campaign", rows_read=rows_read, outcomes=Counter(outcomes), is_source_read=True, **fields)


def judged(summary: Summary, **settings: Any) -> Verdict:
    return judge(summary, **{"on_empty": OnEmpty.SKIP, "on_unknown": OnUnknown.FAIL} | settings)


@pytest.mark.parametrize(
    ("outcomes", "fields", "settings", "ending", "says"),
    [
        ({"accepted": 2}, {}, {}, SUCCESS, ""),
        ({"already_sent": 2, "invalid": 1}, {}, {}, SUCCESS, ""),
        ({"accepted": 1, "rejected": 1}, {}, {"limits": Limits(max_rejected=0.5)}, SUCCESS, ""),
        (
            {"accepted": 1, "rejected": 1},
            {},
            {"limits": Limits(max_rejected=0.4)},
            FOR_GOOD,
            "max_rejected=0.4 messages",
        ),
        (
            {"accepted": 5, "rejected": 1},
            {},
            {"limits": Limits(max_rejected=0)},
            FOR_GOOD,
            "max_rejected=0 messages, 1 of 6",
        ),
        ({"invalid": 1, "duplicate": 1}, {}, {}, FOR_GOOD, "Nobody was surveyed"),
        ({"rejected": 1}, {}, {}, FOR_GOOD, "Nobody was surveyed"),
        ({}, {}, {}, SKIP, "There are no rows"),
        ({}, {}, {"on_empty": OnEmpty.FAIL}, FAIL, "There are no rows"),
        ({}, {}, {"on_empty": OnEmpty.SUCCEED}, SUCCESS, ""),
        ({"accepted": 1, "unknown": 1}, {}, {"what_is_unknown": "It is not known\nLook"}, FAIL, "It is not known"),
        ({"unknown": 1}, {}, {"on_unknown": OnUnknown.RESEND}, FAIL, ""),
        ({"unknown": 1}, {}, {"on_unknown": OnUnknown.ASSUME_SENT}, SUCCESS, ""),
        ({"accepted": 1, "invalid": 1}, {"overdue": 1}, {}, FOR_GOOD, "The time of 1 rows passed"),
        ({"not_sent": 1}, {"stop": "8x8 is not well"}, {}, FAIL, "Sending stopped: 8x8 is not well"),
        ({"not_sent": 1}, {"stop": "no", "is_final": True}, {}, FOR_GOOD, "Sending stopped: no"),
        ({}, {"stop": "Nothing was sent: no", "was_begun": False}, {}, FAIL, "Nothing was sent: no"),
    ],
)
def test_a_task_succeeds_if_people_were_surveyed(
    outcomes: dict[Any, int], fields: dict[str, Any], settings: dict[str, Any], ending: Ending, says: str
) -> None:
    verdict = judged(summary_of(outcomes, **fields), **settings)

    assert verdict.ending is ending
    assert says in verdict.reason.splitlines()[0] if verdict.reason else not says


def test_a_failure_says_first_why_then_what_became_of_the_rows_then_what_to_do() -> None:
    summary = summary_of({"accepted": 1, "unknown": 2})

    verdict = judged(summary, what_is_unknown="Two are not known\nLook into the portal\nClear the task")

    assert verdict.reason.split("\n") == [
        "Two are not known",
        "3 rows were read: 1 accepted, 2 unknown; this try sent nothing",
        "Look into the portal",
        "Clear the task",
    ]


def test_no_other_try_follows_where_it_would_not_know_what_was_sent() -> None:
    stopped = summary_of({"not_sent": 1}, stop="8x8 is not well")

    assert judged(stopped, may_try_again=False).ending is FOR_GOOD
    assert judged(summary_of({"accepted": 1}), may_try_again=False) == Verdict.success()
    assert judged(summary_of({}), may_try_again=False) == Verdict.skip("There are no rows")


def test_what_fails_beside_the_sending_fails_a_success_only() -> None:
    assert judged(summary_of({"accepted": 1}), problem="No XCom").reason.startswith("No XCom\n1 row was read")
    assert judged(summary_of({}), problem="No XCom").ending is SKIP
    assert judged(summary_of({"rejected": 1}), problem="No XCom").reason.startswith("Nobody was surveyed")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (JournalUnavailableError("no"), True),
        (SupersededError("no"), True),
        (JournalMismatchError("no"), False),
        (JournalLostError("no"), False),
        (CorruptJournalError("no"), False),
        (NeverSentError("no"), True),
        (UnknownOutcomeError("no"), True),
        (RateLimitedError(429, 1400), True),
        (RateLimitedError(429), True),
        (RefusedError(400, 2000), True),
        (RefusedError(401, 1200), False),
        (ValueError("no"), False),
        (TypeError("no"), False),
        (OSError("no"), True),
    ],
)
def test_an_error_says_whether_another_try_may_do_better(error: Exception, expected: bool) -> None:
    assert may_go_better(error) is expected
