"""
Row keys: what makes a survey unique in its campaign, as hashes.

One concept serves deduplication, the journal, the client message id and the report.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

from airflow_provider_8x8.surveys.journal import ROW_KEY_BYTES, Entry, unpack

ROW_KEY_RULES = 1
"""Rises when the same row would get another row key than before: the journal's header names it."""


class RowKeys:
    """
    The row keys of one campaign; another campaign gives other ones.

    :param campaign_id: goes into every hash
    """

    def __init__(self, campaign_id: str) -> None:
        self._seeded = blake2b(digest_size=ROW_KEY_BYTES, key=blake2b(campaign_id.encode()).digest())

    def of(self, text: str) -> bytes:
        """Return the row key of the value that makes a row unique."""
        row_key = self._seeded.copy()  # a third cheaper than to key a new hash
        row_key.update(text.encode())
        return row_key.digest()

    def by_message(self, entry: Entry) -> Callable[[str], bytes | None]:
        """Return what finds the row key of one of the entry's messages by its client message id, else None."""
        known = unpack(entry.row_keys)
        if entry.message_keys is not None:
            by_hash = dict(zip(unpack(entry.message_keys), known, strict=True))
            return lambda client_message_id: by_hash.get(self.of(client_message_id))
        row_keys = set(known)
        read = self.of if entry.unique_by == "client_message_id" else _from_client_message_id

        def find(client_message_id: str) -> bytes | None:
            row_key = read(client_message_id)
            return row_key if row_key in row_keys else None

        return find


to_client_message_id = bytes.hex
"""Makes a row key the client message id of a row that brings none: opaque, and the same in every try."""


def derived_id(entry: Entry, row_key: bytes) -> str | None:
    """Return the client message id of one of the entry's rows, None where the row brought its own."""
    return None if _brings_ids(entry) else to_client_message_id(row_key)


def _brings_ids(entry: Entry) -> bool:
    return entry.message_keys is not None or entry.unique_by == "client_message_id"


def _from_client_message_id(client_message_id: str) -> bytes | None:
    try:
        return bytes.fromhex(client_message_id)
    except ValueError:
        return None
