"""Cancelling batches: 8x8's answers may be lost, count some only, or come while others cancel, too."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from airflow_provider_8x8.api.client import EightByEightClient
from airflow_provider_8x8.surveys.chance import SystemChance
from airflow_provider_8x8.surveys.journal.database import JournalDatabase
from airflow_provider_8x8.surveys.journal.entries import Entry, EntryState
from airflow_provider_8x8.surveys.journal.errors import JournalMismatchError, JournalUnavailableError
from airflow_provider_8x8.surveys.journal.sql import SqlJournal
from airflow_provider_8x8.surveys.outcomes.cancellations import (
    Cancellation,
    CancelOutcome,
    cancel_report,
    judge_cancelling,
)
from airflow_provider_8x8.surveys.outcomes.verdict import Ending
from airflow_provider_8x8.surveys.sending.cancelling import CampaignCancels, Canceller, TryCancels
from tests.api.servers import batch, client_of, message
from tests.journals.entries import HEADER, always, entry_of, keys, settled

LOST = ("500_after_accept", "close_after_accept", "truncate", "not_json")
NOTHING_DONE = ("429", "500", "close_before_accept")


class NoWaits:
    """To wait takes no time."""

    def now(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        pass


@pytest.fixture
def client(sandbox: Any) -> EightByEightClient:
    return client_of(sandbox.url)


@pytest.fixture
def new_journal(tmp_path: Path) -> Iterator[Callable[[], SqlJournal]]:
    """A campaign in a SQLite file, each time as another process has it."""
    databases = []

    def make() -> SqlJournal:
        database = JournalDatabase(sa.create_engine(f"sqlite:///{tmp_path}/journal", future=True), "journal")
        databases.append(database)
        journal = SqlJournal(database, "orders")
        journal.open(HEADER)
        return journal

    yield make
    for database in databases:
        database.close()


def sent(client: EightByEightClient, journal: SqlJournal, number: int, *, at_once: int = 0, **changes: Any) -> str:
    """Send two messages tomorrow, and enter them; so many of them go out at once."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    request = batch()
    request.messages = [message(each) for each in range(2)]
    for later in request.messages[at_once:]:
        later.scheduled = tomorrow
    batch_id = client.send_survey_batch("orders", request).batch_id
    entry = entry_of(f"batch-{number}", keys(10 * number, 10 * number + 1))
    journal.begin(always(entry))
    journal.settle(settled(entry, batch_id=batch_id, **changes))
    return batch_id


def canceller(
    client: EightByEightClient, journal: SqlJournal, batch_ids: list[str], stop: threading.Event | None = None
) -> Canceller:
    memory = CampaignCancels(journal, journal.news(), batch_ids, campaign_id="orders", chance=SystemChance())
    return Canceller(client, memory, clock=NoWaits(), stop=stop or threading.Event())


def stands(journal: SqlJournal) -> dict[str, Entry]:
    return {str(entry.batch_id): entry for entry in journal.entries() or ()}


def outcomes(cancellations: list[Cancellation]) -> list[str]:
    return [each.outcome.value for each in cancellations]


def test_what_is_wholly_cancelled_is_free_and_stays_so(client: EightByEightClient, new_journal: Any) -> None:
    batch_ids = [sent(client, new_journal(), number) for number in range(2)]
    found = canceller(client, new_journal(), batch_ids).cancel(batch_ids)
    assert [(each.is_free, each.cancelled, each.accepted) for each in found] == [(True, 2, 2)] * 2
    entry = stands(new_journal())[batch_ids[0]]
    assert (entry.state, entry.cancelled_count, entry.unanswered_cancels) == (EntryState.CANCELLED, 2, "")
    assert not entry.is_in_effect
    assert (entry.accepted_count, entry.unknown_count, entry.is_open) == (0, 0, False)
    assert canceller(client, new_journal(), batch_ids).cancel(batch_ids) == found


def test_what_is_cancelled_in_part_is_held_and_its_count_remembered(
    client: EightByEightClient, new_journal: Any
) -> None:
    batch_id = sent(client, new_journal(), 1, at_once=1)
    for _ in range(2):
        (found,) = canceller(client, new_journal(), [batch_id]).cancel([batch_id])
        assert (found.outcome, found.cancelled, found.is_free) == (CancelOutcome.PARTLY_CANCELLED, 1, False)
        assert stands(new_journal())[batch_id].state is EntryState.SENT


