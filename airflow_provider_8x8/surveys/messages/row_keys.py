"""
Row keys: what makes a survey unique in its campaign, as hashes.

One concept serves deduplication, the journal, the client message id and the report.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from hashlib import blake2b

ROW_KEY_BYTES = 10
"""A row key is kept as a hash: at 100 million of them, two agree by chance once in 240 million campaigns."""

ROW_KEY_RULES = 2
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

    def of_all(self, texts: Iterable[str]) -> list[bytes]:
        """Return the row keys of many values."""
        copy, row_keys = self._seeded.copy, []
        for text in map(str.encode, texts):
            row_key = copy()
            row_key.update(text)
            row_keys.append(row_key.digest())
        return row_keys

    def of_messages(self, client_message_ids: Sequence[str]) -> bytes:
        """
        Return the message keys of a batch whose rows bring their ids: hashes of what no way back from 8x8 changes.

        Ids that differ only in what may be changed are told apart by being as they were sent.
        """
        folded = [fold_message_id(client_message_id) for client_message_id in client_message_ids]
        times = Counter(folded)
        if len(times) < len(folded):
            folded = [
                client_message_id if times[its] > 1 else its
                for client_message_id, its in zip(client_message_ids, folded, strict=True)
            ]
        return pack(self.of_all(folded))

    def by_message(
        self, row_keys: Sequence[bytes], message_keys: Sequence[bytes] | None
    ) -> Callable[[str], bytes | None]:
        """
        Return what finds the row key of one of a batch's messages by its client message id, else None.

        :param row_keys: those of the batch
        :param message_keys: in the same order, the hashes of the ids; None if the ids were made of the row keys
        """
        if message_keys is None:
            known = set(row_keys)
            return lambda client_message_id: _derived_from(client_message_id, known)
        of_message = dict(zip(message_keys, row_keys, strict=True))

        def find(client_message_id: str) -> bytes | None:
            row_key = of_message.get(self.of(client_message_id))
            return row_key or of_message.get(self.of(fold_message_id(client_message_id)))

        return find


to_client_message_id = bytes.hex
"""Makes a row key the client message id of a row that brings none: opaque, and the same in every try."""


def fold_message_id(client_message_id: str) -> str:
    """
    Return what stays of a client message id, whatever was done to it on its way through 8x8 and a CSV file.

    Its case, its blanks, and how Unicode writes its characters may have been changed. It may have been put in quotes,
    or behind an apostrophe, as guards against formulas do: no id has those itself.
    """
    text = client_message_id
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.casefold().strip("'\" \t\r\n").split())


def are_folded(client_message_ids: Sequence[str]) -> bool:
    """Tell whether ids, all of them without blanks around, are as :func:`fold_message_id` would have them."""
    text = "\n".join(client_message_ids)  # as one text, since there may be ten thousand
    return text.isascii() and "  " not in text and text == text.casefold()


def _derived_from(client_message_id: str, row_keys: Collection[bytes]) -> bytes | None:
    """Return the one of some row keys that a client message id was made of."""
    try:
        row_key = bytes.fromhex(fold_message_id(client_message_id))
    except ValueError:
        return None
    return row_key if row_key in row_keys else None


def pack(keys: Iterable[bytes]) -> bytes:
    """Join row keys."""
    return b"".join(keys)


def unpack(keys: bytes) -> list[bytes]:
    """Split what :func:`pack` has joined."""
    return [keys[start : start + ROW_KEY_BYTES] for start in range(0, len(keys), ROW_KEY_BYTES)]
