"""
One HTTP call with a hard end: a fresh connection, one total deadline, a bounded answer.

No exception has another one behind it that is shown: those of requests and urllib3 quote addresses and answers.

A watchdog shuts the connection down when the call's time is over, whatever the call waits for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from socket import socket
from typing import Any, NamedTuple

import requests
import urllib3
from requests.adapters import HTTPAdapter

from airflow_provider_8x8.api.addresses import Address, look_up, share
from airflow_provider_8x8.api.body_stream import PIECE_BYTES, BodyStream
from airflow_provider_8x8.api.errors import TOO_MANY_REQUESTS, NeverSentError, UnknownOutcomeError, error_from_answer
from airflow_provider_8x8.api.failures import NETWORK_ERRORS, failure_of, root_cause
from airflow_provider_8x8.api.links import is_global, refused_link
from airflow_provider_8x8.api.watchdog import Watchdog, give_up_delivery_after
from airflow_provider_8x8.api.whole_answers import WholeAnswer, doubt_about_its_end

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""A full answer to 10,000 messages is about 3 MB, the CSV of a log export comes in pieces of its own."""

CONNECTING_SHARE = 0.5
"""What of a call's time may go into connecting, TLS and a proxy's tunnel with it, to all addresses together."""

_OK = 200
_HIDDEN_PATH = "/(hidden)"


class Answer(NamedTuple):
    """What came back: the whole body, read to its end."""

    http_status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"<Answer {self.http_status}, {len(self.body)} bytes>"  # which may quote phone numbers


def exchange(
    method: str,
    url: str,
    *,
    auth: requests.auth.AuthBase,
    headers: Mapping[str, str],
    body: bytes,
    timeout: float,
    send_by: float | None = None,
    on_sent: Callable[[], None] | None = None,
) -> Answer:
    """
    Make one HTTP call on a connection of its own, and read the answer to its end.

    A pooled connection that the server has dropped would turn a POST into one of unknown outcome. Redirects are
    not followed: the API key would go along. Plain HTTP (to a loopback address) never goes through a proxy of
    the environment, which would see the key.

    :param timeout: seconds for the whole call: connecting (at most half of them, shared among the host's addresses),
        upload and answer together
    :param send_by: seconds since 1970, after which the body is not completed any more: its last byte at least is
        withheld. The answer may come later.
    :param on_sent: called once the last byte of the body is handed to the socket
    :raises NeverSentError: the call failed before any of the body was handed to the socket; with ``send_by``, before
        its last byte was, be it that the time was over or the connection lost
    :raises RateLimitedError: the answer is 429, whatever else is in it, and whether or not it is whole
    :raises UnknownOutcomeError: it failed later
    """
    stream = BodyStream(body, time.monotonic() + timeout, send_by, on_sent)
    if stream.seconds_left() <= 0:
        raise NeverSentError("nothing was sent to 8x8: the request's time was over before it began")
    call = _open(method, url, auth=auth, headers=headers, stream=stream, seconds=timeout, timeout=timeout)
    try:
        with call as response:
            if response.status_code == TOO_MANY_REQUESTS:
                raise error_from_answer(response.status_code, response.headers, _read_if_possible(response))
            return Answer(response.status_code, response.headers, _read(response))
    finally:
        stream.let_go()


def download(
    url: str,
    *,
    auth: requests.auth.AuthBase,
    headers: Mapping[str, str],
    seconds: float,
    timeout: float,
    public_only: bool,
) -> Generator[bytes, None, None]:
    """
    Yield a file in pieces, as they come in. Neither a log nor an error shows more of its address than the host.

    Closing the generator closes the connection.

    :param seconds: for the whole file, with what the caller does between two pieces
    :param timeout: seconds for each wait
    :param public_only: refuse an address that is not of the public internet, before anything is sent to it. (Through
        a proxy of the environment it is the proxy that connects, and its address is not looked at.)
    :raises UnknownOutcomeError: it did not come, not to its end, or in a way that its end could not be told
    :raises RefusedError: 8x8's answer to it
    """
    if seconds <= 0:
        raise UnknownOutcomeError("a file was not read: its time was over before it began")
    stream = BodyStream(b"", time.monotonic() + seconds)
    with _open(
        "GET",
        url,
        auth=auth,
        headers=headers,
        stream=stream,
        seconds=seconds,
        timeout=timeout,
        hide_path=True,
        public_only=public_only,
    ) as response:
        if response.status_code != _OK:
            raise error_from_answer(response.status_code, response.headers, _read_if_possible(response))
        doubt = doubt_about_its_end(response.raw.headers, response.raw.version)
        if doubt is not None:
            raise UnknownOutcomeError(f"whether a file was cut off cannot be told: {doubt}")
        yield from response.iter_content(PIECE_BYTES)


@contextmanager
def _open(
    method: str,
    url: str,
    *,
    auth: requests.auth.AuthBase,
    headers: Mapping[str, str],
    stream: BodyStream,
    seconds: float,
    timeout: float,
    hide_path: bool = False,
    public_only: bool = False,
) -> Iterator[requests.Response]:
    """
    Yield the answer to one call, its body still to be read; the connection ends with the context.

    :param seconds: for the whole call, until the context ends
    :param timeout: seconds for each wait
    :param hide_path: the path and query are a secret
    :param public_only: see :func:`download`
    """
    with Watchdog(seconds) as watchdog, requests.Session() as session:
        session.trust_env = url.startswith("https://")
        stream.wait_until_writable = watchdog.wait_until_writable
        # Otherwise the kernel retransmits for about 15 minutes, even after this process has died.
        patience = max(0.001, min(timeout, stream.seconds_left()))
        adapter = _WatchedAdapter(watchdog, stream, patience, hide_path=hide_path, public_only=public_only)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        try:
            with session.request(
                method,
                url,
                auth=auth,
                headers=dict(headers),
                data=stream if len(stream) else None,
                timeout=(patience, timeout),
                allow_redirects=False,
                stream=True,
            ) as response:
                yield response
        except NETWORK_ERRORS as error:
            raise failure_of(error, stream, watchdog, seconds, is_plain=url.startswith("http://")) from None
    if watchdog.expired:
        # A connection that was shut down can look like an answer that ended.
        raise UnknownOutcomeError(f"the call to 8x8 did not end within {seconds:g} s")


