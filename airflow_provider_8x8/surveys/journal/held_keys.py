"""
Who holds which row key, at some six bytes a key beside the packed row keys of the journal's entries.

Every shard of a campaign has to know the row keys of all others: ten million of them are to fit beside its own, and to
take no longer than its own sending. So no statement of ours is executed for each of them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from struct import Struct

from airflow_provider_8x8.surveys.messages.row_keys import ROW_KEY_BYTES, pack

_PREFIXES = 1 << 16
_BUCKETS = 1 << 15  # not as many as prefixes: Python hardly gives back what buckets took until they had 512 bytes
_FEW = 250
_PREFIX_AND_CHECK = f"H2s{ROW_KEY_BYTES - 4}x"
_CHECK_BYTES = 2
_PLACE_BYTES = 3
_RECORD_BYTES = _CHECK_BYTES + _PLACE_BYTES
_MAX_PLACES = 1 << 8 * _PLACE_BYTES


class HeldKeys:
    """
    The holders of row keys.

    A key's first two bytes choose one of 32,768 buckets, where its next two stand in a record with its place: the
    how-manieth it is of all row keys that were ever held. There, among the packed row keys as they were given, stands
    the whole of it. A bucket is searched from its beginning: at ten million keys it is one and a half kilobytes. Places
    have three bytes: with each 16 million more, a room of as many buckets is added, which is searched as well.
    """

    def __init__(self) -> None:
        # In each room by prefix. As long as there are few row keys they share a bucket: to make all takes milliseconds.
        self._rooms = [[bytearray()] * _PREFIXES]
        self._are_spread = False
        self._starts: list[int] = []
        self._packed: list[bytes] = []
        self._holders: list[str] = []
        self._next_place = 0
        self._count = 0

    def __bool__(self) -> bool:
        return self._count > 0

    def holder_of(self, row_key: bytes) -> str | None:
        """Return who holds a row key, if anybody does: of several the one who has held it longest."""
        return next((holder for _, _, holder in self._records(row_key)), None)

    def holders_of(self, row_keys: Sequence[bytes]) -> dict[bytes, str]:
        """Return who holds which of some row keys, as :meth:`holder_of` does, without those that nobody holds."""
        if not self:
            return {}
        prefixes, checks = _split(pack(row_keys))
        likely: list[bytes] = []
        for room in self._rooms:
            buckets = map(room.__getitem__, prefixes)
            # Few of those that nobody holds come through this, and have to be looked at closely.
            likely += [key for key, check, bucket in zip(row_keys, checks, buckets, strict=True) if check in bucket]
        found = {key: self.holder_of(key) for key in likely}
        return {key: holder for key, holder in found.items() if holder is not None}

    def hold(self, row_keys: bytes, holder: str) -> None:
        """Let somebody hold packed row keys, none of which they hold yet; the bytes object is kept, and not copied."""
        count = len(row_keys) // ROW_KEY_BYTES
        if not count:
            return
        is_full = self._next_place + count > len(self._rooms) * _MAX_PLACES
        if not self._are_spread and (is_full or self._count + count > _FEW):
            self._spread()
        if is_full:
            self._next_place = len(self._rooms) * _MAX_PLACES
            self._rooms.append(_new_room())
        places = _repeated("I", count).pack(*range(self._next_place, self._next_place + count))
        records = bytearray(count * _RECORD_BYTES)
        for at in range(_CHECK_BYTES):
            records[at::_RECORD_BYTES] = row_keys[2 + at :: ROW_KEY_BYTES]
        for at in range(_PLACE_BYTES):  # the last byte of the four is the room's number
            records[_CHECK_BYTES + at :: _RECORD_BYTES] = places[at::4]
        buckets = map(self._rooms[-1].__getitem__, _split(row_keys)[0])
        # Each record goes to the end of its bucket, with no statement of ours for each.
        deque(map(bytearray.extend, buckets, _repeated(f"{_RECORD_BYTES}s", count).unpack(records)), maxlen=0)
        self._starts.append(self._next_place)
        self._packed.append(row_keys)
        self._holders.append(holder)
        self._next_place += count
        self._count += count

    def release(self, row_keys: Iterable[bytes], holder: str) -> None:
        """Let somebody no longer hold those of the row keys that they hold."""
        for row_key in row_keys:
            for bucket, at, its_holder in self._records(row_key):
                if its_holder == holder:
                    del bucket[at : at + _RECORD_BYTES]
                    self._count -= 1
                    break

    def _records(self, row_key: bytes) -> Iterator[tuple[bytearray, int, str]]:
        """Yield the bucket of a row key, where in it a record of this very key begins, and who holds it by that."""
        (prefix,), (check,) = _split(row_key)
        for number, room in enumerate(self._rooms):
            bucket = room[prefix]
            at = bucket.find(check)
            while at >= 0:
                # The end of one record and the beginning of the next may look like another, and so may another key's.
                if at % _RECORD_BYTES == 0:
                    its_row_key, holder = self._look_up(number, bucket[at : at + _RECORD_BYTES])
                    if its_row_key == row_key:
                        yield bucket, at, holder
                at = bucket.find(check, at + 1)

    def _look_up(self, room: int, record: bytearray) -> tuple[bytes, str]:
        """Return the row key of a record in a room, and who holds it."""
        place = room * _MAX_PLACES + int.from_bytes(record[_CHECK_BYTES:], "little")
        number = bisect_right(self._starts, place) - 1
        start = (place - self._starts[number]) * ROW_KEY_BYTES
        return self._packed[number][start : start + ROW_KEY_BYTES], self._holders[number]

    def _spread(self) -> None:
        """Have a bucket for each prefix."""
        shared, self._rooms = self._rooms[0][0], [_new_room()]
        for at in range(0, len(shared), _RECORD_BYTES):
            record = shared[at : at + _RECORD_BYTES]
            (prefix,), _ = _split(self._look_up(0, record)[0])
            self._rooms[0][prefix] += record
        self._are_spread = True


def _new_room() -> list[bytearray]:
    """Return buckets by prefix; each is there for two."""
    return [bytearray() for _ in range(_BUCKETS)] * (_PREFIXES // _BUCKETS)


def _split(row_keys: bytes) -> tuple[Sequence[int], Sequence[bytes]]:
    """Return the first two bytes of each of the packed row keys as a number, and the next two."""
    parts = _repeated(_PREFIX_AND_CHECK, len(row_keys) // ROW_KEY_BYTES).unpack(row_keys)
    return parts[::2], parts[1::2]


@lru_cache(8)  # most batches are of one size, and to make it for ten thousand takes as long as to use it
def _repeated(form: str, times: int) -> Struct:
    return Struct("<" + form * times)
