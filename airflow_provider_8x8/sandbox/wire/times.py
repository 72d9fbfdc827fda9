"""Times on the wire and in the store: ISO 8601, in UTC wherever the sandbox writes them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_LOG_EXPORT_TIME = re.compile(r"\d{4}-\d\d-\d\d(?:[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)?)?", re.ASCII)


def to_text(moment: datetime) -> str:
    """Return a time as text in UTC, to the microsecond. Such texts sort as their times do."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def from_date_time(text: str) -> datetime:
    """
    Return the time of an OpenAPI ``date-time``: RFC 3339, with an offset.

    :raises ValueError: it is none
    """
    if not _DATE_TIME.fullmatch(text):
        raise ValueError(text)
    return datetime.fromisoformat(text.upper())


def from_log_export_time(text: str) -> datetime:
    """
    Return a time as the log export takes it: a date, or a time that is UTC where it has no offset.

    :raises ValueError: it is none
    """
    if not _LOG_EXPORT_TIME.fullmatch(text):
        raise ValueError(text)
    moment = datetime.fromisoformat(text.upper())
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
