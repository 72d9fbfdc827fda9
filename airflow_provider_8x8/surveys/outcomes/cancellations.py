"""What became of batches that were to be cancelled, as far as 8x8 has said, and what that makes of a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from airflow_provider_8x8.api.advice import with_advice
from airflow_provider_8x8.surveys.outcomes.sent_batches import SentBatches
from airflow_provider_8x8.surveys.outcomes.verdict import Verdict

TOO_LATE = "Not everything was cancelled: 8x8 has cancelled {cancelled}"
IS_NOT_KNOWN = "Whether everything was cancelled is not known: 8x8 has cancelled {cancelled} for sure"

WITHOUT_ID = (
    "8x8's id of {batches} is not known, so {it} could not be cancelled, and may go out: {of} {client_batch_ids}"
)

_NAMED = 20


class CancelOutcome(StrEnum):
    """What is known of one batch."""

    CANCELLED = "cancelled"
    """8x8 has cancelled all that it has accepted; where nobody knows how much that is, something."""
    PARTLY_CANCELLED = "partly_cancelled"
    NOT_CANCELLED = "not_cancelled"
    UNKNOWN = "unknown"
    """8x8 was asked, or may have been, and what it answered is not known."""


@dataclass(slots=True)
class Cancellation:
    """
    What is known of the cancelling of one batch.

    :ivar accepted: how many messages 8x8 has accepted, or can have; None if that is not known
    :ivar cancelled: how many it has cancelled: the most that one answer of its says
    :ivar is_unanswered: it was asked, or may have been, and that answer is not known
    :ivar is_free: whether the journal has set the batch's row keys free
    :ivar reason: why not all was cancelled, phone numbers masked
    :ivar may_go_better: whether asking again may do better
    """

    batch_id: str
    accepted: int | None = None
    cancelled: int = 0
    is_unanswered: bool = False
    is_free: bool = False
    reason: str | None = None
    may_go_better: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether 8x8 has said that it cancelled all that it has accepted."""
        return self.is_free or self.cancelled == self.accepted

    @property
    def outcome(self) -> CancelOutcome:
        """What is known of it."""
        if self.is_whole:
            return CancelOutcome.CANCELLED
        # More cancelled than accepted: one of the two counts is wrong.
        if self.is_unanswered or (self.accepted is not None and self.cancelled > self.accepted):
            return CancelOutcome.UNKNOWN
        if not self.cancelled:
            return CancelOutcome.NOT_CANCELLED
        return CancelOutcome.CANCELLED if self.accepted is None else CancelOutcome.PARTLY_CANCELLED

    def as_builtins(self) -> dict[str, Any]:
        """Return what the result has of it."""
        is_whole = self.outcome is CancelOutcome.CANCELLED
        return {
            "batch_id": self.batch_id,
            "outcome": self.outcome.value,
            "accepted_count": self.accepted,
            "cancelled_count": self.cancelled,
            "is_free": self.is_free,
            "reason": None if is_whole else self.reason,
        }


class CancelReport(msgspec.Struct, frozen=True, kw_only=True):
    """
    What became of batches that were to be cancelled; no phone number is in it.

    :ivar campaign_id: the campaign whose journal was told, None if none was
    :ivar batch_ids: 8x8's ids of the batches
    :ivar accepted_count: how many messages 8x8 has accepted in them, or can have; None if that is not known
    :ivar cancelled_count: how many it has cancelled, as far as it has said
    :ivar freed_count: how many of these the journal has set free to be sent again; None if there is no journal
    :ivar cancelled_batch_ids: the batches that 8x8 has cancelled as a whole, as far as is known
    :ivar not_cancelled_batch_ids: those of which it has cancelled nothing, or not all
    :ivar unknown_batch_ids: those of which an answer was lost, and with it whether they are cancelled
    :ivar batches: each with ``batch_id``, ``outcome``, ``accepted_count``, ``cancelled_count``, ``is_free`` and
        ``reason``
    """

    campaign_id: str | None = None
    batch_ids: list[str] = []
    accepted_count: int | None = None
    cancelled_count: int = 0
    freed_count: int | None = None
    cancelled_batch_ids: list[str] = []
    not_cancelled_batch_ids: list[str] = []
    unknown_batch_ids: list[str] = []
    batches: list[dict[str, Any]] = []

    @property
    def in_words(self) -> str:
        """On one line."""
        free = f"; {self.freed_count} are free to be sent again" if self.freed_count else ""
        return f"8x8 has cancelled {_of(self.cancelled_count, self.accepted_count)}{free}"


