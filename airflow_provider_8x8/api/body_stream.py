"""A request's body, which knows what of it was handed to the network, and is never complete too late."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import pairwise

PIECE_BYTES = 64 * 1024
"""How much is handed to the network, or read from it, at a time."""


class BodyStream:
    """
    A request body that knows what of it was handed to the socket.

    That is the only proof that a request was never sent: no exception's name gives it, since a TLS or proxy
    error can come before the first byte as well as after the last.

    The last byte goes alone, as soon as the socket would take it without waiting, and the clocks are read right
    before: a body whose time was over by then is never complete on the other side. What cannot be closed is the
    pause between that reading and the kernel's write.

    :param ends_at: when the call's time is over, in seconds of the monotonic clock
    :param send_by: when the request must be complete, in seconds since 1970; the time that is left of it now is
        also held against the monotonic clock, so that a wall clock which is set back gives no more of it
    :param on_sent: called once the last byte is handed to the socket
    """

    def __init__(
        self,
        body: bytes,
        ends_at: float,
        send_by: float | None = None,
        on_sent: Callable[[], None] | None = None,
    ) -> None:
        self._body = body
        self._on_sent = on_sent
        self._send_by = send_by
        self._ends_at = ends_at if send_by is None else min(ends_at, time.monotonic() + send_by - time.time())
        self.bytes_given = 0
        self._last_was_given = False
        self.wait_until_writable: Callable[[float], None] = lambda seconds: None

    def __len__(self) -> int:
        return len(self._body)

    def __iter__(self) -> Iterator[bytes]:
        last = len(self._body) - 1
        for start, end in pairwise([*range(0, last, PIECE_BYTES), last, last + 1]):
            if start == last:
                self.wait_until_writable(self.seconds_left())
            if self.seconds_left() <= 0:
                raise TimeoutError("the call's time was over before its body was sent")
            self.bytes_given = end
            self._last_was_given |= start == last
            yield self._body[start:end]
        if self._on_sent is not None:
            self._on_sent()

    def let_go(self) -> None:
        """
        Let go of the body, once the call is over.

        What made the call is in cycles, and waits for the garbage collector: with it would megabytes for each batch.
        """
        self._body = b""

    @property
    def begun(self) -> bool:
        """Whether any of it was handed to the socket."""
        return self.bytes_given > 0

    @property
    def cannot_be_complete(self) -> bool:
        """Whether a request with a ``send_by`` has been kept back in part: the other side then never has it all."""
        return self._send_by is not None and not self._last_was_given

    def seconds_left(self) -> float:
        """Return for how long pieces will still be handed over; not above 0 if no longer."""
        left = self._ends_at - time.monotonic()
        return left if self._send_by is None else min(left, self._send_by - time.time())