@pytest.mark.parametrize("kind", LOST)
def test_after_a_lost_answer_nothing_is_free_and_nothing_is_said_to_be_left(
    client: EightByEightClient, new_journal: Any, sandbox: Any, kind: str
) -> None:
    batch_ids = [sent(client, new_journal(), number) for number in range(2)]
    sandbox.faults([{"on": "cancel_batch", "kind": kind}])
    found = canceller(client, new_journal(), batch_ids).cancel(batch_ids)
    assert outcomes(found) == ["unknown", "cancelled"]
    assert stands(new_journal())[batch_ids[0]].unanswered_cancels
    again = canceller(client, new_journal(), batch_ids).cancel(batch_ids)
    assert outcomes(again) == ["unknown", "cancelled"], "the journal has it that there was a call"


@pytest.mark.parametrize("kind", NOTHING_DONE)
def test_a_call_that_did_nothing_is_made_again(
    client: EightByEightClient, new_journal: Any, sandbox: Any, kind: str
) -> None:
    batch_ids = [sent(client, new_journal(), number) for number in range(2)]
    sandbox.faults([{"on": "cancel_batch", "kind": kind, "times": 3}])
    found = canceller(client, new_journal(), batch_ids).cancel(batch_ids)
    assert outcomes(found) == ["cancelled"] * 2


@pytest.mark.parametrize("kind", NOTHING_DONE)
def test_8x8_that_stays_unwell_is_asked_by_the_next_one(
    client: EightByEightClient, new_journal: Any, sandbox: Any, kind: str
) -> None:
    batch_id = sent(client, new_journal(), 1)
    sandbox.faults([{"on": "cancel_batch", "kind": kind, "times": 5}])
    (found,) = canceller(client, new_journal(), [batch_id]).cancel([batch_id])
    assert (found.outcome, found.may_go_better) == ("not_cancelled" if kind == "429" else "unknown", True)
    assert bool(stands(new_journal())[batch_id].unanswered_cancels) == (kind != "429")
    assert outcomes(canceller(client, new_journal(), [batch_id]).cancel([batch_id])) == ["cancelled"]


def test_one_that_is_refused_keeps_no_other(client: EightByEightClient, new_journal: Any, sandbox: Any) -> None:
    batch_ids = [sent(client, new_journal(), number) for number in range(2)]
    sandbox.faults([{"on": "cancel_batch", "kind": "404"}])
    refused, other = canceller(client, new_journal(), batch_ids).cancel(batch_ids)
    assert (refused.outcome, other.outcome) == ("not_cancelled", "cancelled")
    assert "code 1300" in str(refused.reason)
    assert not refused.may_go_better
    assert stands(new_journal())[batch_ids[0]].unanswered_cancels == "", "a refusal is an answer"


def test_of_two_at_once_both_are_told_the_truth(client: EightByEightClient, new_journal: Any) -> None:
    batch_id = sent(client, new_journal(), 1)
    journals = [new_journal(), new_journal()]
    memories = [
        CampaignCancels(each, each.news(), [batch_id], campaign_id="orders", chance=SystemChance()) for each in journals
    ]
    for memory in memories:
        memory.begin(batch_id)
    assert client.cancel_batch(batch_id).cancelled_count == 2
    second = memories[1].end(batch_id, client.cancel_batch(batch_id).cancelled_count, is_answered=True)
    assert second.outcome is CancelOutcome.UNKNOWN, "the first has not written yet what it was answered"
    assert memories[0].end(batch_id, 2, is_answered=True).is_free
    assert outcomes(canceller(client, new_journal(), [batch_id]).cancel([batch_id])) == ["cancelled"]


@pytest.mark.parametrize(
    ("changes", "said", "is_free"),
    [
        ({"rejected_keys": keys(11)}, 1, True),
        ({"rejected_keys": keys(11)}, 2, False),  # more than were accepted: one of the counts is wrong
        ({"unknown_keys": keys(11)}, 1, False),
        ({"unknown_keys": keys(11)}, 2, True),
        ({"assumed_keys": keys(11)}, 1, False),
        ({"resent_keys": keys(11)}, 1, False),
        ({"resent_keys": keys(11)}, 2, True),
    ],
)
def test_all_that_8x8_can_have_accepted_has_to_be_cancelled(
    new_journal: Any, changes: dict[str, Any], said: int, is_free: bool
) -> None:
    journal = new_journal()
    entry = entry_of("batch", keys(10, 11))
    journal.begin(always(entry))
    journal.settle(settled(entry, **changes))
    memory = CampaignCancels(journal, journal.entries(), ["b-1"], campaign_id="orders", chance=SystemChance())
    memory.begin("b-1")
    found = memory.end("b-1", said, is_answered=True)
    assert found.is_free == is_free
    assert (found.outcome is CancelOutcome.CANCELLED) == is_free
    assert (stands(new_journal())["b-1"].state is EntryState.CANCELLED) == is_free


