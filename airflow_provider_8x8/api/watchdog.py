"""
What ends a connection from outside: when a call's time is over, or when nobody takes what was sent.

requests bounds each wait for the network, not the whole call: a server that drips a byte a second holds it for ever.
"""

from __future__ import annotations

import socket as sockets
import threading
from contextlib import suppress
from socket import SHUT_RDWR, socket
from types import TracebackType
from typing import Self

from urllib3.util import wait_for_write


class Watchdog:
    """
    Shuts connections down when their time is over.

    :param seconds: from when it is entered
    :ivar expired: whether the time is over
    """

    def __init__(self, seconds: float) -> None:
        self.expired = False
        self._lock = threading.Lock()
        self._connections: list[socket] = []
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            for connection in self._connections:
                connection.close()
            self._connections.clear()

    def watch(self, connection: socket) -> None:
        """Shut this connection down, too, when the time is over; at once if it already is."""
        # A duplicate, because TLS detaches the socket it wraps: the connection below is the same one.
        duplicate = connection.dup()
        with self._lock:
            self._connections.append(duplicate)
            if self.expired:
                _shut_down(duplicate)

    def drop(self) -> None:
        """Close what is watched so far: nothing came of it."""
        with self._lock:
            for connection in self._connections:
                _shut_down(connection)
                connection.close()
            self._connections.clear()

    def wait_until_writable(self, seconds: float) -> None:
        """Wait until the connection takes another byte, or is gone, or the time is over."""
        with self._lock:
            connection = self._connections[-1] if self._connections else None
        if connection is not None:
            wait_for_write(connection, max(0.0, seconds))

    def _expire(self) -> None:
        with self._lock:
            self.expired = True
            for connection in self._connections:
                _shut_down(connection)


def _shut_down(connection: socket) -> None:
    with suppress(OSError):  # the other side may have gone already
        connection.shutdown(SHUT_RDWR)


def give_up_delivery_after(connection: socket, seconds: float) -> None:
    """Have the kernel drop what it was given if the other side has not taken it in this time (Linux only)."""
    option = getattr(sockets, "TCP_USER_TIMEOUT", None)
    if option is not None:
        connection.setsockopt(sockets.IPPROTO_TCP, option, max(1, int(seconds * 1000)))
