"""What a row says in the fields of its message: read as people write it, or the reason why that does not do."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, get_args

import msgspec

from airflow_provider_8x8.api.masking import mask_url, quotable
from airflow_provider_8x8.api.models import MAX_SOURCE_LENGTH, Encoding, SurveyMessage, is_destination
from airflow_provider_8x8.surveys.messages.phone_numbers import (
    is_north_american,
    is_nothing,
    mask_digits,
    to_phone_number,
)
from airflow_provider_8x8.surveys.messages.row_message import InvalidRowError
from airflow_provider_8x8.surveys.messages.times import parse_time
from airflow_provider_8x8.surveys.messages.values import (
    UnusableValueError,
    is_blank,
    quoted,
    to_text,
    to_unique_text,
)

CAMEL_CASE = dict(zip(SurveyMessage.__struct_fields__, SurveyMessage.__struct_encode_fields__, strict=True))
"""The message's fields, by their names in snake_case."""

NOTHING: Mapping[str, Any] = {}
"""What a row says that says nothing."""

NOT_IN_IDS = frozenset("\"'\\")
"""What no client message id may hold, beside what cannot be seen."""

_MAX_REPORTED_LENGTH = 350  # which no number and no id that 8x8 could take is longer than
_TIMES = frozenset({"scheduled", "expiry"})

# What msgspec says in types and in regular expressions.
_EXPECTED = {
    "destination": "a phone number of 7 to 15 digits with the country code",
    "source": f"at most {MAX_SOURCE_LENGTH} characters",
    "country": "two letters, such as SG",
    "template_body": "a text with {{url}} in it",
    "template_variables": "names, each with a text or a number",
    "encoding": f"one of {', '.join(get_args(Encoding))}",
    "scheduled": "a time with an offset from UTC",
    "expiry": "a time with an offset from UTC",
    "dlr_callback_url": "an address that begins with http:// or https://",
}
_AT_MOST = re.compile(r"Expected `str` of length <= (\d+)")
_SNAKE_CASE = {camel: snake for snake, camel in CAMEL_CASE.items()}


def text_of(value: Any) -> str:
    """Return a text as it is sent."""
    return to_text(value).strip()


def country_of(value: Any) -> str | None:
    """Return a country as 8x8 takes it, None where there is none."""
    return None if is_blank(value) else text_of(value).upper()


def message_id_of(value: Any) -> str | None:
    """
    Return a client message id as it is sent, hashed and found again.

    :raises InvalidRowError: it holds what 8x8 or a CSV file may change
    """
    if is_blank(value):
        return None
    text = to_unique_text(value)
    if not text.isprintable() or not NOT_IN_IDS.isdisjoint(text):
        raise InvalidRowError(
            f"client_message_id is {quoted(text)}; expected characters that can be seen, without quotes and "
            "backslashes: 8x8's logs must have it as it was sent"
        )
    return text


def _time_of_row(field: str) -> Callable[[Any], datetime]:
    def parse(value: Any) -> datetime:
        try:
            return parse_time(field, value, quotable)
        except ValueError as error:
            raise InvalidRowError(str(error)) from None

    return parse


READERS: Mapping[str, Callable[[Any], Any]] = {
    "country": country_of,
    "client_message_id": message_id_of,
    **{field: _time_of_row(field) for field in _TIMES},
}
"""By field, what reads its value; the others are texts."""


def given_variables(value: Any) -> Mapping[str, Any]:
    """
    Return a row's template variables, which warehouses without objects give as JSON.

    :raises InvalidRowError: they are something else
    """
    if isinstance(value, Mapping):
        return value
    if is_blank(value):
        return NOTHING
    found = f"of type {type(value).__name__}"
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            found = "text that is not JSON"
        else:
            if value is None:
                return NOTHING
            if isinstance(value, dict):
                return value
            found = f"JSON of type {type(value).__name__}"
    raise InvalidRowError(f"template_variables is {found}; expected an object of names and values, or it as JSON")


def as_given(values: Sequence[Any], index: int | None) -> str | None:
    """Return what a column holds, for the report; None if that is nothing, or no text."""
    if index is None or is_blank(values[index]):
        return None
    with suppress(UnusableValueError):
        return to_text(values[index])[:_MAX_REPORTED_LENGTH]
    return None


_NO_DESTINATION = "destination is NULL or empty"


def mended_destination(value: Any, country: str | None) -> str:
    """
    Return a phone number without what people put into it.

    :param country: where a number without ``+`` is national
    :raises InvalidRowError: there is none, or it is one that 8x8 could not take
    """
    if is_blank(value):
        raise InvalidRowError(_NO_DESTINATION)
    if isinstance(value, str) and "(0)" in value:
        raise InvalidRowError(f"destination {_cell(value)} has a trunk '(0)'; leave it out")
    try:
        number = to_phone_number(value, country)
    except UnusableValueError as error:
        raise InvalidRowError(f"destination {error}") from None
    if is_destination(number):
        return number
    if isinstance(value, str) and is_nothing(value):
        raise InvalidRowError(_NO_DESTINATION)
    if number.startswith("00"):
        raise InvalidRowError(f"destination {_cell(value)} begins with 00; write + and the country code")
    if number.startswith("0"):
        example = "leave the 0 out" if country else "or country='AU' with 412345678"
        raise InvalidRowError(f"destination {_cell(value)} has a leading 0; give an international number, {example}")
    if country is None and is_north_american(value):
        raise InvalidRowError(
            f"destination {_cell(value)} has no country code; write + and the country code, or say country='US' in a "
            "column of that name"
        )
    raise InvalidRowError(
        f"destination {_cell(value)} is not a phone number; expected one number, and nothing else, of 7 to "
        "15 digits with the country code"
    )


def _cell(value: Any) -> str:
    return quoted(mask_digits(str(value)))


def say_what_is_wrong(error: msgspec.ValidationError, fields: Mapping[str, Any]) -> str:
    """
    Return in people's words what msgspec says about one of some fields, with its value, numbers and secrets masked.

    :param fields: by 8x8's names
    """
    said, _, path = str(error).partition(" - at `$.")
    camel_case = re.split(r"[`.\[]", path)[0]
    field = _SNAKE_CASE.get(camel_case, camel_case)
    value = fields.get(camel_case)
    at_most = _AT_MOST.match(said)
    expected = f"at most {at_most[1]} characters" if at_most else _EXPECTED.get(field, "a text that is not empty")
    kind = "" if isinstance(value, str) else f", of type {type(value).__name__}"
    shown = mask_url(str(value)) if field == "dlr_callback_url" else quoted(value)  # which may hold a secret
    return f"{field} is {shown}{kind}; expected {expected}"
