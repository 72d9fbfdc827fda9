"""
Follows messages that were sent on their way to the phones, by one export of 8x8's logs after another.

What is to be waited for is handed back, so that whoever follows may wait as it likes: in a worker, or in a trigger. All
that has to be known after a wait is in the :class:`Progress`, which can be written down.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from airflow_provider_8x8.api.client import EightByEightClient
from airflow_provider_8x8.api.errors import EightByEightError, RateLimitedError
from airflow_provider_8x8.surveys.clock import Clock
from airflow_provider_8x8.surveys.outcomes.deliveries import Deliveries, DeliveryReport
from airflow_provider_8x8.surveys.outcomes.sent_batches import SentBatches
from airflow_provider_8x8.surveys.sending.log_exports import CLOCK_MARGIN, LogExports, Wait

log = logging.getLogger(__name__)

LONGEST_EXPORT = 600.0
"""Seconds that an export may take until it is ready, and again until it is read."""


class Job(msgspec.Struct, frozen=True):
    """
    An export that 8x8 was asked for and that was not read yet; times in seconds since 1970.

    :ivar job_id: 8x8's
    :ivar asked_at: when
    :ivar first: messages that were made from then on
    """

    job_id: str
    asked_at: float
    first: float


class Progress(msgspec.Struct, kw_only=True):
    """
    How far the following is; times in seconds since 1970. It holds no phone number and no secret.

    :ivar ends_at: when the time is over
    :ivar next_look: when the next export is to be asked for
    :ivar job: what was asked for, and was not read yet
    :ivar is_taken_over: whether another try has asked for it
    :ivar report: what the last look has seen
    :ivar problem: why the last look failed, if it did
    :ivar is_hopeless: whether another try would fail likewise
    :ivar table_problem: why what the last look has seen could not be written into the outcome table, if it could not
    """

    ends_at: float
    next_look: float
    job: Job | None = None
    is_taken_over: bool = False
    report: DeliveryReport | None = None
    problem: str | None = None
    is_hopeless: bool = False
    table_problem: str | None = None

    def as_builtins(self) -> dict[str, Any]:
        """Return what :meth:`of` takes: nothing that JSON does not know."""
        written: dict[str, Any] = msgspec.to_builtins(self)
        return written

    @classmethod
    def of(cls, written: Any) -> Progress:
        """Return what :meth:`as_builtins` has written."""
        return msgspec.convert(written, cls)


class Follower:
    """
    Follows the messages of some batches.

    :param client: the sub-account that sent them
    :param batches: which; at least one
    :param since: seconds since 1970, before which none of them was sent
    :param final_share: of the messages: when so many are final, the following ends
    :param poll_interval: seconds between two exports
    :param clock: tells the time and waits
    :param stop: set when the try is to end
    :param write: is given what each export says, and when 8x8 was asked for it; returns why that could not be written
    """

    def __init__(
        self,
        client: EightByEightClient,
        batches: SentBatches,
        *,
        since: float,
        final_share: float,
        poll_interval: float,
        clock: Clock,
        stop: threading.Event,
        write: Callable[[Deliveries, float], str | None] | None = None,
    ) -> None:
        self._write = write
        self._exports = LogExports(client, clock=clock, stop=stop)
        self._batches = batches
        self._first = since - CLOCK_MARGIN
        self._final_share = final_share
        self._poll_interval = poll_interval
        self._clock = clock
        self._stop = stop

    def begin(self, timeout: float, left: Job | None) -> Progress:
        """
        Return the beginning.

        :param timeout: seconds until the time is over
        :param left: an export that an earlier try has asked for, and left
        """
        now = self._clock.now()
        progress = Progress(ends_at=now + timeout, next_look=now)
        if left is not None and left.first <= self._first and now < left.asked_at + LONGEST_EXPORT:
            log.info("An earlier try has asked 8x8 for its logs: they are read")
            progress.job, progress.is_taken_over = left, True
        return progress

    def ask(self, progress: Progress) -> Wait | None:
        """
        Ask for an export if one is due; return what is to be waited for before :meth:`read`, None if all is over.

        :param progress: is changed
        """
        now = self._clock.now()
        if progress.job is None and progress.next_look <= now:
            try:
                job_id = self._exports.ask(self._first, now, now + LONGEST_EXPORT)
            except EightByEightError as error:
                self._note(progress, error)
                progress.is_hopeless = not error.may_go_better
                if progress.is_hopeless or self._stop.is_set() or now >= progress.ends_at:
                    return None
            else:
                progress.job, progress.is_taken_over = Job(job_id, now, self._first), False
        if progress.job is None:
            # None: 8x8 asks to wait for longer than there is time.
            return Wait(progress.next_look) if progress.next_look <= progress.ends_at else None
        return Wait(progress.job.asked_at + LONGEST_EXPORT, progress.job.job_id)

    def read(self, progress: Progress) -> bool:
        """
        Read the export that was waited for, if there is one; tell whether all is over.

        A look that was asked for when the time was over is the last one.

        :param progress: is changed
        """
        job = progress.job
        if job is None:
            return self._stop.is_set()
        progress.job = None
        is_last = self._stop.is_set() or job.asked_at >= progress.ends_at
        seen_before = None if progress.report is None else progress.report.messages_seen
        deliveries = Deliveries(self._batches)
        try:
            links = self._exports.links(job.job_id, job.asked_at + LONGEST_EXPORT)
            deliveries.add(self._exports.lines(links, self._clock.now() + LONGEST_EXPORT))
        except EightByEightError as error:
            self._note(progress, error)
            if progress.is_taken_over:
                progress.next_look = min(self._clock.now(), progress.ends_at)
            return is_last
        as_of = datetime.fromtimestamp(job.asked_at, UTC).isoformat(timespec="seconds")
        report = deliveries.report(as_of)
        if self._write is not None:
            progress.table_problem = self._write(deliveries, job.asked_at)
        progress.problem = None
        progress.next_look = self._next_look(progress)
        if report.is_settled(self._final_share, seen_before):
            progress.report = report
            return True
        progress.report = msgspec.structs.replace(report, timed_out=True)  # if nothing else is seen
        log.info("%s", report.in_words)
        return is_last

    def wait(self, wait: Wait) -> None:
        """Wait here. An export is waited for where it is read."""
        if wait.job_id is None:
            self._clock.sleep(max(0.0, wait.until - self._clock.now()))

    def _next_look(self, progress: Progress) -> float:
        return min(self._clock.now() + self._poll_interval, progress.ends_at)

    def _note(self, progress: Progress, error: EightByEightError) -> None:
        log.warning("8x8's logs could not be read: %s", error)
        progress.problem = str(error)
        progress.next_look = self._next_look(progress)
        if isinstance(error, RateLimitedError) and error.retry_after is not None:
            progress.next_look = max(progress.next_look, self._clock.now() + error.retry_after)
