"""What the sender makes of 8x8's answers, whole or odd, with a client that gives them."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_8x8.api.errors import EightByEightError, NeverSentError, RefusedError, UnknownOutcomeError
from airflow_provider_8x8.api.models import BatchResponse, MessageResponse, MessageStatus, SurveyBatch
from airflow_provider_8x8.api.tries import MAX_TRIES
from airflow_provider_8x8.surveys.clock import Clock
from airflow_provider_8x8.surveys.journal.entries import Entry, EntryState
from airflow_provider_8x8.surveys.journal.errors import SupersededError
from airflow_provider_8x8.surveys.journal.memory import MemoryJournal
from airflow_provider_8x8.surveys.journal.protocol import Compose
from airflow_provider_8x8.surveys.messages.builder import MessageBuilder
from airflow_provider_8x8.surveys.messages.row_keys import RowKeys
from airflow_provider_8x8.surveys.messages.template import Template
from airflow_provider_8x8.surveys.outcomes.report import Report
from airflow_provider_8x8.surveys.sending.delivery import SLOW_SOURCE
from airflow_provider_8x8.surveys.sending.sender import SurveySender
from airflow_provider_8x8.surveys.settings import Limits, Run, Settings
from tests.support.received import messages_of

Answer = Callable[[SurveyBatch], BatchResponse]


class Client:
    """Answers each batch with a function, and remembers what came."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.batches: list[SurveyBatch] = []

    subaccount_id, address, timeout = "sandbox_hq", "https://sms.example.com", 60.0

    def start_log_export(self, request: Any, **options: Any) -> Any:
        raise RefusedError(403, 1201, "no exports here")

    def send_survey_batch(
        self, survey_id: str, batch: SurveyBatch, *, send_by: float, on_sent: Callable[[], None]
    ) -> BatchResponse:
        self.batches.append(batch)
        return self._answer(batch)


