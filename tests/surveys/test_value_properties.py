"""Whatever a driver gives: text and numbers that stay what they are, or a word why not."""

from __future__ import annotations

import math
from contextlib import suppress
from datetime import UTC
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_8x8.surveys.messages.phone_numbers import to_phone_number
from airflow_provider_8x8.surveys.messages.values import (
    MAX_EXACT_NUMBER,
    UnusableValueError,
    to_text,
    to_unique_text,
    to_variable,
)


class Color(Enum):
    RED = "red"
    ODD = 2.5
    NONE = None


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.decimals(),
    st.fractions(),
    st.complex_numbers(),
    st.text(st.characters()),  # lone surrogates too
    st.binary(),
    st.dates(),
    st.datetimes(),
    st.datetimes(timezones=st.just(UTC)),
    st.times(),
    st.timedeltas(),
    st.uuids(),
    st.sampled_from(Color),
    st.builds(Decimal, st.sampled_from(["sNaN", "-0", "1E+999999999999", "1E-999999999999", "-Infinity"])),
    st.sampled_from([10**5000, -(10**5000), Fraction(10**400), Fraction(1, 10**400), object(), int]),
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=2), st.dictionaries(st.text(max_size=2), SCALARS, max_size=2))


@given(VALUES)
def test_a_value_is_usable_or_says_why_not(value: Any) -> None:
    for convert in (to_text, to_unique_text, to_variable, to_phone_number):
        with suppress(UnusableValueError):
            assert isinstance(convert(value), str | int | float)


@given(VALUES)
def test_a_variable_comes_out_of_json_as_it_went_in(value: Any) -> None:
    try:
        variable = to_variable(value)
    except UnusableValueError:
        with pytest.raises(UnusableValueError):
            to_text(value)
        return
    encoded = msgspec.json.encode(variable)
    decoded = msgspec.json.decode(encoded)
    assert (type(decoded), decoded) == (type(variable), variable)
    shown = variable if isinstance(variable, str) else encoded.decode()
    assert shown == to_text(value)


@st.composite
def equal_numbers(draw: st.DrawFn) -> list[Any]:
    """Draw one number as all the types that can hold it exactly."""
    digits, exponent = draw(st.integers(-(10**18), 10**18)), draw(st.integers(-8, 8))
    number = Fraction(digits) * Fraction(10) ** exponent
    # A decimal has as many places as its number needs: those of a column, such as 5.00, belong to its text.
    written = f"{Decimal(digits).scaleb(exponent):f}"
    written = (written.rstrip("0").rstrip(".") if "." in written else written) or "0"
    same: list[Any] = [written, Decimal(written)]
    if number.denominator == 1:
        same.append(int(number))
    if Fraction(repr(float(number))) == number:
        same += [float(number), number]
    return same


@given(equal_numbers())
@example([0, 0.0, -0.0, "0", Decimal(0), Decimal("-0"), Fraction(0)])
@example([2**53, float(2**53), Decimal(2**53), str(2**53)])
@example([1e22, 10**22, Decimal(10**22), Decimal("1E+22")])
def test_equal_numbers_of_whatever_type_are_one_text(numbers: list[Any]) -> None:
    assert len({to_text(number) for number in numbers}) == 1
    assert len({to_unique_text(number) for number in numbers}) == 1


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_keeps_its_value(number: float) -> None:
    variable = to_variable(number)
    assert type(number)(variable) == number
    if isinstance(variable, int):
        assert abs(variable) <= MAX_EXACT_NUMBER
    assert not isinstance(variable, float) or math.isfinite(variable)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_tells_rows_apart_stays_what_it_is(text: str) -> None:
    unique = to_unique_text(text)
    assert to_unique_text(unique) == unique
    assert to_unique_text(f"  {text}\t") == unique
