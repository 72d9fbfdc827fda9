"""What becomes of batches of unknown outcome: looked up, waited for, decided about; over tries, and by a person."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from airflow_provider_8x8.api.errors import EightByEightError, RateLimitedError, RefusedError, UnknownOutcomeError
from airflow_provider_8x8.api.models import (
    BatchResponse,
    LogExportRequest,
    LogLine,
    MessageResponse,
    MessageStatus,
    SurveyBatch,
    SurveyMessage,
)
from airflow_provider_8x8.surveys.journal.database import JournalDatabase
from airflow_provider_8x8.surveys.journal.sql_memory import SqlMemory
from airflow_provider_8x8.surveys.journal.task_memory import TaskMemory
from airflow_provider_8x8.surveys.messages.builder import MessageBuilder
from airflow_provider_8x8.surveys.messages.row_keys import RowKeys
from airflow_provider_8x8.surveys.messages.template import Template
from airflow_provider_8x8.surveys.outcomes.summary import Summary
from airflow_provider_8x8.surveys.sending.sender import SurveySender
from airflow_provider_8x8.surveys.sending.settling import MAX_EXPORTS, ONE_LOOK
from airflow_provider_8x8.surveys.settings import OnUnknown, Run, Said, Settings
from tests.support.received import messages_of

START = 1_800_000_000.0
MINUTE = 60.0
CANARY = "+12025550199"
NUMBERS = tuple(f"+12025550{number:03d}" for number in range(6))


class FakeClock:
    """Time passes by sleeping, and a little by asking."""

    def __init__(self) -> None:
        self.time = START

    def now(self) -> float:
        self.time += 0.001
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


Fate = Callable[[SurveyBatch, BatchResponse], BatchResponse]


def taken(batch: SurveyBatch, answer: BatchResponse) -> BatchResponse:
    return answer


def answer_lost(batch: SurveyBatch, answer: BatchResponse) -> BatchResponse:
    raise UnknownOutcomeError("no answer")


class EightByEight:
    """
    An 8x8 that takes batches, and logs them after a while.

    :ivar fates: what becomes of each POST in turn; ``None`` for one that it never gets
    :ivar trouble: called before each call about the logs, with what it is for
    """

    subaccount_id, address, timeout = "sandbox_hq", "https://sms.example.com", 60.0

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.lag = 0.0
        self.fates: list[Fate | None] = []
        self.trouble: Callable[[str], None] = lambda what: None
        self.shown: Callable[[LogLine], LogLine] = lambda line: line
        self.canary_status = "QUEUED"
        self.canary_trouble: EightByEightError | None = None
        self.exports: list[LogExportRequest] = []
        self.canaries: list[float] = []
        self.canaries_are_sent_by: list[float] = []
        self.accepted: list[str] = []
        self._lines: list[tuple[float, LogLine]] = []

    def send_survey_batch(
        self, survey_id: str, batch: SurveyBatch, *, send_by: float, on_sent: Callable[[], None]
    ) -> BatchResponse:
        fate = self.fates.pop(0) if self.fates else taken
        on_sent()
        if fate is None:
            raise UnknownOutcomeError("no answer")
        listed = []
        for message in messages_of(batch):
            self.accepted.append(message.destination)
            self._log(str(message.client_message_id), str(batch.client_batch_id))
            listed.append(
                MessageResponse(
                    umid=f"umid-{message.client_message_id}",
                    client_message_id=message.client_message_id,
                    status=MessageStatus(code="QUEUED"),
                )
            )
        answer = BatchResponse(
            batch_id=f"8x8-{batch.client_batch_id}", accepted_count=len(listed), rejected_count=0, messages=listed
        )
        return fate(batch, answer)

    def send_survey(self, survey_id: str, message: SurveyMessage, *, send_by: float) -> Any:
        self.canaries.append(self.clock.time)
        self.canaries_are_sent_by.append(send_by)
        if self.canary_trouble is not None:
            raise self.canary_trouble
        if self.canary_status == "QUEUED":
            self._log(str(message.client_message_id), "")
        return SimpleNamespace(status=SimpleNamespace(code=self.canary_status, description="not a number of yours"))

    def start_log_export(self, request: LogExportRequest, *, max_tries: int, timeout: float) -> Any:
        self.trouble("start")
        self.exports.append(request)
        return SimpleNamespace(job_id=str(len(self.exports) - 1))

    def get_log_export(self, job_id: str, *, max_tries: int, timeout: float) -> Any:
        self.trouble("poll")
        return SimpleNamespace(status="succeeded", data=[job_id])

    def read_log_export(self, link: str, *, seconds: float) -> Iterator[LogLine]:
        self.trouble("read")
        request = self.exports[int(link)]
        for accepted, line in list(self._lines):
            is_asked_for = request.from_.timestamp() <= accepted <= request.to.timestamp()
            if is_asked_for and accepted + self.lag <= self.clock.time:
                yield self.shown(line)

    def _log(self, client_message_id: str, client_batch_id: str) -> None:
        line = LogLine(f"umid-{client_message_id}", client_message_id, client_batch_id, "8x8s", "queued", None, None)
        self._lines.append((self.clock.time, line))


class Rows:
    """Numbers as rows."""

    columns = ("destination",)

    def __init__(self, numbers: Sequence[str]) -> None:
        self._numbers = numbers

    def __iter__(self) -> Generator[tuple[str], None, None]:
        yield from ((number,) for number in self._numbers)


class Campaign:
    """A campaign in a SQLite file, and the tries of its task instances."""

    def __init__(self, path: Path) -> None:
        self.clock = FakeClock()
        self.eight_by_eight = EightByEight(self.clock)
        self.stop = threading.Event()
        self._path = path
        self._tries: dict[str, int] = {}

    def run(
        self,
        numbers: Sequence[str] = NUMBERS,
        *,
        task: str = "task",
        said: dict[str, Said] | None = None,
        **settings: Any,
    ) -> Summary:
        """Run one try, and return its summary."""
        number = self._tries[task] = self._tries.get(task, 0) + 1
        engine = sa.create_engine(f"sqlite:///{self._path}", future=True)
        memory = SqlMemory(JournalDatabase(engine, "journal"), task)
        row_keys = RowKeys("campaign")
        try:
            return SurveySender(
                self.eight_by_eight,  # type: ignore[arg-type]  # it does what is needed
                MessageBuilder(row_keys=row_keys, template=Template.parse("{{url}}"), now=self.clock.now),
                row_keys,
                run=Run("campaign", task, number),
                settings=Settings(survey_id="survey", settled_batches=said or {}, **{"batch_size": 2, **settings}),
                journal=TaskMemory(task, number, [memory], connect=_nowhere, clock=self.clock).journal("campaign"),
                stop=self.stop,
                clock=self.clock,
            ).send(Rows(numbers))
        finally:
            memory.close()


def _nowhere(name: Any) -> Any:
    raise ValueError("there is one journal only")


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    return Campaign(tmp_path / "journal.sqlite")


def outcomes(summary: Summary) -> dict[str, int]:
    assert sum(summary.outcomes.values()) == summary.rows_read
    return {outcome: count for outcome, count in summary.outcomes.items() if count}


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


def test_a_canary_that_8x8_rejects_is_no_watermark_and_another_try_sends_another(campaign: Campaign) -> None:
    campaign.eight_by_eight.fates, campaign.eight_by_eight.canary_status = [None], "REJECTED"
    for _ in range(4):
        summary = campaign.run(canary_destination=CANARY)
        campaign.clock.sleep(15 * MINUTE)
    assert summary.outcomes["unknown"] == 2
    assert len(campaign.eight_by_eight.canaries) == 3
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


# deciding


def half_listed(batch: SurveyBatch, answer: BatchResponse) -> BatchResponse:
    messages = list(answer.messages or ())[:1]
    return BatchResponse(batch_id=answer.batch_id, accepted_count=1, rejected_count=0, messages=messages)


@pytest.mark.parametrize(
    ("on_unknown", "expected", "sent"),
    [
        (OnUnknown.FAIL, {"accepted": 5, "unknown": 1}, 6),
        (OnUnknown.ASSUME_SENT, {"accepted": 5, "unknown": 1}, 6),
        (OnUnknown.RESEND, {"accepted": 6}, 7),
    ],
)
def test_on_unknown_decides_about_rows_that_an_answer_leaves_unknown(
    campaign: Campaign, on_unknown: OnUnknown, expected: dict[str, int], sent: int
) -> None:
    campaign.eight_by_eight.fates, campaign.eight_by_eight.lag = [half_listed], 10_000_000.0
    assert outcomes(campaign.run(on_unknown=on_unknown)) == expected
    assert len(campaign.eight_by_eight.accepted) == sent
    if on_unknown is not OnUnknown.FAIL:
        assert outcomes(campaign.run(on_unknown=OnUnknown.FAIL)) == expected, "it is decided for good"
        assert len(campaign.eight_by_eight.accepted) == sent


def test_one_try_sends_again_three_times_what_then_becomes_unknown_and_says_so(
    campaign: Campaign, caplog: pytest.LogCaptureFixture
) -> None:
    campaign.eight_by_eight.fates = [None, taken, None, None, None]
    summary = campaign.run(NUMBERS[:4], on_unknown=OnUnknown.RESEND, reconcile_timeout=timedelta())
    assert outcomes(summary) == {"accepted": 2, "unknown": 2}
    (name,) = summary.unknown_client_batch_ids
    said = f"Batch {name} of 2 messages stays unknown: this try has 3 times sent again what then became unknown"
    assert said in caplog.text


def test_rows_that_an_answer_to_another_run_leaves_unknown_are_unknown_to_this_one(campaign: Campaign) -> None:
    campaign.eight_by_eight.fates, campaign.eight_by_eight.lag = [half_listed], 10_000_000.0
    campaign.run(NUMBERS[:2], task="other")
    summary = campaign.run()
    assert outcomes(summary) == {"accepted": 4, "already_sent": 1, "unknown": 1}
    assert summary.unknown_client_batch_ids


def test_rejected_and_unknown_rows_of_another_runs_batch_keep_nobody_reading(campaign: Campaign) -> None:
    def one_rejected_one_unlisted(batch: SurveyBatch, answer: BatchResponse) -> BatchResponse:
        first = msgspec.structs.replace(next(iter(answer.messages or ())), status=MessageStatus(code="REJECTED"))
        return BatchResponse(batch_id=answer.batch_id, accepted_count=0, rejected_count=1, messages=[first])

    campaign.eight_by_eight.fates, campaign.eight_by_eight.lag = [one_rejected_one_unlisted], 10_000_000.0
    campaign.run(NUMBERS[:2], task="other")
    assert outcomes(campaign.run(NUMBERS[:2])) == {"accepted": 1, "unknown": 1}
    assert outcomes(campaign.run(NUMBERS[:2], task="third")) == {"already_sent": 1, "unknown": 1}


@pytest.mark.parametrize("on_unknown", [OnUnknown.RESEND, OnUnknown.ASSUME_SENT])
def test_nobody_decides_about_a_batch_whose_call_can_still_be_answered(
    campaign: Campaign, on_unknown: OnUnknown
) -> None:
    at: list[float] = []

    def others_run(batch: SurveyBatch, answer: BatchResponse) -> BatchResponse:
        # While this call is out, another run of the campaign waits for its rows, and then decides.
        campaign.eight_by_eight.lag = 10_000_000.0
        summary = campaign.run(NUMBERS[:2], task="other", on_unknown=on_unknown, reconcile_timeout=timedelta(seconds=1))
        at.append(campaign.clock.time)
        assert sum(summary.outcomes.values()) == 2
        return answer

    campaign.eight_by_eight.fates = [others_run]
    summary = campaign.run(NUMBERS[:2], task="first")
    assert at[0] - START > 90, "30 s to send it and 60 s for its answer"
    assert summary.batch_ids, "what 8x8 has answered is not lost"
    assert summary.outcomes["accepted"] == 2


# a person


@pytest.mark.parametrize(("what", "expected"), [("accepted", 4), ("not_accepted", 6)])
def test_a_person_says_what_became_of_a_batch(campaign: Campaign, what: Said, expected: int) -> None:
    campaign.eight_by_eight.fates = [None]
    unknown = campaign.run()
    (name,) = unknown.unknown_client_batch_ids
    summary = campaign.run(said={name: what})
    assert outcomes(summary) == {"accepted": 6}
    assert len(campaign.eight_by_eight.accepted) == expected


def test_a_person_may_name_only_batches_of_the_campaign(campaign: Campaign) -> None:
    campaign.eight_by_eight.fates = [None]
    (name,) = campaign.run().unknown_client_batch_ids
    summary = campaign.run(said={"no-such-batch": "accepted"})
    assert (summary.is_final, len(campaign.eight_by_eight.accepted)) == (True, 4)
    assert "no-such-batch" in str(summary.stop)
    assert name in str(summary.stop)


def test_what_8x8_has_said_beats_what_a_person_says(campaign: Campaign) -> None:
    first = campaign.run()
    summary = campaign.run(said={first.client_batch_ids[0]: "not_accepted"})
    assert outcomes(summary) == {"accepted": 6}
    assert len(campaign.eight_by_eight.accepted) == 6


def test_a_person_says_it_of_another_runs_batch(campaign: Campaign) -> None:
    campaign.eight_by_eight.fates = [None]
    (name,) = campaign.run(NUMBERS[:2], task="dead").unknown_client_batch_ids
    summary = campaign.run(task="other", said={name: "not_accepted"})
    assert outcomes(summary) == {"accepted": 6}


def test_what_a_person_says_waits_until_the_call_cannot_be_answered_any_more(campaign: Campaign) -> None:
    at: list[float] = []

    def while_it_is_out(batch: SurveyBatch, answer: BatchResponse) -> BatchResponse:
        said: dict[str, Said] = {str(batch.client_batch_id): "accepted"}
        summary = campaign.run(NUMBERS[:2], task="other", said=said)
        assert outcomes(summary) == {"already_sent": 2}
        at.append(campaign.clock.time)
        return answer

    campaign.eight_by_eight.fates = [while_it_is_out]
    assert campaign.run(NUMBERS[:2], task="first").batch_ids, "what 8x8 has answered is not lost"
    assert at[0] - START > 90, "30 s to send it and 60 s for its answer"


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


def test_a_person_is_not_believed_too_early_when_the_task_is_to_end(campaign: Campaign) -> None:
    def while_it_is_out(batch: SurveyBatch, answer: BatchResponse) -> BatchResponse:
        campaign.stop.set()
        campaign.run(NUMBERS[:2], task="other", said={str(batch.client_batch_id): "not_accepted"})
        campaign.stop.clear()
        return answer

    campaign.eight_by_eight.fates = [while_it_is_out]
    assert outcomes(campaign.run(NUMBERS[:2], task="first")) == {"accepted": 2}
    assert len(campaign.eight_by_eight.accepted) == 2


def test_a_person_may_name_batches_of_another_task_beside_those_of_this_one(campaign: Campaign) -> None:
    campaign.eight_by_eight.fates = [None]
    (name,) = campaign.run().unknown_client_batch_ids
    assert outcomes(campaign.run(said={name: "not_accepted", "another-task's": "accepted"})) == {"accepted": 6}
