"""A proxy before the sandbox that stops a batch request in the middle of its body, until it is told to go on."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from typing import Self
from urllib.parse import urlsplit

_PIECE = 16 * 1024
_BATCH = re.compile(rb"^POST \S+/messages/batch ")
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class NarrowProxy:
    """
    Passes everything on, but for one batch request: the first after :meth:`hold`.

    Of that one it takes no more than all but ``held_back`` bytes of the body until :attr:`go_on` is set. Of the rest
    the sockets hold a megabyte; what is beyond that the sender has not handed over yet.

    :param url: of the sandbox
    :param held_back: bytes
    :ivar is_held: set once the body has been passed on as far as that
    :ivar ended: set once the connection of that request is gone
    :ivar missing: how many bytes of the body never came
    """

    def __init__(self, url: str, *, held_back: int) -> None:
        parts = urlsplit(url)
        self._target = (str(parts.hostname), int(parts.port or 80))
        self._held_back = held_back
        self._is_to_hold = threading.Event()
        self.is_held = threading.Event()
        self.go_on = threading.Event()
        self.ended = threading.Event()
        self.missing = 0
        self._listener = socket.socket()
        # The connections inherit both. A small window, and segments as in a real network: else, by loopback's of
        # 64 KiB, the sender's buffer would grow to four megabytes.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _PIECE)
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1_448)
        self._listener.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.go_on.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def hold(self) -> None:
        """Hold the next batch request."""
        self._is_to_hold.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target) as server:
            threading.Thread(target=_pump, args=(server, client), daemon=True).start()
            with contextlib.suppress(OSError):
                self._pass_on(client, server)

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            if not (piece := client.recv(_PIECE)):
                return
            head += piece
        server.sendall(head)
        if _BATCH.match(head) and self._is_to_hold.is_set():
            self._is_to_hold.clear()
            self._pass_on_held(client, server, head)
        else:
            _pump(client, server)

    def _pass_on_held(self, client: socket.socket, server: socket.socket, head: bytes) -> None:
        headers, _, body = head.partition(b"\r\n\r\n")
        length = _LENGTH.search(headers)
        assert length is not None
        self.missing = int(length[1]) - len(body)
        try:
            while self.missing > 0:
                if self.missing <= self._held_back:
                    self.is_held.set()
                    self.go_on.wait()
                if not (piece := client.recv(_PIECE)):
                    break
                self.missing -= len(piece)
                server.sendall(piece)
        finally:
            self.ended.set()
        _pump(client, server)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Pass on what comes until it ends, and the end too."""
    with contextlib.suppress(OSError):
        while piece := source.recv(_PIECE):
            sink.sendall(piece)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
