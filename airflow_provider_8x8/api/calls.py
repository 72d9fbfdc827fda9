"""Calls to 8x8's API, whichever they are: a request in JSON, and its answer as what its schema says."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec
import requests

from airflow_provider_8x8 import __version__
from airflow_provider_8x8.api.errors import EightByEightError, UnknownOutcomeError, error_from_answer
from airflow_provider_8x8.api.masking import quotable
from airflow_provider_8x8.api.models import decode
from airflow_provider_8x8.api.transport import exchange
from airflow_provider_8x8.api.tries import MAX_TRIES, at_most, until_answered, until_sent

USER_AGENT = f"airflow-provider-8x8/{__version__} {requests.utils.default_user_agent()}"

T = TypeVar("T")


class Calls:
    """
    Calls to one address with one API key.

    :param auth: shows the API key
    :param base_url: where 8x8 is
    :param timeout: seconds for a whole call
    :param connection: what an error calls the connection that these come from
    """

    def __init__(self, auth: requests.auth.AuthBase, base_url: str, timeout: float, connection: str) -> None:
        self._auth = auth
        self._base_url = base_url
        self._timeout = timeout
        self._connection = connection

    def until_sent(self, path: str, answer: type[T], request: msgspec.Struct) -> T:
        """Make a POST that must not be made twice; try again only where it certainly did nothing."""
        return until_sent.wraps(self.once)("POST", path, answer, request)

    def until_answered(
        self,
        method: str,
        path: str,
        answer: type[T],
        max_tries: int = MAX_TRIES,
        *,
        request: msgspec.Struct | None = None,
        expected_status: int = 200,
        timeout: float | None = None,
    ) -> T:
        """Make a call that may be made twice; try again after any failure but a refusal."""
        call = at_most(max_tries, until_answered).wraps(self.once)
        return call(method, path, answer, request, expected_status, timeout=timeout)

    def once(
        self,
        method: str,
        path: str,
        answer: type[T],
        request: msgspec.Struct | None = None,
        expected_status: int = 200,
        *,
        timeout: float | None = None,
        send_by: float | None = None,
        on_sent: Callable[[], None] | None = None,
    ) -> T:
        """
        Make a call exactly once.

        :param timeout: seconds for the call, if that is less than the client's own timeout
        :param send_by: seconds since 1970: the request is not completed later than this
        :param on_sent: called as soon as the last byte of the request is handed to the network
        """
        body = b"" if request is None else msgspec.json.encode(request)
        headers = {"User-Agent": USER_AGENT, "Accept": "application/json", "Accept-Encoding": "identity"}
        if body:
            headers["Content-Type"] = "application/json"
        try:
            came = exchange(
                method,
                self._base_url + path,
                auth=self._auth,
                headers=headers,
                body=body,
                timeout=self._timeout if timeout is None else min(self._timeout, timeout),
                send_by=send_by,
                on_sent=on_sent,
            )
            if came.http_status != expected_status:
                raise error_from_answer(came.http_status, came.headers, came.body)
        except EightByEightError as error:
            error.connection = self._connection
            raise
        try:
            return decode(came.body, answer)
        except msgspec.MsgspecError as error:
            raise UnknownOutcomeError(f"8x8's answer is not what its API describes: {quotable(str(error))}") from None
