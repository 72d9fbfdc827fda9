"""A request that the sandbox refuses, in the shape in which 8x8 refuses it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import IntEnum
from http import HTTPStatus

from airflow_provider_8x8.sandbox.wire.times import to_text


class Code(IntEnum):
    """8x8's error codes, as far as the sandbox gives them."""

    QUOTA_EXCEEDED = 429
    INVALID_PARAMETER = 1000
    INVALID_SUBACCOUNT = 1001
    INVALID_MSISDN = 1002
    INVALID_ENCODING = 1003
    INVALID_TEXT = 1004
    INVALID_SOURCE = 1005
    INVALID_EXPIRY = 1006
    INVALID_TEMPLATE = 1007
    INVALID_ID = 1008
    INVALID_COUNTRY = 1009
    INVALID_SCHEDULE = 1011
    UNAUTHORIZED = 1200
    FORBIDDEN = 1201
    NOT_FOUND = 1300
    INTERNAL = 2000
    CLIENT_MESSAGE_ID_TOO_LONG = 3009
    SOURCE_TOO_LONG = 3011
    NO_MESSAGES = 3012
    TOO_MANY_MESSAGES = 3013
    CLIENT_BATCH_ID_TOO_LONG = 3014
    UNKNOWN_COUNTRY = 3018
    INVALID_CALLBACK_URL = 3020
    INVALID_JOB_ID = 4018


class ApiError(Exception):
    """
    A refusal: an HTTP status with 8x8's error envelope.

    :param status: the HTTP status
    :param code: 8x8's code
    :param message: what was wrong, for people
    :param headers: headers to add, such as ``Retry-After``
    """

    def __init__(self, status: HTTPStatus, code: Code, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status.value} {code.value}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})

    def envelope(self) -> dict[str, object]:
        """Return the body that every refusal of 8x8's platform has."""
        return {
            "code": int(self.code),
            "message": self.message,
            "errorId": str(uuid.uuid4()),
            "timestamp": to_text(datetime.now(UTC)),
        }


def bad_request(code: Code, message: str) -> ApiError:
    """Return the refusal of a request that is wrong in itself."""
    return ApiError(HTTPStatus.BAD_REQUEST, code, message)


def not_found(message: str, code: Code = Code.NOT_FOUND) -> ApiError:
    """Return the refusal of a request for something that is not there."""
    return ApiError(HTTPStatus.NOT_FOUND, code, message)


def quota_exceeded(retry_after: str = "1") -> ApiError:
    """
    Return the refusal of one request too many.

    :param retry_after: the value of ``Retry-After``: seconds, or an HTTP date
    """
    return ApiError(
        HTTPStatus.TOO_MANY_REQUESTS,
        Code.QUOTA_EXCEEDED,
        "Quota exceeded. Please try again later.",
        {"Retry-After": retry_after},
    )


def internal_error() -> ApiError:
    """Return the refusal that is 8x8's own fault."""
    return ApiError(HTTPStatus.INTERNAL_SERVER_ERROR, Code.INTERNAL, "Internal server error")
