"""When a message goes out, and until when it may."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pendulum

from airflow_provider_8x8.api.models import MAX_SCHEDULED_AHEAD


class PastTimeError(ValueError):
    """
    A time that had to be one to come.

    :ivar moment: the time
    """

    def __init__(self, text: str, moment: datetime) -> None:
        super().__init__(text)
        self.moment = moment


def parse_time(name: str, value: Any, mask: Callable[[str], str] = str) -> datetime:
    """
    Return a point in time from a datetime or ISO 8601 text.

    :param mask: takes out of the value what may not be shown, where it is none
    :raises ValueError: it is neither, or has no offset from UTC
    """
    moment = value
    if isinstance(value, str):
        moment = _parsed(value.strip())
    if not isinstance(moment, datetime):
        said = mask(repr(value))
        raise ValueError(f"{name} is {said}; expected a datetime, or ISO 8601 with an offset such as +08:00 or Z")
    if moment.utcoffset() is None:
        # In words, since the digits of a date alone could be those of a phone number, and would be masked.
        said = f"{moment:%B %d %Y at %Hh%M}"
        raise ValueError(f"{name} is {said}, without an offset from UTC; expected one such as +08:00 or Z")
    # pendulum's and pandas' own classes are datetimes that msgspec does not take.
    return datetime.fromisoformat(moment.isoformat(timespec="milliseconds"))


def _parsed(text: str) -> Any:
    """Return what ISO 8601 text stands for, which may be no point in time; None if it is not such text."""
    if text == "now":  # which pendulum takes, and which is another time in each try
        return None
    try:
        return pendulum.parse(text, tz=None, exact=True)
    except Exception:  # noqa: BLE001  # what looks like a span of two times fails in the midst of pendulum's arithmetic
        return None


def check_times(scheduled: datetime | None, expiry: datetime | None, now: datetime | None = None) -> None:
    """
    Check when a message shall go out and until when it may.

    :param now: what is past is past by this; by default the clock's time
    :raises PastTimeError: ``scheduled`` or ``expiry`` is past
    :raises ValueError: ``scheduled`` is more than 7 days ahead, or ``expiry`` is before it
    """
    now = now or datetime.now(UTC)
    for name, moment in (("scheduled", scheduled), ("expiry", expiry)):
        if moment is not None and moment <= now:
            raise PastTimeError(f"{name} is {moment.isoformat()}, which is past; expected a time to come", moment)
    if scheduled is not None and scheduled > now + MAX_SCHEDULED_AHEAD:
        raise ValueError(
            f"scheduled is {scheduled.isoformat()}; 8x8 takes at most {MAX_SCHEDULED_AHEAD / timedelta(days=1):g} "
            "days ahead"
        )
    check_order(scheduled, expiry)


def check_order(scheduled: datetime | None, expiry: datetime | None) -> None:
    """
    Check that a message is not dropped before it goes out.

    :raises ValueError: ``expiry`` is not after ``scheduled``
    """
    if scheduled is not None and expiry is not None and expiry <= scheduled:
        raise ValueError(f"expiry is {expiry.isoformat()}; expected a time after scheduled, {scheduled.isoformat()}")
