"""
One HTTP call with a hard end: a fresh connection, one total deadline, a bounded answer.

No exception has another one behind it that is shown: those of requests and urllib3 quote addresses and answers.

requests bounds each wait for the network, not the whole call: a server that drips a byte a second holds it
for ever. Here a watchdog shuts the connection down when the call's time is over, whatever it waits for.
"""

from __future__ import annotations

import http.client
import socket as sockets
import ssl
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import pairwise
from socket import SHUT_RDWR, socket
from types import TracebackType
from typing import Any, NamedTuple, Self

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.util import wait_for_write

from airflow_provider_8x8.api.addresses import Address, look_up, share
from airflow_provider_8x8.api.errors import (
    TOO_MANY_REQUESTS,
    EightByEightError,
    NeverSentError,
    UnknownOutcomeError,
    error_from_answer,
)
from airflow_provider_8x8.api.links import is_global, refused_link
from airflow_provider_8x8.api.masking import quotable
from airflow_provider_8x8.api.whole_answers import WholeAnswer, doubt_about_its_end

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""A full answer to 10,000 messages is about 3 MB, the CSV of a log export comes in pieces of its own."""

CONNECTING_SHARE = 0.5
"""What of a call's time may go into connecting, TLS and a proxy's tunnel with it, to all addresses together."""

_PIECE_BYTES = 64 * 1024
_OK = 200
_HIDDEN_PATH = "/(hidden)"
# How OpenSSL says, by its version, that what came in answer to a handshake is no TLS.
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"})
_NETWORK_ERRORS = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    ValueError,  # as some answers have it: a chunk of negative length, a redirect to an address that is none
)


class Answer(NamedTuple):
    """What came back: the whole body, read to its end."""

    http_status: int
    headers: Mapping[str, str]
    body: bytes


class BodyStream:
    """
    A request body that knows what of it was handed to the socket.

    That is the only proof that a request was never sent: no exception's name gives it, since a TLS or proxy
    error can come before the first byte as well as after the last.

    The last byte goes alone, as soon as the socket would take it without waiting, and the clocks are read right
    before: a body whose time was over by then is never complete on the other side. What cannot be closed is the
    pause between that reading and the kernel's write.

    :param ends_at: when the call's time is over, on the monotonic clock
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
        for start, end in pairwise([*range(0, last, _PIECE_BYTES), last, last + 1]):
            if start == last:
                self.wait_until_writable(self.seconds_left())
            if self.seconds_left() <= 0:
                raise TimeoutError("the call's time was over before its body was sent")
            self.bytes_given = end
            self._last_was_given |= start == last
            yield self._body[start:end]
        if self._on_sent is not None:
            self._on_sent()

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
    with _open(method, url, auth=auth, headers=headers, stream=stream, seconds=timeout, timeout=timeout) as response:
        if response.status_code == TOO_MANY_REQUESTS:
            raise error_from_answer(response.status_code, response.headers, _read_if_possible(response))
        return Answer(response.status_code, response.headers, _read(response))


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
        yield from response.iter_content(_PIECE_BYTES)


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
    Give the answer to one call, its body still to be read; the connection ends with the context.

    :param seconds: for the whole call, until the context ends
    :param timeout: seconds for each wait
    :param hide_path: the path and query are a secret
    :param public_only: see :func:`download`
    """
    with _Watchdog(seconds) as watchdog, requests.Session() as session:
        session.trust_env = url.startswith("https://")
        stream.wait_until_writable = watchdog.wait_until_writable
        # What the kernel has taken it would else try to deliver for a quarter of an hour, also after our death.
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
        except _NETWORK_ERRORS as error:
            raise _failure(error, stream, watchdog, seconds, is_plain=url.startswith("http://")) from None
    if watchdog.expired:
        # A connection that was shut down can look like an answer that ended.
        raise UnknownOutcomeError(f"the call to 8x8 did not end within {seconds:g} s")


def _read(response: requests.Response) -> bytes:
    body = bytearray()
    for piece in response.iter_content(_PIECE_BYTES):
        body += piece
        if len(body) > MAX_ANSWER_BYTES:
            raise UnknownOutcomeError(f"8x8's answer is larger than {MAX_ANSWER_BYTES} bytes and was not read")
    return bytes(body)


def _read_if_possible(response: requests.Response) -> bytes:
    """Read the body of an answer whose status has said already what counts."""
    try:
        return _read(response)
    except (*_NETWORK_ERRORS, UnknownOutcomeError):
        return b""


def _failure(
    error: Exception, stream: BodyStream, watchdog: _Watchdog, timeout: float, *, is_plain: bool
) -> EightByEightError:
    failure = _meaning(error, stream, watchdog, timeout)
    if not watchdog.expired:
        # What a lost answer to a POST looks like, too, to which the scheme has nothing to say.
        may_want_tls = is_plain and not len(stream)
        failure.advice = _advice(error, may_want_tls=may_want_tls)
    return failure


def _meaning(error: Exception, stream: BodyStream, watchdog: _Watchdog, timeout: float) -> EightByEightError:
    what = f"it did not end within {timeout:g} s" if watchdog.expired else _root_cause(error)
    if len(stream) and not stream.begun:
        return NeverSentError(f"8x8 could not be reached and nothing was sent: {what}")
    if stream.cannot_be_complete:
        if stream.seconds_left() <= 0:
            what = f"its time was over when {stream.bytes_given} of its {len(stream)} bytes were out"
            what += "; a smaller batch_size helps where the network is too slow for a batch"
        return NeverSentError(f"8x8 cannot have the whole request, its last piece was withheld: {what}")
    return UnknownOutcomeError(f"the call to 8x8 failed before its answer was complete: {what}")


def _root_cause(error: BaseException) -> str:
    while error.__context__ is not None:
        error = error.__context__
    is_of_the_system = isinstance(error, OSError) and not isinstance(error, requests.RequestException)
    # Others may quote the address or the answer, or any part of them.
    return f"{type(error).__name__}: {quotable(str(error))}" if is_of_the_system else type(error).__name__


def _advice(error: BaseException, *, may_want_tls: bool) -> str:
    """
    Say what to do where the connection may be at fault, nothing where it is not.

    :param may_want_tls: a server that hangs up may do so because it wants TLS
    """
    causes = list(_causes(error))
    root = causes[-1]
    if any(isinstance(cause, urllib3.exceptions.ProxyError) for cause in causes):
        return "Check the proxy of this machine's environment (HTTPS_PROXY, NO_PROXY)"
    if isinstance(root, sockets.gaierror):
        return "Check the host of {connection}, and whether this machine can look up names: it has no such host"
    if isinstance(root, ConnectionRefusedError):
        return "Check the host and port of {connection}: nothing listens there"
    if isinstance(root, ssl.SSLCertVerificationError):
        return (
            "Check the host of {connection}: its certificate is for another one, or by an authority that this machine "
            "does not know (REQUESTS_CA_BUNDLE names its file)"
        )
    if isinstance(root, ssl.SSLError) and root.reason in _NO_TLS:
        return (
            "The server speaks no TLS: write http:// for a local sandbox, in front of the host of {connection}; check "
            "its port where it is to be https"
        )
    if may_want_tls and isinstance(root, ConnectionError):
        return "The server hung up. If it speaks TLS, write https:// in front of the host of {connection}"
    return ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those behind it, the last of several addresses' with them."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__context__ or cause.__cause__


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


def _give_up_delivery_after(connection: socket, seconds: float) -> None:
    """Have the kernel drop what it was given if the other side has not taken it in this time (Linux only)."""
    option = getattr(sockets, "TCP_USER_TIMEOUT", None)
    if option is not None:
        connection.setsockopt(sockets.IPPROTO_TCP, option, max(1, int(seconds * 1000)))


class _WatchedAdapter(HTTPAdapter):
    """
    Makes connections that are watched from their beginning, before TLS or a proxy's tunnel.

    :param stream: the request's body, for which connecting leaves time
    :param patience: seconds after which the kernel gives up to deliver what it was given
    :param hide_path: urllib3, which logs paths and puts them into its errors, is not told the real one
    :param public_only: see :func:`download`
    """

    def __init__(
        self, watchdog: _Watchdog, stream: BodyStream, patience: float, *, hide_path: bool, public_only: bool
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
                raise OSError("; ".join([tried, *dict.fromkeys(map(_root_cause, failures))])) from failures[-1]

            def _failure_to_connect(self, address: Address | None, seconds: float) -> Exception | None:
                self._address, self.timeout = address, seconds
                failure: Exception | None = None
                with _Watchdog(seconds) as self._turn:
                    try:
                        super().connect()
                    except _NETWORK_ERRORS as error:
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
                _give_up_delivery_after(connection, patience)
                if host is not None:
                    _check_is_public(connection, host)
                return connection

            def putrequest(self, method: str, url: str, *args: Any, **kwargs: Any) -> None:
                super().putrequest(method, path if url == _HIDDEN_PATH else url, *args, **kwargs)

        pool.ConnectionCls = WatchedConnection
        return pool


def _check_is_public(connection: socket, host: str) -> None:
    # Of the connection itself: a name that was looked up for the check alone could resolve to another one afterwards.
    if not is_global(str(connection.getpeername()[0])):
        connection.close()
        raise refused_link(host, "it leads to an address that is not of the public internet")
