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

DEFAULT_RECONCILE_TIMEOUT = timedelta(minutes=15)
"""How long a try waits for 8x8's logs."""

DEFAULT_LOG_SETTLE_TIME = timedelta(minutes=10)
"""How much later than younger messages a message may show in 8x8's logs."""

SEND_WITHIN = 30.0
"""Seconds from an entry's beginning until the last byte of its request must be out."""

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
class Settings:
    """
    How a campaign is sent.

    :ivar survey_id: which survey
    :ivar batch_size: messages in one batch, 1 to 10,000
    :ivar client_batch_id_prefix: at most 8 letters, digits, hyphens, underscores and dots in front of every client
        batch id
    :ivar max_messages: more sendable rows than this, and nothing is sent at all
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
    on_invalid: OnInvalid = OnInvalid.SKIP
    on_unknown: OnUnknown = OnUnknown.FAIL
    reconcile_timeout: timedelta = DEFAULT_RECONCILE_TIMEOUT
    longest_wait: timedelta = DEFAULT_RECONCILE_TIMEOUT
    log_settle_time: timedelta = DEFAULT_LOG_SETTLE_TIME
    canary_destination: str | None = None
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
