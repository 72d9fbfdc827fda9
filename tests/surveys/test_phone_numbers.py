"""One number out of a cell, or none: never somebody else's."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_8x8.api.models import is_destination
from airflow_provider_8x8.surveys.phone_numbers import is_nothing, mask_digits, to_phone_number
from airflow_provider_8x8.surveys.values import UnusableValueError


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("+12025550123", "+12025550123"),
        ("12025550123", "12025550123"),
        ("  +12025550123\n", "+12025550123"),
        ("+1 202 555 0123", "+12025550123"),
        ("+1-202-555-0123", "+12025550123"),
        ("+1.202.555.0123", "+12025550123"),
        ("+1 (202) 555-0123", "+12025550123"),
        ("+1(202)555-0123", "+12025550123"),
        ("+1-(202)-555-0123", "+12025550123"),
        ("(+1) 202 555 0123", "+12025550123"),
        ("(1) 202-555.0123", "12025550123"),
        ("+(65) 9123 4567", "+6591234567"),
        ("+ 65 9123 4567", "+6591234567"),
        ("+1 202 - 555 - 0123", "+12025550123"),
        ("+44 7700 900123", "+447700900123"),
        ("+447700 900123", "+447700900123"),
        ("+9198765 43210", "+919876543210"),
        ("+33 6 12 34 56 78", "+33612345678"),
        ("+7 912 345-67-89", "+79123456789"),
        ("+46 70 123 45 67", "+46701234567"),
        ("+62 812-3456-789", "+628123456789"),
        ("+49 1512 3456789", "+4915123456789"),
        ("+852 9123 4567", "+85291234567"),
        ("+86 138 1234 5678", "+8613812345678"),
        ("+54 9 11 1234-5678", "+5491112345678"),
        ("\u202a+1\u00a0202\u2011555\u20110123\u202c", "+12025550123"),
        ("\ufeff+12025550123", "+12025550123"),
        ("+1202\u200b5550123", "+12025550123"),
        ("+1 202 555\u22120123", "+12025550123"),
        ("12025550123.0", "12025550123"),
        ("12025550123.00", "12025550123"),
        ("12025550123.0000", "12025550123"),
        ("+6591234567.0", "+6591234567"),
        (12025550123, "12025550123"),
        (12025550123.0, "12025550123"),
        (Decimal("12025550123.00"), "12025550123"),
    ],
)
def test_one_number_is_mended(written: Any, number: str) -> None:
    assert to_phone_number(written) == number


@pytest.mark.parametrize(
    "written",
    [
        # an extension
        "+1-202-555-0123-5",
        "+1 202 555 0123 45",
        "+1 202 555 0123 456",
        "+1 (202) 555-0123 (5)",
        "1-202-555-0123-4567",
        "+1 202 555 0123 x5",
        "+1 202 555 0123x5",
        "+1202555 0123 ext. 4",
        "+12025550123#5",
        "+12025550123,5",
        "+12025550123;ext=5",
        "tel:+12025550123;ext=5",
        "+65 9123 4567 8",
        "+65 9123 4567 89",
        "+6591234567 89",
        "+6591234567-89",
        "+44 7700 900123-45",
        "+852 9123 4567 12",
        # a fraction
        "12025550123.5",
        "12025550123.25",
        "+6591234567.50",
        "+8529123.0000",
        12025550123.5,
        12025550123.25,
        Decimal("12025550123.5"),
        Decimal("120255.5012"),
        "1.2025550123E+10",
        "1.2e10",
        # two numbers
        "5550123 5550124",
        "5550123-5550124",
        "5550123.5550124",
        "5550123 - 5550124",
        "5550123\u200b5550124",
        "5550123\u00a05550124",
        "555-0123 555-0124",
        "555 0123 555 0124",
        "+5550123 5550124",
        "5550123 12345",
        "+12025550123/+12025550124",
        "+12025550123 +12025550124",
        "+12025550123\n+12025550124",
        "5550123\n5550124",
        "5550123\t5550124",
        "5550123/24",
        "5550123, 5550124",
        "5550123 or 5550124",
        "5550123  5550124",
        "+49 1512 345678  1234",
        # no number, or nobody writes them so
        "-12025550123",
        "12025550123-",
        "1-202-555-0123.",
        "++12025550123",
        "1+2025550123",
        "12025550123+",
        "+1 (202 555-0123",
        "+1 202) 555-0123",
        "+1 202 5550123 (0)",
        "+1202555012O",
        "\uff0b12025550123",
        "\uff11\uff12\uff10\uff12\uff15\uff15\uff15\uff10\uff11\uff12\uff13",
        "\u0661\u0662\u0660\u0662\u0665\u0665\u0665\u0660\u0661\u0662\u0663",
        "12025550\u00b2\u00b3\u00b9",
        "+1 202 555 0123" + " " * 100 + "5",
        True,
    ],
)
def test_what_may_be_more_or_less_than_one_number_is_none(written: Any) -> None:
    assert not is_destination(to_phone_number(written))


def test_a_national_number_is_as_long_as_its_country_has_them() -> None:
    assert to_phone_number("(202) 555-0123", "US") == "2025550123"
    assert to_phone_number("9123 4567", "SG") == "91234567"
    assert to_phone_number("12 3456 7890", "ID") == "1234567890"
    for written, country in (("(202) 555-0123 45", "US"), ("202-555-0123-5", "US"), ("9123 4567 89", "SG")):
        assert not is_destination(to_phone_number(written, country))
    assert to_phone_number("+65 9123 4567", "US") == "+6591234567"


def test_a_number_in_too_short_a_float_is_unusable() -> None:
    float32 = type("float32", (float,), {})
    with pytest.raises(UnusableValueError, match="float32"):
        to_phone_number(float32(12025550848.0))


def test_a_cell_without_a_digit_is_nothing() -> None:
    assert is_nothing(" - ")
    assert is_nothing("+")
    assert is_nothing("\u200b\u00a0")
    assert not is_nothing("none")


def test_all_but_four_digits_are_masked_however_they_are_written() -> None:
    assert mask_digits("202x555x0123") == "20*x***x**23"
    assert mask_digits("202     555     0123") == "20*     ***     **23"
    assert mask_digits("12345") == "12345"
