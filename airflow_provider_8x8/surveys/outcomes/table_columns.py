"""The outcome table's columns, and how wide a value each of them has to take."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from airflow_provider_8x8.api.masking import MAX_QUOTED_LENGTH
from airflow_provider_8x8.api.models import MAX_CLIENT_BATCH_ID_LENGTH, MAX_CLIENT_MESSAGE_ID_LENGTH, MAX_SMS_PARTS
from airflow_provider_8x8.surveys.messages.row_keys import ROW_KEY_BYTES
from airflow_provider_8x8.surveys.outcomes.outcome import Outcome

Values = dict[str, Any]
"""A row's columns by their names."""

KEY = ("owner", "row_id")
DELIVERY_COLUMNS = ("delivery_state", "delivery_detail", "delivery_error", "price", "currency", "delivery_as_of")

_UUID_LENGTH = 36  # which 8x8's ids are

LONGEST = {
    "owner": 37,  # of a row that is in no batch, its task instance as a hash
    "row_id": 2 * ROW_KEY_BYTES,
    "client_message_id": MAX_CLIENT_MESSAGE_ID_LENGTH,
    "code": 64,
    "description": MAX_QUOTED_LENGTH,
    "batch_id": _UUID_LENGTH,
    "client_batch_id": MAX_CLIENT_BATCH_ID_LENGTH,
    "umid": _UUID_LENGTH,
    "delivery_state": 32,
    "delivery_detail": 100,
    "delivery_error": 64,
    "currency": 8,
}
"""
Characters of the longest text that goes into a column, where that is known before any row is.

A row key is as long as the source has it, and the names of a task instance are as long as they are.
"""

_MOST = {"source_row": 100_000_000, "parts": MAX_SMS_PARTS, "price": 10_000.0}

OPTIONS: dict[str, Any] = {
    f"{dialect}_{option}": value
    for dialect in ("mysql", "mariadb")
    for option, value in {"engine": "InnoDB", "charset": "utf8mb4", "collate": "utf8mb4_bin"}.items()
}


def columns() -> list[sa.Column[Any]]:
    """Return the columns of the table that is made."""
    return [
        sa.Column("owner", sa.String(64), primary_key=True, comment="the client batch id, or whose row it is else"),
        sa.Column("row_id", sa.String(32), primary_key=True, comment="the hash of the row key, or the row's number"),
        sa.Column("campaign_id", sa.String(768), nullable=False, comment="yours, or the task instance"),
        sa.Column("dag_id", sa.String(250), nullable=False),
        sa.Column("task_id", sa.String(250), nullable=False),
        sa.Column("run_id", sa.String(250), nullable=False),
        sa.Column("map_index", sa.Integer, nullable=False, comment="-1 if the task is not mapped"),
        sa.Column("source_row", sa.Integer, comment="1 for the first row of the source, when it was read"),
        # MySQL's TEXT has 64 KiB, and a row whose value has more is sent all the same.
        sa.Column(
            "row_key",
            sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql").with_variant(mysql.MEDIUMTEXT(), "mariadb"),
            comment="the value that makes the row unique in its campaign",
        ),
        sa.Column("client_message_id", sa.Text, comment="what 8x8 knows the row by"),
        sa.Column("outcome", sa.String(16), nullable=False, comment="what became of the row"),
        sa.Column("code", sa.String(LONGEST["code"]), comment="8x8's, of the message or of its refusal"),
        sa.Column("description", sa.Text, comment="8x8's words, or why the row was not sent"),
        sa.Column("batch_id", sa.String(100), comment="8x8's id of the batch"),
        sa.Column("client_batch_id", sa.String(64), comment="our id of the batch"),
        sa.Column("umid", sa.String(100), comment="8x8's id of the message; survey answers have it"),
        sa.Column("parts", sa.Integer, comment="SMS parts of the text"),
        sa.Column("sent_at", sa.DateTime, comment="UTC; when the batch was begun"),
        sa.Column("updated_at", sa.DateTime, nullable=False, comment="UTC; when the outcome was written last"),
        sa.Column("delivery_state", sa.String(LONGEST["delivery_state"]), comment="in 8x8's logs, such as delivered"),
        sa.Column("delivery_detail", sa.String(LONGEST["delivery_detail"]), comment="such as delivered_to_recipient"),
        sa.Column("delivery_error", sa.String(LONGEST["delivery_error"]), comment="8x8's error code"),
        sa.Column("price", sa.Numeric(18, 8, asdecimal=False), comment="of all parts of the message"),
        sa.Column("currency", sa.String(LONGEST["currency"]), comment="ISO 4217"),
        sa.Column("delivery_as_of", sa.DateTime, comment="UTC; when 8x8 was asked for the logs that say so"),
    ]


def texts(table: sa.Table) -> list[str]:
    """Return the names of the columns that hold text."""
    others = (sa.Integer, sa.Numeric, sa.DateTime)  # to SQLAlchemy 1.4 a text with a variant is no String
    return [column.name for column in table.columns if not isinstance(column.type, others)]


def widest_row(common: Values) -> Values:
    """
    Return a row of values as wide as they may come.

    :param common: the columns that all rows of the task instance that writes them have in common
    """
    row: Values = {}
    for column in columns():
        if isinstance(column.type, sa.DateTime):
            row[column.name] = datetime(2025, 1, 1)  # noqa: DTZ001  # as utc()
        elif isinstance(column.type, sa.Integer | sa.Numeric):
            row[column.name] = _MOST.get(column.name, 1)
        else:
            longest = LONGEST.get(column.name, len(column.name))
            row[column.name] = column.name.ljust(longest, "x")[:longest]  # its name, for the database's error
    # What stands in these two is one of a few words, which a table may insist on.
    return row | common | {"outcome": max(Outcome, key=len).value, "delivery_state": "undelivered"}
