"""Entries for a journal, and what becomes of them."""

from __future__ import annotations

from typing import Any

import msgspec

from airflow_provider_8x8.surveys.journal.entries import Entry, EntryState
from airflow_provider_8x8.surveys.journal.header import Header
from airflow_provider_8x8.surveys.journal.protocol import Compose
from airflow_provider_8x8.surveys.messages.row_keys import ROW_KEY_BYTES, pack

HEADER = Header(survey_id="survey", subaccount_id="sandbox_hq", row_key_rules=1)
NOW = 1_800_000_000.125
TASK_INSTANCE = "dag/run/send"


def keys(*numbers: int) -> bytes:
    """Row keys, one for each number."""
    return pack(number.to_bytes(ROW_KEY_BYTES, "big") for number in numbers)


def entry_of(name: str, row_keys: bytes = keys(1, 2, 3), **changes: Any) -> Entry:
    """A batch that was begun."""
    given: dict[str, Any] = {
        "client_batch_id": name,
        "task_instance": TASK_INSTANCE,
        "try_number": 1,
        "unique_by": "destination",
        "row_keys": row_keys,
        "begun": NOW,
        "send_by": NOW + 30,
    }
    return Entry(**{**given, **changes})


def settled(entry: Entry, **changes: Any) -> Entry:
    """The same batch, which 8x8 has."""
    return msgspec.structs.replace(entry, **{"state": EntryState.SENT, "batch_id": "b-1", **changes})


def always(entry: Entry | None) -> Compose:
    """Make this entry, whatever others have entered."""
    return lambda news: entry
