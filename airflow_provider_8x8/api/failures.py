"""What it means that a call has failed on the network, and what to do about it."""

from __future__ import annotations

import http.client
import socket as sockets
import ssl
from collections.abc import Iterator

import requests
import urllib3

from airflow_provider_8x8.api.body_stream import BodyStream
from airflow_provider_8x8.api.errors import EightByEightError, NeverSentError, UnknownOutcomeError
from airflow_provider_8x8.api.masking import quotable
from airflow_provider_8x8.api.watchdog import Watchdog

NETWORK_ERRORS = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    ValueError,  # as some answers have it: a chunk of negative length, a redirect to an address that is none
)
"""What a call fails with: errors of requests, urllib3 and http.client, and of the network itself."""

# How OpenSSL says, by its version, that what came in answer to a handshake is no TLS.
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"})


def failure_of(
    error: Exception, stream: BodyStream, watchdog: Watchdog, timeout: float, *, is_plain: bool
) -> EightByEightError:
    """
    Return what it means that a call has failed.

    :param stream: the body of its request
    :param watchdog: what was to end it
    :param timeout: seconds that it had
    :param is_plain: it was not over TLS
    """
    failure = _meaning(error, stream, watchdog, timeout)
    if not watchdog.expired:
        # A lost answer to a POST looks the same, and has nothing to do with the scheme.
        may_want_tls = is_plain and not len(stream)
        failure.advice = _advice(error, may_want_tls=may_want_tls)
    return failure


def _meaning(error: Exception, stream: BodyStream, watchdog: Watchdog, timeout: float) -> EightByEightError:
    what = f"it did not end within {timeout:g} s" if watchdog.expired else root_cause(error)
    if len(stream) and not stream.begun:
        return NeverSentError(f"8x8 could not be reached and nothing was sent: {what}")
    if stream.cannot_be_complete:
        if stream.seconds_left() <= 0:
            what = f"its time was over when {stream.bytes_given} of its {len(stream)} bytes were out"
            what += "; a smaller batch_size helps where the network is too slow for a batch"
        return NeverSentError(f"8x8 cannot have the whole request, its last piece was withheld: {what}")
    return UnknownOutcomeError(f"the call to 8x8 failed before its answer was complete: {what}")


def root_cause(error: BaseException) -> str:
    """Return what lies behind an error, with no address and no answer in it."""
    while error.__context__ is not None:
        error = error.__context__
    is_of_the_system = isinstance(error, OSError) and not isinstance(error, requests.RequestException)
    # Others may quote the address or the answer, or any part of them.
    return f"{type(error).__name__}: {quotable(str(error))}" if is_of_the_system else type(error).__name__


def _advice(error: BaseException, *, may_want_tls: bool) -> str:
    """
    Return what to do where the connection may be at fault, or nothing where it is not.

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
