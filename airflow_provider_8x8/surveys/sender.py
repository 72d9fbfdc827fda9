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
from collections import deque
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from airflow_provider_8x8.api.client import EightByEightClient, until_sent
from airflow_provider_8x8.api.errors import (
    NeverSentError,
    RateLimitedError,
    RefusedError,
    UnknownOutcomeError,
)
from airflow_provider_8x8.api.masking import mask_phone_numbers
from airflow_provider_8x8.api.models import (
    MAX_BATCH_SIZE,
    MAX_CLIENT_BATCH_ID_LENGTH,
    BatchResponse,
    SurveyBatch,
)
from airflow_provider_8x8.surveys.answers import BatchRow, match
from airflow_provider_8x8.surveys.clock import Clock, SystemClock
from airflow_provider_8x8.surveys.holders import Holders
from airflow_provider_8x8.surveys.journal import (
    SEND_WITHIN,
    Entry,
    EntryState,
    Header,
    Journal,
    JournalError,
    JournalMismatchError,
    JournalUnavailableError,
    SupersededError,
    pack,
    unpack,
)
from airflow_provider_8x8.surveys.messages import (
    ColumnsError,
    InvalidRowError,
    MessageBuilder,
    RowMessage,
    Rows,
)
from airflow_provider_8x8.surveys.reconcile import (
    DEFAULT_LOG_SETTLE_TIME,
    DEFAULT_TIMEOUT,
    Canary,
    Finding,
    Reconciler,
)
from airflow_provider_8x8.surveys.report import Report, ReportError, ReportLine
from airflow_provider_8x8.surveys.row_keys import ROW_KEY_RULES, RowKeys
from airflow_provider_8x8.surveys.summary import Summary, Tally, summarize

log = logging.getLogger(__name__)

MAX_CLIENT_BATCH_ID_PREFIX_LENGTH = 8

MAX_REFUSALS = 200
"""Refusals of one batch's halves, after which the batch as a whole must be wrong."""

MAX_UNKNOWN_IN_A_ROW = 3
"""Batches of unknown outcome, one after the other, after which 8x8 is not well and sending stops."""

MAX_RESENDS = 3
"""How often one try sends again, by ``on_unknown="resend"``, what then becomes unknown again."""

_ID_ALPHABET = string.ascii_lowercase + string.digits

# Refusals that one bad row can cause (8x8's page "API error codes").
_ROW_LEVEL_CODES = frozenset({1000, 1002, 1004, 1009, 3009, 3011, 3018})
_ROW_LEVEL_IF_OWN = {
    1003: "encoding",
    1005: "source",
    1006: "expiry",
    1007: "template_body",
    1011: "scheduled",
    3020: "dlr_callback_url",
}


class OnUnknown(StrEnum):
    """What to do about a batch of which 8x8's logs do not tell in time whether it was accepted."""

    FAIL = "fail"
    ASSUME_SENT = "assume_sent"
    RESEND = "resend"


class OnInvalid(StrEnum):
    """What to do about rows that cannot be sent."""

    SKIP = "skip"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """
    How a campaign is sent.

    :ivar survey_id: which survey
    :ivar batch_size: messages in one batch, 1 to 10,000
    :ivar client_batch_id_prefix: at most 8 characters in front of every client batch id
    :ivar max_messages: more sendable rows than this, and nothing is sent at all
    :ivar on_invalid: ``fail``: one invalid row, and nothing is sent at all
    :ivar on_unknown: what to do about a batch that stays unknown
    :ivar reconcile_timeout: how long to wait for 8x8's logs
    :ivar log_settle_time: how much later than younger messages a message may show in 8x8's logs
    :ivar canary_destination: a number of the team's own, see :mod:`~airflow_provider_8x8.surveys.reconcile`
    """

    survey_id: str
    batch_size: int = MAX_BATCH_SIZE
    client_batch_id_prefix: str = ""
    max_messages: int | None = None
    on_invalid: OnInvalid = OnInvalid.SKIP
    on_unknown: OnUnknown = OnUnknown.FAIL
    reconcile_timeout: timedelta = DEFAULT_TIMEOUT
    log_settle_time: timedelta = DEFAULT_LOG_SETTLE_TIME
    canary_destination: str | None = None


