"""Rows that bring what nearly all rows bring, read a column at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any

import msgspec

from airflow_provider_8x8.api.models import DESTINATION, MAX_CLIENT_MESSAGE_ID_LENGTH
from airflow_provider_8x8.surveys.messages.fields import NOT_IN_IDS, mended_destination, message_id_of
from airflow_provider_8x8.surveys.messages.row_keys import RowKeys, to_client_message_id
from airflow_provider_8x8.surveys.messages.row_message import InvalidRowError, PlainMessage, RowMessages
from airflow_provider_8x8.surveys.messages.values import (
    MAX_EXACT_NUMBER,
    UnusableValueError,
    is_blank,
    is_encodable,
    is_missing,
    to_unique_text,
    to_variable,
)

_TEXTS, _NUMBERS = {str}, {int}

# As many lines as there are, each of them a number, and never half of a line.
_DESTINATIONS = re.compile(rf"(?:{DESTINATION}\n)*")


class PlainColumns:
    """
    Makes the messages of rows that bring a number as 8x8 wants it, an id at most, and short values for one text.

    A step is taken for a whole column at once, most of them in C: row by row the same takes twice as long. Whatever in
    a row is not plain is left to :class:`~airflow_provider_8x8.surveys.messages.plan.Plan`, which also says what is
    wrong with it.

    :param destination: which column has the number
    :param unique: which column makes a row unique; None if its number does
    :param message_id: which column has the client message id, None if none has
    :param values: by template variable, which column has it
    :param constants: by template variable, what it is for all rows
    :param longest_value: characters that a value may have without a look at the whole text
    :param row_keys: the campaign's
    """

    def __init__(
        self,
        *,
        destination: int,
        unique: int | None,
        message_id: int | None,
        values: Mapping[str, int],
        constants: Mapping[str, str | int | float],
        longest_value: int,
        row_keys: RowKeys,
    ) -> None:
        self._destination = destination
        self._unique = unique
        self._message_id = message_id
        self._values = list(values.values())
        self._constants = list(constants.values())
        self._longest_value = longest_value
        self._row_keys = row_keys
        self._variables = _struct_of([*values, *constants])

    def build(self, first_number: int, rows: Sequence[Sequence[Any]]) -> tuple[RowMessages, set[int]]:
        """
        Make the messages of some rows.

        :param first_number: the first row's
        :param rows: at least one
        :return: messages for all of them, and the places of those that are not plain: what stands there means nothing
        """
        columns = list(zip(*rows, strict=True))
        odd: set[int] = set()
        destinations = _destinations(columns[self._destination], odd)
        own_ids = None if self._message_id is None else _message_ids(columns[self._message_id], odd)
        if self._unique is None:
            unique_values = list(map(str.removeprefix, destinations, repeat("+")))
        elif own_ids is not None and self._unique == self._message_id:
            unique_values = list(own_ids)
        else:
            unique_values = _unique_texts(columns[self._unique], odd)
        row_keys = self._row_keys.of_all(unique_values)
        client_message_ids = list(map(to_client_message_id, row_keys)) if own_ids is None else own_ids
        values = [self._read_values(columns[index], odd) for index in self._values]
        constants = [repeat(constant) for constant in self._constants]
        variables = map(self._variables, *values, *constants) if values else repeat(self._variables(*self._constants))
        messages = list(map(PlainMessage, destinations, variables, client_message_ids))
        numbers = list(range(first_number, first_number + len(rows)))
        return RowMessages(numbers, row_keys, unique_values, destinations, client_message_ids, messages), odd

    def _read_values(self, values: Sequence[Any], odd: set[int]) -> Sequence[Any]:
        """Return what a template variable is in each row, as :func:`to_variable` gives it."""
        longest, kinds = self._longest_value, set(map(type, values))
        if kinds == _TEXTS and max(map(len, values)) <= longest and is_encodable("".join(values)):
            return values
        if kinds == _NUMBERS and _are_exact(values):
            return values

        def usable(value: Any) -> str | int | float | None:
            variable = None if is_missing(value) else to_variable(value)
            return variable if len(str(variable)) <= longest else None

        return _usable(values, usable, odd)


def _struct_of(names: Sequence[str]) -> Callable[..., Any]:
    """Return what makes template variables with these names: for a text without any, none."""
    if not names:
        return lambda: None
    fields = [f"variable_{number}" for number in range(len(names))]
    return msgspec.defstruct("Variables", fields, rename=dict(zip(fields, names, strict=True)), gc=False)


def _usable(values: Sequence[Any], read: Callable[[Any], Any], odd: set[int]) -> list[Any]:
    """
    Return values as something reads them.

    :param read: gives None, or raises, where a value is not plain
    :param odd: is told these values' places
    """
    found: list[Any] = []
    for place, value in enumerate(values):
        try:
            usable = read(value)
        except (InvalidRowError, UnusableValueError):
            usable = None
        if usable is None:
            odd.add(place)
            usable = ""
        found.append(usable)
    return found


def _destinations(values: Sequence[Any], odd: set[int]) -> list[str]:
    """Return numbers as 8x8 wants them, without what people put into them."""
    found = list(values)
    for place in _not_as_8x8_wants(values):
        try:
            found[place] = mended_destination(values[place], None)
        except InvalidRowError:
            odd.add(place)
            found[place] = ""
    return found


def _not_as_8x8_wants(values: Sequence[Any]) -> Iterator[int]:
    """Yield the places of values that are no numbers as 8x8 wants them; as one text, to look takes half of the time."""
    lines = [value if type(value) is str and "\n" not in value else "" for value in values]
    text = "\n".join([*lines, ""])
    place = at = 0
    while (end := _DESTINATIONS.match(text, at).end()) < len(text):  # type: ignore[union-attr]  # at least the empty text
        place += text.count("\n", at, end)
        yield place
        place, at = place + 1, text.index("\n", end) + 1


def _message_ids(values: Sequence[Any], odd: set[int]) -> list[str]:
    """Return client message ids as they are sent."""
    kinds = set(map(type, values))
    if kinds == _NUMBERS and _are_exact(values):
        return list(map(str, values))
    if kinds == _TEXTS:
        text = "".join(values)
        if (
            text.isascii()
            and text.isprintable()
            and NOT_IN_IDS.isdisjoint(text)
            and min(map(len, values)) > 0
            and max(map(len, values)) <= MAX_CLIENT_MESSAGE_ID_LENGTH
            and (" " not in text or all(value == value.strip() for value in values))
        ):
            return list(values)

    def usable(value: Any) -> str | None:
        text = message_id_of(value)
        return text if text and len(text) <= MAX_CLIENT_MESSAGE_ID_LENGTH else None

    return _usable(values, usable, odd)


def _unique_texts(values: Sequence[Any], odd: set[int]) -> list[str]:
    """Return the texts that tell rows apart, as :func:`to_unique_text` gives them."""
    if set(map(type, values)) == _NUMBERS and _are_exact(values):
        return list(map(str, values))
    return _usable(values, lambda value: None if is_blank(value) else to_unique_text(value), odd)


def _are_exact(numbers: Sequence[int]) -> bool:
    return min(numbers) >= -MAX_EXACT_NUMBER and max(numbers) <= MAX_EXACT_NUMBER