def test_answers_are_not_added_up(new_journal: Any) -> None:
    journal = new_journal()
    entry = entry_of("batch", keys(10, 11))
    journal.begin(always(entry))
    journal.settle(settled(entry))
    for _ in range(2):
        memory = CampaignCancels(journal, journal.entries(), ["b-1"], campaign_id="orders", chance=SystemChance())
        memory.begin("b-1")
        assert memory.end("b-1", 1, is_answered=True).outcome is CancelOutcome.PARTLY_CANCELLED


def test_what_8x8_has_accepted_beside_what_it_cancelled_takes_the_rows_back(new_journal: Any) -> None:
    journal = new_journal()
    entry = entry_of("batch", keys(10, 11))
    journal.begin(always(entry))
    by_the_logs = journal.settle(settled(entry, rejected_keys=keys(11)))
    cancelled = msgspec.structs.replace(by_the_logs, state=EntryState.CANCELLED, cancelled_count=1)
    journal.revise("batch", lambda _: cancelled)
    assert journal.settle(settled(entry, rejected_keys=keys(10))).state is EntryState.CANCELLED
    assert new_journal().entries() == [cancelled]
    assert journal.settle(settled(entry)).state is EntryState.SENT
    assert new_journal().entries() == [settled(entry, cancelled_count=1)]


def test_what_is_settled_meanwhile_is_not_written_over(new_journal: Any) -> None:
    journal, other = new_journal(), new_journal()
    entry = entry_of("batch", keys(10, 11))
    journal.begin(always(entry))
    journal.settle(settled(entry, unknown_keys=keys(11)))
    memory = CampaignCancels(other, other.news(), ["b-1"], campaign_id="orders", chance=SystemChance())
    journal.settle(settled(entry, rejected_keys=keys(11)))
    memory.begin("b-1")
    assert memory.end("b-1", 1, is_answered=True).is_free
    stood = stands(new_journal())["b-1"]
    assert (stood.state, stood.unknown_keys, stood.rejected_keys) == (EntryState.CANCELLED, b"", keys(11))


def test_a_batch_that_is_not_in_the_campaign_is_named_and_so_are_those_of_unknown_outcome(new_journal: Any) -> None:
    journal = new_journal()
    journal.begin(always(entry_of("open", keys(10, 11))))
    for name in ("one", "other"):  # of one id
        entry = entry_of(name, keys(len(name)))
        journal.begin(always(entry))
        journal.settle(settled(entry))
    with pytest.raises(JournalMismatchError, match="campaign 'orders' has no batch b-1, b-2\n") as caught:
        CampaignCancels(journal, new_journal().news(), ["b-1", "b-2"], campaign_id="orders", chance=SystemChance())
    assert "is not known: open" in str(caught.value)


def test_a_task_that_is_to_end_asks_for_no_more(client: EightByEightClient, new_journal: Any, sandbox: Any) -> None:
    batch_ids = [sent(client, new_journal(), number) for number in range(2)]
    stop = threading.Event()
    stop.set()
    found = canceller(client, new_journal(), batch_ids, stop).cancel(batch_ids)
    assert outcomes(found) == ["not_cancelled"] * 2
    assert all(each.may_go_better for each in found)
    assert {message["status"] for message in sandbox.messages()} == {"queued"}


def test_a_journal_that_fails_before_8x8_is_asked_cancels_nothing(
    client: EightByEightClient, new_journal: Any, sandbox: Any
) -> None:
    batch_ids = [sent(client, new_journal(), number) for number in range(2)]
    failing = FailingMemory(new_journal(), batch_ids, at="begin")
    by_it = Canceller(client, failing, clock=NoWaits(), stop=threading.Event())
    assert outcomes(by_it.cancel(batch_ids)) == ["not_cancelled"] * 2
    assert "away" in str(by_it.problem)
    assert {message["status"] for message in sandbox.messages()} == {"queued"}


def test_a_journal_that_fails_after_8x8_has_answered_sets_nothing_free(
    client: EightByEightClient, new_journal: Any
) -> None:
    batch_ids = [sent(client, new_journal(), number) for number in range(2)]
    by_it = Canceller(
        client, FailingMemory(new_journal(), batch_ids, at="end"), clock=NoWaits(), stop=threading.Event()
    )
    first, second = by_it.cancel(batch_ids)
    assert (first.outcome, first.is_free, second.outcome) == ("cancelled", False, "not_cancelled")
    assert by_it.problem is not None
    assert stands(new_journal())[batch_ids[0]].state is EntryState.SENT
    assert outcomes(canceller(client, new_journal(), batch_ids).cancel(batch_ids)) == ["unknown", "cancelled"]


