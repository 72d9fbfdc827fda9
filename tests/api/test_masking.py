"""No phone number is left, whatever is around it and between its digits."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from urllib.parse import quote
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_8x8.api.masking import mask_phone_numbers, quotable

# Digits of a number are 6 to 9 here, and what is around and between them has others only: so they are known again.
DIGITS = st.sampled_from("6789")
UNSEEN = st.text("\u200b\u2060\ufe0f\u00ad", max_size=3)
MARKS = st.one_of(
    st.sampled_from([*" -._()/\n\t,;:+#&%\\", "\u00a0", "\u2011", "\u2212", "😀"]),
    st.sampled_from(["%20", "%2D", "%2d", r"\u002d", "&#45;", "&nbsp;", "&#x20;"]),
    st.sampled_from([r"\xa0", r"\\xa0", r"\t", r"\\\\n", r"\U000e0020"]),
)
AROUND = st.text(
    st.one_of(st.characters(exclude_categories=["Nd", "No"]), st.sampled_from("012345%&;#\\ ")), max_size=20
)


@st.composite
def phone_numbers(draw: st.DrawFn) -> str:
    between = st.lists(MARKS, max_size=4).flatmap(
        lambda marks: st.tuples(UNSEEN, *(st.tuples(st.just(mark), UNSEEN).map("".join) for mark in marks)).map("".join)
    )
    digits = draw(st.lists(DIGITS, min_size=7, max_size=15))
    return digits[0] + "".join(draw(between) + digit for digit in digits[1:])


@given(AROUND, phone_numbers(), AROUND)
def test_at_most_the_ends_of_a_number_are_shown(before: str, number: str, after: str) -> None:
    text = before + number + after
    masked = mask_phone_numbers(text)
    assert sum(character in "6789" for character in masked) <= 4
    assert mask_phone_numbers(masked) == masked
    assert sum(character in "6789" for character in quotable(text)) <= 4


WRITTEN = st.sampled_from(
    [*"0123456789%&;#\\u -x*tU", r"\u0661", "%D9%A1", "\u200b", "\ufe0f", "\u0661", "²", "%20", "&#45;", "😀"]
)


@given(st.lists(WRITTEN).map("".join))
def test_what_is_masked_stays_as_it_is(text: str) -> None:
    masked = mask_phone_numbers(text)
    assert mask_phone_numbers(masked) == masked


@pytest.mark.parametrize("written", [repr, ascii, json.dumps, lambda text: repr(repr(text)), quote])
@pytest.mark.parametrize(
    "number", ["+1\xa0202\xa0555\xa00123", "(202)\t555\t0123", "+1 (202) - 555 - 0123", "+١٢٠٢٥٥٥٠١٢٣"]
)
def test_a_number_is_masked_however_an_error_has_it(number: str, written: Callable[[str], str]) -> None:
    masked = mask_phone_numbers(f"KeyError: {written(number)}")
    assert re.search(r"\d\d\*{6,8}\d\d", masked), masked


def test_parts_of_a_number_are_masked_as_one() -> None:
    assert mask_phone_numbers(repr(("202", "555", "0123"))) == "('20******23')"


@pytest.mark.parametrize("text", [r"\\t1" * 5_000, r"1\\\\x20" * 5 + "1a", "1\\" * 20_000, "%D9%A1a" * 5_000])
def test_no_text_takes_for_ever(text: str) -> None:
    began = time.process_time()
    mask_phone_numbers(text)
    assert time.process_time() - began < 2


@given(st.text(st.characters(exclude_categories=["Nd", "No"])), st.integers(0, 999_999))
def test_what_is_no_number_is_left_as_it_is(text: str, number: int) -> None:
    assert mask_phone_numbers(f"{text} {number} {text}") == f"{text} {number} {text}"


@given(st.uuids())
def test_an_id_of_8x8s_is_left_as_it_is(batch_id: UUID) -> None:
    said = f"there is no batch {batch_id}, {batch_id}"
    if any(character in "abcdef" for character in str(batch_id)):
        assert mask_phone_numbers(said) == said


def test_a_number_in_the_shape_of_an_id_is_none() -> None:
    assert mask_phone_numbers("12025550-1349-8765-4321-120255501349").count("*") == 28
    assert mask_phone_numbers("aac5-458885c43871 or x24c70ad8-847a-4ab1-aac5-458885c43871").count("*") == 6


def test_of_a_url_from_outside_only_where_it_leads_to_is_quoted() -> None:
    said = quotable("dlrCallbackUrl 'https://user:s3cret@example.com:8443/s3cret?token=s3cret' is not valid")
    assert said == "dlrCallbackUrl 'https://***@example.com:8443/***' is not valid"