def cancel_report(
    cancellations: Sequence[Cancellation], *, accepted: int | None = None, campaign_id: str | None = None
) -> CancelReport:
    """
    Return what became of batches.

    :param accepted: how many messages 8x8 has accepted in all of them, where it is not known of each
    :param campaign_id: the campaign that they are of, if that was given
    """
    counts = [each.accepted for each in cancellations if each.accepted is not None]
    if len(counts) == len(cancellations):
        accepted = sum(counts)

    def ids(*outcomes: CancelOutcome) -> list[str]:
        return [each.batch_id for each in cancellations if each.outcome in outcomes]

    return CancelReport(
        campaign_id=campaign_id,
        batch_ids=[each.batch_id for each in cancellations],
        accepted_count=accepted,
        cancelled_count=sum(each.cancelled for each in cancellations),
        freed_count=None if campaign_id is None else sum(each.accepted or 0 for each in cancellations if each.is_free),
        cancelled_batch_ids=ids(CancelOutcome.CANCELLED),
        not_cancelled_batch_ids=ids(CancelOutcome.PARTLY_CANCELLED, CancelOutcome.NOT_CANCELLED),
        unknown_batch_ids=ids(CancelOutcome.UNKNOWN),
        batches=[each.as_builtins() for each in cancellations],
    )


def judge_cancelling(
    report: CancelReport, cancellations: Sequence[Cancellation], batches: SentBatches | None = None
) -> Verdict:
    """
    Judge what became of batches: it is a success if nothing is known to be left of them.

    :param batches: those that were to be cancelled, of some of which 8x8's id may not be known
    """
    left = [each for each in cancellations if each.outcome is not CancelOutcome.CANCELLED]
    are_fewer = report.accepted_count is not None and report.cancelled_count != report.accepted_count
    without_id = _without_id(batches or SentBatches())
    if not left and not are_fewer and without_id is None:
        return Verdict.success()
    is_not_known = report.unknown_batch_ids or (without_id is not None and not are_fewer)
    heading = IS_NOT_KNOWN if is_not_known and not report.not_cancelled_batch_ids else TOO_LATE
    reason = heading.format(cancelled=_of(report.cancelled_count, report.accepted_count))
    said = [f"Batch {each.batch_id}: {_in_words(each)}" for each in left[:_NAMED]]
    others = f"and {len(left) - _NAMED} other batches" if len(left) > _NAMED else None
    advice = _advice(report)
    fail = Verdict.fail if any(each.may_go_better for each in left) else Verdict.fail_for_good
    return fail(with_advice(reason, *said, others, without_id, *advice))


def _without_id(batches: SentBatches) -> str | None:
    """Say which batches could not be asked for; None if there are none."""
    count, names = batches.without_id, batches.client_ids
    if not count:
        return None
    more = ", ..." if len(names) > _NAMED else ""
    return WITHOUT_ID.format(
        batches="one batch" if count == 1 else f"{count} batches",
        it="it" if count == 1 else "they",
        of="our client batch id is" if len(names) == 1 else "our client batch ids are among",
        client_batch_ids=", ".join(names[:_NAMED]) + more,
    )


def _in_words(cancellation: Cancellation) -> str:
    said = f"{cancellation.outcome.replace('_', ' ')}, {_of(cancellation.cancelled, cancellation.accepted)}"
    return said if cancellation.reason is None else f"{said}: {cancellation.reason}"


def _of(cancelled: int, accepted: int | None) -> str:
    of = "" if accepted is None else f" of {accepted}"
    return f"{cancelled}{of} message{'' if (cancelled if accepted is None else accepted) == 1 else 's'}"


def _advice(report: CancelReport) -> list[str]:
    advice = []
    if report.unknown_batch_ids:
        advice.append(
            "8x8's API tells of no batch whether it is cancelled: look into 8x8's portal, or after its time into a "
            "delivery report"
        )
    if report.campaign_id is not None:
        advice.append("In the journal the rows of these batches stay held: no task of the campaign sends them again")
    return advice
