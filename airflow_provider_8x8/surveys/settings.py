"""How a campaign is sent, and on whose behalf."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal, NamedTuple

from airflow_provider_8x8.api.advice import with_advice
from airflow_provider_8x8.api.models import MAX_BATCH_SIZE

MAX_CLIENT_BATCH_ID_PREFIX_LENGTH = 8

LONGEST_DURATION = timedelta(days=30)
"""What can be asked for of whatever is waited for."""

DEFAULT_RECONCILE_TIMEOUT = timedelta(minutes=15)
"""How long a try waits for 8x8's logs."""

DEFAULT_LOG_SETTLE_TIME = timedelta(minutes=10)
"""How much later than younger messages a message may show in 8x8's logs."""

SEND_WITHIN = 30.0
"""Seconds from an entry's beginning until the last byte of its request must be out."""

DEFAULT_BRAKE_AFTER = 500
"""Rows over which a share has to be passed, so that sending stops before the end of the source."""

TOO_MANY_REJECTED = "8x8 rejected more than max_rejected={limit} messages, {count} of {total}"
TOO_MANY_INVALID = "The source has more than max_invalid={limit} invalid rows, {count} of {total}"

Said = Literal["accepted", "not_accepted"]
"""What a person can say of a batch."""

BEFORE_TRY = "before try "
"""With a try's number in place of a client batch id: what the tries before it may have sent that is entered nowhere."""


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
class Limits:
    """
    How much may go wrong: once more has, no batch is begun any more, and the task fails for good.

    What is counted is the same while sending and at the end. Of **rejected** messages, those of all tries of this task
    instance; their share is that of the messages that 8x8 has accepted or rejected. Of **invalid** rows, those of one
    reading of the source; their share is that of the invalid rows and of those that are this task instance's to send,
    or were sent by it. Duplicates, and rows that another run of the campaign has, are in neither.

    :ivar max_rejected: how many messages 8x8 may reject, or as a float which share of them; None for any
    :ivar max_invalid: how many rows may be invalid, or as a float which share of them; None for any
    :ivar brake_after: over how many a share has to be passed, so that sending stops before the end of the source
    """

    max_rejected: float | None = None
    max_invalid: float | None = None
    brake_after: int = DEFAULT_BRAKE_AFTER

    def passed(self, *, accepted: int, rejected: int, invalid: int, sendable: int, sample: int = 1) -> str | None:
        """
        Say which limit is passed, None if none is.

        :param accepted: messages that 8x8 has accepted
        :param rejected: messages that it has rejected
        :param invalid: invalid rows
        :param sendable: rows that are this task instance's to send, or were sent by it
        :param sample: a share of fewer than these says nothing yet
        """
        if _is_passed(self.max_rejected, rejected, accepted + rejected, sample):
            return TOO_MANY_REJECTED.format(limit=self.max_rejected, count=rejected, total=accepted + rejected)
        if _is_passed(self.max_invalid, invalid, invalid + sendable, sample):
            return TOO_MANY_INVALID.format(limit=self.max_invalid, count=invalid, total=invalid + sendable)
        return None


def _is_passed(limit: float | None, count: int, total: int, sample: int) -> bool:
    if limit is None or not count:
        return False
    is_share = isinstance(limit, float)
    if is_share:
        return total >= sample and count / total > limit  # not count > limit * total: 0.57 * 100 is less than 57
    return count > limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """
    How a campaign is sent.

    :ivar survey_id: which survey
    :ivar batch_size: messages in one batch, 1 to 10,000
    :ivar client_batch_id_prefix: at most 8 letters, digits, hyphens, underscores and dots in front of every client
        batch id
    :ivar max_messages: more sendable rows than this, and nothing is sent at all
    :ivar limits: how much may go wrong
    :ivar first_batch_size: so many messages are sent first, and the others once their answer was judged; None for none
    :ivar on_invalid: ``fail``: one invalid row, and nothing is sent at all
    :ivar on_unknown: what to do about a batch that stays unknown
    :ivar reconcile_timeout: how long to wait for 8x8's logs
    :ivar longest_wait: how long to wait, all in all, before a batch that 8x8 has nothing of is sent again
    :ivar log_settle_time: how much later than younger messages a message may show in 8x8's logs
    :ivar canary_destination: a number of the team's own, see :mod:`~airflow_provider_8x8.surveys.sending.reconcile`
    :ivar settled_batches: by client batch id, what a person has seen of a batch in 8x8's portal
    :ivar retry_delay: how long after this try another one begins at the earliest, None if that is not known
    :ivar deployment: which Airflow this is, None if that is not known
    :ivar not_after: no batch is begun later than this
    :ivar send_within: seconds from the beginning of an entry until the last byte of its request must be out
    """

    survey_id: str
    batch_size: int = MAX_BATCH_SIZE
    client_batch_id_prefix: str = ""
    max_messages: int | None = None
    limits: Limits = field(default_factory=Limits)
    first_batch_size: int | None = None
    on_invalid: OnInvalid = OnInvalid.SKIP
    on_unknown: OnUnknown = OnUnknown.FAIL
    reconcile_timeout: timedelta = DEFAULT_RECONCILE_TIMEOUT
    longest_wait: timedelta = DEFAULT_RECONCILE_TIMEOUT
    log_settle_time: timedelta = DEFAULT_LOG_SETTLE_TIME
    canary_destination: str | None = field(default=None, repr=False)
    settled_batches: Mapping[str, Said] = field(default_factory=dict)
    deployment: str | None = None
    retry_delay: timedelta | None = None
    not_after: datetime | None = None
    send_within: float = SEND_WITHIN

    def problem_with_the_hour(self, now: float) -> str | None:
        """Say why no batch may be begun any more, None if one may."""
        if self.not_after is None or now <= self.not_after.timestamp():
            return None
        return with_advice(
            f"it is later than not_after, {self.not_after.isoformat()}: nothing more is sent",
            "To send what is missing all the same, move not_after on and clear the task",
        )


class Run(NamedTuple):
    """On whose behalf is sent: one try of one task instance, in a campaign; None if it is not known how many follow."""

    campaign_id: str
    task_instance: str
    try_number: int = 1
    tries_left: int | None = None
