"""
Who holds which row key, at some twenty bytes a key instead of the hundred and more of a dict.

Every shard of a campaign has to know the row keys of all others: ten million of them are to fit beside its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

_PREFIX_BYTES = 2
_NUMBER_BYTES = 4


class HeldKeys:
    """
    The holders of row keys.

    A key's first bytes choose one of 65,536 buckets, where the rest of it stands in a record with its holder's number.
    A bucket is searched from its beginning: at ten million keys it is two kilobytes.
    """

    def __init__(self) -> None:
        self._buckets: defaultdict[bytes, bytearray] = defaultdict(bytearray)
        self._holders: list[str] = []
        self._numbers: dict[str, bytes] = {}

    def __bool__(self) -> bool:
        return bool(self._buckets)

    def holder_of(self, row_key: bytes) -> str | None:
        """Return who holds a row key, if anybody does: of several the one who has held it longest."""
        bucket = self._buckets.get(row_key[:_PREFIX_BYTES])
        if bucket is None:
            return None
        rest = row_key[_PREFIX_BYTES:]
        at = _find(bucket, rest, len(rest) + _NUMBER_BYTES)
        if at < 0:
            return None
        end = at + len(rest)
        return self._holders[int.from_bytes(bucket[end : end + _NUMBER_BYTES], "big")]

    def hold(self, row_keys: Iterable[bytes], holder: str) -> None:
        """Let somebody hold row keys."""
        number = self._numbers.get(holder)
        if number is None:
            number = self._numbers[holder] = len(self._holders).to_bytes(_NUMBER_BYTES, "big")
            self._holders.append(holder)
        buckets = self._buckets
        for row_key in row_keys:
            buckets[row_key[:_PREFIX_BYTES]] += row_key[_PREFIX_BYTES:] + number

    def release(self, row_keys: Iterable[bytes], holder: str) -> None:
        """Let somebody no longer hold those of the row keys that they hold."""
        number = self._numbers.get(holder)
        if number is None:
            return
        for row_key in row_keys:
            prefix, record = row_key[:_PREFIX_BYTES], row_key[_PREFIX_BYTES:] + number
            bucket = self._buckets.get(prefix, bytearray())
            at = _find(bucket, record, len(record))
            if at >= 0:
                del bucket[at : at + len(record)]
                if not bucket:
                    del self._buckets[prefix]


def _find(bucket: bytearray, what: bytes, record_size: int) -> int:
    """Return where the record begins that begins with this, or -1."""
    at = bucket.find(what)
    while at > 0 and at % record_size:  # the end of one record and the beginning of the next may look like another
        at = bucket.find(what, at + 1)
    return at
