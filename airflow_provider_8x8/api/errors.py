"""
What a failed call to 8x8 means: never sent, refused, or unknown.

8x8 deduplicates nothing, so the one question about a failed POST is whether it may be sent again:

=========================================================================  ==========================
seen                                                                       raised
=========================================================================  ==========================
no byte of the body was handed to the socket                               :class:`NeverSentError`
429                                                                        :class:`RateLimitedError`
400, 401, 403, 404, 410, 422 or 426 with 8x8's error envelope              :class:`RefusedError`
all else: a timeout or a lost connection once the body has begun, any      :class:`UnknownOutcomeError`
5xx, 408, a redirect, a 4xx without the envelope, an answer that is cut
off or is not what 8x8's schema says
=========================================================================  ==========================

Source: 8x8's pages `API error codes <https://developer.8x8.com/connect/reference/api-error-codes>`__ and `API rate
limiting <https://developer.8x8.com/connect/docs/api-rate-limiting>`__.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import msgspec

from airflow_provider_8x8.api.advice import with_advice
from airflow_provider_8x8.api.masking import quotable
from airflow_provider_8x8.api.models import ErrorEnvelope, decode

LONGEST_RETRY_AFTER = 366 * 86_400.0
"""Seconds: a ``Retry-After`` that asks for more, in however many digits, counts as this."""

TOO_MANY_REQUESTS = 429

_REFUSALS = frozenset({400, 401, 403, 404, 410, 422, 426})
# As 8x8 writes them. Anything else that stands in their place may be a phone number.
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_SECONDS = re.compile(r"\s*[0-9]+(\.[0-9]*)?\s*(,\s*[0-9]+(\.[0-9]*)?\s*)*")


# What 8x8 says where key, sub-account and region do not belong together.
_NOT_YOURS = frozenset({401, 403})
_NOT_YOURS_CODES = frozenset({1001, 1200, 1201})
# Refusals that are over after a while: an interval that is to be kept, an error of 8x8's own.
_PASSING_CODES = frozenset({1400, 2000})
# What servers say to who speaks plain HTTP to them: nginx, Apache, and those written in Go.
_WANTS_TLS = re.compile(rb"plain HTTP|HTTP request to an HTTPS server")


class EightByEightError(Exception):
    """
    A call to 8x8 failed. The text holds neither the API key nor a phone number.

    :ivar advice: what to do where the connection may be at fault; ``{connection}`` stands for it
    :ivar connection: what the client was made from, to be named there
    """

    advice: str = ""
    connection: str = "the client"

    @property
    def may_go_better(self) -> bool:
        """Whether another try may do better, where no row is the cause."""
        return True

    @property
    def reason(self) -> str:
        """What has failed, on one line."""
        return super().__str__()

    def __str__(self) -> str:
        return with_advice(self.reason, self.advice.replace("{connection}", self.connection))


class NeverSentError(EightByEightError):
    """The request never left this machine: sending it again cannot send it twice."""


class UnknownOutcomeError(EightByEightError):
    """No usable answer: 8x8 may have done what was asked, or not. A POST must not be repeated."""


class RefusedError(EightByEightError):
    """
    8x8 answered that it did not do what was asked.

    :param http_status: the HTTP status of the answer
    :param code: 8x8's own code, see `API error codes
        <https://developer.8x8.com/connect/reference/api-error-codes>`__; None if it gave none
    :param description: 8x8's message, phone numbers masked; at most 300 characters
    :param error_id: the id of this very failure, which 8x8's support asks for; empty if 8x8 gave none
    """

    def __init__(self, http_status: int, code: int | None = None, description: str = "", error_id: str = "") -> None:
        super().__init__(http_status, code, description, error_id)
        self.http_status = http_status
        self.code = code
        self.description = description
        self.error_id = error_id
        if http_status in _NOT_YOURS or code in _NOT_YOURS_CODES:
            self.advice = (
                "Check the API key, the sub-account id and the region of {connection}: a key is good for the "
                "sub-accounts of its own account only, and an account lives in one region"
            )

    @property
    def may_go_better(self) -> bool:
        """Whether another try may do better, where no row is the cause: what 8x8 refuses for a while only."""
        return self.code in _PASSING_CODES

    @property
    def reason(self) -> str:
        """What 8x8 said, on one line."""
        details = [f"HTTP {self.http_status}"]
        if self.code is not None:
            details.append(f"code {self.code}")
        if self.error_id:
            details.append(f"error id {self.error_id}")
        said = self.description or "no reason given"
        return f"8x8 refused the request: {said} ({', '.join(details)})"


class RateLimitedError(RefusedError):
    """
    8x8 rejected the request unprocessed because too many came (429): it may be sent again later.

    :ivar retry_after: seconds that 8x8 asked to wait, at most :data:`LONGEST_RETRY_AFTER`, or None if it did not say
    :ivar retry_at: when they are over, in UTC, or None
    """

    retry_after: float | None = None
    retry_at: datetime | None = None

    @property
    def may_go_better(self) -> bool:
        """Always: 8x8 takes it later."""
        return True

    @property
    def reason(self) -> str:
        """What 8x8 said, and until when it asks to wait."""
        if self.retry_after is None:
            return super().reason
        until = "" if self.retry_at is None else f", until {self.retry_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
        return f"{super().reason}; it asks to wait {self.retry_after:.0f} s{until}"


def error_from_answer(http_status: int, headers: Mapping[str, str], body: bytes) -> EightByEightError:
    """Return the error that an unexpected answer means. Neither its headers nor its body need make sense."""
    try:
        envelope: ErrorEnvelope | None = decode(body, ErrorEnvelope)
    except msgspec.MsgspecError:
        envelope = None
    if http_status == TOO_MANY_REQUESTS:
        rate_limited = RateLimitedError(http_status, *_details(envelope))
        rate_limited.retry_after = parse_retry_after(headers.get("Retry-After"))
        if rate_limited.retry_after is not None:
            rate_limited.retry_at = datetime.now(UTC) + timedelta(seconds=rate_limited.retry_after)
        return rate_limited
    if http_status in _REFUSALS and envelope is not None:
        return RefusedError(http_status, *_details(envelope))
    said = f": {quotable(envelope.message)}" if envelope else ""
    unknown = UnknownOutcomeError(f"8x8 answered HTTP {http_status}{said}; whether it did what was asked is not known")
    if _WANTS_TLS.search(body[:1000]):
        unknown.advice = "The server speaks TLS: write https:// in front of the host of {connection}"
    return unknown


def parse_retry_after(value: str | None) -> float | None:
    """
    Return the seconds that a ``Retry-After`` header asks for, 0 to :data:`LONGEST_RETRY_AFTER`.

    :param value: seconds, also with a fraction; a date (one that is over asks for nothing); or several of either, when
        the header came more than once: the longest time counts. Whatever is neither, such as ``-1``, is None.
    """
    if value is None:
        return None
    if _SECONDS.fullmatch(value):
        seconds = max(map(float, value.split(",")))
    else:
        moments = [moment for moment in map(_moment, _dates(value)) if moment is not None]
        if not moments:
            return None
        seconds = (max(moments) - datetime.now(UTC)).total_seconds()
    return min(max(0.0, seconds), LONGEST_RETRY_AFTER)


def _dates(value: str) -> list[str]:
    # A comma also stands behind the day of the week.
    return re.split(r"(?<=GMT)\s*,", value)


def _moment(date: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(date)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)  # a year of twenty digits is a date, too
    except (ValueError, TypeError, IndexError):
        return None


def _details(envelope: ErrorEnvelope | None) -> tuple[int | None, str, str]:
    if envelope is None:
        return None, "", ""
    error_id = envelope.error_id
    return envelope.code, quotable(envelope.message), error_id if _UUID.fullmatch(error_id) else quotable(error_id)
