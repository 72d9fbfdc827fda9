"""Who holds which row key."""

from __future__ import annotations

import tracemalloc
from collections import defaultdict
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_8x8.surveys.journal.held_keys import _MAX_PLACES, HeldKeys
from airflow_provider_8x8.surveys.messages.row_keys import ROW_KEY_BYTES, pack

# Few buckets and few bytes, so that the end of one record and the beginning of the next often look like a key.
ROW_KEYS = st.tuples(st.sampled_from([0, 1]), *[st.sampled_from([0, 1])] * (ROW_KEY_BYTES - 2)).map(
    lambda ends: bytes([0, *ends])
)
HOLDERS = st.sampled_from([f"batch-{number}" for number in range(6)])
CHANGES = st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 19), unique=True), HOLDERS), max_size=40)


@given(
    st.lists(ROW_KEYS, min_size=20, max_size=20, unique=True),
    CHANGES,
    st.sampled_from([0, 300]),
    st.sampled_from([0, _MAX_PLACES - 350, _MAX_PLACES - 50, _MAX_PLACES]),
)
def test_it_is_as_lists_in_a_dict_would_be(
    keys: list[bytes], changes: list[tuple[bool, list[int], str]], others: int, places_taken: int
) -> None:
    held, expected = HeldKeys(), defaultdict[bytes, list[str]](list)
    held._next_place = places_taken  # as if so many had been held, and released again
    for number, (is_hold, places, holder) in enumerate(changes):
        some = [keys[place] for place in places]
        if is_hold:
            some = [key for key in some if holder not in expected[key]]
            held.hold(pack(some), holder)
            for key in some:
                expected[key].append(holder)
        else:
            held.release(some, holder)
            for key in some:
                if holder in expected[key]:
                    expected[key].remove(holder)
        if number == 10:  # so many that they are kept otherwise from here on
            held.hold(Random(8).randbytes(others * ROW_KEY_BYTES), "others")  # noqa: S311
        holders = [next(iter(expected[key]), None) for key in keys]
        assert [held.holder_of(key) for key in keys] == holders
        assert held.holders_of(keys) == {
            key: holder for key, holder in zip(keys, holders, strict=True) if holder is not None
        }
        assert bool(held) == (any(expected.values()) or (number >= 10 and others > 0))


def test_of_many_row_keys_at_once_only_those_are_named_that_are_held() -> None:
    random, held = Random(8), HeldKeys()  # noqa: S311
    keys = [random.randbytes(ROW_KEY_BYTES) for _ in range(3_000)]
    assert held.holders_of(keys) == {}
    for start in (0, 1_000):
        held.hold(pack(keys[start : start + 1_000]), f"batch-{start}")
    held.release(keys[500:1_500], "batch-1000")
    expected = dict.fromkeys(keys[:1_000], "batch-0") | dict.fromkeys(keys[1_500:2_000], "batch-1000")
    assert held.holders_of(keys) == expected
    assert held.holders_of([]) == {}
    held.release(keys, "batch-0")
    held.release(keys, "batch-1000")
    assert not held
    assert held.holders_of(keys) == {}


@pytest.mark.parametrize("count", [100, 1_000])
def test_row_keys_beyond_the_places_that_a_record_can_tell_apart_are_held_as_well(count: int) -> None:
    random, held = Random(8), HeldKeys()  # noqa: S311
    first, second, third = ([random.randbytes(ROW_KEY_BYTES) for _ in range(count)] for _ in range(3))
    held.hold(pack(first), "first")
    held._next_place = _MAX_PLACES - 50  # as if so many had been held, and released again
    held.hold(pack(second), "second")
    held.hold(pack([*third, *first]), "third")
    assert held.holders_of([*second, *third]) == dict.fromkeys(second, "second") | dict.fromkeys(third, "third")
    assert held.holders_of(first) == dict.fromkeys(first, "first")
    held.release(first, "first")
    held.release(third, "third")
    assert held.holders_of([*first, *second, *third]) == dict.fromkeys(first, "third") | dict.fromkeys(second, "second")


def test_a_key_takes_little_more_than_its_bytes() -> None:
    random, count = Random(8), 300_000  # noqa: S311
    tracemalloc.start()
    try:
        held, before = HeldKeys(), tracemalloc.get_traced_memory()[0]
        for batch in range(count // 10_000):
            held.hold(pack(random.randbytes(ROW_KEY_BYTES) for _ in range(10_000)), f"batch-{batch}")
        held.holders_of([bytes(ROW_KEY_BYTES)])
        # Beside its record, a bucket takes a hundred bytes or two: much here, with 5 keys each, and nothing with 150.
        assert (tracemalloc.get_traced_memory()[0] - before - 65_536 * 200) / count < 20
    finally:
        tracemalloc.stop()
