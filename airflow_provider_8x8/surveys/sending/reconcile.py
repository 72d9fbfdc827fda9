"""
What 8x8's logs tell of batches of unknown outcome.

8x8 offers no way to ask after a batch by its client batch id, but an export of its message logs holds that id. A batch
that is in the logs was accepted. One that is not may still come: the logs lag. It counts as not accepted only when

1. the logs hold a **watermark**: a message of ours that was begun at least ``log_settle_time`` after the batch could
   last have been completed (or, if it is scheduled, after its time), and
2. an export that was asked for ``log_settle_time`` after the watermark had been seen still lacks the batch.

That rests on one assumption: 8x8's logs may lag as long as they like, but show a message later than one accepted after
it only by less than ``log_settle_time``, measured between their acceptances or between their appearances.

That a watermark was seen, and when, is kept in the batch's entry: another try, or another run, goes on from there.

Source: 8x8's pages "Log export" and "SMS logs"; how far the logs lag is documented nowhere.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec

from airflow_provider_8x8.api.client import EightByEightClient
from airflow_provider_8x8.api.errors import EightByEightError, RateLimitedError
from airflow_provider_8x8.api.models import LogLine
from airflow_provider_8x8.surveys.clock import Clock
from airflow_provider_8x8.surveys.journal.entries import Entry, EntryState
from airflow_provider_8x8.surveys.messages.row_keys import RowKeys, pack, unpack
from airflow_provider_8x8.surveys.sending.log_exports import CLOCK_MARGIN, LogExports

log = logging.getLogger(__name__)

_REJECTED = "rejected"
_PATIENCE = timedelta(hours=6).total_seconds()
"""Seconds after which what should have shown in the logs is not waited for any more."""
_READING = 30.0
"""Seconds that an export may be read for at least, however late it was ready, or a worker there."""


@dataclass(frozen=True, slots=True)
class Finding:
    """
    What 8x8's logs tell of one batch.

    :ivar entry: the entry as it now is
    :ivar lines: its log lines by row key
    """

    entry: Entry
    lines: Mapping[bytes, LogLine] = field(default_factory=dict)


class Export(msgspec.Struct, frozen=True):
    """
    An export of the logs that 8x8 was asked for; times in seconds since 1970.

    :ivar job_id: 8x8's
    :ivar asked_at: when
    :ivar first: messages that were made from then on
    :ivar last: and until then
    """

    job_id: str
    asked_at: float
    first: float
    last: float


@dataclass(frozen=True, slots=True)
class _Window:
    """From when to when messages were made that are asked for, in seconds since 1970."""

    first: float
    last: float

    def __contains__(self, entry: Entry) -> bool:
        own = _window_of(entry)
        return self.first <= own.first and own.last <= self.last


class Reconciler:
    """
    Looks into 8x8's logs for batches.

    :param client: the sub-account that sent them
    :param row_keys: the campaign's
    :param clock: tells the time and waits
    :param stop: set when the try is to end
    :param settle_time: seconds by which a message may show later in the logs than a younger one
    """

    def __init__(
        self, client: EightByEightClient, row_keys: RowKeys, *, clock: Clock, stop: threading.Event, settle_time: float
    ) -> None:
        self._exports = LogExports(client, clock=clock, stop=stop)
        self._row_keys = row_keys
        self._clock = clock
        self._settle_time = settle_time
        self.exports_of_a_look = 1
        """How many of them the last look took."""
        self.problem: str | None = None
        """Why the last look failed, if it did."""
        self.not_before = 0.0
        """Seconds since 1970, before which 8x8 wants no other look."""
        self.unread: list[Export] = []
        """What 8x8 was asked for and is not read yet; the next look reads it instead of asking anew."""

    @property
    def exports(self) -> int:
        """How many exports were asked for so far."""
        return self._exports.asked_for

    def counts_from(self, entry: Entry) -> float:
        """Return how young a message must be to be a watermark for a batch, in seconds since 1970."""
        # 8x8 may take what was begun before send_by, and logs a scheduled message perhaps only when it goes out.
        return max(entry.send_by, entry.scheduled or 0.0) + self._settle_time

    def watermarks(self, entry: Entry, entries: Iterable[Entry], now: float) -> list[Entry]:
        """Return which entries can be the watermark for a batch, the oldest first."""
        counts_from = self.counts_from(entry)
        young = [each for each in entries if each.begun >= counts_from and self._will_show(each, now)]
        return sorted(young, key=lambda each: each.begun)

    def proven_from(self, entry: Entry) -> float | None:
        """Return from when on an export that lacks a batch proves that it was not accepted, if a watermark was seen."""
        if entry.watermark_begun is None or entry.watermark_seen is None:
            return None
        # It may have been seen by a try with a shorter log_settle_time.
        return entry.watermark_seen + self._settle_time if entry.watermark_begun >= self.counts_from(entry) else None

    def worth_waiting_for_until(self, entry: Entry) -> float:
        """Return until when a batch that 8x8 has is expected to show in its logs, in seconds since 1970."""
        return max(entry.may_be_answered_until, entry.scheduled or 0.0) + _PATIENCE

    def look(
        self, wanted: Sequence[Entry], entries: Iterable[Entry], *, by: float, patience: float = math.inf
    ) -> list[Finding]:
        """
        Return what the logs tell just now.

        :param wanted: the batches of which something is not known
        :param entries: all that the journal has: each of them may be a watermark
        :param by: seconds since 1970, when the look must be over
        :param patience: seconds that an export is waited for here
        :raises LogsAwaited: one is not ready yet; look again when it is
        """
        self.problem = None
        known = list(entries)
        if not self.unread:
            self._ask(_windows([*wanted, *self._watermarks_to_look_for(wanted, known)]), by)
        logs = _Logs()
        asked_at: dict[str, float] = {}
        for export in self.unread:
            window = _Window(export.first, export.last)
            in_it = [entry for entry in wanted if entry in window]
            try:
                self._read(export.job_id, in_it, known, logs, by, patience)
            except EightByEightError as error:
                self._note(error)
                continue
            asked_at.update((entry.client_batch_id, export.asked_at) for entry in in_it)
        self.unread = []
        seen_at = self._clock.now()
        findings = []
        for entry in wanted:
            if entry.client_batch_id in asked_at:
                finding = self._judge(entry, logs, asked_at[entry.client_batch_id], seen_at)
                if finding is not None:
                    findings.append(finding)
        return findings

    def _ask(self, windows: Sequence[_Window], by: float) -> None:
        self.exports_of_a_look = len(windows)
        for window in windows:
            now = self._clock.now()
            try:
                job_id = self._exports.ask(window.first, window.last, by)
            except EightByEightError as error:
                self._note(error)
            else:
                self.unread.append(Export(job_id, now, window.first, window.last))

    def _will_show(self, entry: Entry, now: float) -> bool:
        """Tell whether a line of an entry is to be expected in the logs."""
        if now > entry.begun + _PATIENCE:
            return False  # whatever the reason, another one is needed
        if entry.is_batch:
            return entry.accepted_count > 0 and (entry.scheduled or 0.0) <= now
        if entry.state is EntryState.CANARY:  # its answer was lost, and perhaps the canary with it
            return now < entry.begun + self._settle_time
        return entry.state is EntryState.SENT

    def _watermarks_to_look_for(self, wanted: Sequence[Entry], known: Sequence[Entry]) -> list[Entry]:
        """Return for each batch the watermark that was seen, or the oldest that can be: it shows first."""
        now = self._clock.now()
        found: dict[str, Entry] = {}
        for entry in wanted:
            if not entry.is_open:
                continue
            seen = [each for each in known if each.begun == entry.watermark_begun] if self.proven_from(entry) else []
            for watermark in (seen or self.watermarks(entry, known, now))[:1]:
                found[watermark.client_batch_id] = watermark
        return list(found.values())

    def _note(self, error: EightByEightError) -> None:
        self.problem = error.reason
        log.warning("8x8's logs could not be read: %s", error)
        if isinstance(error, RateLimitedError) and error.retry_after is not None:
            self.not_before = self._clock.now() + error.retry_after

    # one export

    def _read(
        self,
        job_id: str,
        wanted: Sequence[Entry],
        known: Sequence[Entry],
        logs: _Logs,
        by: float,
        patience: float,
    ) -> None:
        """
        Add what one export holds.

        :raises EightByEightError: it could not be read to its end, and proves nothing
        :raises LogsAwaited: it is not ready yet
        """
        row_key_of = {entry.client_batch_id: entry.row_keys_by_message(self._row_keys) for entry in wanted}
        # Whatever of ours is in the logs was accepted, and shows how far they are.
        begun = {entry.client_batch_id: entry.begun for entry in known if entry.is_batch}
        canaries = {entry.client_batch_id: entry.begun for entry in known if entry.is_canary}
        found = _Logs()
        links = self._exports.links(job_id, by, patience=patience)
        for line in self._exports.lines(links, max(by, self._clock.now() + _READING)):
            if line.client_batch_id in row_key_of:
                found.add(line, row_key_of[line.client_batch_id](line.client_message_id))
            if line.status == _REJECTED:
                continue
            if line.client_batch_id in begun:
                found.mark(begun[line.client_batch_id])
            elif line.client_message_id in canaries:
                found.mark(canaries[line.client_message_id])
        logs.update(found)

    # what it means

    def _judge(self, entry: Entry, logs: _Logs, asked_at: float, seen_at: float) -> Finding | None:
        """
        Return what the logs tell of one batch, or None if they tell nothing new.

        :param asked_at: when the export was asked for, in seconds since 1970
        :param seen_at: likewise, when it had been read
        """
        proven_from = self.proven_from(entry)
        has_watermark = (logs.watermark or 0.0) >= self.counts_from(entry)
        # What was seen before must be seen again: an export that lacks it, too, is of logs that are behind.
        is_proof = proven_from is not None and asked_at >= proven_from and has_watermark
        if proven_from is None and entry.is_open and has_watermark:
            entry = msgspec.structs.replace(entry, watermark_begun=logs.watermark, watermark_seen=seen_at)
            is_news = True
        else:
            is_news = False
        finding = _judge(entry, logs.lines.get(entry.client_batch_id), is_proof=is_proof)
        return Finding(entry) if finding is None and is_news else finding


@dataclass(slots=True)
class _Lines:
    """
    What an export holds of one batch.

    :ivar by_row_key: the lines of its messages
    :ivar strangers: the umids of messages in it whose client message id is none of ours
    :ivar some_rejected: whether one of these is rejected
    """

    by_row_key: dict[bytes, LogLine] = field(default_factory=dict)
    strangers: set[str] = field(default_factory=set)
    some_rejected: bool = False
    batch_id: str | None = None


@dataclass(slots=True)
class _Logs:
    """
    What exports hold of our batches.

    :ivar lines: by client batch id
    :ivar watermark: when the youngest batch of ours, or canary, was begun that is in them
    """

    lines: dict[str, _Lines] = field(default_factory=dict)
    watermark: float | None = None

    def add(self, line: LogLine, row_key: bytes | None) -> None:
        of_batch = self.lines.setdefault(line.client_batch_id, _Lines())
        of_batch.batch_id = of_batch.batch_id or line.batch_id or None
        if row_key is None:
            of_batch.strangers.add(line.umid)
            of_batch.some_rejected |= line.status == _REJECTED
        elif row_key not in of_batch.by_row_key or line.status != _REJECTED:
            of_batch.by_row_key[row_key] = line

    def mark(self, begun: float) -> None:
        self.watermark = begun if self.watermark is None else max(self.watermark, begun)

    def update(self, other: _Logs) -> None:
        self.lines.update(other.lines)
        if other.watermark is not None:
            self.mark(other.watermark)


def _judge(entry: Entry, found: _Lines | None, *, is_proof: bool) -> Finding | None:
    """
    Return what one export tells of one batch, or None if it tells nothing new.

    :param found: what the export holds of it, None for nothing
    :param is_proof: what the export lacks was not accepted
    """
    if found is None and not is_proof and (entry.is_open or entry.accepted_count):
        return None
    if found is None and entry.state is EntryState.PENDING:
        return Finding(msgspec.structs.replace(entry, state=EntryState.NOT_SENT))
    found = found or _Lines()
    lines = found.by_row_key
    undecided = unpack(entry.row_keys if entry.state is EntryState.PENDING else entry.unknown_keys)
    missing = [key for key in undecided if key not in lines]
    rejected = [key for key in undecided if key in lines and lines[key].status == _REJECTED]
    if missing and found.strangers:
        # 8x8 has messages of this batch under ids that are not ours: which of the missing rows they are is not known.
        log.warning(
            "8x8's logs have %d messages of batch %s under client message ids that it was not sent",
            len(found.strangers),
            entry.client_batch_id,
        )
        is_proof = False
        if len(found.strangers) >= len(missing) and not found.some_rejected:
            missing = []  # each of them is one of these
    settled = msgspec.structs.replace(
        entry,
        state=EntryState.SENT,
        batch_id=entry.batch_id or found.batch_id,
        rejected_keys=entry.rejected_keys + pack(rejected) + (pack(missing) if is_proof else b""),
        unknown_keys=b"" if is_proof else pack(missing),
    )
    if entry.is_open:
        return None if settled == entry else Finding(settled, lines)
    # All is known but the umids, for the report.
    is_whole = is_proof or len(lines) >= settled.accepted_count
    return Finding(entry, lines) if is_whole else None


def _window_of(entry: Entry) -> _Window:
    last = max(entry.may_be_answered_until, entry.scheduled or 0.0)
    return _Window(entry.begun - CLOCK_MARGIN, last + CLOCK_MARGIN)


def _windows(entries: Iterable[Entry]) -> list[_Window]:
    """Return windows that cover those of all entries, and little more: 8x8's logs may go back for months."""
    joined: list[_Window] = []
    for window in sorted(map(_window_of, entries), key=lambda each: each.first):
        if joined and window.first <= joined[-1].last:
            joined[-1] = _Window(joined[-1].first, max(joined[-1].last, window.last))
        else:
            joined.append(window)
    return joined
