"""HTTP requests and answers as the sandbox's endpoints see them, and how a request's body comes off the wire."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from enum import Enum
from http import HTTPStatus
from io import BufferedIOBase

import msgspec

from airflow_provider_8x8.sandbox.errors import ApiError, bad_request
from airflow_provider_8x8.sandbox.limits import Code

MAX_BODY = 128 * 1024 * 1024
"""Bytes of one request's body: far above what 10,000 messages come to."""

_JSON = "application/json"


class Ending(Enum):
    """How an answer ends on the wire."""

    WHOLE = "it is written whole"
    CUT = "its body is written but for half of it, or of its last piece, then the connection is closed"
    WITHOUT_LENGTH = "its body is written without its length, then the connection is closed"
    CLOSED = "the connection is closed without a byte"
    SILENT = "nothing is written until the client leaves or the sandbox stops"


@dataclass(frozen=True, slots=True)
class Request:
    """A request that has arrived completely."""

    method: str
    path: str
    """As it came, still quoted."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes

    def declared_json(self) -> object:
        """
        Decode the body, if it is declared as JSON.

        :raises ApiError: 400, it is not declared as JSON or is none.
        """
        content_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != _JSON:
            raise bad_request(Code.INVALID_PARAMETER, f"Content-Type must be {_JSON}")
        return self.json()

    def json(self) -> object:
        """
        Decode the body, whatever it is declared as.

        :raises ApiError: 400, it is no JSON.
        """
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            raise bad_request(Code.INVALID_PARAMETER, f"The body is no JSON: {error}") from None


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back."""

    status: HTTPStatus = HTTPStatus.OK
    body: bytes = b""
    content_type: str = _JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    ending: Ending = Ending.WHOLE
    stream: Iterator[bytes] | None = None
    """The body in pieces, in place of ``body``, where it is too long to be held in memory."""


def json_answer(payload: object, status: HTTPStatus = HTTPStatus.OK) -> Answer:
    """Answer with JSON."""
    return Answer(status, msgspec.json.encode(payload))


def error_answer(error: ApiError) -> Answer:
    """Answer with 8x8's error envelope."""
    return Answer(error.status, msgspec.json.encode(error.envelope()), headers=error.headers)


class IncompleteBodyError(Exception):
    """The client left before the body was complete, so it has asked for nothing."""


def read_body(headers: Message, stream: BufferedIOBase) -> bytes:
    """
    Read a request's body, whole or not at all.

    :raises IncompleteBodyError: the client left before its end.
    :raises ApiError: 400, its length is not said in a way that HTTP knows, or it is too long.
    """
    try:
        if "Transfer-Encoding" in headers:
            return _read_chunked(headers["Transfer-Encoding"], stream)
        length = headers.get("Content-Length", "0")
        if not (length.isascii() and length.isdigit()):
            raise bad_request(Code.INVALID_PARAMETER, "Content-Length is no number")
        return _read_exactly(stream, _checked_size(length, 10))
    except ConnectionError:
        raise IncompleteBodyError from None


def _read_chunked(transfer_encoding: str, stream: BufferedIOBase) -> bytes:
    if transfer_encoding.strip().lower() != "chunked":
        raise bad_request(Code.INVALID_PARAMETER, "Transfer-Encoding must be chunked")
    body = bytearray()
    while True:
        size = _chunk_size(_read_line(stream), len(body))
        if size == 0:
            while _read_line(stream):
                pass  # Trailing headers, up to the empty line that ends the body.
            return bytes(body)
        body += _read_exactly(stream, size)
        if _read_line(stream):
            raise bad_request(Code.INVALID_PARAMETER, "A chunk is longer than it says")


def _chunk_size(line: bytes, so_far: int) -> int:
    digits = line.partition(b";")[0].strip().decode("ascii", "replace")
    if not digits or digits.strip("0123456789abcdefABCDEF"):
        raise bad_request(Code.INVALID_PARAMETER, "A chunk does not say how long it is")
    return _checked_size(digits, 16, so_far)


def _checked_size(digits: str, base: int, so_far: int = 0) -> int:
    # The number of digits is looked at first: int() refuses endless ones with an error of its own.
    if len(digits) > 20 or int(digits, base) + so_far > MAX_BODY:
        raise bad_request(Code.INVALID_PARAMETER, f"The body is longer than {MAX_BODY} bytes")
    return int(digits, base)


def _read_exactly(stream: BufferedIOBase, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise IncompleteBodyError
    return data


def _read_line(stream: BufferedIOBase) -> bytes:
    line = stream.readline(65_536)
    if not line.endswith(b"\n"):
        raise IncompleteBodyError
    return line.rstrip(b"\r\n")