class Run(NamedTuple):
    """On whose behalf is sent: one try of one task instance, in a campaign."""

    campaign_id: str
    run: str
    try_number: int = 1


class _Duplicate(NamedTuple):
    """A row whose row key came earlier in the source."""

    content: RowMessage


class _Stopped(Exception):  # noqa: N818  # not an error in itself: the reason to end the loop from wherever it is
    """Sending must not go on. ``is_final``: another try could not mend it."""

    def __init__(self, reason: str, *, is_final: bool = False) -> None:
        super().__init__(reason)
        self.is_final = is_final


@dataclass(slots=True)
class _OnWire:
    """A batch between its journal entry and its answer."""

    entry: Entry
    rows: list[BatchRow]
    answer: Future[BatchResponse]


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
    :param executor: makes the POSTs, so that a batch is built while the one before is on the wire
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
        executor: Executor | None = None,
    ) -> None:
        self._client = client
        self._builder = builder
        self._row_keys = row_keys
        self._run = run
        self._settings = settings
        self._journal = journal
        self._report = report
        self._stop = stop or threading.Event()
        self._clock = clock or SystemClock(self._stop)
        self._executor = executor or ThreadPoolExecutor(1, thread_name_prefix="8x8-batch")
        self._until_sent = until_sent.copy(sleep=self._clock.sleep)
        self._reconciler = Reconciler(
            client,
            row_keys,
            clock=self._clock,
            stop=self._stop,
            settle_time=settings.log_settle_time,
            timeout=settings.reconcile_timeout,
            canary=self._canary(),
        )
        self._known: dict[str, Entry] = {}
        """Every entry of the campaign as this try last saw it, by client batch id."""
        self._begun: set[str] = set()
        """The client batch ids of this pass."""
        self._holders = Holders(run.run, ())
        self._tally = Tally()
        self._on_wire: _OnWire | None = None
        self._open_when_met: set[str] = set()
        self._unreported: set[str] = set()
        self._unknown_in_a_row = 0
        self._resends = 0
        self._messages_sent = 0
        self._began = time.monotonic()
        self._stopped: _Stopped | None = None

    def send(self, rows: Rows) -> Summary:
        """
        Send what is missing of the rows, and find out what is not known.

        What goes wrong on the way is in the summary's ``stop``, beside the outcomes of all rows read until then.
        """
        try:
            with self._report or nullcontext():
                self._send(rows)
        except ReportError as error:
            self._note(_Stopped(str(error)))
        except JournalError as error:
            may_go_better = isinstance(error, JournalUnavailableError | SupersededError)
            self._note(_Stopped(str(error), is_final=not may_go_better))
        finally:
            self._executor.shutdown(wait=False)
        return self._summary()

    def _send(self, rows: Rows) -> None:
        self._open()
        self._settle_open(wait=False)
        while self._stopped is None:
            try:
                self._send_missing(rows)
            except _Stopped as stopped:
                self._note(stopped)
            self._settle_open(wait=True)
            if not self._has_set_rows_free():
                break
        if self._unreported:
            self._note(
                _Stopped(f"the report lacks the batches {_listed(self._unreported)}: 8x8's logs do not have them yet")
            )

    def _note(self, stopped: _Stopped) -> None:
        """Keep the first reason to stop: those after it follow from it."""
        self._stopped = self._stopped or stopped

    def _summary(self) -> Summary:
        summary = summarize(*self._run[:2], self._known.values(), self._tally, self._clock.now())
        summary.logs_problem = self._reconciler.problem
        summary.report = None if self._report is None else str(self._report.folder)
        if self._stopped is not None:
            summary.stop, summary.is_final = str(self._stopped), self._stopped.is_final
        return summary

    # the journal

    def _open(self) -> None:
        """Read what was sent before, by this task instance or another of the campaign."""
        self._journal.open(
            Header(
                survey_id=self._settings.survey_id,
                subaccount_id=self._client.subaccount_id,
                row_key_rules=ROW_KEY_RULES,
            )
        )
        self._learn(self._journal.news())
        if self._report:
            self._unreported = {
                entry.client_batch_id
                for entry in self._known.values()
                if entry.run == self._run.run
                and entry.state is EntryState.SENT
                and not self._report.has_batch(entry.client_batch_id)
            }

    def _learn(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self._known[entry.client_batch_id] = entry
            if entry.client_batch_id not in self._begun:  # the rows of this pass are known as seen
                self._holders.learn(entry)

    def _begin(self, rows: Sequence[BatchRow]) -> Entry | None:
        """Make the entry of a batch durable, without the rows that others have entered meanwhile."""
        client_batch_id = self._new_client_batch_id()

        def compose(news: Sequence[Entry]) -> Entry | None:
            self._learn(news)
            missing = [row for row in rows if not self._holders.of(row.content.row_key)] if self._holders else rows
            return self._entry(client_batch_id, missing) if missing else None

        entry = self._journal.begin(compose)
        if entry is not None:
            self._known[entry.client_batch_id] = entry
            self._begun.add(entry.client_batch_id)
        return entry

    def _entry(self, client_batch_id: str, rows: Sequence[BatchRow]) -> Entry:
        now = self._clock.now()
        times = [moment for row in rows if (moment := self._builder.scheduled_of(row.content.message))]
        return Entry(
            client_batch_id=client_batch_id,
            run=self._run.run,
            try_number=self._run.try_number,
            unique_by=self._builder.unique_by,
            row_keys=pack(row.content.row_key for row in rows),
            message_keys=(
                pack(self._row_keys.of(row.client_message_id) for row in rows) if self._builder.rows_bring_ids else None
            ),
            begun=now,
            send_by=now + SEND_WITHIN,
            scheduled=max(times).timestamp() if times else None,
        )

    def _settle(self, entry: Entry, **changes: Any) -> Entry:
        """Write down what became of a batch."""
        settled = self._journal.settle(msgspec.structs.replace(entry, **changes))
        self._learn([settled])
        return settled

    def _check_row_keys(self) -> None:
        """
        Check that the row keys of this source mean what the campaign's do.

        :raises JournalMismatchError: they were made of another column
        """
        for entry in self._known.values():
            if entry.unique_by != self._builder.unique_by:
                raise JournalMismatchError(
                    f"batch {entry.client_batch_id} of this campaign tells rows apart by the column "
                    f"{entry.unique_by!r}, this source by {self._builder.unique_by!r}; set unique_by to the first, "
                    "or give the task another campaign_id"
                )

    # rows -> messages -> batches

    def _send_missing(self, rows: Rows) -> None:
        """Read the source, twice if something has to be known before the first is sent, and send what is missing."""
        self._tally = Tally()
        self._begun = set()
        self._holders = Holders(self._run.run, self._known.values())
        if self._report:
            self._report.forget_rows()
        try:
            if self._settings.max_messages is not None or self._settings.on_invalid is OnInvalid.FAIL:
                self._inspect(rows)
            with closing(self._batches(rows)) as batches:
                self._send_batches(batches)
        except BaseException as error:
            # What is on the wire is settled, also when Airflow 2 raises from on_kill's signal handler; but not after
            # an AirflowTaskTimeout, which may have struck in the middle of a word between task and supervisor.
            if isinstance(error, Exception) or self._stop.is_set():
                self._finish()
            raise

    def _send_batches(self, batches: Iterable[list[BatchRow]]) -> None:
        for batch in batches:  # built while the one before is on the wire
            try:
                self._finish()
            except BaseException:
                self._leave(batch)
                raise
            self._start(batch)
        self._finish()

    def _inspect(self, rows: Rows) -> None:
        """Read the source once without sending, for what forbids to send any of it."""
        sendable = 0
        with closing(self._read(rows)) as numbered:
            for number, found in numbered:
                if isinstance(found, InvalidRowError) and self._settings.on_invalid is OnInvalid.FAIL:
                    sample = f"Row {number}: {found}"
                    self._tally.sample(sample)
                    raise _Stopped(f"nothing was sent, because on_invalid is 'fail': {sample}", is_final=True)
                sendable += isinstance(found, RowMessage)
                self._check_max_messages(sendable, "nothing was sent")

    def _check_max_messages(self, sendable: int, consequence: str) -> None:
        limit = self._settings.max_messages
        if limit is not None and sendable > limit:
            raise _Stopped(f"the source has more than max_messages={limit} rows to send; {consequence}", is_final=True)

    def _batches(self, rows: Rows) -> Generator[list[BatchRow], None, None]:
        """Gather messages into batches; a row that goes into none gets its outcome here."""
        batch: list[BatchRow] = []
        ids: set[str] = set()
        sendable = 0
        try:
            with closing(self._read(rows)) as numbered:
                for number, found in numbered:
                    self._tally.rows_read = number
                    row = self._row_to_send(number, found, ids)
                    sendable += isinstance(found, RowMessage)
                    self._check_max_messages(sendable, "the rest was not sent")
                    if row is None:
                        continue
                    batch.append(row)
                    if len(batch) == self._settings.batch_size:
                        full, batch, ids = batch, [], set()
                        yield full
            if batch:
                full, batch = batch, []
                yield full
        finally:
            self._leave(batch)  # the source failed, or the campaign must not go on

    def _row_to_send(
        self, number: int, found: RowMessage | InvalidRowError | _Duplicate, ids: set[str]
    ) -> BatchRow | None:
        """Return what goes into the batch with these client message ids; note the outcome of what does not."""
        if isinstance(found, _Duplicate):
            self._note_duplicate(BatchRow(number, found.content))
            return None
        if isinstance(found, InvalidRowError):
            self._note_invalid(number, found)
            return None
        row = BatchRow(number, found)
        if holder := self._holders.of(found.row_key):
            self._note_held(row, holder)
            return None
        if row.client_message_id in ids:
            # 8x8's answer could not be told apart.
            self._note_invalid(number, InvalidRowError("another row has its client_message_id, too"))
            return None
        ids.add(row.client_message_id)
        return row

    def _read(self, rows: Rows) -> Generator[tuple[int, RowMessage | InvalidRowError | _Duplicate], None, None]:
        """Yield every row's number with its message, the reason why it has none, or that it came before."""
        seen: set[bytes] = set()
        with closing(iter(rows)) as source:  # a query's connection must not outlive a stop
            for number, row in enumerate(_guarded(source), 1):
                if number == 1:
                    columns = rows.columns if rows.columns is not None else getattr(row, "keys", tuple)()
                    self._use_columns(columns, complete=rows.columns is not None)
                try:
                    content = self._builder.build(row)
                except InvalidRowError as error:
                    yield number, error
                    continue
                if content.row_key in seen:
                    yield number, _Duplicate(content)
                else:
                    seen.add(content.row_key)
                    yield number, content

    def _use_columns(self, columns: Collection[str], *, complete: bool) -> None:
        try:
            self._builder.use_columns(columns, complete=complete)
        except ColumnsError as error:
            raise _Stopped(str(error), is_final=True) from None
        self._check_row_keys()

    def _note_invalid(self, number: int, error: InvalidRowError) -> None:
        self._tally.invalid += 1
        self._tally.sample(f"Row {number}: {error}")
        if self._report:
            self._report.write_row(ReportLine(row_number=number, outcome="invalid", description=str(error)))

    def _note_duplicate(self, row: BatchRow) -> None:
        self._tally.duplicate += 1
        if self._report:
            row.outcome, row.description = "duplicate", "an earlier row of this source has its row key"
            self._report.write_row(row.line())

    def _note_held(self, row: BatchRow, holder: str) -> None:
        """Note a row whose row key an entry of another pass, try or run holds."""
        self._tally.held[holder] += 1
        entry = self._known[holder]
        if entry.is_open:
            self._open_when_met.add(holder)
        if self._report and entry.run != self._run.run:
            row.outcome, row.description = "already_sent", f"batch {holder} of another run of the campaign has it"
            self._report.write_row(row.line(entry.batch_id))

    def _leave(self, *parts: Sequence[BatchRow]) -> None:
        """Count and report rows that this pass does not send."""
        self._tally.not_sent += sum(len(part) for part in parts)
        if self._report:
            for part in parts:
                for row in part:
                    self._report.write_row(row.line())

    # batches -> journal -> 8x8

    def _start(self, rows: list[BatchRow]) -> None:
        """
        Enter a batch into the journal and put it on the wire; :meth:`_finish` sees it through.

        :param rows: what others have entered meanwhile is taken out of it
        """
        try:
            if self._stop.is_set():
                raise _Stopped("the task was told to end")
            entry = self._begin(rows)
        except BaseException:
            self._leave(rows)
            raise
        self._take_out_held(rows, entry)
        if entry is None:
            return
        self._tally.held[entry.client_batch_id] = len(entry)
        log.debug("Sending a batch of %d messages, client batch id %s", len(rows), entry.client_batch_id)
        request = self._request(entry.client_batch_id, rows)
        answer = self._executor.submit(
            self._client.send_survey_batch, self._settings.survey_id, request, send_by=entry.send_by
        )
        self._on_wire = _OnWire(entry, rows, answer)

    def _take_out_held(self, rows: list[BatchRow], entry: Entry | None) -> None:
        if entry is not None and len(entry) == len(rows):
            return
        entered = set() if entry is None else set(unpack(entry.row_keys))
        for row in rows:
            if row.content.row_key not in entered:
                self._note_held(row, str(self._holders.of(row.content.row_key)))
        rows[:] = [row for row in rows if row.content.row_key in entered]

    def _request(self, client_batch_id: str, rows: Sequence[BatchRow]) -> SurveyBatch:
        return SurveyBatch(
            messages=[row.content.message for row in rows],
            template=self._builder.batch_template,
            client_batch_id=client_batch_id,
            include_messages_in_response=True,
        )

    # 8x8 -> journal -> report

    def _finish(self) -> None:
        """See the batch on the wire through, halving what 8x8 refuses for a row's sake until the bad rows are alone."""
        if self._on_wire is None:
            return
        waiting = deque([self._on_wire.rows])
        refusals = _Refusals()
        while waiting:
            part = waiting.popleft()
            try:
                refusals.anything_accepted |= self._until_sent(self._deliver, part)
            except (NeverSentError, RateLimitedError) as error:
                self._leave(part, *waiting)
                raise _Stopped(str(error)) from None
            except RefusedError as refused:
                if refusals.blame_the_whole(refused, part, may_be_a_row=self._may_be_a_row(refused)):
                    self._take_back()
                    self._leave(part, *waiting)
                    raise _Stopped(str(refused), is_final=True) from None
                waiting.extendleft(self._halve_or_reject(part, refused))
            except BaseException:
                self._leave(*waiting)
                raise

    def _deliver(self, part: list[BatchRow]) -> bool:
        """
        Put a part on the wire unless it is, and take the answer; tell whether 8x8 accepted any of it.

        :raises NeverSentError: 8x8 has nothing of it, and its entry says so; likewise :class:`RateLimitedError`
        :raises RefusedError: 8x8 has nothing of it; it still is on the wire, for what is to become of it
        """
        if self._on_wire is None:
            self._start(part)
        if self._on_wire is None:
            return False  # others have all of it
        try:
            response = self._on_wire.answer.result()
        except UnknownOutcomeError as unknown:
            self._leave_unknown(unknown)
            return False
        except (NeverSentError, RateLimitedError):
            self._take_back()
            raise
        self._take_answer(self._on_wire, response)
        return response.accepted_count > 0

    def _take_answer(self, sent: _OnWire, response: BatchResponse) -> None:
        match(sent.rows, response)
        self._settle(
            sent.entry,
            state=EntryState.SENT,
            batch_id=response.batch_id,
            rejected_keys=pack(row.content.row_key for row in sent.rows if row.outcome == "rejected"),
            unknown_keys=pack(row.content.row_key for row in sent.rows if row.outcome == "unknown"),
        )
        self._on_wire = None
        self._unknown_in_a_row = 0
        self._report_batch(sent, response.batch_id)
        self._log_progress(response)

    def _leave_unknown(self, unknown: UnknownOutcomeError) -> None:
        """Leave a batch to be reconciled: only 8x8's logs can tell what became of it."""
        sent = self._taken_off()
        self._unknown_in_a_row += 1
        log.warning("Batch %s of %d messages: outcome unknown: %s", sent.entry.client_batch_id, len(sent.rows), unknown)
        for row in sent.rows:
            row.outcome, row.description = "unknown", str(unknown)
        self._report_batch(sent, None)
        if self._unknown_in_a_row >= MAX_UNKNOWN_IN_A_ROW:
            raise _Stopped(f"{MAX_UNKNOWN_IN_A_ROW} batches in a row have an unknown outcome: {unknown}")

    def _take_back(self) -> None:
        """Free the row keys of the batch on the wire, of which 8x8 has nothing."""
        sent = self._on_wire
        if sent is not None:
            self._settle(sent.entry, state=EntryState.NOT_SENT)
            del self._tally.held[self._taken_off().entry.client_batch_id]

    def _taken_off(self) -> _OnWire:
        sent, self._on_wire = self._on_wire, None
        if sent is None:
            raise RuntimeError("no batch is on the wire")
        return sent

    def _may_be_a_row(self, refused: RefusedError) -> bool:
        """Tell whether one bad row can be why 8x8 refused a batch."""
        if refused.http_status != 400 or refused.code is None:
            return False
        return refused.code in _ROW_LEVEL_CODES or _ROW_LEVEL_IF_OWN.get(refused.code) in self._builder.own_fields

    def _halve_or_reject(self, part: list[BatchRow], refused: RefusedError) -> Sequence[list[BatchRow]]:
        """Return the halves of a refused batch, the second first; a row that is alone is rejected."""
        if len(part) > 1:
            self._take_back()
            log.info("8x8 refused %d messages, sending them as two halves: %s", len(part), refused)
            middle = len(part) // 2
            return part[middle:], part[:middle]
        sent = self._taken_off()
        for row in sent.rows:
            row.outcome, row.code, row.description = "rejected", refused.code, refused.description
        self._settle(sent.entry, state=EntryState.SENT, rejected_keys=sent.entry.row_keys)
        self._report_batch(sent, None)
        return ()

    def _report_batch(self, sent: _OnWire, batch_id: str | None) -> None:
        if self._report:
            self._report.write_batch(sent.entry.client_batch_id, (row.line(batch_id) for row in sent.rows))

    # what is pending

    def _settle_open(self, *, wait: bool) -> None:
        """Find out from 8x8's logs what became of batches of unknown outcome, then decide about the rest."""
        self._reconciler.settle(self._wanted, self._known.values, self._take, wait=wait)
        if wait and not self._stop.is_set():
            self._decide()

    def _wanted(self) -> list[Entry]:
        """Return the batches that 8x8's logs have to tell about. Another run's may still be on the wire for a while."""
        self._learn(self._journal.news())
        now = self._clock.now()
        return [
            entry
            for entry in self._known.values()
            if entry.client_batch_id in self._unreported
            or (entry.is_open and (entry.run == self._run.run or now >= entry.send_by))
        ]

    def _take(self, finding: Finding) -> None:
        """Report and settle what 8x8's logs tell of a batch."""
        entry = finding.entry
        log.info("8x8's logs: batch %s of %d messages is %s", entry.client_batch_id, len(entry), entry.state)
        if self._report and entry.is_in_effect:
            # Before it is settled: if the worker dies in between, the next try finds it pending, and does both again.
            self._report.write_batch_from_logs(entry, finding.lines, self._row_keys)
        if entry != self._known[entry.client_batch_id]:
            self._settle(entry)
        if self._report and not entry.is_in_effect:
            self._report.take_back_batch(entry.client_batch_id)
        self._unreported.discard(entry.client_batch_id)

    def _decide(self) -> None:
        """Do what ``on_unknown`` says about the batches that stay unknown."""
        on_unknown = self._settings.on_unknown
        if on_unknown is OnUnknown.RESEND:
            self._resends += 1
        for entry in self._wanted():
            if entry.state is not EntryState.PENDING:
                continue
            if on_unknown is OnUnknown.ASSUME_SENT:
                self._take(Finding(msgspec.structs.replace(entry, state=EntryState.ASSUMED_SENT)))
            elif on_unknown is OnUnknown.RESEND and self._resends <= MAX_RESENDS:
                self._take(Finding(msgspec.structs.replace(entry, state=EntryState.RESENT)))
            elif self._report and not self._report.has_batch(entry.client_batch_id):
                self._report.write_batch_from_logs(entry, {}, self._row_keys)

    def _has_set_rows_free(self) -> bool:
        """Tell whether rows that this pass left to an entry may be sent now."""
        self._learn(self._journal.news())
        return any(rows and self._has_been_freed(self._known[holder]) for holder, rows in self._tally.held.items())

    def _has_been_freed(self, entry: Entry) -> bool:
        if entry.run == self._run.run or entry.client_batch_id not in self._open_when_met:
            return not entry.is_in_effect
        return not entry.is_in_effect or (entry.state is EntryState.SENT and bool(entry.rejected_keys))

    # small things

    def _canary(self) -> Canary | None:
        destination = self._settings.canary_destination
        return None if destination is None else Canary(self._settings.survey_id, self._builder.canary(destination))

    def _new_client_batch_id(self) -> str:
        prefix = self._settings.client_batch_id_prefix
        length = MAX_CLIENT_BATCH_ID_LENGTH - len(prefix)
        return prefix + "".join(secrets.choice(_ID_ALPHABET) for _ in range(length))

    def _log_progress(self, response: BatchResponse) -> None:
        self._messages_sent += response.accepted_count + response.rejected_count
        log.info(
            "Batch %s: %d accepted, %d rejected; %d messages in %d batches by this try, %.0f messages/s",
            response.batch_id,
            response.accepted_count,
            response.rejected_count,
            self._messages_sent,
            len(self._begun),
            self._messages_sent / max(time.monotonic() - self._began, 1e-9),
        )


@dataclass(slots=True)
class _Refusals:
    """The refusals of one batch's parts, and when they mean that the batch as a whole is wrong."""

    anything_accepted: bool = False
    count: int = 0
    first_single: RefusedError | None = None

    def blame_the_whole(self, refused: RefusedError, part: Sequence[BatchRow], *, may_be_a_row: bool) -> bool:
        """
        Take note of a refusal, and tell whether it is not for one bad row's sake.

        Two single rows that fail alike speak against the whole only while 8x8 has accepted nothing of it: bad rows
        are often neighbours.
        """
        self.count += 1
        if not may_be_a_row or self.count >= MAX_REFUSALS:
            return True
        if len(part) > 1:
            return False
        if self.first_single is None:
            self.first_single = refused
            return False
        return self.first_single.code == refused.code and not self.anything_accepted


def _guarded(source: Iterator[Any]) -> Iterator[Any]:
    """Yield a source's rows; one that fails midway stops the sending."""
    read = 0
    try:
        for row in source:
            read += 1
            yield row
    except ColumnsError as error:
        raise _Stopped(str(error), is_final=True) from None
    except Exception as error:  # noqa: BLE001  # every driver has errors of its own
        raise _Stopped(
            f"the source failed after {read} rows and was not read to its end: "
            f"{type(error).__name__}: {mask_phone_numbers(str(error))}",
        ) from None  # the driver's own text may hold rows


def _listed(client_batch_ids: Iterable[str]) -> str:
    return ", ".join(sorted(client_batch_ids))
