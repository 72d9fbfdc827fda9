"""
Settles batches of unknown outcome from 8x8's logs.

8x8 offers no way to ask after a batch by its client batch id, but an export of its message logs holds that id. A batch
that is in the logs was accepted. One that is not may still come: the logs lag. It counts as not accepted only when

1. the logs hold a **watermark**: a message of ours that was begun at least ``log_settle_time`` after the batch could
   last have been completed (or, if it is scheduled, after its time), and
2. an export that was asked for ``log_settle_time`` after the watermark had been seen still lacks the batch.

That rests on one assumption: 8x8's logs may lag as long as they like, but show a message later than one accepted after
it only by less than ``log_settle_time``, measured between their acceptances or between their appearances.

Source: 8x8's pages "Log export" and "SMS logs"; how far the logs lag is documented nowhere.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat

import msgspec

from airflow_provider_8x8.api.client import EightByEightClient
from airflow_provider_8x8.api.errors import EightByEightError, RefusedError, UnknownOutcomeError
from airflow_provider_8x8.api.models import LogExportRequest, LogLine, SurveyMessage
from airflow_provider_8x8.surveys.clock import Clock
from airflow_provider_8x8.surveys.journal import Entry, EntryState, pack, unpack
from airflow_provider_8x8.surveys.row_keys import RowKeys
from airflow_provider_8x8.surveys.settings import DEFAULT_LOG_SETTLE_TIME, DEFAULT_RECONCILE_TIMEOUT

log = logging.getLogger(__name__)

CLOCK_MARGIN = timedelta(hours=1)
"""How far the clocks of a worker and of 8x8 may differ."""

_PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0)
_LONGEST_PAUSE = 30.0
_JOB_PAUSES = (0.2, 0.5, 1.0, 2.0)
_LONGEST_JOB_PAUSE = 5.0
_JOB_TIMEOUT = 600.0
_REJECTED = "rejected"
_JOB_ENDED = frozenset({"failed", "cancelled", "error"})


@dataclass(frozen=True, slots=True)
class Finding:
    """
    What 8x8's logs tell of one batch.

    :ivar entry: the entry as it now is
    :ivar lines: its log lines by row key
    """

    entry: Entry
    lines: Mapping[bytes, LogLine] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Canary:
    """
    One survey to a number of the team's own, for a watermark where nothing else can be one.

    :ivar survey_id: which survey
    :ivar message: the whole message
    """

    survey_id: str
    message: SurveyMessage


class Reconciler:
    """
    Looks into 8x8's logs for the batches of one try.

    :param client: the sub-account that sent them
    :param row_keys: the campaign's
    :param clock: tells the time and waits
    :param stop: set when the try is to end
    :param settle_time: how much later than younger messages a message may show in the logs
    :param timeout: how long to wait for the logs
    :param canary: what to send, at most once, when nothing else can be the watermark
    """

    def __init__(
        self,
        client: EightByEightClient,
        row_keys: RowKeys,
        *,
        clock: Clock,
        stop: threading.Event,
        settle_time: timedelta = DEFAULT_LOG_SETTLE_TIME,
        timeout: timedelta = DEFAULT_RECONCILE_TIMEOUT,
        canary: Canary | None = None,
    ) -> None:
        self._client = client
        self._row_keys = row_keys
        self._clock = clock
        self._stop = stop
        self._settle_time = settle_time.total_seconds()
        self._timeout = timeout.total_seconds()
        self._canary = canary
        self._canary_begun: float | None = None
        self._watermark_seen: dict[str, float] = {}
        """By client batch id, when an export first held a watermark for the batch."""
        self.problem: str | None = None
        """Why the last look failed, if it did."""

    def settle(
        self,
        wanted: Callable[[], Sequence[Entry]],
        sent: Callable[[], Iterable[Entry]],
        take: Callable[[Finding], None],
        *,
        wait: bool,
    ) -> None:
        """
        Look into the logs until they tell all that is wanted, or the time to wait is over.

        :param wanted: gives the entries of which something is not known, as they now stand
        :param sent: gives the batches of ours that 8x8 has: each may be the watermark
        :param take: gets what is found
        :param wait: look more than once if need be
        """
        ends_at = self._clock.now() + (self._timeout if wait else 0.0)
        for pause in chain(_PAUSES, repeat(_LONGEST_PAUSE)):
            entries = wanted()
            if not entries or self._stop.is_set():
                return
            findings, may_go_better = self._look(entries, list(sent()))
            for finding in findings:
                take(finding)
            entries = wanted()
            left = ends_at - self._clock.now()
            if not entries or left <= 0 or not may_go_better:
                return
            self._send_canary_if_due(entries, list(sent()), ends_at)
            pause = min(pause, left)
            self._log_progress(entries, pause, left)
            self._clock.sleep(pause)

    # one look

    def _look(self, wanted: Sequence[Entry], sent: Sequence[Entry]) -> tuple[list[Finding], bool]:
        """Return what one export tells, and whether another may tell more."""
        asked_at = self._clock.now()
        self.problem = None
        try:
            logs = self._export(wanted, sent)
        except EightByEightError as error:
            self.problem = str(error)
            log.warning("8x8's logs could not be read: %s", error)
            return [], not isinstance(error, RefusedError)
        seen_at = self._clock.now()
        findings = []
        for entry in wanted:
            is_proof = self._is_proof(entry, logs.watermark, asked_at, seen_at)
            finding = _judge(entry, logs.lines.get(entry.client_batch_id), is_proof=is_proof)
            if finding is not None:
                findings.append(finding)
        return findings, True

    def _is_proof(self, entry: Entry, watermark: float | None, asked_at: float, seen_at: float) -> bool:
        """Tell whether an export proves that what it lacks of a batch was not accepted."""
        if watermark is None or watermark < self._from_when_a_watermark_counts(entry):
            return False
        first_seen = self._watermark_seen.setdefault(entry.client_batch_id, seen_at)
        return asked_at >= first_seen + self._settle_time and first_seen < seen_at

    def _from_when_a_watermark_counts(self, entry: Entry) -> float:
        # 8x8 may take what was begun before send_by, and logs a scheduled message perhaps only when it goes out.
        return max(entry.send_by, entry.scheduled or 0.0) + self._settle_time

    def _export(self, wanted: Sequence[Entry], sent: Sequence[Entry]) -> _Logs:
        row_key_of = {entry.client_batch_id: self._row_keys.by_message(entry) for entry in wanted}
        begun = {entry.client_batch_id: entry.begun for entry in sent if entry.accepted_count}
        canary_id = self._canary.message.client_message_id if self._canary and self._canary_begun else None
        logs = _Logs()
        for link in self._links(wanted):
            for line in self._client.read_log_export(link):
                if line.client_batch_id in row_key_of:
                    logs.add(line, row_key_of[line.client_batch_id](line.client_message_id))
                if line.status == _REJECTED:
                    continue
                if canary_id is not None and line.client_message_id == canary_id:
                    logs.mark(self._canary_begun or 0.0)
                elif line.client_batch_id in begun:
                    logs.mark(begun[line.client_batch_id])
        return logs

    def _links(self, wanted: Sequence[Entry]) -> Sequence[str]:
        """Have 8x8 export its logs of the time in question."""
        now = self._clock.now()
        # 8x8 describes these as times in whole seconds.
        first = datetime.fromtimestamp(math.floor(min(entry.begun for entry in wanted)), UTC) - CLOCK_MARGIN
        request = LogExportRequest(from_=first, to=datetime.fromtimestamp(math.ceil(now), UTC), limit=0)
        job = self._client.start_log_export(request)
        for pause in chain(_JOB_PAUSES, repeat(_LONGEST_JOB_PAUSE)):
            export = self._client.get_log_export(job.job_id)
            if export.status in ("succeeded", "empty"):
                return export.data
            if export.status in _JOB_ENDED:
                raise UnknownOutcomeError(f"8x8's log export ended as {export.status}")
            if self._stop.is_set() or self._clock.now() > now + _JOB_TIMEOUT:
                break
            self._clock.sleep(pause)
        raise UnknownOutcomeError("8x8's log export was not ready in time")

    # the canary

    def _send_canary_if_due(self, wanted: Iterable[Entry], sent: Iterable[Entry], ends_at: float) -> None:
        """
        Send the canary if batches are missing that no batch of ours can be the watermark for.

        There is but one: it waits for the youngest of those that it can still prove anything about in this try's time,
        and is not sent if there are none.
        """
        if self._canary is None or self._canary_begun is not None:
            return
        now = self._clock.now()
        youngest = max((entry.begun for entry in sent if entry.accepted_count), default=0.0)
        in_need = [
            counts_from
            for entry in wanted
            if entry.is_open
            and youngest < (counts_from := self._from_when_a_watermark_counts(entry)) <= ends_at - self._settle_time
        ]
        if not in_need or now < max(in_need):
            return
        self._canary_begun = now
        try:
            self._client.send_survey(self._canary.survey_id, self._canary.message)
        except EightByEightError as error:
            log.warning("The canary, which was to show how far 8x8's logs are, failed: %s", error)
        else:
            log.info("Sent the canary, one survey to the team's own number: its log line shows how far the logs are")

    def _log_progress(self, wanted: Sequence[Entry], pause: float, left: float) -> None:
        log.info(
            "Looking for %d batches with %d messages in 8x8's logs: again in %.0f s, for %.0f s at most",
            len(wanted),
            sum(len(entry) for entry in wanted),
            pause,
            left,
        )


@dataclass(slots=True)
class _Logs:
    """
    What one export holds of our batches.

    :ivar lines: by client batch id and row key
    :ivar watermark: when the youngest batch of ours, or the canary, was begun that is in it
    """

    lines: dict[str, dict[bytes, LogLine]] = field(default_factory=dict)
    watermark: float | None = None

    def add(self, line: LogLine, row_key: bytes | None) -> None:
        # A line that names no row of ours still proves that 8x8 has the batch.
        of_batch = self.lines.setdefault(line.client_batch_id, {})
        if row_key is not None and (row_key not in of_batch or line.status != _REJECTED):
            of_batch[row_key] = line

    def mark(self, begun: float) -> None:
        self.watermark = begun if self.watermark is None else max(self.watermark, begun)


def _judge(entry: Entry, lines: Mapping[bytes, LogLine] | None, *, is_proof: bool) -> Finding | None:
    """
    Return what one export tells of one batch, or None if it tells nothing new.

    :param lines: what the export holds of it, None for nothing
    :param is_proof: what the export lacks was not accepted
    """
    if lines is None and not is_proof and (entry.is_open or entry.accepted_count):
        return None
    if lines is None and entry.state is EntryState.PENDING:
        return Finding(msgspec.structs.replace(entry, state=EntryState.NOT_SENT))
    lines = lines or {}
    undecided = unpack(entry.row_keys if entry.state is EntryState.PENDING else entry.unknown_keys)
    missing = [key for key in undecided if key not in lines]
    rejected = [key for key in undecided if key in lines and lines[key].status == _REJECTED]
    settled = msgspec.structs.replace(
        entry,
        state=EntryState.SENT,
        batch_id=entry.batch_id or next((line.batch_id for line in lines.values()), None),
        rejected_keys=entry.rejected_keys + pack(rejected) + (pack(missing) if is_proof else b""),
        unknown_keys=b"" if is_proof else pack(missing),
    )
    if entry.is_open:
        return None if settled == entry else Finding(settled, lines)
    # All is known but the umids, for the report.
    is_whole = is_proof or len(lines) >= settled.accepted_count
    return Finding(entry, lines) if is_whole else None
