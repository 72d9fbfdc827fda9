"""When a message goes out, and until when it may."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pendulum

from airflow_provider_8x8.api.models import MAX_SCHEDULED_AHEAD


def parse_time(name: str, value: Any) -> datetime:
    """
    Return a point in time from a datetime or ISO 8601 text.

    :raises ValueError: it is neither, or has no offset from UTC
    """
    moment = value
    if isinstance(value, str):
        try:
            moment = pendulum.parse(value.strip(), tz=None, exact=True)
        except ValueError:
            moment = None
    if not isinstance(moment, datetime):
        raise ValueError(f"{name} is {value!r}; expected a datetime or ISO 8601 such as 2026-01-31T09:00:00+08:00")
    if moment.utcoffset() is None:
        raise ValueError(f"{name} is {value!s}, without an offset from UTC; expected one such as +08:00 or Z")
    # pendulum's and pandas' own classes are datetimes that msgspec does not take.
    return datetime.fromisoformat(moment.isoformat(timespec="milliseconds"))


def check_times(scheduled: datetime | None, expiry: datetime | None) -> None:
    """
    Check when a message shall go out and until when it may.

    :raises ValueError: ``scheduled`` is past or more than 7 days ahead, or ``expiry`` is past or before it
    """
    now = datetime.now(UTC)
    if scheduled is not None and scheduled <= now:
        raise ValueError(f"scheduled is {scheduled.isoformat()}, which is past; expected a time to come")
    if scheduled is not None and scheduled > now + MAX_SCHEDULED_AHEAD:
        raise ValueError(
            f"scheduled is {scheduled.isoformat()}; 8x8 takes at most {MAX_SCHEDULED_AHEAD / timedelta(days=1):g} "
            "days ahead"
        )
    if expiry is not None and expiry <= (scheduled or now):
        raise ValueError(f"expiry is {expiry.isoformat()}; expected a time after {'scheduled' if scheduled else 'now'}")
