"""
One HTTP call with a hard end: a fresh connection, one total deadline, a bounded answer.

requests bounds each wait for the network, not the whole call: a server that drips a byte a second holds it
for ever. Here a watchdog shuts the connection down when the call's time is over, whatever it waits for.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from socket import SHUT_RDWR, socket
from types import TracebackType
from typing import Any, NamedTuple, Self

import requests
import urllib3
from requests.adapters import HTTPAdapter

from airflow_provider_8x8.api.errors import EightByEightError, NeverSentError, UnknownOutcomeError
from airflow_provider_8x8.api.masking import mask_phone_numbers

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""A full answer to 10,000 messages is about 3 MB, the CSV of a log export comes in pieces of its own."""

_PIECE_BYTES = 64 * 1024


class Answer(NamedTuple):
    """What came back: the whole body, read to its end."""

    http_status: int
    headers: Mapping[str, str]
    body: bytes


class BodyStream:
    """
    A request body that knows whether any of it was handed to the socket.

    That is the only proof that a request was never sent: no exception's name gives it, since a TLS or proxy
    error can come before the first byte as well as after the last.
    """

    def __init__(self, body: bytes, ends_at: float) -> None:
        self._body = body
        self._ends_at = ends_at
        self.begun = False

    def __len__(self) -> int:
        return len(self._body)

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, len(self._body), _PIECE_BYTES):
            if time.monotonic() >= self._ends_at:
                raise TimeoutError("the call's time was over before its body was sent")
            self.begun = True
            yield self._body[start : start + _PIECE_BYTES]


def exchange(
    method: str, url: str, *, auth: requests.auth.AuthBase, headers: Mapping[str, str], body: bytes, timeout: float
) -> Answer:
    """
    Make one HTTP call on a connection of its own, and read the answer to its end.

    A pooled connection that the server has dropped would turn a POST into one of unknown outcome. Redirects are
    not followed: the API key would go along. Plain HTTP (to a loopback address) never goes through a proxy of
    the environment, which would see the key.

    :param timeout: seconds for the whole call: connecting, upload and answer together
    :raises NeverSentError: the call failed before any of the body was handed to the socket
    :raises UnknownOutcomeError: it failed later
    """
    ends_at = time.monotonic() + timeout
    stream = BodyStream(body, ends_at)
    with _Watchdog(timeout) as watchdog, requests.Session() as session:
        session.trust_env = url.startswith("https://")
        adapter = _WatchedAdapter(watchdog)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        try:
            with session.request(
                method,
                url,
                auth=auth,
                headers=dict(headers),
                data=stream if body else None,
                timeout=timeout,
                allow_redirects=False,
                stream=True,
            ) as response:
                answer = Answer(response.status_code, response.headers, _read(response))
        except (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
            raise _failure(error, stream, watchdog, timeout) from error
    if watchdog.expired:
        # A connection that was shut down can look like an answer that ended.
        raise UnknownOutcomeError(f"the call to 8x8 did not end within {timeout:g} s")
    return answer


def _read(response: requests.Response) -> bytes:
    body = bytearray()
    for piece in response.iter_content(_PIECE_BYTES):
        body += piece
        if len(body) > MAX_ANSWER_BYTES:
            raise UnknownOutcomeError(f"8x8's answer is larger than {MAX_ANSWER_BYTES} bytes and was not read")
    return bytes(body)


def _failure(error: Exception, stream: BodyStream, watchdog: _Watchdog, timeout: float) -> EightByEightError:
    what = f"it did not end within {timeout:g} s" if watchdog.expired else _root_cause(error)
    if stream.begun or not len(stream):
        return UnknownOutcomeError(f"the call to 8x8 failed before its answer was complete: {what}")
    return NeverSentError(f"8x8 could not be reached and nothing was sent: {what}")


def _root_cause(error: BaseException) -> str:
    while error.__context__ is not None:
        error = error.__context__
    return mask_phone_numbers(f"{type(error).__name__}: {error}")


class _Watchdog:
    """Shuts a connection down when its time is over."""

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
        # A duplicate, because TLS detaches the socket it wraps: the connection below is the same one.
        duplicate = connection.dup()
        with self._lock:
            self._connections.append(duplicate)
            if self.expired:
                _shut_down(duplicate)

    def _expire(self) -> None:
        with self._lock:
            self.expired = True
            for connection in self._connections:
                _shut_down(connection)


def _shut_down(connection: socket) -> None:
    with suppress(OSError):  # the other side may have gone already
        connection.shutdown(SHUT_RDWR)


class _WatchedAdapter(HTTPAdapter):
    """Shows every connection to the watchdog as soon as there is one, before TLS or a proxy's tunnel."""

    def __init__(self, watchdog: _Watchdog) -> None:
        self._watchdog = watchdog
        super().__init__()

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        watchdog = self._watchdog
        plain: type[Any] = pool.ConnectionCls

        class WatchedConnection(plain):  # type: ignore[misc]  # the scheme decides which class it is
            def _new_conn(self) -> socket:
                connection: socket = super()._new_conn()
                watchdog.watch(connection)
                return connection

        pool.ConnectionCls = WatchedConnection
        return pool
