"""What becomes of batches of unknown outcome: looked up and waited for, over tries, with the help of a canary."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_8x8.api.errors import EightByEightError, RateLimitedError, RefusedError, UnknownOutcomeError
from airflow_provider_8x8.api.models import LogLine
from airflow_provider_8x8.surveys.sending.settling import MAX_EXPORTS, ONE_LOOK
from airflow_provider_8x8.surveys.settings import OnUnknown
from tests.surveys.campaigns import CANARY, MINUTE, NUMBERS, START, Campaign, EightByEight, answer_lost, outcomes, taken

# how long a try waits


def test_a_try_that_can_prove_nothing_in_its_time_ends_early_and_says_from_when_on_another_can(
    campaign: Campaign,
) -> None:
    campaign.eight_by_eight.fates = [taken, None]
    summary = campaign.run(canary_destination=CANARY)
    assert outcomes(summary) == {"accepted": 4, "unknown": 2}
    assert campaign.clock.time - START < 2 * MINUTE
    earliest = datetime.fromtimestamp(START + 30 + 20 * MINUTE, UTC)
    assert f"Another try can tell, at the earliest, from {earliest:%Y-%m-%d %H:%M}" in str(summary.outlook)
    assert campaign.eight_by_eight.canaries == []


@pytest.mark.parametrize("settle_minutes", [2, 10, 14])
def test_the_retry_delay_that_the_message_names_saves_the_tries_that_would_be_in_vain(
    campaign: Campaign, settle_minutes: int
) -> None:
    campaign.eight_by_eight.fates = [taken, None]
    arguments: dict[str, Any] = {"canary_destination": CANARY, "log_settle_time": timedelta(minutes=settle_minutes)}
    first = campaign.run(reconcile_timeout=timedelta(seconds=90), **arguments)
    (minutes,) = re.findall(r"Set retry_delay to at least (\d+) minutes?,", str(first.outlook))
    campaign.clock.sleep(int(minutes) * MINUTE)
    assert outcomes(campaign.run(**arguments)) == {"accepted": 6}


@pytest.mark.parametrize("lag", [0.0, 3 * MINUTE, 12 * MINUTE, 30 * MINUTE])
def test_a_lost_batch_is_sent_again_after_a_few_tries_with_the_defaults_and_one_canary(
    campaign: Campaign, lag: float
) -> None:
    campaign.eight_by_eight.lag, campaign.eight_by_eight.fates = lag, [taken, None]
    for _ in range(4):
        before = len(campaign.eight_by_eight.exports)
        summary = campaign.run(canary_destination=CANARY)
        assert len(campaign.eight_by_eight.exports) - before <= MAX_EXPORTS
        if not summary.outcomes["unknown"]:
            break
        campaign.clock.sleep(5 * MINUTE)
    assert outcomes(summary) == {"accepted": 6}
    assert sorted(campaign.eight_by_eight.accepted) == sorted(NUMBERS)
    assert len(campaign.eight_by_eight.canaries) == 1


def test_a_settle_time_that_is_longer_than_a_try_waits_is_no_hindrance(campaign: Campaign) -> None:
    campaign.eight_by_eight.fates = [None]
    for _ in range(4):
        summary = campaign.run(canary_destination=CANARY, log_settle_time=timedelta(minutes=20))
        campaign.clock.sleep(15 * MINUTE)
    assert outcomes(summary) == {"accepted": 6}


def test_without_anything_younger_the_message_says_what_would_help(campaign: Campaign) -> None:
    campaign.eight_by_eight.fates = [None]
    summary = campaign.run()
    assert "Give canary_destination a number of your own" in str(summary.outlook)
    assert campaign.clock.time - START < 2 * MINUTE


@pytest.mark.parametrize("when", ["start", "poll", "read"])
@pytest.mark.parametrize(
    "trouble",
    [
        lambda: RateLimitedError(429, 1, "too many requests"),
        lambda: RefusedError(404, 1300, "no such job"),
        lambda: RefusedError(403, 1201, "not now"),
        lambda: UnknownOutcomeError("HTTP 500"),
    ],
)
def test_whatever_a_look_at_the_logs_gets_it_is_looked_again_until_the_time_is_over(
    campaign: Campaign, when: str, trouble: Callable[[], EightByEightError]
) -> None:
    campaign.eight_by_eight.fates = [answer_lost]
    ends = START + 10 * MINUTE

    def fail(what: str) -> None:
        if what == when and campaign.clock.time < ends:
            raise trouble()

    campaign.eight_by_eight.trouble = fail
    summary = campaign.run(on_unknown=OnUnknown.RESEND)
    assert outcomes(summary) == {"accepted": 6}
    assert sorted(campaign.eight_by_eight.accepted) == sorted(NUMBERS), "nobody was texted twice"


def test_retry_after_of_the_logs_is_kept(campaign: Campaign) -> None:
    campaign.eight_by_eight.fates = [answer_lost]
    asked: list[float] = []

    def fail(what: str) -> None:
        asked.append(campaign.clock.time)
        if campaign.clock.time < START + 5 * MINUTE:
            limited = RateLimitedError(429, 1, "too many requests")
            limited.retry_after = START + 5 * MINUTE - campaign.clock.time
            raise limited

    campaign.eight_by_eight.trouble = fail
    assert outcomes(campaign.run()) == {"accepted": 6}
    assert not [moment for moment in asked[1:] if moment < START + 5 * MINUTE]


def test_the_timeout_bounds_an_export_that_is_never_ready(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign.eight_by_eight.fates = [None]
    monkeypatch.setattr(
        EightByEight, "get_log_export", lambda self, job_id, **options: SimpleNamespace(status="running", data=[])
    )
    summary = campaign.run(reconcile_timeout=timedelta(minutes=1), on_unknown=OnUnknown.ASSUME_SENT)
    assert outcomes(summary) == {"accepted": 4, "unknown": 2}
    assert campaign.clock.time - START < MINUTE + ONE_LOOK + 5


def test_being_told_to_end_ends_the_reading_of_a_long_export(campaign: Campaign) -> None:
    campaign.eight_by_eight.fates = [answer_lost]
    read = 0

    def shown(line: LogLine) -> LogLine:
        nonlocal read
        read += 1
        if read == 10:
            campaign.stop.set()
        return line

    campaign.eight_by_eight.shown = shown
    for number in range(200_000):
        campaign.eight_by_eight._log(f"other-{number}", "another's batch")
    summary = campaign.run()
    assert outcomes(summary) == {"accepted": 4, "unknown": 2}
    assert read < 5_000


def test_a_file_that_was_not_read_to_its_end_proves_nothing(campaign: Campaign) -> None:
    campaign.eight_by_eight.fates = [answer_lost, taken]
    campaign.eight_by_eight.lag = 0.0
    cut: list[bool] = [True]

    def shown(line: LogLine) -> LogLine:
        if cut[0]:
            raise UnknownOutcomeError("the file was cut off")
        return line

    campaign.eight_by_eight.shown = shown
    for _ in range(6):
        summary = campaign.run(canary_destination=CANARY)
        campaign.clock.sleep(30 * MINUTE)
    assert summary.outcomes["unknown"] == 2
    cut[0] = False
    assert outcomes(campaign.run(canary_destination=CANARY)) == {"accepted": 6}
    assert sorted(campaign.eight_by_eight.accepted) == sorted(NUMBERS)


# whose batches are looked for, and where


def test_a_run_does_not_wait_for_an_old_unknown_batch_with_other_people(campaign: Campaign) -> None:
    campaign.eight_by_eight.fates = [None]
    campaign.run(NUMBERS[:2], task="old")
    campaign.clock.sleep(90 * 24 * 60 * MINUTE)
    before = campaign.clock.time
    exports = len(campaign.eight_by_eight.exports)
    assert outcomes(campaign.run(NUMBERS[2:], task="new")) == {"accepted": 4}
    assert campaign.clock.time - before < 1.0
    assert len(campaign.eight_by_eight.exports) == exports


def test_the_logs_of_an_old_batch_are_asked_for_alone(campaign: Campaign) -> None:
    campaign.eight_by_eight.fates = [None]
    campaign.run(NUMBERS[:2], task="old")
    campaign.clock.sleep(90 * 24 * 60 * MINUTE)
    campaign.run(NUMBERS, task="new", canary_destination=CANARY)
    for request in campaign.eight_by_eight.exports:
        assert request.to - request.from_ < timedelta(hours=3)


def test_rows_that_another_run_may_have_sent_are_sent_once_the_logs_prove_that_it_has_not(campaign: Campaign) -> None:
    campaign.eight_by_eight.fates = [None]
    campaign.run(NUMBERS[:2], task="dead")
    for _ in range(4):
        summary = campaign.run(NUMBERS, task="other", canary_destination=CANARY)
        campaign.clock.sleep(10 * MINUTE)
    assert outcomes(summary) == {"accepted": 6}
    assert sorted(campaign.eight_by_eight.accepted) == sorted(NUMBERS)


def test_messages_under_ids_that_were_not_sent_are_messages_all_the_same(campaign: Campaign) -> None:
    """As if 8x8, or a CSV, changed ids on their way: a batch that is in the logs is never taken for rejected rows."""
    campaign.eight_by_eight.fates = [answer_lost]
    campaign.eight_by_eight.shown = lambda line: LogLine(
        line.umid, line.client_message_id.upper(), line.client_batch_id, line.batch_id, line.status, None, None
    )
    for _ in range(4):
        summary = campaign.run(canary_destination=CANARY)
        campaign.clock.sleep(30 * MINUTE)
    assert outcomes(summary) == {"accepted": 6}
    assert outcomes(campaign.run(task="next")) == {"already_sent": 6}
    assert sorted(campaign.eight_by_eight.accepted) == sorted(NUMBERS)


def test_what_was_seen_with_a_shorter_settle_time_is_no_evidence_for_a_longer_one(campaign: Campaign) -> None:
    quick: dict[str, Any] = {"canary_destination": CANARY, "log_settle_time": timedelta(seconds=1)}
    campaign.eight_by_eight.fates = [None]
    campaign.run(reconcile_timeout=timedelta(), **quick)
    campaign.clock.sleep(MINUTE)
    campaign.run(reconcile_timeout=timedelta(), **quick)  # sends the canary
    campaign.run(reconcile_timeout=timedelta(), **{**quick, "log_settle_time": timedelta(minutes=10)})
    summary = campaign.run(reconcile_timeout=timedelta(), log_settle_time=timedelta(minutes=10))
    assert summary.outcomes["unknown"] == 2


# the canary


def test_a_canary_that_8x8_rejects_is_no_watermark_and_another_try_sends_another(
    campaign: Campaign, caplog: pytest.LogCaptureFixture
) -> None:
    campaign.eight_by_eight.fates, campaign.eight_by_eight.canary_status = [None], "REJECTED"
    for _ in range(4):
        summary = campaign.run(canary_destination=CANARY)
        campaign.clock.sleep(15 * MINUTE)
    assert summary.outcomes["unknown"] == 2
    assert len(campaign.eight_by_eight.canaries) == 3
    assert "is not a number of yours" in caplog.text
    assert CANARY.lstrip("+") not in caplog.text
    campaign.eight_by_eight.canary_status = "QUEUED"
    for _ in range(2):
        summary = campaign.run(canary_destination=CANARY)
        campaign.clock.sleep(15 * MINUTE)
    assert outcomes(summary) == {"accepted": 6}


def test_a_canary_whose_answer_is_lost_is_waited_for_before_another_is_sent(campaign: Campaign) -> None:
    campaign.eight_by_eight.fates, campaign.eight_by_eight.canary_trouble = [None], UnknownOutcomeError("no answer")
    brief = timedelta(minutes=1)
    campaign.run(canary_destination=CANARY)
    campaign.clock.sleep(12 * MINUTE)
    for _ in range(3):
        campaign.run(canary_destination=CANARY, reconcile_timeout=brief)
    assert len(campaign.eight_by_eight.canaries) == 1
    campaign.clock.sleep(30 * MINUTE)
    campaign.eight_by_eight.canary_trouble = None
    assert outcomes(campaign.run(canary_destination=CANARY)) == {"accepted": 6}
    assert len(campaign.eight_by_eight.canaries) == 2


def test_a_canary_is_not_sent_later_than_its_entry_says(campaign: Campaign) -> None:
    campaign.eight_by_eight.fates = [None]
    for _ in range(3):
        campaign.run(canary_destination=CANARY)
        campaign.clock.sleep(15 * MINUTE)
    (sent,), (send_by,) = campaign.eight_by_eight.canaries, campaign.eight_by_eight.canaries_are_sent_by
    assert sent < send_by <= sent + 30.0


def test_no_number_of_the_team_is_in_the_journal(campaign: Campaign, tmp_path: Path) -> None:
    campaign.eight_by_eight.fates = [None]
    for _ in range(3):
        campaign.run(canary_destination=CANARY)
        campaign.clock.sleep(15 * MINUTE)
    assert len(campaign.eight_by_eight.canaries) == 1
    assert CANARY[1:].encode() not in (tmp_path / "journal.sqlite").read_bytes()


# what is no evidence, and no reason to decide


@pytest.mark.parametrize("what", ["start", "poll"])
def test_whoever_decides_waits_to_the_end_also_if_8x8_asks_not_to_look_for_longer(
    campaign: Campaign, what: str
) -> None:
    campaign.eight_by_eight.fates = [answer_lost]
    failures = iter([100_000.0])

    def fail(asked: str) -> None:
        if asked == what and (seconds := next(failures, None)) is not None:
            limited = RateLimitedError(429, 1, "too many requests")
            limited.retry_after = seconds
            raise limited

    campaign.eight_by_eight.trouble = fail
    summary = campaign.run(on_unknown=OnUnknown.RESEND)
    assert outcomes(summary) == {"accepted": 6}
    assert sorted(campaign.eight_by_eight.accepted) == sorted(NUMBERS), "nobody was texted twice"


@pytest.mark.parametrize("old", [1, 3, 6])
def test_old_batches_leave_enough_looks_for_a_new_one(campaign: Campaign, old: int) -> None:
    for number in range(old):
        campaign.eight_by_eight.fates = [None]
        campaign.run(NUMBERS[number : number + 1], task=f"old-{number}")
        campaign.clock.sleep(24 * 60 * MINUTE)
    campaign.eight_by_eight.fates, campaign.eight_by_eight.lag = [answer_lost], 14 * MINUTE
    more = [*NUMBERS, "+12025550100", "+12025550101"]
    summary = campaign.run(more, on_unknown=OnUnknown.RESEND, batch_size=10)
    assert outcomes(summary) == {"accepted": len(more)}
    assert sorted(campaign.eight_by_eight.accepted) == sorted(more), "nobody was texted twice"


def test_an_export_that_lacks_the_watermark_too_proves_nothing(campaign: Campaign) -> None:
    campaign.eight_by_eight.fates, campaign.eight_by_eight.lag = [answer_lost], 0.0
    behind = False

    def shown(line: LogLine) -> LogLine:
        if line.client_batch_id or behind:  # the batch never shows, and at times the canary does not
            return LogLine("other", "other", "another's", "", "queued", None, None)
        return line

    campaign.eight_by_eight.shown = shown
    for _ in range(3):
        campaign.run(canary_destination=CANARY, reconcile_timeout=timedelta(minutes=1))
        campaign.clock.sleep(6 * MINUTE)
    assert len(campaign.eight_by_eight.canaries) == 1
    behind = True
    campaign.clock.sleep(30 * MINUTE)
    assert campaign.run(canary_destination=CANARY).outcomes["unknown"] == 2
    assert len(campaign.eight_by_eight.accepted) == 6


def test_a_younger_message_counts_though_an_older_one_never_shows(campaign: Campaign) -> None:
    campaign.eight_by_eight.fates = [None]
    campaign.run(NUMBERS[:2], task="lost")
    campaign.clock.sleep(15 * MINUTE)
    hidden: set[str] = set()
    campaign.eight_by_eight.shown = lambda line: (
        LogLine(line.umid, "other", "another's", "", "queued", None, None) if line.client_batch_id in hidden else line
    )
    hidden.update(campaign.run(NUMBERS[2:4], task="hidden").client_batch_ids)
    campaign.clock.sleep(MINUTE)
    campaign.run(NUMBERS[4:], task="shown")
    for _ in range(3):
        summary = campaign.run(NUMBERS[:2], task="lost")
        campaign.clock.sleep(15 * MINUTE)
    assert outcomes(summary) == {"accepted": 2}
    assert sorted(campaign.eight_by_eight.accepted) == sorted(NUMBERS)
