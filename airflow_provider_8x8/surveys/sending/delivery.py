"""
What is on the wire: a batch from its journal entry to its answer, and what becomes of its rows by that.

A batch goes out while the next one is built, and is reported once the next one is on the wire. Where the source is slow
the next one may be long in coming: then a batch is seen through, and what became of it is written, before more rows are
read.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial

import msgspec

from airflow_provider_8x8.api.client import EightByEightClient
from airflow_provider_8x8.api.errors import NeverSentError, RateLimitedError, RefusedError, UnknownOutcomeError
from airflow_provider_8x8.api.masking import quotable
from airflow_provider_8x8.api.models import BatchResponse, SurveyBatch
from airflow_provider_8x8.api.tries import retrying_until_sent
from airflow_provider_8x8.surveys.chance import Chance
from airflow_provider_8x8.surveys.clock import Clock
from airflow_provider_8x8.surveys.journal.entries import Entry, EntryState
from airflow_provider_8x8.surveys.journal.ledger import Ledger
from airflow_provider_8x8.surveys.messages.builder import MessageBuilder
from airflow_provider_8x8.surveys.messages.row_keys import pack, unpack
from airflow_provider_8x8.surveys.messages.row_message import RowMessage, RowMessages
from airflow_provider_8x8.surveys.outcomes.answers import RowAnswers, match
from airflow_provider_8x8.surveys.outcomes.cause import Cause
from airflow_provider_8x8.surveys.outcomes.fates import Fates
from airflow_provider_8x8.surveys.outcomes.lines import BatchLines
from airflow_provider_8x8.surveys.outcomes.outcome import Outcome
from airflow_provider_8x8.surveys.outcomes.sinks import Sink
from airflow_provider_8x8.surveys.outcomes.summary import Reasons
from airflow_provider_8x8.surveys.sending.brake import Brake
from airflow_provider_8x8.surveys.sending.entering import Entering
from airflow_provider_8x8.surveys.sending.posting import Poster, Posting
from airflow_provider_8x8.surveys.sending.refusals import Halving, Refusals
from airflow_provider_8x8.surveys.sending.stopped import SendingStopped
from airflow_provider_8x8.surveys.settings import Settings

log = logging.getLogger(__name__)

MAX_UNKNOWN_IN_A_ROW = 3
"""Batches of unknown outcome, one after the other, after which 8x8 is not well and sending stops."""

SLOW_SOURCE = 5.0
"""Seconds for the rows of one batch, from which on the source is what a campaign waits for, and not 8x8."""


class _Batch:
    """
    Rows that go out together, with what is made of them while the batch before is on the wire.

    :param free_as_of: the ledger's count of changes when nobody held any of the rows; None if that was not looked for
    """

    def __init__(self, rows: RowMessages, free_as_of: int | None = None) -> None:
        self.rows = rows
        self.free_as_of = free_as_of
        self.messages = rows.encoded()

    def drop_all_but(self, row_keys: Collection[bytes]) -> RowMessages:
        """Take the rows out that have none of some row keys, and return them."""
        dropped = self.rows.remove(row_key not in row_keys for row_key in self.rows.row_keys)
        self.messages = self.rows.encoded()
        return dropped


@dataclass(slots=True)
class _OnWire:
    """A batch between its journal entry and its answer."""

    entry: Entry
    batch: _Batch
    posting: Posting


@dataclass(slots=True)
class _Answered:
    """
    A batch that 8x8 has answered, until its entry says so.

    :ivar entry: as it is to be
    """

    sent: _OnWire
    entry: Entry
    answers: RowAnswers
    response: BatchResponse


class _Progress:
    """How much a try has sent, and how fast, for the log."""

    def __init__(self) -> None:
        self._messages_sent = 0
        self._began = time.monotonic()

    def note(self, client_batch_id: str, response: BatchResponse) -> None:
        """Take note of a batch that 8x8 has taken."""
        self._messages_sent += response.accepted_count + response.rejected_count
        log.info(
            "Batch %s (8x8's %s): %d accepted, %d rejected; this try has sent %d messages, %.0f a second",
            client_batch_id,
            response.batch_id,
            response.accepted_count,
            response.rejected_count,
            self._messages_sent,
            self._messages_sent / max(time.monotonic() - self._began, 1e-9),
        )


class Delivery:
    """
    Delivers batches, one after the other, for one try.

    :param client: the sub-account to send from
    :param builder: made the messages, and knows what they have in common
    :param ledger: is told what became of each batch
    :param entering: makes the entry of each batch
    :param refusals: what is known of 8x8's refusals
    :param brake: is told what 8x8 answers, and says whether another batch may be begun
    :param settings: how
    :param report: gets what became of each batch
    :param stop: set when the try is to end: no batch is begun any more
    :param clock: tells the time and waits
    :param chance: spreads waits
    :param poster: makes the POSTs
    """

    def __init__(
        self,
        client: EightByEightClient,
        builder: MessageBuilder,
        ledger: Ledger,
        entering: Entering,
        refusals: Refusals,
        brake: Brake,
        *,
        settings: Settings,
        report: Sink | None,
        stop: threading.Event,
        clock: Clock,
        chance: Chance,
        poster: Poster,
    ) -> None:
        self._client = client
        self._builder = builder
        self._ledger = ledger
        self._refusals = refusals
        self._brake = brake
        self._entering = entering
        self._settings = settings
        self._report = report
        self._stop = stop
        self._clock = clock
        self._poster = poster
        self._until_sent = retrying_until_sent(clock.sleep, settings.longest_wait.total_seconds(), chance.jitter)
        self._fates = Fates(ledger, report)
        self._on_wire: _OnWire | None = None
        self._answered: _Answered | None = None
        self._to_report: deque[Callable[[], None]] = deque()
        self._unknown_in_a_row = 0
        self._progress = _Progress()
        self._reads_since = 0.0
        self.rejected = Reasons()
        """Why 8x8 has rejected rows in this try."""

    def begin_reading(self, fates: Fates) -> None:
        """
        Deliver what comes of a new reading of the source.

        :param fates: of its rows
        """
        self._fates = fates
        self._reads_since = self._clock.now()

    def send(self, rows: RowMessages) -> None:
        """
        Put a batch on the wire, once the one before has had its answer.

        :param rows: nobody holds any of them, as the ledger now has it
        :raises SendingStopped: no batch is to be begun any more
        :raises HeldBack: the answer to the first one is to come before
        """
        batch = _Batch(rows, self._ledger.times_changed)  # built while the one before is on the wire
        is_source_slow = self._clock.now() - self._reads_since > SLOW_SOURCE
        self._finish()
        self._brake.judge_first()
        self._start(batch)
        if self._on_wire is None:
            self._brake.note_not_begun()
        if is_source_slow:  # if the process is killed before there is another batch, 8x8's answer is not lost
            self.wind_up()
        self._reads_since = self._clock.now()

    def wind_up(self) -> None:
        """See the batch on the wire through, and report all that is not reported yet."""
        try:
            self._finish()
            self._settle_answered()
        except Exception:
            self._write_reports()
            raise
        self._write_reports()

    def _start(self, batch: _Batch) -> None:
        """
        Enter a batch into the journal and put it on the wire; :meth:`_finish` sees it through.

        :param batch: what others have entered meanwhile is taken out of it
        """
        if self._stop.is_set():
            raise SendingStopped("the task was told to end")
        too_late = self._settings.problem_with_the_hour(self._clock.now())
        if problem := too_late or self._builder.problem_with_common_times():
            # Another try would send nothing more, but look again for what is unknown.
            raise SendingStopped(problem, is_final=not self._fates.have_open_rows(), cause=Cause.LIMIT)
        self._brake.check()
        answered = None if self._answered is None else self._answered.entry
        entry = self._entering.begin(batch.rows, batch.free_as_of, answered)
        self._note_settled()
        self._drop_rows_of_others(batch, entry)
        if entry is None:
            return
        log.debug("Sending a batch of %d messages, client batch id %s", len(batch.rows), entry.client_batch_id)
        request = SurveyBatch(
            messages=batch.messages,
            template=self._builder.batch_template,
            client_batch_id=entry.client_batch_id,
            include_messages_in_response=True,
        )
        send = partial(self._client.send_survey_batch, self._settings.survey_id, request)
        posting = self._poster.post(lambda on_sent: send(send_by=entry.send_by, on_sent=on_sent))
        self._on_wire = _OnWire(entry, batch, posting)
        # The request first: while this thread computes, the other one would wait for the interpreter at every piece.
        posting.wait_until_sent()
        self._write_reports()

    def _drop_rows_of_others(self, batch: _Batch, entry: Entry | None) -> None:
        """Leave the rows of a batch to its entry, and those that it lacks to the entries that hold them."""
        held = RowMessages()
        if entry is None or len(entry) < len(batch.rows):
            held = batch.drop_all_but(frozenset() if entry is None else frozenset(unpack(entry.row_keys)))
        if entry is not None:
            self._fates.enter(entry, batch.rows)
        for row in held:
            self._fates.note_held(row, str(self._ledger.holder_of(row.row_key)))

    def _finish(self) -> None:
        """See the batch on the wire through, halving what 8x8 refuses for a row's sake until the bad rows are alone."""
        if self._on_wire is None:
            return
        part: _Batch | None = self._on_wire.batch
        halving: Halving[RowMessage] = Halving(self._refusals, len(self._on_wire.batch.rows))
        while part is not None:
            self._see_through(part, halving)
            rows = halving.next_part()
            part = None if rows is None else _Batch(RowMessages.of(rows))
        # Now and not at the end of the reading: it may be all of a large source that is refused.
        self._fates.report_not_sent(RowMessages.of(row for rows in halving.left() for row in rows))

    def _see_through(self, part: _Batch, halving: Halving[RowMessage]) -> None:
        try:
            if self._until_sent(self._deliver, part):
                self._refusals.note_taken()
        except (NeverSentError, RateLimitedError) as error:
            raise SendingStopped(str(error), cause=Cause.UNAVAILABLE) from None
        except RefusedError as refused:
            self._unknown_in_a_row = 0
            self._apply_refusal(refused, halving)

    def _deliver(self, part: _Batch) -> bool:
        """
        Put a part on the wire unless it is, and take the answer; tell whether 8x8 has taken it.

        :raises NeverSentError: 8x8 has nothing of it, and its entry says so; likewise :class:`RateLimitedError`
        :raises RefusedError: 8x8 has nothing of it; it still is on the wire, for what is to become of it
        """
        if self._on_wire is None:
            self._start(part)
        if self._on_wire is None:
            return False  # others have all of it
        try:
            response = self._on_wire.posting.result()
        except UnknownOutcomeError as unknown:
            self._mark_unknown(unknown)
            return False
        except (NeverSentError, RateLimitedError):
            self._mark_not_sent()
            raise
        self._take_answer(self._on_wire, response)
        return True

    def _take_answer(self, sent: _OnWire, response: BatchResponse) -> None:
        """Find out what 8x8 says of the batch on the wire; the entry of the next one is written together with that."""
        answers = match(sent.batch.rows, response)
        rejected = answers.row_keys_of(Outcome.REJECTED)
        if rejected:
            self._note_rejected(answers.reasons_to_reject())
        entry = msgspec.structs.replace(
            sent.entry,
            state=EntryState.SENT,
            batch_id=response.batch_id,
            rejected_keys=pack(rejected),
            unknown_keys=pack(answers.row_keys_of(Outcome.UNKNOWN)),
            answer_by=self._clock.now(),  # there it is: whoever decides about what it leaves unknown need not wait
        )
        self._answered = _Answered(sent, entry, answers, response)
        self._on_wire = None
        self._unknown_in_a_row = 0
        self._brake.note(entry)

    def _settle_answered(self) -> None:
        """Settle the batch that 8x8 has answered, where no other one is begun."""
        if self._answered is not None:
            self._ledger.settle(self._answered.entry)
            self._note_settled()

    def _note_settled(self) -> None:
        """Have the batch reported that 8x8 has answered, if there was one: its entry says so."""
        answered, self._answered = self._answered, None
        if answered is not None:
            self._report_batch(answered.sent, partial(answered.answers.lines, answered.response.batch_id))
            self._progress.note(answered.entry.client_batch_id, answered.response)

    def _mark_unknown(self, unknown: UnknownOutcomeError) -> None:
        """Leave a batch to be reconciled: only 8x8's logs can tell what became of it."""
        sent = self._clear_wire()
        self._unknown_in_a_row += 1
        self._ledger.settle(sent.entry, answer_by=self._clock.now())  # nobody waits for its answer any more
        log.warning(
            "Batch %s of %d messages: outcome unknown: %s",
            sent.entry.client_batch_id,
            len(sent.batch.rows),
            unknown.reason,
        )
        unanswered = partial(BatchLines.alike, sent.batch.rows, Outcome.UNKNOWN, description=unknown.reason)
        self._report_batch(sent, unanswered)
        if self._unknown_in_a_row >= MAX_UNKNOWN_IN_A_ROW:
            raise SendingStopped(
                f"{MAX_UNKNOWN_IN_A_ROW} batches in a row have an unknown outcome: {unknown}",
                cause=Cause.UNKNOWN_OUTCOME,
            )

    def _mark_not_sent(self) -> None:
        """Free the row keys of the batch on the wire, of which 8x8 has nothing."""
        if self._on_wire is not None:
            self._ledger.settle(self._on_wire.entry, state=EntryState.NOT_SENT)
            sent = self._clear_wire()
            self._fates.take_back(sent.entry, sent.batch.rows)

    def _apply_refusal(self, refused: RefusedError, halving: Halving[RowMessage]) -> None:
        """Reject a row that was refused alone, and take back all else."""
        sent = self._on_wire
        if sent is None:
            raise RuntimeError("no batch is on the wire")
        rows = list(sent.batch.rows)
        if not self._refusals.can_be_a_rows(refused):
            self._mark_not_sent()
            raise SendingStopped(str(refused), is_final=not refused.may_go_better, cause=Cause.REFUSED) from None
        if not halving.is_refused:
            log.info("8x8 refused a batch of %d messages, looking for the bad ones: %s", len(rows), refused.reason)
        if halving.is_to_reject(refused, len(rows)):
            self._reject(self._clear_wire(), refused)
            return
        self._mark_not_sent()
        halving.put_back(rows)

    def _reject(self, alone: _OnWire, refused: RefusedError) -> None:
        self._brake.note(self._ledger.settle(alone.entry, state=EntryState.SENT, rejected_keys=alone.entry.row_keys))
        self._note_rejected((row, f"{refused.description} (code {refused.code})") for row in alone.batch.rows)
        rejected = partial(
            BatchLines.alike,
            alone.batch.rows,
            Outcome.REJECTED,
            code=refused.code,
            description=refused.description,
        )
        self._report_batch(alone, rejected)

    def _note_rejected(self, reasons: Iterable[tuple[RowMessage, str]]) -> None:
        for row, reason in reasons:
            self.rejected.note(row.number, quotable(reason))

    def _clear_wire(self) -> _OnWire:
        sent, self._on_wire = self._on_wire, None
        if sent is None:
            raise RuntimeError("no batch is on the wire")
        return sent

    def _report_batch(self, sent: _OnWire, make_lines: Callable[[], BatchLines]) -> None:
        """Have a batch reported, once the next one is on the wire: 8x8 need not wait for it to be written."""
        report = self._report
        if report:
            self._to_report.append(lambda: report.write_answers(sent.entry, make_lines()))

    def _write_reports(self) -> None:
        while self._to_report:
            self._to_report.popleft()()
