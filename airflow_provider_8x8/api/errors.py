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

Source: 8x8's pages "API error codes" and "API rate limiting".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

from airflow_provider_8x8.api.masking import mask_phone_numbers
from airflow_provider_8x8.api.models import ErrorEnvelope

_REFUSALS = frozenset({400, 401, 403, 404, 410, 422, 426})
_TOO_MANY_REQUESTS = 429
_MAX_QUOTED_LENGTH = 300
_decode_envelope = msgspec.json.Decoder(ErrorEnvelope).decode


class EightByEightError(Exception):
    """A call to 8x8 failed. The text holds neither the API key nor a phone number."""


class NeverSentError(EightByEightError):
    """The request never left this machine: sending it again cannot send it twice."""


class UnknownOutcomeError(EightByEightError):
    """No usable answer: 8x8 may have done what was asked, or not. A POST must not be repeated."""


class RefusedError(EightByEightError):
    """
    8x8 answered that it did not do what was asked.

    :param http_status: the HTTP status of the answer
    :param code: 8x8's own code (page "API error codes"), or None if it gave none
    :param description: 8x8's message, phone numbers masked
    :param error_id: what 8x8's support asks for
    """

    def __init__(self, http_status: int, code: int | None = None, description: str = "", error_id: str = "") -> None:
        super().__init__(http_status, code, description, error_id)
        self.http_status = http_status
        self.code = code
        self.description = description
        self.error_id = error_id

    def __str__(self) -> str:
        details = [f"HTTP {self.http_status}"]
        if self.code is not None:
            details.append(f"code {self.code}")
        if self.error_id:
            details.append(f"error id {self.error_id}")
        reason = self.description or "no reason given"
        return f"8x8 refused the request: {reason} ({', '.join(details)})"


class RateLimitedError(RefusedError):
    """
    8x8 rejected the request unprocessed because too many came (429): it may be sent again later.

    :ivar retry_after: seconds that 8x8 asked to wait, or None if it did not say
    """

    retry_after: float | None = None


def error_from_answer(http_status: int, headers: Mapping[str, str], body: bytes) -> EightByEightError:
    """Tell what an answer means that is not the one hoped for."""
    try:
        envelope: ErrorEnvelope | None = _decode_envelope(body)
    except msgspec.MsgspecError:
        envelope = None
    if http_status == _TOO_MANY_REQUESTS:
        rate_limited = RateLimitedError(http_status, *_details(envelope))
        rate_limited.retry_after = parse_retry_after(headers.get("Retry-After"))
        return rate_limited
    if http_status in _REFUSALS and envelope is not None:
        return RefusedError(http_status, *_details(envelope))
    said = f": {mask_phone_numbers(envelope.message)[:_MAX_QUOTED_LENGTH]}" if envelope else ""
    return UnknownOutcomeError(f"8x8 answered HTTP {http_status}{said}; whether it did what was asked is not known")


def parse_retry_after(value: str | None) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for, given in seconds or as a date; None if neither."""
    if value is None:
        return None
    if re.fullmatch(r"[0-9]{1,9}", value.strip()):
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _details(envelope: ErrorEnvelope | None) -> tuple[int | None, str, str]:
    if envelope is None:
        return None, "", ""
    return (
        envelope.code,
        mask_phone_numbers(envelope.message)[:_MAX_QUOTED_LENGTH],
        envelope.error_id[:_MAX_QUOTED_LENGTH],
    )
