"""A row that can be sent, and one that cannot."""

from __future__ import annotations

from datetime import datetime
from typing import Self

import msgspec

from airflow_provider_8x8.api.models import SurveyMessage


class RowMessage(msgspec.Struct, frozen=True, gc=False):
    """
    A row that can be sent.

    :ivar number: 1 for the first row of the source
    :ivar row_key: the hash that makes the survey unique in its campaign
    :ivar unique_value: the text behind the row key, for the report
    :ivar client_message_id: what 8x8 and the report know the row by
    :ivar encoded: the message as it goes to 8x8. Two batches are in memory at a time, and a message as objects takes
        three times as much: more than a processor's cache holds.
    """

    number: int
    row_key: bytes
    unique_value: str
    destination: str
    client_message_id: str
    encoded: bytes

    def __repr__(self) -> str:
        return f"<RowMessage {self.number}>"

    @property
    def message(self) -> SurveyMessage:
        """The message, decoded."""
        return msgspec.json.decode(self.encoded, type=SurveyMessage)


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
