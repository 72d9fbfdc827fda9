"""
The loop: rows -> messages -> batches -> journal -> 8x8 -> journal -> report -> summary.

What is pending is settled first, then what is missing is sent, then what has become pending is settled; if that set
row keys free, all goes round again. So it does not matter which rows the source gives this time, or in which order.
Every row read ends in exactly one outcome, whatever happens.
"""

from __future__ import annotations

import logging
import secrets
import string
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial

import msgspec

from airflow_provider_8x8.api.client import EightByEightClient, retrying_until_sent
from airflow_provider_8x8.api.errors import NeverSentError, RateLimitedError, RefusedError, UnknownOutcomeError
from airflow_provider_8x8.api.masking import mask_phone_numbers, quotable
from airflow_provider_8x8.api.models import MAX_CLIENT_BATCH_ID_LENGTH, BatchResponse, SurveyBatch, SurveyMessage
from airflow_provider_8x8.surveys.clock import Clock, SystemClock
from airflow_provider_8x8.surveys.journal.entries import SEND_WITHIN, Entry, EntryState
from airflow_provider_8x8.surveys.journal.errors import JournalError
from airflow_provider_8x8.surveys.journal.header import Header
from airflow_provider_8x8.surveys.journal.ledger import Ledger
from airflow_provider_8x8.surveys.journal.protocol import Journal
from airflow_provider_8x8.surveys.messages.builder import MessageBuilder, Rows
from airflow_provider_8x8.surveys.messages.plan import RowMessage
from airflow_provider_8x8.surveys.messages.row_keys import ROW_KEY_RULES, RowKeys, pack, unpack
from airflow_provider_8x8.surveys.outcomes.answers import match
from airflow_provider_8x8.surveys.outcomes.report import Report, ReportError, ReportLine
from airflow_provider_8x8.surveys.outcomes.summary import Reasons, Summary, summarize
from airflow_provider_8x8.surveys.sending.posting import Poster, Posting, PostingThread
from airflow_provider_8x8.surveys.sending.reading import Reading, Stopped
from airflow_provider_8x8.surveys.sending.refusals import Halving, Refusals
from airflow_provider_8x8.surveys.sending.settling import Settling
from airflow_provider_8x8.surveys.settings import Run, Settings

log = logging.getLogger(__name__)

UNEXPECTED = "an unexpected error:"
"""How the reason begins where something has failed that nothing here knows."""

MAX_UNKNOWN_IN_A_ROW = 3
"""Batches of unknown outcome, one after the other, after which 8x8 is not well and sending stops."""

_ID_ALPHABET = string.ascii_lowercase + string.digits


class _Batch:
    """Rows that go out together, with what is made of them while the batch before is on the wire."""

    def __init__(self, rows: list[RowMessage]) -> None:
        self.keep(rows)

    def keep(self, rows: list[RowMessage]) -> None:
        """Have these rows, and no others."""
        self.rows = rows
        self.messages = msgspec.Raw(b"[%b]" % b",".join([row.encoded for row in rows]))


@dataclass(slots=True)
class _OnWire:
    """A batch between its journal entry and its answer."""

    entry: Entry
    batch: _Batch
    posting: Posting


