"""Values as drivers and DataFrames give them, without pandas and numpy themselves: stand-ins behave as theirs do."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from typing import Any

import pytest

from airflow_provider_8x8.surveys.messages.values import (
    UnusableValueError,
    is_blank,
    is_missing,
    quoted,
    to_text,
    to_unique_text,
    to_variable,
)


class NA:
    """As pandas' NA: whatever is asked of it, it gives itself back, and that is neither true nor false."""

    def __eq__(self, other: object) -> Any:
        return self

    __ne__ = __lt__ = __gt__ = __eq__
    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        raise TypeError("boolean value of NA is ambiguous")


class NaT(datetime):
    """As pandas' NaT: a datetime that equals nothing, and has no text but its name."""

    def __eq__(self, other: object) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return True

    __hash__ = datetime.__hash__

    def isoformat(self, *arguments: Any, **options: Any) -> str:
        return "NaT"

    __str__ = __repr__ = isoformat


class Array:
    """As numpy's arrays: compared item by item, and the whole is neither true nor false."""

    def __eq__(self, other: object) -> Any:
        return Items()

    __hash__ = object.__hash__


class Items:
    def __bool__(self) -> bool:
        raise ValueError("The truth value of an array with more than one element is ambiguous")


class Column:
    """As polars' Series, which like NA says by a TypeError that the whole is neither true nor false."""

    def __eq__(self, other: object) -> Any:
        return NA()

    __hash__ = object.__hash__

    def __len__(self) -> int:
        return 1


class Scalar:
    """As numpy's scalars, which are not all of Python's own classes."""

    shape = ()

    def __init__(self, item: Any, text: str = "") -> None:
        self._item = item
        self._text = text

    def item(self) -> Any:
        return self._item

    def astype(self, kind: str) -> Scalar:
        return Scalar(datetime(2026, 1, 31, 9))  # noqa: DTZ001  # numpy's have no zone

    def __str__(self) -> str:
        return self._text

    def __eq__(self, other: object) -> bool:
        return bool(self._item == getattr(other, "_item", other))

    __hash__ = object.__hash__


def scalar(name: str, item: Any, text: str = "") -> Any:
    kind = type(name, (Scalar,), {"__module__": "numpy"})
    return kind(item, text)


MISSING = [
    None,
    math.nan,
    Decimal("NaN"),
    Decimal("sNaN"),
    NA(),
    NaT(1, 1, 1),
    scalar("float32", math.nan),
    scalar("datetime64", math.nan),
]


@pytest.mark.parametrize("value", MISSING, ids=lambda value: type(value).__name__)
def test_all_that_dataframes_put_in_the_place_of_null_is_null(value: Any) -> None:
    assert is_missing(value)
    assert is_blank(value)


@pytest.mark.parametrize(
    "value",
    ["", " ", "NaT", 0, 0.0, False, math.inf, Decimal(0), date(1, 1, 1), datetime(1, 1, 1, tzinfo=UTC), [], {}, b""],
)
def test_nothing_else_is_null(value: Any) -> None:
    assert not is_missing(value)


def test_an_array_is_not_null_and_no_value_either() -> None:
    assert not is_missing(Array())
    assert not is_missing(Column())
    with pytest.raises(UnusableValueError, match="type Array"):
        to_variable(Array())


def test_text_of_blanks_is_blank() -> None:
    assert is_blank("   ")
    assert is_blank("\u00a0")
    assert not is_blank(" x ")
    assert not is_blank(0)


class Size(Enum):
    LARGE = "L"


class Rank(IntEnum):
    FIRST = 1


@pytest.mark.parametrize(
    ("value", "variable", "text"),
    [
        (1234.0, 1234, "1234"),
        (-0.0, 0, "0"),
        (float(2**53 - 1), 2**53 - 1, str(2**53 - 1)),
        (2.0**53, str(2**53), str(2**53)),
        (1e16, "10000000000000000", "10000000000000000"),
        (1e23, "100000000000000000000000", "100000000000000000000000"),
        (1234.5, 1234.5, "1234.5"),
        (0.1, 0.1, "0.1"),
        (1e-07, "0.0000001", "0.0000001"),
        (-1.5e-05, "-0.000015", "-0.000015"),
        (Fraction(1, 2), 0.5, "0.5"),
        (Decimal("1234.0"), "1234.0", "1234.0"),
        (Decimal("-0"), "0", "0"),
        (Decimal("1E+3"), "1000", "1000"),
        (2**53, str(2**53), str(2**53)),
        (True, "true", "true"),
        (Size.LARGE, "L", "L"),
        (Rank.FIRST, 1, "1"),
        (scalar("int64", 5), 5, "5"),
        (scalar("float64", 1234.0, "1234.0"), 1234, "1234"),
        (scalar("float32", 0.10000000149011612, "0.1"), 0.1, "0.1"),
        (scalar("bool", False), "false", "false"),
        (scalar("str_", "x"), "x", "x"),
        (scalar("datetime64", date(2026, 1, 31)), "2026-01-31", "2026-01-31"),
        (scalar("datetime64", 1769850000000000000), "2026-01-31T09:00:00", "2026-01-31T09:00:00"),
    ],
)
def test_a_number_shows_as_people_write_it(value: Any, variable: Any, text: str) -> None:
    assert to_variable(value) == variable
    assert type(to_variable(value)) is type(variable)
    assert to_text(value) == text


@pytest.mark.parametrize(
    "value",
    [
        math.inf,
        -math.inf,
        Decimal("Infinity"),
        Fraction(10**400),
        10**5000,
        Decimal("1E+5000"),
        Decimal("1E-999999999999"),
        b"x",
        [1],
        {"a": 1},
        object(),
        "\ud83d",
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_text_and_no_number_says_so_without_the_value(value: Any) -> None:
    for convert in (to_variable, to_text, to_unique_text):
        with pytest.raises(UnusableValueError, match=r"^(is|holds) "):
            convert(value)


def test_what_tells_rows_apart_has_no_blanks_around_and_one_unicode_form() -> None:
    assert to_unique_text("c1   ") == to_unique_text("  c1\t") == to_unique_text("c1") == "c1"
    assert to_unique_text("Zoe\u0308") == to_unique_text("Zo\u00eb ") == "Zo\u00eb"
    assert to_unique_text("a b") != to_unique_text("a  b")
    assert to_unique_text("A") != to_unique_text("a")


def test_a_quoted_value_is_short_and_masked() -> None:
    assert quoted("+1 202 555 0123") == "'+12*******23'"
    assert quoted("x" * 100) == repr("x" * 40 + "...")
    assert "2025550123" not in quoted("x" * 35 + "12025550123")
