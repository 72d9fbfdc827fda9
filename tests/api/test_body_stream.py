"""A request's body on its way: all of it or, once its time is over, never its last byte."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_8x8.api import body_stream
from airflow_provider_8x8.api.body_stream import PIECE_BYTES, BodyStream

# Around whole pieces, where an edge may be missed.
SIZES = st.one_of(
    st.integers(1, 5),
    st.builds(lambda pieces, beside: pieces * PIECE_BYTES + beside, st.integers(1, 4), st.integers(-2, 2)),
    st.integers(1, 4 * PIECE_BYTES),
)


def body_of(size: int) -> bytes:
    return bytes(range(251)) * (size // 251) + bytes(range(size % 251))


class Clock:
    """Both clocks, which a test sets on."""

    def __init__(self) -> None:
        self.monotonic_seconds, self.wall_seconds = time.monotonic(), time.time()

    def monotonic(self) -> float:
        return self.monotonic_seconds

    def time(self) -> float:
        return self.wall_seconds


@given(SIZES, st.booleans())
def test_a_body_is_handed_over_whole_and_its_last_byte_alone(size: int, has_send_by: bool) -> None:
    body, seen = body_of(size), list[Any]()
    stream = BodyStream(
        body,
        time.monotonic() + 60,
        time.time() + 60 if has_send_by else None,
        on_sent=lambda: seen.append("sent"),
    )
    stream.wait_until_writable = lambda seconds: seen.append(stream.bytes_given)
    assert stream.bytes_given == 0
    pieces = []
    for piece in stream:
        pieces.append(piece)
        assert stream.begun
        assert stream.bytes_given == sum(map(len, pieces))
        assert stream.cannot_be_complete == (has_send_by and stream.bytes_given < size)
        assert "sent" not in seen
    assert b"".join(pieces) == body
    assert len(stream) == size
    assert len(pieces[-1]) == 1
    assert max(map(len, pieces)) <= PIECE_BYTES
    assert seen == [size - 1, "sent"]  # what was given when it was waited for, once


@given(SIZES, st.integers(0, 5), st.sampled_from(["monotonic_seconds", "wall_seconds"]), st.booleans())
def test_a_body_whose_time_ends_on_its_way_is_never_complete(
    size: int, pieces_in_time: int, clock_name: str, stalls_before_the_last: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock()
        patch.setattr(body_stream, "time", clock)
        sent = list[bool]()
        stream = BodyStream(body_of(size), clock.monotonic() + 60, clock.time() + 30, on_sent=lambda: sent.append(True))

        def stall(seconds: float = 0) -> None:
            setattr(clock, clock_name, getattr(clock, clock_name) + 31)

        if stalls_before_the_last:
            stream.wait_until_writable = stall
        given_bytes = b""
        with pytest.raises(TimeoutError):  # noqa: PT012  # it comes out of the iteration, whenever that is
            pieces = iter(stream)
            for _ in range(min(pieces_in_time, (size - 1) // PIECE_BYTES)):
                given_bytes += next(pieces)
            if not stalls_before_the_last:
                stall()
            for piece in pieces:
                given_bytes += piece
        assert len(given_bytes) == stream.bytes_given < size
        assert body_of(size).startswith(given_bytes)
        assert stream.begun == bool(given_bytes)
        assert stream.cannot_be_complete
        assert sent == []