@pytest.mark.parametrize("kind", LOST)
def test_a_journal_that_fails_in_between_does_not_hide_that_an_answer_was_lost(
    client: EightByEightClient, new_journal: Any, sandbox: Any, kind: str
) -> None:
    """The first batch would have been asked for again after the second one."""
    batch_ids = [sent(client, new_journal(), number) for number in range(2)]
    sandbox.faults([{"on": "cancel_batch", "kind": kind}])
    failing = FailingMemory(new_journal(), batch_ids, at="end")
    found = Canceller(client, failing, clock=NoWaits(), stop=threading.Event()).cancel(batch_ids)
    assert outcomes(found) == ["unknown", "cancelled"]
    assert {message["status"] for message in sandbox.messages()} == {"cancelled"}


@pytest.mark.parametrize("by", ["journal", "nothing"])
def test_an_error_that_nobody_expects_does_not_hide_what_8x8_has_cancelled_before(
    client: EightByEightClient, new_journal: Any, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    batch_ids = [sent(client, new_journal(), number) for number in range(3)]
    cancel = client.cancel_batch

    def fails(batch_id: str, **how: Any) -> Any:
        answer = cancel(batch_id, **how)
        if batch_id == batch_ids[1]:
            raise RuntimeError("what of +12025550123?")
        return answer

    monkeypatch.setattr(client, "cancel_batch", fails)
    by_journal = canceller(client, new_journal(), batch_ids)
    by_it = (
        by_journal
        if by == "journal"
        else Canceller(client, TryCancels(None, None), clock=NoWaits(), stop=threading.Event())
    )
    found = by_it.cancel(batch_ids)
    assert outcomes(found) == ["cancelled", "unknown", "not_cancelled"]
    assert str(by_it.problem) == "an unexpected error: RuntimeError: what of +12*******23?"
    assert [each.reason for each in found[1:]] == [by_it.problem] * 2
    if by == "journal":
        states = [stands(new_journal())[batch_id].state for batch_id in batch_ids]
        assert states == [EntryState.CANCELLED, EntryState.SENT, EntryState.SENT]
        assert stands(new_journal())[batch_ids[1]].unanswered_cancels


class FailingMemory(CampaignCancels):
    """Of a journal that is away when something is to be written."""

    def __init__(self, journal: SqlJournal, batch_ids: list[str], *, at: str) -> None:
        super().__init__(journal, journal.news(), batch_ids, campaign_id="orders", chance=SystemChance())
        self._at = at

    def begin(self, batch_id: str) -> Cancellation:
        if self._at == "begin":
            raise JournalUnavailableError("the database is away")
        return super().begin(batch_id)

    def end(self, batch_id: str, cancelled: int | None, *, is_answered: bool) -> Cancellation:
        raise JournalUnavailableError("the database is away")


def test_without_a_journal_a_later_try_knows_what_it_is_told(client: EightByEightClient, new_journal: Any) -> None:
    batch_ids = [sent(client, new_journal(), number) for number in range(2)]

    def by(memory: TryCancels) -> list[str]:
        return outcomes(Canceller(client, memory, clock=NoWaits(), stop=threading.Event()).cancel(batch_ids))

    first = TryCancels(None, None)
    assert by(first) == ["cancelled"] * 2
    assert by(TryCancels(None, first.answered)) == ["cancelled"] * 2
    assert by(TryCancels(None, {batch_ids[0]: 2})) == ["cancelled", "unknown"]
    assert by(TryCancels(None, None)) == ["not_cancelled"] * 2, "the first to ask, and nothing is left"


def test_more_than_was_accepted_is_no_success() -> None:
    found = Cancellation("b", accepted=1, cancelled=2)
    assert found.outcome is CancelOutcome.UNKNOWN
    assert judge_cancelling(cancel_report([found]), [found]).ending is Ending.FAIL_FOR_GOOD


def test_many_that_are_left_are_not_all_named() -> None:
    found = [Cancellation(f"b-{number}", accepted=1) for number in range(25)]
    reason = judge_cancelling(cancel_report(found, campaign_id="orders"), found).reason
    assert reason.count("\nBatch b-") == 20
    assert "and 5 other batches" in reason