def _read(response: requests.Response) -> bytes:
    # In one call: the thread that builds the next batch need not be interrupted for each piece.
    body: bytes = response.raw.read(MAX_ANSWER_BYTES + 1, decode_content=True)
    if len(body) > MAX_ANSWER_BYTES:
        raise UnknownOutcomeError(f"8x8's answer is larger than {MAX_ANSWER_BYTES} bytes and was not read")
    return body


def _read_if_possible(response: requests.Response) -> bytes:
    """Read the body of an answer whose status has said already what counts."""
    try:
        return _read(response)
    except (*NETWORK_ERRORS, UnknownOutcomeError):
        return b""


class _WatchedAdapter(HTTPAdapter):
    """
    Makes connections that are watched from their beginning, before TLS or a proxy's tunnel.

    :param stream: the request's body, for which connecting leaves time
    :param patience: seconds after which the kernel gives up delivering what it was given
    :param hide_path: urllib3, which logs paths and puts them into its errors, is not told the real one
    :param public_only: see :func:`download`
    """

    def __init__(
        self, watchdog: Watchdog, stream: BodyStream, patience: float, *, hide_path: bool, public_only: bool
    ) -> None:
        self._watchdog = watchdog
        self._stream = stream
        self._patience = patience
        self._hide_path = hide_path
        self._public_only = public_only
        super().__init__()

    def request_url(self, request: requests.PreparedRequest, proxies: Any) -> str:
        return _HIDDEN_PATH if self._hide_path else super().request_url(request, proxies)

    def get_connection_with_tls_context(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(request, *args, **kwargs)
        proxy = requests.utils.select_proxy(str(request.url), kwargs.get("proxies"))
        host = pool.host if self._public_only and not proxy else None
        path = super().request_url(request, kwargs.get("proxies"))
        watchdog, stream, patience = self._watchdog, self._stream, self._patience
        plain: type[Any] = pool.ConnectionCls
        finds_its_own_way = plain._new_conn is not urllib3.connection.HTTPConnection._new_conn  # by way of SOCKS

        class WatchedConnection(plain):  # type: ignore[misc]  # the scheme decides which class it is
            response_class = WholeAnswer
            sock: Any
            _tunnel_again: Callable[[], None] | None = None

            def set_tunnel(self, *args: Any, **kwargs: Any) -> None:
                super().set_tunnel(*args, **kwargs)
                self._tunnel_again = partial(super().set_tunnel, *args, **kwargs)

            def connect(self) -> None:
                """Connect to the first address that answers in its turn: TCP, a proxy's tunnel, and TLS."""
                ends_at = time.monotonic() + stream.seconds_left() * CONNECTING_SHARE
                addresses: Sequence[Address | None] = [None]
                if not finds_its_own_way:
                    addresses = look_up(self._dns_host, self.port)
                failures = []
                for left in range(len(addresses), 0, -1):
                    seconds = share(ends_at - time.monotonic(), left)
                    if seconds <= 0:
                        break
                    failure = self._failure_to_connect(addresses[-left], seconds)
                    if failure is None:
                        self.sock.settimeout(patience)
                        return
                    failures.append(failure)
                if len(failures) == 1:
                    raise failures[0]
                tried = f"{len(failures)} of {len(addresses)} addresses of {self.host!r} were tried"
                raise OSError("; ".join([tried, *dict.fromkeys(map(root_cause, failures))])) from failures[-1]

            def _failure_to_connect(self, address: Address | None, seconds: float) -> Exception | None:
                self._address, self.timeout = address, seconds
                failure: Exception | None = None
                with Watchdog(seconds) as self._turn:
                    try:
                        super().connect()
                    except NETWORK_ERRORS as error:
                        failure = error
                if self._turn.expired:
                    failure = TimeoutError(f"no connection within {seconds:.1f} s")
                if failure is not None:
                    watchdog.drop()
                    if self.sock is not None:
                        self.sock.close()
                        self.sock = None
                    if self._tunnel_again is not None:  # a proxy that refuses makes it forget where to
                        self._tunnel_again()
                return failure

            def _new_conn(self) -> socket:
                if self._address is None:
                    connection: socket = super()._new_conn()
                else:
                    connection = self._address.connect(self.timeout, self.socket_options or (), self.source_address)
                watchdog.watch(connection)
                self._turn.watch(connection)
                give_up_delivery_after(connection, patience)
                if host is not None:
                    _check_is_public(connection, host)
                return connection

            def putrequest(self, method: str, url: str, *args: Any, **kwargs: Any) -> None:
                super().putrequest(method, path if url == _HIDDEN_PATH else url, *args, **kwargs)

        pool.ConnectionCls = WatchedConnection
        return pool


def _check_is_public(connection: socket, host: str) -> None:
    # The connection itself is asked: a name that was looked up for this check alone could resolve differently later.
    if not is_global(str(connection.getpeername()[0])):
        connection.close()
        raise refused_link(host, "it leads to an address that is not of the public internet")
