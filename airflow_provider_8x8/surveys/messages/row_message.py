"""Rows that can be sent, and one that cannot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import compress
from typing import Any, Self

import msgspec

from airflow_provider_8x8.api.models import SurveyMessage

_MESSAGES_AT_A_TIME = 1_000


class PlainMessage(msgspec.Struct, rename="camel", omit_defaults=True, gc=False):
    """
    A :class:`~airflow_provider_8x8.api.models.SurveyMessage` of the fields that nearly every row has, and no others: it
    takes a third of the memory, and half of the time to make and to encode.

    :ivar template_variables: a mapping or a struct with 8x8's names for what fills the template; None is not sent
    """

    destination: str
    template_variables: Any = None
    client_message_id: str = ""

    def __repr__(self) -> str:
        return f"<PlainMessage {self.client_message_id}>"


class RowMessage(msgspec.Struct, frozen=True, gc=False):
    """
    A row that can be sent.

    :ivar number: 1 for the first row of the source
    :ivar row_key: the hash that makes the survey unique in its campaign
    :ivar unique_value: the text behind the row key, for the report
    :ivar destination: as it goes to 8x8
    :ivar client_message_id: what 8x8 and the report know the row by
    :ivar message: what goes to 8x8
    """

    number: int
    row_key: bytes
    unique_value: str
    destination: str
    client_message_id: str
    message: SurveyMessage | PlainMessage

    def __repr__(self) -> str:
        return f"<RowMessage {self.number}>"


class RowMessages:
    """
    Rows that can be sent, in the order of the source: each attribute is a column of :class:`RowMessage`.

    Ten thousand rows of a batch are handed on, compared and written as columns: to do it row by row takes most of the
    time that a campaign needs.
    """

    __slots__ = ("client_message_ids", "destinations", "messages", "numbers", "row_keys", "unique_values")

    def __init__(
        self,
        numbers: list[int] | None = None,
        row_keys: list[bytes] | None = None,
        unique_values: list[str] | None = None,
        destinations: list[str] | None = None,
        client_message_ids: list[str] | None = None,
        messages: Sequence[SurveyMessage | PlainMessage] = (),
    ) -> None:
        self.numbers = numbers or []
        self.row_keys = row_keys or []
        self.unique_values = unique_values or []
        self.destinations = destinations or []
        self.client_message_ids = client_message_ids or []
        self.messages = list(messages)

    @classmethod
    def of(cls, rows: Iterable[RowMessage]) -> Self:
        """Return some rows as columns."""
        return cls(*map(list, zip(*map(msgspec.structs.astuple, rows), strict=True)))  # of no rows: no columns

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[RowMessage]:
        return map(RowMessage, *self._columns)

    def __repr__(self) -> str:
        return f"<RowMessages: {len(self)} rows>"

    def row(self, place: int) -> RowMessage:
        """Return one of the rows."""
        return RowMessage(*[column[place] for column in self._columns])

    def __getitem__(self, places: slice) -> Self:
        """Return the rows in some places that follow one another."""
        return type(self)(*[column[places] for column in self._columns])

    def picked(self, selectors: Iterable[object]) -> Self:
        """
        Return some of the rows.

        :param selectors: for each row, something true if it is one of them
        """
        selectors = list(selectors)
        return type(self)(*[list(compress(column, selectors)) for column in self._columns])

    def remove(self, selectors: Iterable[object]) -> Self:
        """
        Take some of the rows out, and return them.

        :param selectors: for each row, something true if it is one of them
        """
        selectors = list(selectors)
        removed = self.picked(selectors)
        if removed:
            stays = [not selector for selector in selectors]
            for column in self._columns:
                column[:] = compress(column, stays)
        return removed

    def replace(self, place: int, row: RowMessage) -> None:
        """Have another row in a place."""
        for column, value in zip(self._columns, msgspec.structs.astuple(row), strict=True):
            column[place] = value

    def split_by(self, invalid: Mapping[int, InvalidRowError]) -> Built:
        """
        Return the rows, and in their places those that cannot be sent.

        :param invalid: by its place, in their order; what the columns have there is left out
        """
        built: Built = []
        start = 0
        for place, error in invalid.items():
            if place > start:
                built.append(self[start:place])
            built.append(error)
            start = place + 1
        if start < len(self):
            built.append(self[start:] if start else self)
        return built

    def extend(self, others: RowMessages) -> None:
        """Add rows that come after these."""
        for column, its in zip(self._columns, others._columns, strict=True):
            column.extend(its)

    def encoded(self) -> msgspec.Raw:
        """Return the messages as the JSON array that goes to 8x8."""
        encode = msgspec.json.Encoder().encode
        # Some at a time: the interpreter is not let go meanwhile, and the batch before may be on the wire.
        pieces = [
            encode(self.messages[start : start + _MESSAGES_AT_A_TIME])[1:-1]
            for start in range(0, len(self), _MESSAGES_AT_A_TIME)
        ]
        return msgspec.Raw(b"[%b]" % b",".join(pieces))

    @property
    def _columns(self) -> tuple[list[Any], ...]:
        return (
            self.numbers,
            self.row_keys,
            self.unique_values,
            self.destinations,
            self.client_message_ids,
            self.messages,
        )


class InvalidRowError(ValueError):
    """
    A row that cannot become a message; the text says why, phone numbers masked.

    What is known of the row all the same goes with it: a row that was sent by an earlier try may no longer be fit to be
    sent, and still is that row.

    :ivar number: 1 for the first row of the source
    :ivar row_key: None where it could not be made, as the following
    :ivar given_destination: what stands in the row, for the report: people find the row by it, usable or not
    :ivar given_message_id: likewise
    :ivar past_time: the row's own time, if that it is past is the reason
    """

    def __init__(self, reason: str, *, past_time: datetime | None = None) -> None:
        super().__init__(reason)
        self.past_time = past_time
        self.number = 0
        self.row_key: bytes | None = None
        self.unique_value: str | None = None
        self.destination: str | None = None
        self.client_message_id: str | None = None
        self.given_destination: str | None = None
        self.given_message_id: str | None = None

    @classmethod
    def of(cls, row: RowMessage, reason: str) -> Self:
        """Say why a row that could be sent for itself cannot be sent all the same."""
        error = cls(reason)
        error.number, error.row_key, error.unique_value = row.number, row.row_key, row.unique_value
        error.destination, error.client_message_id = row.destination, row.client_message_id
        return error


class TextTooLongError(InvalidRowError):
    """
    A row whose text 8x8 would cut off.

    :ivar keeps_link: whether what is left of it has the link to the survey
    """

    def __init__(self, reason: str, *, keeps_link: bool) -> None:
        super().__init__(reason)
        self.keeps_link = keeps_link


Built = list[RowMessages | InvalidRowError]
"""What rows that follow one another have become: those that can be sent, and in their places those that cannot."""


def in_order(rows: Iterable[RowMessage | InvalidRowError]) -> Built:
    """Put together what rows that follow one another have become."""
    built: Built = []
    sendable: list[RowMessage] = []
    for row in rows:
        if isinstance(row, RowMessage):
            sendable.append(row)
            continue
        if sendable:
            built.append(RowMessages.of(sendable))
            sendable = []
        built.append(row)
    return [*built, RowMessages.of(sendable)] if sendable else built
