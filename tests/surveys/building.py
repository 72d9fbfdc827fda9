"""Messages of single rows."""

from __future__ import annotations

from typing import Any

from airflow_provider_8x8.surveys.messages.builder import MessageBuilder
from airflow_provider_8x8.surveys.messages.row_keys import RowKeys
from airflow_provider_8x8.surveys.messages.row_message import InvalidRowError
from airflow_provider_8x8.surveys.messages.template import Template
from tests.support.built import SentRow
from tests.support.built import build as build_all


def builder(body: str | None = "Hi {{name}} {{url}}", **arguments: Any) -> MessageBuilder:
    template = None if body is None else Template.parse(body)
    return MessageBuilder(**{"row_keys": RowKeys("c"), "template": template, **arguments})


def build(row: Any, made_by: MessageBuilder | None = None) -> SentRow:
    made_by = made_by or builder()
    made_by.use_columns(getattr(row, "keys", tuple)(), complete=False)
    (built,) = build_all(made_by, 1, [row])
    if isinstance(built, InvalidRowError):
        raise built
    return built
