"""
A try that waits for 8x8's logs without a worker: what it has to know when it goes on in another process.

What was sent, and what was seen of the logs, is in the journal. Here is what a try keeps to itself: how long it may
wait, which exports it has asked for, and why it sends nothing more. What the rows have come to is not here: once the
wait is over, the source is read again, as another try would read it. So nothing of a row is written down.
"""

from __future__ import annotations

from typing import Any

import msgspec

from airflow_provider_8x8.surveys.outcomes.cause import Cause
from airflow_provider_8x8.surveys.sending.log_exports import Wait
from airflow_provider_8x8.surveys.sending.reconcile import Export
from airflow_provider_8x8.surveys.sending.stopped import SendingStopped


class Waiting(msgspec.Struct, kw_only=True):
    """
    A wait for 8x8's logs; times in seconds since 1970.

    :ivar began: when it began
    :ivar ends_at: when it is over at the latest, however often the try is resumed
    :ivar exports_left: how many more exports may be asked for
    :ivar client_batch_ids: what was waited for
    :ivar looks: how many there were
    :ivar is_over: whether it has come to its end
    """

    began: float
    ends_at: float
    exports_left: int
    client_batch_ids: list[str]
    looks: int = 0
    is_over: bool = False


class Stop(msgspec.Struct, frozen=True, kw_only=True):
    """Why no batch is begun any more; see :class:`~airflow_provider_8x8.surveys.sending.stopped.SendingStopped`."""

    reason: str
    is_final: bool
    is_final_once_settled: bool
    cause: Cause

    @classmethod
    def of(cls, stopped: SendingStopped) -> Stop:
        """Return what makes the same again."""
        return cls(
            reason=str(stopped),
            is_final=stopped.is_final,
            is_final_once_settled=stopped.is_final_once_settled,
            cause=stopped.cause,
        )

    def stopped(self) -> SendingStopped:
        """Return the reason to stop."""
        return SendingStopped(
            self.reason,
            is_final=self.is_final,
            is_final_once_settled=self.is_final_once_settled,
            cause=self.cause,
        )


class Pause(msgspec.Struct, kw_only=True):
    """
    A try between two of its processes. It holds no phone number, no row key and no secret.

    :ivar wait: what for
    :ivar waiting: the wait that this is a part of
    :ivar unread: exports that 8x8 was asked for
    :ivar rows_by_entry: of the batches that are still open, how many rows of the source each holds
    :ivar open_before: the client batch ids of what was open when the try began
    :ivar cancelled_before: the client batch ids of what was cancelled before the try began
    :ivar is_canary_spent: whether the try has sent its canary
    :ivar resends: how often it has sent again what had become unknown
    :ivar stop: why no batch is begun any more, if that is so
    :ivar read_in_vain: how many of the last readings of the source have brought nothing
    :ivar rejected: the first reasons why 8x8 has rejected rows, see
        :class:`~airflow_provider_8x8.surveys.outcomes.summary.Reasons`
    """

    wait: Wait
    waiting: Waiting
    unread: list[Export]
    rows_by_entry: dict[str, int]
    open_before: list[str]
    cancelled_before: list[str]
    is_canary_spent: bool
    resends: int
    stop: Stop | None
    rejected: dict[str, list[int]]
    read_in_vain: int = 0  # 0 in what an older version has written

    def as_builtins(self) -> dict[str, Any]:
        """Return what :meth:`of` takes: nothing that JSON does not know."""
        written: dict[str, Any] = msgspec.to_builtins(self)
        return written

    @classmethod
    def of(cls, written: Any) -> Pause:
        """
        Return what :meth:`as_builtins` has written.

        :raises ValueError: another version has, or nobody
        """
        return msgspec.convert(written, cls)
