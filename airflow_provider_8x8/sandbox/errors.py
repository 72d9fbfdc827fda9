"""A request that the sandbox refuses, in the shape in which 8x8 refuses it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus

from airflow_provider_8x8.sandbox.limits import Code
from airflow_provider_8x8.sandbox.times import to_text


class ApiError(Exception):
    """
    A refusal: an HTTP status with 8x8's error envelope.

    :param status: the HTTP status.
    :param code: 8x8's code.
    :param message: what was wrong, for people.
    :param headers: headers to add, such as ``Retry-After``.
    """

    def __init__(self, status: HTTPStatus, code: Code, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status.value} {code.value}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})

    def envelope(self) -> dict[str, object]:
        """Give the body that every refusal of 8x8's platform has."""
        return {
            "code": int(self.code),
            "message": self.message,
            "errorId": str(uuid.uuid4()),
            "timestamp": to_text(datetime.now(UTC)),
        }


def bad_request(code: Code, message: str) -> ApiError:
    """Give the refusal of a request that is wrong in itself."""
    return ApiError(HTTPStatus.BAD_REQUEST, code, message)


def not_found(message: str, code: Code = Code.NOT_FOUND) -> ApiError:
    """Give the refusal of a request for something that is not there."""
    return ApiError(HTTPStatus.NOT_FOUND, code, message)


def quota_exceeded(retry_after: str = "1") -> ApiError:
    """
    Give the refusal of one request too many.

    :param retry_after: the value of ``Retry-After``: seconds, or an HTTP date.
    """
    return ApiError(
        HTTPStatus.TOO_MANY_REQUESTS,
        Code.QUOTA_EXCEEDED,
        "Quota exceeded. Please try again later.",
        {"Retry-After": retry_after},
    )


def internal_error() -> ApiError:
    """Give the refusal that is 8x8's own fault."""
    return ApiError(HTTPStatus.INTERNAL_SERVER_ERROR, Code.INTERNAL, "Internal server error")
