"""What rows have become, one by one and as 8x8 reads it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from airflow_provider_8x8.api.models import SurveyMessage
from airflow_provider_8x8.surveys.messages.builder import MessageBuilder
from airflow_provider_8x8.surveys.messages.row_message import InvalidRowError


class SentRow(msgspec.Struct, frozen=True):
    """A row's message as 8x8 reads it, and what is known of the row beside it."""

    number: int
    row_key: bytes
    unique_value: str
    destination: str
    client_message_id: str
    message: SurveyMessage


def build(builder: MessageBuilder, first_number: int, rows: Sequence[Any]) -> list[SentRow | InvalidRowError]:
    """Return each row's message, or the reason why it has none."""
    return list(_one_by_one(builder, first_number, rows))


def _one_by_one(builder: MessageBuilder, first_number: int, rows: Sequence[Any]) -> Iterator[SentRow | InvalidRowError]:
    for found in builder.build(first_number, rows):
        if isinstance(found, InvalidRowError):
            yield found
        else:
            messages = msgspec.json.decode(found.encoded(), type=list[SurveyMessage])
            for row, message in zip(found, messages, strict=True):
                yield SentRow(
                    row.number, row.row_key, row.unique_value, row.destination, row.client_message_id, message
                )
