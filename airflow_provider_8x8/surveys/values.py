"""What comes out of a warehouse, as what goes to 8x8: text and numbers."""

from __future__ import annotations

import math
import re
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from numbers import Integral, Real
from typing import Any
from uuid import UUID

# Beyond it, JSON readers that keep numbers as doubles change the last digits: an order number must not change.
MAX_EXACT_NUMBER = 2**53 - 1

_PLAIN = frozenset({str, int})  # of which nearly all values are: asked for first, since isinstance is slow to say no
_DECORATION = re.compile(r"[\s().\-\u00ad\u200b-\u200f\u2010-\u2015\u202a-\u202e\u2060-\u2069\ufeff]")

_FLOAT_END = re.compile(r"(?<=\d{4})\.0+\Z")


class UnusableValueError(ValueError):
    """A value that cannot become text or a number; its text says why, without the value."""


def is_missing(value: Any) -> bool:
    """Tell whether a value is NULL: None, or a NaN, which is how DataFrames say it."""
    if value is None:
        return True
    if type(value) in _PLAIN:
        return False
    if isinstance(value, float):
        return math.isnan(value)
    return isinstance(value, Decimal) and value.is_nan()


def to_variable(value: Any) -> str | int | float:
    """
    Return a template variable: 8x8's examples have strings and numbers.

    Decimals keep all their digits as text, dates and times become ISO 8601, a bool ``true`` or ``false``.

    :raises UnusableValueError: the value is neither text, number, date nor time
    """
    kind = type(value)
    if kind is str:
        return _encodable(value)
    if kind is int and -MAX_EXACT_NUMBER <= value <= MAX_EXACT_NUMBER:
        return int(value)
    if isinstance(value, Real) and not isinstance(value, Integral):
        number = float(value)
        if math.isfinite(number):
            return number
        raise UnusableValueError("is an infinite number")
    return to_text(value)


def to_text(value: Any) -> str:
    """
    Return a value as text that is the same whatever type the driver gave it: 5, ``"5"`` and ``Decimal("5")`` agree.

    :raises UnusableValueError: the value is neither text, number, date nor time
    """
    if type(value) is int:
        return str(value)
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str):
        return _encodable(str(value))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Decimal) and value.is_finite():
        return f"{value:f}"
    if isinstance(value, Real) and math.isfinite(float(value)):
        number = float(value)
        return str(int(number)) if number.is_integer() else repr(number)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    raise UnusableValueError(f"is of type {type(value).__name__}; expected text, a number, a date or a time")


def to_phone_number(value: Any) -> str:
    """
    Return a phone number without what people put between its digits. It may still not be one.

    A number that went through a float column and came back as ``6512345678.0`` loses that end, not its dot: the 0
    would make it somebody else's number.
    """
    text = _FLOAT_END.sub("", to_text(value).strip())
    return _DECORATION.sub("", text)


def is_encodable(text: str) -> bool:
    """Tell whether JSON can hold a text: it is UTF-8, which has no lone surrogates (half an emoji, in a cut column)."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _encodable(text: str) -> str:
    if not is_encodable(text):
        raise UnusableValueError("holds half a character (a lone surrogate)")
    return text