class HurriedClock:
    """Waits for nothing: the time goes on at once."""

    def __init__(self) -> None:
        self._now = time.time()

    def now(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += seconds


class SomeRows:
    """Rows with numbers of their own, more than once readable."""

    columns = None

    def __init__(self, *own: dict[str, Any]) -> None:
        self.own = own

    def __iter__(self) -> Generator[Any, None, None]:
        for number, own in enumerate(self.own):
            yield {"destination": f"+12025550{number:03d}", **own}


class KeptJournal(MemoryJournal):
    """A journal that another try can read."""

    outlives_try = True

    def news(self) -> Sequence[Entry]:
        return list(self._entries.values())


def rows(count: int) -> SomeRows:
    return SomeRows(*({} for _ in range(count)))


def taken(batch: SurveyBatch, *, rejected: int = 0, **changed: Any) -> BatchResponse:
    """A whole answer: the first messages rejected, the others queued."""
    listed = [
        MessageResponse(
            umid=f"umid-{message.client_message_id}",
            client_message_id=message.client_message_id,
            status=MessageStatus(code="REJECTED" if number < rejected else "QUEUED"),
        )
        for number, message in enumerate(messages_of(batch))
    ]
    whole = {
        "batch_id": f"batch-{batch.client_batch_id}",
        "accepted_count": len(listed) - rejected,
        "rejected_count": rejected,
        "messages": listed[::-1],
    }
    return BatchResponse(**{**whole, **changed})


def listed(batch: SurveyBatch) -> list[MessageResponse]:
    """Return what a whole answer says of each message."""
    return taken(batch).messages or []


def sender(
    client: Any,
    *,
    report: Report | None = None,
    journal: MemoryJournal | None = None,
    clock: Clock | None = None,
    **settings: Any,
) -> SurveySender:
    row_keys = RowKeys("c")
    return SurveySender(
        client,
        MessageBuilder(row_keys=row_keys, template=Template.parse("{{url}}")),
        row_keys,
        run=Run("c", "c"),
        settings=Settings(survey_id="survey", **settings),
        journal=journal or MemoryJournal(),
        report=report,
        clock=clock or HurriedClock(),
    )


def outcomes(summary: Any) -> dict[str, int]:
    assert sum(summary.outcomes.values()) == summary.rows_read
    return {outcome: count for outcome, count in summary.outcomes.items() if count}


PAGE = 1_000
"""How many rows of a source are read at a time."""


class SlowRows(SomeRows):
    """
    Pages of a thousand rows, each of which takes its time.

    :ivar seen: what the journal says of all batches, each time that a page is asked for
    :ivar reported: how many batches the report in the folder has then
    """

    def __init__(self, pages: int, seconds: float, journal: MemoryJournal, clock: Any, folder: Path) -> None:
        super().__init__(*({"destination": f"+1202555{number:04d}"} for number in range(PAGE * pages)))
        self._seconds, self._journal, self._clock, self._folder = seconds, journal, clock, folder
        self.seen: list[list[EntryState]] = []
        self.reported: list[int] = []

    def __iter__(self) -> Generator[Any, None, None]:
        for number, row in enumerate(super().__iter__()):
            if number % PAGE == 0:
                self.seen.append([entry.state for entry in self._journal.news()])
                self.reported.append(len(list(self._folder.glob("*/*.jsonl"))))
                self._clock.sleep(self._seconds)
            yield row


def test_messages_are_matched_by_client_message_id(tmp_path: Path) -> None:
    client = Client(lambda batch: taken(batch, rejected=2))
    summary = sender(client, report=Report(tmp_path, "a/campaign", "a/campaign")).send(rows(5))
    assert outcomes(summary) == {"accepted": 3, "rejected": 2}
    file = tmp_path / "a%2Fcampaign" / f"{summary.client_batch_ids[0]}.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["outcome"] for line in lines] == ["rejected"] * 2 + ["accepted"] * 3
    assert all(line["umid"] == f"umid-{line['client_message_id']}" for line in lines)
    assert [line["destination"] for line in lines] == [f"+12025550{number:03d}" for number in range(5)]


@pytest.mark.parametrize(
    ("odd", "expected"),
    [
        (lambda batch: taken(batch, messages=None), {"accepted": 4}),
        (lambda batch: taken(batch, messages=None, accepted_count=0, rejected_count=4), {"rejected": 4}),
        (lambda batch: taken(batch, messages=None, accepted_count=3, rejected_count=1), {"unknown": 4}),
        (lambda batch: taken(batch, messages=listed(batch)[:2]), {"accepted": 4}),
        (lambda batch: taken(batch, messages=listed(batch)[:2], accepted_count=2), {"accepted": 2, "unknown": 2}),
        (lambda batch: taken(batch, accepted_count=1), {"accepted": 4}),
    ],
)
def test_an_answer_that_does_not_add_up_is_said(
    odd: Answer, expected: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        summary = sender(Client(odd)).send(rows(4))
    assert outcomes(summary) == expected
    assert "does not add up" in caplog.text


def test_foreign_messages_in_an_answer_are_said(caplog: pytest.LogCaptureFixture) -> None:
    stranger = MessageResponse(umid="u", client_message_id="not ours", status=MessageStatus(code="QUEUED"))
    client = Client(lambda batch: taken(batch, messages=[*listed(batch), stranger]))
    assert outcomes(sender(client).send(rows(2))) == {"accepted": 2}
    assert "1 others" in caplog.text


def test_every_post_has_a_client_batch_id_of_its_own() -> None:
    client = Client(taken)
    summary = sender(client, batch_size=2, client_batch_id_prefix="orders-1").send(rows(7))
    ids = [str(batch.client_batch_id) for batch in client.batches]
    assert len(set(ids)) == 4
    assert all(len(client_batch_id) == 20 and client_batch_id.startswith("orders-1") for client_batch_id in ids)
    assert summary.client_batch_ids == ids


def refusing(bad: set[str], code: int = 1002) -> Answer:
    def answer(batch: SurveyBatch) -> BatchResponse:
        if bad & {message.destination for message in messages_of(batch)}:
            raise RefusedError(400, code, "no")
        return taken(batch)

    return answer


def numbered(*numbers: int) -> set[str]:
    return {f"+12025550{number:03d}" for number in numbers}


def times_sent(client: Client) -> Counter[str]:
    return Counter(message.destination for batch in client.batches for message in messages_of(batch))


def lines_of(report: Path) -> Counter[str]:
    """Return how many lines a report has of each outcome."""
    files = report.glob("*/*.jsonl")
    return Counter(json.loads(line)["outcome"] for file in files for line in file.read_text().splitlines())


@pytest.mark.parametrize("batch_size", [1, 2, 7, 100])
@pytest.mark.parametrize(
    "bad",
    [{0}, {99}, {50}, {0, 1}, {49, 50}, {98, 99}, {0, 37, 99}, set(range(50)), set(range(50, 100)), set(range(99))],
)
def test_bad_rows_are_found_wherever_they_are(bad: set[int], batch_size: int, tmp_path: Path) -> None:
    client = Client(refusing(numbered(*bad)))
    report = Report(tmp_path, "c", "c")
    summary = sender(client, batch_size=batch_size, report=report).send(rows(100))
    expected = {"accepted": 100 - len(bad), "rejected": len(bad)}
    assert (summary.stop, outcomes(summary)) == (None, expected)
    assert lines_of(tmp_path) == expected
    assert len({batch.client_batch_id for batch in client.batches}) == len(client.batches)


def test_scattered_bad_rows_of_many_batches_are_found() -> None:
    client = Client(refusing(numbered(*range(5, 1000, 50))))
    summary = sender(client, batch_size=500).send(rows(1000))
    assert (summary.stop, outcomes(summary)) == (None, {"accepted": 980, "rejected": 20})
    assert len(client.batches) < 300


def test_half_of_a_batch_may_be_bad() -> None:
    client = Client(refusing(numbered(*range(1, 1000, 2))))
    summary = sender(client).send(rows(1000))
    assert (summary.stop, outcomes(summary)) == (None, {"accepted": 500, "rejected": 500})
    assert len(client.batches) <= 2 * 1000


@pytest.mark.parametrize("batch_size", [1, 10, 40])
def test_what_is_refused_as_a_whole_is_sent_once_it_was_mended(batch_size: int, tmp_path: Path) -> None:
    def refuse(batch: SurveyBatch) -> BatchResponse:
        raise RefusedError(400, 1004, "an odd text")

    journal, client = KeptJournal(), Client(refuse)
    report = Report(tmp_path, "c", "c")
    summary = sender(client, journal=journal, batch_size=batch_size, report=report).send(rows(40))
    assert (outcomes(summary), summary.is_final) == ({"not_sent": 40}, True)
    assert "an odd text" in str(summary.stop)
    assert lines_of(tmp_path) == {"not_sent": 40}
    assert len(client.batches) <= 2 * 40 + 4
    summary = sender(Client(taken), journal=journal).send(rows(40))
    assert (summary.stop, outcomes(summary)) == (None, {"accepted": 40})


def test_what_a_batch_of_unknown_outcome_may_tell_of_the_whole_keeps_the_end_open() -> None:
    def lose_the_first(batch: SurveyBatch) -> BatchResponse:
        if len(client.batches) == 1:
            raise UnknownOutcomeError("lost")
        raise RefusedError(400, 1004, "an odd text")

    client = Client(lose_the_first)
    summary = sender(client, batch_size=10).send(rows(20))
    assert (outcomes(summary), summary.is_final) == ({"unknown": 10, "not_sent": 10}, False)


def test_the_next_try_rejects_what_is_left_where_8x8_has_taken_others_before() -> None:
    journal, bad = KeptJournal(), numbered(*range(10, 30))
    sender(Client(taken), journal=journal).send(rows(10))
    summary = sender(Client(refusing(bad)), journal=journal).send(rows(30))
    assert (summary.stop, outcomes(summary)) == (None, {"accepted": 10, "rejected": 20})


def test_a_source_that_is_mostly_bad_is_gone_on_with_by_the_next_try(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("airflow_provider_8x8.surveys.sending.refusals.MORE_REQUESTS", 0)
    journal, answer = KeptJournal(), refusing(numbered(*range(0, 100, 2)))
    counts = []
    for _ in range(10):
        client = Client(answer)
        summary = sender(client, journal=journal, report=Report(tmp_path, "c", "c")).send(rows(100))
        counts.append(outcomes(summary))
        assert lines_of(tmp_path) == counts[-1]
        if summary.stop is None:
            break
        assert f"{counts[-1]['not_sent']} are left" in summary.stop
        assert not summary.is_final
    assert counts[-1] == {"accepted": 50, "rejected": 50}
    assert 1 < len(counts) < 10


@pytest.mark.parametrize("code", [1001, 1005, 1007, 1011, 1014, 1200, 2000])
def test_a_refusal_that_no_row_can_cause_stops_at_once(code: int) -> None:
    client = Client(refusing({"+12025550000"}, code))
    summary = sender(client, batch_size=10).send(rows(30))
    # The second batch was built while the first was on the wire.
    assert (len(client.batches), outcomes(summary)) == (1, {"not_sent": 20})
    assert "no" in str(summary.stop)


def test_a_sender_that_rows_bring_can_be_a_rows_fault() -> None:
    client = Client(refusing({"+12025550002"}, 1005))
    assert outcomes(sender(client).send(SomeRows(*({"source": "Own"} for _ in range(4))))) == {
        "accepted": 3,
        "rejected": 1,
    }


@pytest.mark.parametrize("is_retryable", [True, False])
def test_an_end_in_the_middle_of_halving_loses_nothing(*, is_retryable: bool, tmp_path: Path) -> None:
    error = NeverSentError("gone") if is_retryable else RefusedError(401, 1200, "gone")
    refuse = refusing(numbered(40, 41))

    def fail_from_the_tenth_on(batch: SurveyBatch) -> BatchResponse:
        if len(client.batches) >= 10:
            raise error
        return refuse(batch)

    journal, client = KeptJournal(), Client(fail_from_the_tenth_on)
    summary = sender(client, journal=journal, report=Report(tmp_path, "c", "c")).send(rows(100))
    assert summary.is_final == (not is_retryable)
    assert lines_of(tmp_path) == outcomes(summary)
    assert outcomes(summary)["not_sent"] > 0
    summary = sender(Client(refuse), journal=journal).send(rows(100))
    assert (summary.stop, outcomes(summary)) == (None, {"accepted": 98, "rejected": 2})


def test_refusals_between_them_keep_unknown_batches_from_being_in_a_row() -> None:
    refuse = refusing(numbered(*range(0, 12, 2)))

    def lose_what_is_good(batch: SurveyBatch) -> BatchResponse:
        refuse(batch)
        raise UnknownOutcomeError("lost")

    summary = sender(Client(lose_what_is_good), batch_size=1).send(rows(12))
    assert outcomes(summary) == {"unknown": 6, "not_sent": 6}


def failing_once(error: EightByEightError, at: int) -> Answer:
    seen: list[SurveyBatch] = []

    def answer(batch: SurveyBatch) -> BatchResponse:
        seen.append(batch)
        if len(seen) == at:
            raise error
        return taken(batch)

    return answer


def test_one_unknown_batch_does_not_stop_the_others() -> None:
    client = Client(failing_once(UnknownOutcomeError("lost"), 2))
    summary = sender(client, batch_size=2).send(rows(8))
    assert outcomes(summary) == {"accepted": 6, "unknown": 2}
    assert summary.unknown_client_batch_ids == [client.batches[1].client_batch_id]
    assert summary.stop is None


def test_what_never_left_is_sent_again_in_a_batch_of_its_own() -> None:
    client = Client(failing_once(NeverSentError("gone"), 2))
    summary = sender(client, batch_size=2).send(rows(8))
    assert outcomes(summary) == {"accepted": 8}
    assert messages_of(client.batches[1]) == messages_of(client.batches[2])
    assert client.batches[1].client_batch_id != client.batches[2].client_batch_id


def test_what_never_leaves_stops_the_sending_and_loses_nothing() -> None:
    def unreachable_from_the_second_on(batch: SurveyBatch) -> BatchResponse:
        if len(client.batches) > 1:
            raise NeverSentError("gone")
        return taken(batch)

    client = Client(unreachable_from_the_second_on)
    summary = sender(client, batch_size=2).send(rows(8))
    assert len(client.batches) == 1 + MAX_TRIES
    assert outcomes(summary) == {"accepted": 2, "not_sent": 4}
    assert (summary.stop, summary.is_final) == ("gone", False)


class BothOrNeither(KeptJournal):
    """A journal that settles a batch and begins the next in one step, and from some batch on begins none any more."""

    def __init__(self, batches: int) -> None:
        super().__init__()
        self._left = batches

    def begin(self, compose: Compose) -> Entry | None:
        if not self._left:
            raise SupersededError("a newer try has begun")
        self._left -= 1
        return super().begin(compose)

    def settle_and_begin(self, entry: Entry, compose: Compose) -> tuple[Entry, Entry | None]:
        begun = self.begin(compose)
        return self.settle(entry), begun


def test_a_batch_that_8x8_has_answered_is_settled_also_where_the_next_one_cannot_be_begun(tmp_path: Path) -> None:
    journal, client = BothOrNeither(2), Client(taken)
    report = Report(tmp_path, "c", "c")
    summary = sender(client, journal=journal, report=report, batch_size=2).send(rows(8))
    assert [entry.state for entry in journal.news()] == [EntryState.SENT, EntryState.SENT]
    assert outcomes(summary) == {"accepted": 4, "not_sent": 2}
    assert summary.stop == "a newer try has begun"
    assert all(report.has_batch(entry.client_batch_id) for entry in journal.news())


def test_a_batch_that_8x8_has_answered_is_settled_also_where_the_next_one_may_not_be_begun() -> None:
    journal, client = KeptJournal(), Client(lambda batch: taken(batch, rejected=1))
    summary = sender(client, journal=journal, batch_size=2, limits=Limits(max_rejected=0)).send(rows(8))
    assert [entry.state for entry in journal.news()] == [EntryState.SENT]
    assert outcomes(summary) == {"accepted": 1, "rejected": 1, "not_sent": 2}


class CutRows(SomeRows):
    """Rows whose source fails behind the last of them."""

    def __iter__(self) -> Generator[dict[str, Any], None, None]:
        yield from super().__iter__()
        raise OSError("the network is gone")


def test_what_an_earlier_try_sent_counts_once_also_when_the_source_fails() -> None:
    journal = KeptJournal()
    sender(Client(taken), journal=journal, batch_size=2).send(rows(3))
    summary = sender(Client(taken), journal=journal).send(CutRows({}, {}, {}, {}))
    assert (summary.rows_read, outcomes(summary)) == (4, {"accepted": 3, "not_sent": 1})
    assert "was not read to its end" in str(summary.stop)


def test_a_slow_sources_batch_is_settled_and_reported_before_more_rows_are_read(tmp_path: Path) -> None:
    seen, reported = read_in_pages(4, SLOW_SOURCE + 1, tmp_path)
    assert seen == [[EntryState.SENT] * pages for pages in range(4)]
    assert reported == [0, 1, 2, 3]


def test_a_batch_is_built_while_the_one_before_is_on_the_wire_where_the_source_is_fast(tmp_path: Path) -> None:
    seen, reported = read_in_pages(4, SLOW_SOURCE - 1, tmp_path)
    assert seen == [[], *([EntryState.SENT] * pages + [EntryState.PENDING] for pages in range(3))]
    assert reported == [0, 0, 1, 2]


def read_in_pages(pages: int, seconds: float, folder: Path) -> tuple[list[list[EntryState]], list[int]]:
    journal = KeptJournal()
    sending = sender(Client(taken), journal=journal, report=Report(folder, "c", "c"), batch_size=PAGE)
    source = SlowRows(pages, seconds, journal, sending._clock, folder)
    assert outcomes(sending.send(source)) == {"accepted": PAGE * pages}
    return source.seen, source.reported
