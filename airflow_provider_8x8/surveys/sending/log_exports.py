"""
Exports of 8x8's message logs: asking for one, waiting for it, and reading it.

8x8 filters them by time only, and does not say which time of a message that is, nor how it treats one that is
scheduled: so a window ends now, or later than anything in question can happen.

Source: 8x8's pages "Log export" and "SMS logs".
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat
from typing import NamedTuple

from airflow_provider_8x8.api.client import EightByEightClient
from airflow_provider_8x8.api.errors import EightByEightError, RefusedError, UnknownOutcomeError
from airflow_provider_8x8.api.models import LogExportRequest, LogLine
from airflow_provider_8x8.surveys.clock import Clock

CLOCK_MARGIN = timedelta(hours=1).total_seconds()
"""Seconds that the clocks of a worker and of 8x8 may differ."""

_JOB_PAUSES = (0.2, 0.5, 1.0, 2.0)
_LONGEST_JOB_PAUSE = 5.0
_LEAST_CALL_SECONDS = 1.0
_LINES_AT_A_TIME = 1_000

_JOB_ENDED = frozenset({"failed", "cancelled", "error"})
_JOB_IS_GONE = frozenset({404, 410})


class Wait(NamedTuple):
    """
    What is to be waited for.

    :ivar until: seconds since 1970
    :ivar job_id: an export: the wait ends when it is over, and at ``until`` in any case
    """

    until: float
    job_id: str | None = None


class LogsAwaited(Exception):  # noqa: N818  # no error: a try may go on once they are there
    """
    8x8's logs are to be waited for, which takes no worker.

    :param wait: what for, and until when
    """

    def __init__(self, wait: Wait) -> None:
        super().__init__(wait)
        self.wait = wait


class JobPoll:
    """
    Asks after an export, a GET at a time; whoever has it waits in between, in whatever way.

    :param client: the sub-account that asked for the export
    :param job_id: 8x8's id of it
    """

    def __init__(self, client: EightByEightClient, job_id: str) -> None:
        self._client = client
        self._job_id = job_id
        self._pauses = chain(_JOB_PAUSES, repeat(_LONGEST_JOB_PAUSE))
        self._problem: EightByEightError | None = None
        self.pause = 0.0
        """Seconds to wait before the next question."""

    @property
    def problem(self) -> EightByEightError:
        """Why there is nothing to be read, if nothing more is asked."""
        return self._problem or UnknownOutcomeError("8x8's log export was not ready in time")

    def ask(self, timeout: float | None = None) -> Sequence[str] | None:
        """
        Return the links to the export's files, None if it is not over.

        :param timeout: seconds for the call, if that is less than the client's own timeout
        :raises EightByEightError: it has failed, or 8x8 does not have it
        """
        self.pause = next(self._pauses)
        try:
            export = self._client.get_log_export(self._job_id, max_tries=1, timeout=timeout)
        except EightByEightError as error:
            if isinstance(error, RefusedError) and error.http_status in _JOB_IS_GONE:
                raise
            self._problem = error  # the job goes on, whatever became of the question
            self.pause = max(self.pause, getattr(error, "retry_after", None) or 0.0)
            return None
        self._problem = None
        if export.status in _JOB_ENDED:
            raise UnknownOutcomeError(f"8x8's log export ended as {export.status}")
        return export.data if export.status in ("succeeded", "empty") else None


class LogExports:
    """
    Exports of one sub-account's logs.

    :param client: the sub-account's
    :param clock: tells the time and waits
    :param stop: set when the try is to end
    """

    def __init__(self, client: EightByEightClient, *, clock: Clock, stop: threading.Event) -> None:
        self._client = client
        self._clock = clock
        self._stop = stop
        self.asked_for = 0
        """How many there were so far."""

    def ask(self, first: float, last: float, by: float) -> str:
        """
        Have 8x8 export its logs of a window of time; return the job's id.

        :param first: seconds since 1970
        :param last: likewise; what is to come is not asked for
        :param by: likewise, when all that has to do with it must be over
        :raises EightByEightError: 8x8 does not, or it is not known whether it does
        """
        # 8x8 describes these as times in whole seconds.
        request = LogExportRequest(
            from_=datetime.fromtimestamp(math.floor(first), UTC),
            to=datetime.fromtimestamp(min(math.ceil(last), math.ceil(self._clock.now())), UTC),
            limit=0,
        )
        self.asked_for += 1
        return self._client.start_log_export(request, max_tries=1, timeout=self._seconds_left(by)).job_id

    def links(self, job_id: str, by: float, *, patience: float = math.inf) -> Sequence[str]:
        """
        Wait for an export, and return the links to its files.

        :param patience: seconds that are waited here; what takes longer is waited for elsewhere
        :raises EightByEightError: it has failed, or is not ready in time
        :raises LogsAwaited: it is not ready yet
        """
        poll = JobPoll(self._client, job_id)
        elsewhere_from = self._clock.now() + patience
        while True:
            links = poll.ask(self._seconds_left(by))
            if links is not None:
                return links
            resumes_at = self._clock.now() + poll.pause
            if self._stop.is_set() or resumes_at > by:
                raise poll.problem
            if resumes_at > elsewhere_from:
                raise LogsAwaited(Wait(by, job_id))
            self._clock.sleep(poll.pause)

    def lines(self, links: Iterable[str], by: float) -> Iterator[LogLine]:
        """
        Yield what an export's files say of each message.

        Only a whole export proves something: what came before an error says nothing of what did not come.

        :raises EightByEightError: it could not be read to its end
        """
        for link in links:
            lines = self._client.read_log_export(link, seconds=self._seconds_left(by))
            for number, line in enumerate(lines):
                if number % _LINES_AT_A_TIME == 0:
                    self._check_time(by)
                yield line

    def _seconds_left(self, by: float) -> float:
        return max(by - self._clock.now(), _LEAST_CALL_SECONDS)

    def _check_time(self, by: float) -> None:
        if self._stop.is_set():
            raise UnknownOutcomeError("8x8's log export was not read to its end, since the task is to end")
        if self._clock.now() > by:
            raise UnknownOutcomeError("8x8's log export could not be read to its end in time")
