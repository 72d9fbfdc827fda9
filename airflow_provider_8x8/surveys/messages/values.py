"""What comes out of a warehouse, as what goes to 8x8: text and numbers."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sized
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from numbers import Integral, Real
from typing import Any
from uuid import UUID

from airflow_provider_8x8.api.masking import mask_phone_numbers

# Beyond it, JSON readers that keep numbers as doubles change the last digits: an order number must not change.
MAX_EXACT_NUMBER = 2**53 - 1

# As Python has it for whole numbers. A decimal of a few characters, 1E+999999999, could else fill the memory.
_MAX_DIGITS = 4_300

_MAX_QUOTED_LENGTH = 40

# Of which nearly all values are, and none of which is NULL: asked for first, since the other ways are slow.
_PLAIN = frozenset({str, int, bool, datetime, date})


class UnusableValueError(ValueError):
    """A value that cannot become text or a number; its text says why, without the value."""


def is_missing(value: Any) -> bool:
    """
    Tell whether a value is NULL: None, or what DataFrames have in its place (NaN, NaT, NA).

    Those are not equal to themselves, or (NA) will not say so; they can be told without pandas and numpy.
    """
    if value is None:
        return True
    if type(value) in _PLAIN:
        return False
    if isinstance(value, Decimal):  # a signalling NaN raises when it is compared
        return value.is_nan()
    try:
        is_itself = bool(value == value)
    except TypeError:
        return not isinstance(value, Sized)  # else a column of polars
    except ValueError:  # an array
        return False
    return not is_itself


def is_blank(value: Any) -> bool:
    """Tell whether a value is NULL, or text with nothing in it: a CHAR column that was never filled has blanks."""
    return is_missing(value) or (isinstance(value, str) and not value.strip())


def to_variable(value: Any) -> str | int | float:
    """
    Return a template variable: 8x8's examples have strings and numbers.

    Decimals keep all their digits as text, floats without a fraction are whole numbers, dates and times become
    ISO 8601, a bool ``true`` or ``false``.

    :raises UnusableValueError: the value is neither text, number, date nor time
    """
    kind = type(value)
    if kind is str:
        return _encodable(value)
    if (kind is int or (kind is float and value.is_integer())) and -MAX_EXACT_NUMBER <= value <= MAX_EXACT_NUMBER:
        return int(value)
    text = to_text(value)
    value = _native(value)
    if isinstance(value, bool | str):
        return text
    if isinstance(value, Integral):
        return int(value) if abs(int(value)) <= MAX_EXACT_NUMBER else text
    if isinstance(value, Real):
        return _number(text)
    return text


def to_text(value: Any) -> str:
    """
    Return a value as text that is the same whatever type the driver gave it: 5, ``"5"``, ``5.0`` and ``Decimal("5")``
    agree.

    :raises UnusableValueError: the value is neither text, number, date nor time
    """
    if type(value) is int:
        return _digits(value)
    value = _native(value)
    if isinstance(value, str):
        return _encodable(str(value))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Integral):
        return _digits(int(value))
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise UnusableValueError("is an infinite number")
        if abs(value.adjusted()) >= _MAX_DIGITS:
            raise UnusableValueError("is a number of thousands of digits")
        return f"{value or value.copy_abs():f}"  # there is no -0
    if isinstance(value, Real):
        return _without_exponent(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    raise UnusableValueError(f"is of type {type(value).__name__}; expected text, a number, a date or a time")


def to_unique_text(value: Any) -> str:
    """
    Return the text that tells rows apart: as :func:`to_text`, without the blanks that CHAR columns are filled up with,
    and one and the same for a character that Unicode can write in two ways.

    :raises UnusableValueError: the value is neither text, number, date nor time
    """
    text = to_text(value).strip()
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def is_encodable(text: str) -> bool:
    """Tell whether JSON can hold a text: it is UTF-8, which has no lone surrogates (half an emoji, in a cut column)."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def quoted(value: Any) -> str:
    """Return a value for an error message: short, in quotes, phone numbers masked."""
    # Masked before it is cut, or the cut could leave a number that is too short to be seen as one.
    masked = mask_phone_numbers(str(value))
    return repr(masked if len(masked) <= _MAX_QUOTED_LENGTH else masked[:_MAX_QUOTED_LENGTH] + "...")


def _encodable(text: str) -> str:
    if not is_encodable(text):
        raise UnusableValueError("holds half a character (a lone surrogate)")
    return text


def _is_numpy_scalar(value: Any) -> bool:
    return type(value).__module__ == "numpy" and getattr(value, "shape", None) == ()


def _native(value: Any) -> Any:
    """Return an enum's member or a numpy scalar as Python's own value, anything else as it is."""
    if isinstance(value, Enum):
        value = value.value
    if not _is_numpy_scalar(value):
        return value
    native = value.item()
    if type(value).__name__ == "datetime64" and isinstance(native, int):  # of nanoseconds, which Python's own lacks
        return value.astype("datetime64[us]").item()
    if isinstance(native, float) and not isinstance(value, float):  # shorter than Python's: 0.1, not 0.100000001490116
        return float(str(value))
    return native


def _digits(number: int) -> str:
    try:
        return str(number)
    except ValueError:  # Python's own limit, of 4,300 digits
        raise UnusableValueError("is a number of thousands of digits") from None


def _without_exponent(value: Real) -> str:
    """Return the shortest text that reads as this float."""
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise UnusableValueError("is an infinite number")
    if number.is_integer() and abs(number) <= MAX_EXACT_NUMBER:
        return str(int(number))
    text = repr(number).removesuffix(".0")
    return f"{Decimal(text):f}" if "e" in text else text


def _number(text: str) -> str | int | float:
    """Return a float's text as the number that JSON writes in the same way, where there is one."""
    if text.lstrip("-").isdigit():
        return int(text) if abs(int(text)) <= MAX_EXACT_NUMBER else text
    return float(text) if repr(float(text)) == text else text
