"""HTTP requests and answers as the sandbox's endpoints see them, and how a request's body comes off the wire."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from enum import Enum
from http import HTTPStatus
from io import BufferedIOBase
from urllib.parse import parse_qsl

import msgspec

from airflow_provider_8x8.sandbox.wire.errors import ApiError, Code, bad_request

MAX_BODY = 128 * 1024 * 1024
"""Bytes of one request's body: far above what 10,000 messages come to."""

_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"
_MAX_FORM_FIELDS = 100


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
        Return the decoded body, if it is declared as JSON.

        :raises ApiError: 400, it is not declared as JSON or is none
        """
        if self._content_type() != _JSON:
            raise bad_request(Code.INVALID_PARAMETER, f"Content-Type must be {_JSON}")
        return self.json()

    def json(self) -> object:
        """
        Return the body decoded from JSON, whatever it is declared as.

        :raises ApiError: 400, it is no JSON
        """
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            raise bad_request(Code.INVALID_PARAMETER, f"The body is no JSON: {error}") from None

    def form(self) -> dict[str, str]:
        """
        Return the fields of an HTML form; what was left empty is left out.

        :raises ApiError: 400, it is not declared as a form or is none
        """
        if self._content_type() != _FORM:
            raise bad_request(Code.INVALID_PARAMETER, f"Content-Type must be {_FORM}")
        try:
            return dict(parse_qsl(self.body.decode("ascii"), max_num_fields=_MAX_FORM_FIELDS))
        except ValueError:
            raise bad_request(Code.INVALID_PARAMETER, "The body is no form") from None

    def _content_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


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
    """Return an answer in JSON."""
    return Answer(status, msgspec.json.encode(payload))


def error_answer(error: ApiError) -> Answer:
    """Return an answer with 8x8's error envelope."""
    return Answer(error.status, msgspec.json.encode(error.envelope()), headers=error.headers)


class IncompleteBodyError(Exception):
    """The client left before the body was complete, so it has asked for nothing."""


def read_body(headers: Message, stream: BufferedIOBase) -> bytes:
    """
    Return a request's body, whole or not at all.

    :raises IncompleteBodyError: the client left before its end
    :raises ApiError: 411, it comes in chunks; 400, its length is no number, or it is too long
    """
    length = _length(headers)
    try:
        body = stream.read(length)
    except ConnectionError:
        raise IncompleteBodyError from None
    if len(body) < length:
        raise IncompleteBodyError
    return body


def _length(headers: Message) -> int:
    if "Transfer-Encoding" in headers:
        raise ApiError(
            HTTPStatus.LENGTH_REQUIRED,
            Code.INVALID_PARAMETER,
            "The sandbox takes no body in chunks: give it whole, with its Content-Length",
        )
    length = headers.get("Content-Length", "0")
    if not (length.isascii() and length.isdigit()):
        raise bad_request(Code.INVALID_PARAMETER, "Content-Length is no number")
    # The number of digits is looked at first: int() refuses endless ones with an error of its own.
    if len(length) > 20 or int(length) > MAX_BODY:
        raise bad_request(Code.INVALID_PARAMETER, f"The body is longer than {MAX_BODY} bytes")
    return int(length)


class StoppedError(Exception):
    """The sandbox was stopped before it had accepted the request, which gets no answer."""