class SurveySender:
    """
    Sends the surveys of one campaign, for one try of one task instance.

    :param client: the sub-account to send from
    :param builder: makes messages of rows
    :param row_keys: the campaign's, those of the builder
    :param run: on whose behalf
    :param settings: how
    :param journal: what later tries will know
    :param report: where each row's outcome is written
    :param stop: set from outside when the try is to end: no batch is begun any more
    :param clock: tells the time and waits
    :param poster: makes the POSTs, so that a batch is built while the one before is on the wire
    """

    def __init__(
        self,
        client: EightByEightClient,
        builder: MessageBuilder,
        row_keys: RowKeys,
        *,
        run: Run,
        settings: Settings,
        journal: Journal,
        report: Report | None = None,
        stop: threading.Event | None = None,
        clock: Clock | None = None,
        poster: Poster | None = None,
    ) -> None:
        self._client = client
        self._builder = builder
        self._row_keys = row_keys
        self._run = run
        self._settings = settings
        self._report = report
        self._stop = stop or threading.Event()
        self._clock = clock or SystemClock(self._stop)
        self._poster = poster or PostingThread()
        self._until_sent = retrying_until_sent(self._clock.sleep, settings.longest_wait.total_seconds())
        self._ledger = Ledger(journal, run)
        self._settling = Settling(
            client,
            self._ledger,
            row_keys,
            run=run,
            settings=settings,
            report=report,
            canary=_canary(builder, settings),
            clock=self._clock,
            stop=self._stop,
        )
        self._reading = self._new_reading()
        self._refusals = Refusals(builder.own_fields)
        self._on_wire: _OnWire | None = None
        self._to_report: deque[Callable[[], None]] = deque()
        self._unknown_in_a_row = 0
        self._messages_sent = 0
        self._began = time.monotonic()
        self._stopped: Stopped | None = None
        self._is_open = False
        self._open_before: frozenset[str] = frozenset()
        self._rejected = Reasons()

    def send(self, rows: Rows) -> Summary:
        """
        Send what is missing of the rows, and find out what is not known.

        What goes wrong on the way is in the summary's ``stop``, beside the outcomes of all rows read until then.
        """
        try:
            with self._report or nullcontext():
                self._send(rows)
        except ReportError as error:
            self._note(Stopped(str(error)))
        except JournalError as error:
            self._note(Stopped(str(error), is_final=not error.may_go_better))
        except Exception as error:  # noqa: BLE001  # whatever it is, the summary says what was sent
            # Without the error's own text, which may hold a row.
            log.error("%s at:\n%s", type(error).__name__, "".join(traceback.format_tb(error.__traceback__)))
            self._note(Stopped(f"{UNEXPECTED} {type(error).__name__}: {mask_phone_numbers(str(error))}"))
        finally:
            self._poster.close()
        return self._summary()

    def _send(self, rows: Rows) -> None:
        self._open()
        self._settling.look()
        while self._stopped is None:
            try:
                self._send_missing(rows)
            except Stopped as stopped:
                self._note(stopped)
            self._settling.settle(self._reading.tally)
            if not (
                self._settling.has_set_rows_free()
                or self._refusals.conclude(self._ledger.entries(), has_open_rows=self._has_open_rows())
            ):
                break
        if self._settling.unreported:
            missing = ", ".join(sorted(self._settling.unreported))
            self._note(Stopped(f"the report lacks the batches {missing}: 8x8's logs do not have them yet"))
        if reason := self._refusals.reason_to_end():
            self._note(reason)

    def _note(self, stopped: Stopped) -> None:
        """Keep the first reason to stop: those after it follow from it."""
        self._stopped = self._stopped or stopped

    def _summary(self) -> Summary:
        summary = summarize(self._run, self._ledger.entries(), self._reading.tally, open_before=self._open_before)
        summary.rejected_reasons = self._rejected
        summary.was_begun = self._is_open
        summary.logs_problem = self._settling.logs_problem
        is_final = self._stopped is not None and self._stopped.is_final
        summary.outlook = self._settling.outlook(is_last_try=is_final) if summary.unknown_client_batch_ids else None
        summary.report = None if self._report is None else str(self._report.folder)
        if self._stopped is not None:
            summary.stop, summary.is_final = str(self._stopped), self._stopped.is_final
        return summary

    def _open(self) -> None:
        """Read what was sent before, by this task instance or another of the campaign."""
        self._ledger.open(
            Header(
                survey_id=self._settings.survey_id,
                subaccount_id=self._client.subaccount_id,
                row_key_rules=ROW_KEY_RULES,
                address=self._client.address,
                deployment=self._settings.deployment,
            )
        )
        self._is_open = True
        self._open_before = frozenset(entry.client_batch_id for entry in self._ledger.entries() if entry.is_open)
        if self._settings.settled_batches:
            self._settling.apply_what_a_person_says(self._settings.settled_batches)
        if self._report:
            self._compare(self._report)

    def _compare(self, report: Report) -> None:
        """Hold the report of this task instance's earlier tries against the journal."""
        for entry in filter(self._ledger.is_own, self._ledger.entries()):
            if not entry.is_in_effect:
                report.take_back_batch(entry.client_batch_id, with_rows=False)  # an overtaken try may have written it
            elif entry.state is EntryState.SENT and not report.has_batch(entry.client_batch_id):
                self._settling.unreported.add(entry.client_batch_id)

    # rows -> messages -> batches

    def _send_missing(self, rows: Rows) -> None:
        """Read the source, twice if something has to be known before the first is sent, and send what is missing."""
        self._ledger.begin_reading()
        self._refusals.begin_reading()
        self._refusals.learn(self._ledger.entries())
        self._reading = self._new_reading()
        if self._report:
            self._report.forget_rows()
        try:
            self._reading.inspect(rows)
            with closing(self._reading.batches(rows)) as batches:
                self._send_batches(batches)
        except BaseException as error:
            # What is on the wire is settled, also when Airflow 2 raises from on_kill's signal handler; but not after
            # an AirflowTaskTimeout, which may have struck in the middle of a word between task and supervisor.
            if isinstance(error, Exception) or self._stop.is_set():
                self._wind_up()
            raise

    def _new_reading(self) -> Reading:
        return Reading(self._builder, self._settings, self._ledger, self._report, began=self._ledger.first_begun)

    def _send_batches(self, batches: Iterable[list[RowMessage]]) -> None:
        for rows in batches:
            batch = _Batch(rows)  # built while the one before is on the wire
            try:
                self._finish()
            except BaseException:
                self._reading.leave(rows)
                raise
            self._start(batch)
        self._wind_up()

    def _wind_up(self) -> None:
        """See the batch on the wire through, and report all that is not reported yet."""
        try:
            self._finish()
        except Exception:
            self._write_reports()
            raise
        self._write_reports()

    # batches -> journal -> 8x8

    def _start(self, batch: _Batch) -> None:
        """
        Enter a batch into the journal and put it on the wire; :meth:`_finish` sees it through.

        :param batch: what others have entered meanwhile is taken out of it
        """
        try:
            if self._stop.is_set():
                raise Stopped("the task was told to end")
            too_late = self._settings.problem_with_the_hour(self._clock.now())
            if problem := too_late or self._builder.problem_with_common_times():
                # Another try would send nothing more, but look again for what is unknown.
                raise Stopped(problem, is_final=not self._has_open_rows())
            entry = self._begin(batch)
        except BaseException:
            self._reading.leave(batch.rows)
            raise
        if entry is not None:
            self._reading.tally.held[entry.client_batch_id] = len(entry)
        self._take_out_held(batch, entry)
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

    def _has_open_rows(self) -> bool:
        """Tell whether it is not known of some rows whether 8x8 has accepted them."""
        held = self._reading.tally.held
        return any(
            entry.is_open and (self._ledger.is_own(entry) or held[entry.client_batch_id] > 0)
            for entry in self._ledger.entries()
        )

    def _begin(self, batch: _Batch) -> Entry | None:
        """Make the entry of a batch durable, without the rows that others have entered meanwhile."""
        client_batch_id = _new_client_batch_id(self._settings.client_batch_id_prefix)

        def compose() -> Entry | None:
            missing = batch.rows
            if self._ledger.holds_any:
                missing = [row for row in missing if self._ledger.holder_of(row.row_key) is None]
            return self._entry(client_batch_id, missing) if missing else None

        return self._ledger.begin(compose)

    def _entry(self, client_batch_id: str, rows: Sequence[RowMessage]) -> Entry:
        now = self._clock.now()
        return Entry(
            client_batch_id=client_batch_id,
            run=self._run.run,
            try_number=self._run.try_number,
            unique_by=self._builder.unique_by,
            row_keys=pack([row.row_key for row in rows]),
            message_keys=self._builder.message_keys(rows),
            begun=now,
            send_by=now + SEND_WITHIN,
            answer_by=now + SEND_WITHIN + self._client.timeout,
            scheduled=self._builder.last_scheduled(rows),
        )

    def _take_out_held(self, batch: _Batch, entry: Entry | None) -> None:
        if entry is not None and len(entry) == len(batch.rows):
            return
        entered = set() if entry is None else set(unpack(entry.row_keys))
        for row in batch.rows:
            if row.row_key not in entered:
                self._reading.note_held(row, str(self._ledger.holder_of(row.row_key)))
        batch.keep([row for row in batch.rows if row.row_key in entered])

    # 8x8 -> journal -> report

    def _finish(self) -> None:
        """See the batch on the wire through, halving what 8x8 refuses for a row's sake until the bad rows are alone."""
        if self._on_wire is None:
            return
        part: _Batch | None = self._on_wire.batch
        halving: Halving[RowMessage] = Halving(self._refusals, len(self._on_wire.batch.rows))
        try:
            while part is not None:
                self._see_through(part, halving)
                rows = halving.next_part()
                part = None if rows is None else _Batch(rows)
        finally:
            self._reading.leave(*halving.left())

    def _see_through(self, part: _Batch, halving: Halving[RowMessage]) -> None:
        try:
            if self._until_sent(self._deliver, part):
                self._refusals.note_taken()
        except (NeverSentError, RateLimitedError) as error:
            halving.put_back(part.rows)
            raise Stopped(str(error)) from None
        except RefusedError as refused:
            self._unknown_in_a_row = 0
            self._take_refusal(refused, halving)

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
            self._leave_unknown(unknown)
            return False
        except (NeverSentError, RateLimitedError):
            self._take_back()
            raise
        self._take_answer(self._on_wire, response)
        return True

    def _take_answer(self, sent: _OnWire, response: BatchResponse) -> None:
        answers = match(sent.batch.rows, response)
        rejected = answers.row_keys_of("rejected")
        if rejected:
            self._note_rejected(answers.reasons_to_reject())
        self._ledger.settle(
            sent.entry,
            state=EntryState.SENT,
            batch_id=response.batch_id,
            rejected_keys=pack(rejected),
            unknown_keys=pack(answers.row_keys_of("unknown")),
        )
        self._on_wire = None
        self._unknown_in_a_row = 0
        self._report_batch(sent.entry, answers.lines(response.batch_id))
        self._log_progress(response)

    def _leave_unknown(self, unknown: UnknownOutcomeError) -> None:
        """Leave a batch to be reconciled: only 8x8's logs can tell what became of it."""
        sent = self._taken_off()
        self._unknown_in_a_row += 1
        self._ledger.settle(sent.entry, answer_by=self._clock.now())  # nobody waits for its answer any more
        log.warning(
            "Batch %s of %d messages: outcome unknown: %s",
            sent.entry.client_batch_id,
            len(sent.batch.rows),
            unknown.reason,
        )
        self._report_batch(sent.entry, (row.line("unknown", description=unknown.reason) for row in sent.batch.rows))
        if self._unknown_in_a_row >= MAX_UNKNOWN_IN_A_ROW:
            raise Stopped(f"{MAX_UNKNOWN_IN_A_ROW} batches in a row have an unknown outcome: {unknown}")

    def _take_back(self) -> None:
        """Free the row keys of the batch on the wire, of which 8x8 has nothing."""
        if self._on_wire is not None:
            self._ledger.settle(self._on_wire.entry, state=EntryState.NOT_SENT)
            del self._reading.tally.held[self._taken_off().entry.client_batch_id]

    def _take_refusal(self, refused: RefusedError, halving: Halving[RowMessage]) -> None:
        """Reject a row that was refused alone, and take back all else."""
        sent = self._on_wire
        if sent is None:
            raise RuntimeError("no batch is on the wire")
        rows = sent.batch.rows
        if not self._refusals.can_be_a_rows(refused):
            self._take_back()
            halving.put_back(rows)
            raise Stopped(str(refused), is_final=not refused.may_go_better) from None
        if not halving.is_refused:
            log.info("8x8 refused a batch of %d messages, looking for the bad ones: %s", len(rows), refused.reason)
        if halving.is_to_reject(refused, len(rows)):
            self._reject(self._taken_off(), refused)
            return
        self._take_back()
        halving.put_back(rows)

    def _reject(self, alone: _OnWire, refused: RefusedError) -> None:
        self._ledger.settle(alone.entry, state=EntryState.SENT, rejected_keys=alone.entry.row_keys)
        self._note_rejected((row, f"{refused.description} (code {refused.code})") for row in alone.batch.rows)
        lines = [row.line("rejected", code=refused.code, description=refused.description) for row in alone.batch.rows]
        self._report_batch(alone.entry, lines)

    def _note_rejected(self, reasons: Iterable[tuple[RowMessage, str]]) -> None:
        for row, reason in reasons:
            self._rejected.note(row.number, quotable(reason))

    def _taken_off(self) -> _OnWire:
        sent, self._on_wire = self._on_wire, None
        if sent is None:
            raise RuntimeError("no batch is on the wire")
        return sent

    def _report_batch(self, entry: Entry, lines: Iterable[ReportLine]) -> None:
        """Have a batch reported, once the next one is on the wire: 8x8 need not wait for the file to be written."""
        if self._report:
            self._to_report.append(partial(self._report.write_batch, entry.client_batch_id, lines))

    def _write_reports(self) -> None:
        while self._to_report:
            self._to_report.popleft()()

    def _log_progress(self, response: BatchResponse) -> None:
        self._messages_sent += response.accepted_count + response.rejected_count
        log.info(
            "Batch %s: %d accepted, %d rejected; this try has sent %d messages, %.0f a second",
            response.batch_id,
            response.accepted_count,
            response.rejected_count,
            self._messages_sent,
            self._messages_sent / max(time.monotonic() - self._began, 1e-9),
        )


def _canary(builder: MessageBuilder, settings: Settings) -> SurveyMessage | None:
    return None if settings.canary_destination is None else builder.canary(settings.canary_destination)


def _new_client_batch_id(prefix: str) -> str:
    length = MAX_CLIENT_BATCH_ID_LENGTH - len(prefix)
    return prefix + "".join(secrets.choice(_ID_ALPHABET) for _ in range(length))
