"""A client of 8x8's SMS API: one method for each operation."""

from __future__ import annotations

import ipaddress
import logging
import random
import re
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec
import requests
import tenacity

from airflow_provider_8x8 import __version__
from airflow_provider_8x8.api.errors import (
    EightByEightError,
    NeverSentError,
    RateLimitedError,
    RefusedError,
    UnknownOutcomeError,
    error_from_answer,
)
from airflow_provider_8x8.api.links import is_own_link
from airflow_provider_8x8.api.log_lines import read_log_lines
from airflow_provider_8x8.api.masking import quotable
from airflow_provider_8x8.api.models import (
    Balance,
    BatchResponse,
    CancelResponse,
    LogExport,
    LogExportJob,
    LogExportRequest,
    LogLine,
    MessageDetails,
    MessageResponse,
    SubaccountId,
    SurveyBatch,
    SurveyMessage,
    decode,
)
from airflow_provider_8x8.api.transport import download, exchange

log = logging.getLogger(__name__)

REGIONS = {
    "asia_pacific": "https://sms.8x8.com",
    "north_america": "https://sms.us.8x8.com",
    "europe": "https://sms.8x8.uk",
    "indonesia": "https://sms.8x8.id",
}
"""Where an account of each region is served (8x8's page "Platform deployment regions")."""

DEFAULT_REGION = "asia_pacific"
DEFAULT_TIMEOUT = 60.0
"""Seconds for a whole call, upload and answer together."""

MAX_TRIES = 5
"""How often a call is made before its failure counts, where making it again is safe."""

LONGEST_WAIT = 120.0
"""Seconds that a call of the client's waits between its tries, all waits together."""

LOG_EXPORT_FILE_SECONDS = 15 * 60.0
"""Seconds for reading one file of a log export."""

_NOT_FOUND = 1300

T = TypeVar("T")


class EightByEightClient:
    """
    8x8's SMS API for one sub-account.

    Each method is one operation of 8x8's. A call that certainly did nothing (it never left, or 8x8 answered 429)
    is made again, at most five times; reading calls are also made again after any failure but a refusal. **A POST
    whose outcome is not known is never repeated**, and nothing here remembers one: that is the operator's work.

    Between two calls it waits as long as 8x8 asks, else 1 s, 2 s, 4 s and 8 s, always up to a second more. If 8x8 asks
    for so much that all waits of the call would take more than :data:`LONGEST_WAIT`, it does not wait: the
    :class:`RateLimitedError` is raised at once, and says until when 8x8 asks to wait. With ``max_tries=1`` a call is
    made exactly once, for callers that wait by a clock of their own.

    Each call has a connection of its own, so a client may be used from several threads.

    :param api_key: key from the 8x8 Connect portal; it is sent over https only, or to a loopback address
    :param subaccount_id: 3 to 50 characters of ``A-Z a-z 0-9 - . _ &``
    :param base_url: where 8x8 is: one of :data:`REGIONS`, or a proxy or sandbox
    :param account_id: needed for prices and balance only
    :param timeout: seconds for a whole call, upload and answer together
    :param connection: what errors call that which these come from
    :raises ValueError: one of these is not as it must be
    """

    def __init__(
        self,
        api_key: str,
        *,
        subaccount_id: str,
        base_url: str = REGIONS[DEFAULT_REGION],
        account_id: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        connection: str = "the client",
    ) -> None:
        self._auth = _BearerAuth(_checked_api_key(api_key))
        self.subaccount_id = _checked_subaccount_id(subaccount_id)
        self.base_url = _checked_base_url(base_url)
        self.account_id = account_id
        if not timeout > 0:
            raise ValueError(f"timeout is {timeout!r}; expected seconds above 0")
        self.timeout = timeout
        self.connection = f"{connection} (sub-account {self.subaccount_id} at {self.base_url})"

    def __repr__(self) -> str:
        return f"<EightByEightClient {self.subaccount_id} at {self.base_url}>"

    @property
    def address(self) -> str:
        """Which 8x8 this leads to: scheme and host. All loopback addresses, where sandboxes are, count as one."""
        parts = urlsplit(self.base_url)
        return "a loopback address" if _is_loopback(parts.hostname or "") else f"{parts.scheme}://{parts.netloc}"

    def send_survey_batch(
        self,
        survey_id: str,
        batch: SurveyBatch,
        *,
        send_by: float | None = None,
        on_sent: Callable[[], None] | None = None,
    ) -> BatchResponse:
        """
        Send a batch of surveys, 1 to 10,000 messages.

        :param send_by: seconds since 1970. With it the call is made exactly once, and never completed later than
            this: the last piece of its body is then withheld, which is a :class:`NeverSentError`. For callers that
            write down every single POST; they try again by :func:`retrying_until_sent`.
        :param on_sent: with ``send_by``, called as soon as the last byte of the request is handed to the network
        :raises NeverSentError: 8x8 could not be reached in five tries, or the request was not complete by ``send_by``
        :raises RateLimitedError: 8x8 answered 429 (without ``send_by``: five times, or it asks for a long wait)
        :raises RefusedError: 8x8 did not accept any of the batch
        :raises UnknownOutcomeError: 8x8 may have accepted the batch, or not; it was not sent again
        """
        path = self._survey_path(survey_id, "messages", "batch")
        if send_by is None:
            return self._post(path, batch, BatchResponse)
        return self._call("POST", path, BatchResponse, batch, send_by=send_by, on_sent=on_sent)

    def send_survey(self, survey_id: str, message: SurveyMessage, *, send_by: float | None = None) -> MessageResponse:
        """
        Send one survey. Raises what :meth:`send_survey_batch` raises.

        A message that 8x8 takes and rejects comes back with the status ``REJECTED``.

        :param send_by: seconds since 1970, as for a batch: the call is made once, and not completed later than this
        """
        path = self._survey_path(survey_id, "messages")
        if send_by is None:
            return self._post(path, message, MessageResponse)
        return self._call("POST", path, MessageResponse, message, send_by=send_by)

    def cancel_batch(self, batch_id: str) -> CancelResponse:
        """
        Cancel what is still scheduled of a batch, by 8x8's batch id.

        8x8 documents this for scheduled SMS batches; for survey batches it says nothing.
        """
        return self._repeatable("DELETE", self._path("messages", "batch", batch_id), CancelResponse)

    def cancel_message(self, umid: str) -> CancelResponse:
        """Cancel one scheduled message."""
        return self._repeatable("DELETE", self._path("messages", umid), CancelResponse)

    def get_message(self, umid: str, *, max_tries: int = MAX_TRIES) -> MessageDetails:
        """
        Return one message as it stands. 8x8 takes one such request a second for each sub-account.

        :param max_tries: how often the call is made at most, 1 to 5
        """
        return self._repeatable("GET", self._path("messages", umid), MessageDetails, max_tries)

    def start_log_export(
        self, request: LogExportRequest, *, max_tries: int = MAX_TRIES, timeout: float | None = None
    ) -> LogExportJob:
        """
        Have 8x8 export its message logs; poll the job with :meth:`get_log_export`.

        :param max_tries: how often the call is made at most, 1 to 5; what the last one got is raised
        :param timeout: seconds for each call, if that is less than the client's own timeout
        :raises EightByEightError: there is no export, or it is not known which
        """
        # A POST, but a second export does no harm.
        path = self._path("messages", "exports")
        return self._repeatable(
            "POST", path, LogExportJob, max_tries, request=request, expected_status=202, timeout=timeout
        )

    def get_log_export(self, job_id: str, *, max_tries: int = MAX_TRIES, timeout: float | None = None) -> LogExport:
        """
        Return how a log export stands, and when it has succeeded the links to its CSV files.

        :param max_tries: how often the call is made at most, 1 to 5; what the last one got is raised
        :param timeout: seconds for each call, if that is less than the client's own timeout
        :raises EightByEightError: 8x8 does not say
        """
        path = self._path("messages", "exports", job_id)
        return self._repeatable("GET", path, LogExport, max_tries, timeout=timeout)

    def read_log_export(self, link: str, *, seconds: float = LOG_EXPORT_FILE_SECONDS) -> Generator[LogLine, None, None]:
        """
        Read one CSV file of a log export by its link, a line at a time; it is never whole in memory.

        The link is its own key. The API key goes along to 8x8's own hosts and to the client's own address, and
        nowhere else; another link must be https and lead to the public internet. Redirects are not followed. Nothing
        is tried again.

        Whatever ends the iteration closes the connection; nothing is opened before it begins. That a file is whole is
        known once the iteration ends without an error, not before: its end is proven by its length, or by the last of
        its chunks, and a file of which that cannot be said (compressed, or until the connection closes) is not read.

        :param seconds: for the whole file, with what is done between the lines
        :raises UnknownOutcomeError: the link is not followed, or what came is not, or may not be, the whole file:
            then the lines before prove nothing by what is not among them
        :raises RefusedError: 8x8 does not give the file; :class:`RateLimitedError`: not yet
        """
        own = is_own_link(link, [self.base_url, *REGIONS.values()])
        pieces = download(
            link,
            auth=self._auth if own else _NoAuth(),
            headers={"User-Agent": _USER_AGENT, "Accept": "text/csv", "Accept-Encoding": "identity"},
            seconds=seconds,
            timeout=self.timeout,
            public_only=not own,
        )
        with closing(pieces):
            yield from read_log_lines(pieces)

    def get_balance(self) -> Balance:
        """
        Return what is left on the account.

        :raises ValueError: the connection names no account id
        :raises RefusedError: code 1201: the account is not prepaid
        """
        return self._repeatable("GET", self._account_path("balance"), Balance)

    def get_prices(
        self, *, country: str | None = None, mcc: int | None = None, mnc: int | None = None
    ) -> dict[str, Any]:
        """
        Return the account's prices as 8x8 gives them: per sub-account, country and operator.

        :param country: two letters (ISO 3166-1)
        :param mcc: mobile country code, together with ``mnc``
        :raises ValueError: the connection names no account id
        """
        filters = {"country": country, "mcc": mcc, "mnc": mnc}
        query = urlencode({name: value for name, value in filters.items() if value is not None})
        return self._repeatable("GET", f"{self._account_path('prices')}?{query}".rstrip("?"), dict[str, Any])

    def check(self) -> None:
        """
        Return if the API key and the sub-account are good; sends nothing.

        Asks once for a message that cannot exist: 8x8 answers 404 (code 1300) where key and sub-account are good.

        :raises EightByEightError: they are not, or 8x8 could not be asked
        """
        try:
            self.get_message(str(uuid.uuid4()), max_tries=1)
        except RefusedError as refused:
            if refused.code == _NOT_FOUND:
                return
            raise

    def _post(self, path: str, request: msgspec.Struct, answer: type[T]) -> T:
        return until_sent.wraps(self._call)("POST", path, answer, request)

    def _repeatable(
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
        call = _at_most(max_tries, _until_answered).wraps(self._call)
        return call(method, path, answer, request, expected_status, timeout=timeout)

    def _call(
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
        body = b"" if request is None else msgspec.json.encode(request)
        headers = {"User-Agent": _USER_AGENT, "Accept": "application/json", "Accept-Encoding": "identity"}
        if body:
            headers["Content-Type"] = "application/json"
        try:
            came = exchange(
                method,
                self.base_url + path,
                auth=self._auth,
                headers=headers,
                body=body,
                timeout=self.timeout if timeout is None else min(self.timeout, timeout),
                send_by=send_by,
                on_sent=on_sent,
            )
            if came.http_status != expected_status:
                raise error_from_answer(came.http_status, came.headers, came.body)
        except EightByEightError as error:
            error.connection = self.connection
            raise
        try:
            return decode(came.body, answer)
        except msgspec.MsgspecError as error:
            raise UnknownOutcomeError(f"8x8's answer is not what its API describes: {quotable(str(error))}") from None

    def _path(self, *segments: str) -> str:
        return _join("api", "v1", "subaccounts", self.subaccount_id, *segments)

    def _survey_path(self, survey_id: str, *segments: str) -> str:
        if not survey_id:
            raise ValueError("survey_id is empty; expected the id that 8x8 gave the survey")
        return self._path("surveys", survey_id, *segments)

    def _account_path(self, *segments: str) -> str:
        if not self.account_id:
            raise ValueError("prices and balance need the account_id, a UUID: set it in the connection's extra")
        return _join("api", "v1", "accounts", self.account_id, *segments)


class _NoAuth(requests.auth.AuthBase):
    """Sends nothing; without it requests would send what a ~/.netrc has for the host."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


class _BearerAuth(requests.auth.AuthBase):
    """
    Sets the key at the last moment, so that it stands in no dict of headers that could be shown.

    As requests' auth, not as a plain header, because a ~/.netrc would replace a plain header.
    """

    def __init__(self, api_key: str) -> None:
        self._api_key = api_key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._api_key}"
        return request


def _join(*segments: str) -> str:
    quoted = [quote(segment, safe="") for segment in segments]
    # "." and ".." survive quoting, and every HTTP library resolves them: the call would reach another resource.
    if any(segment in {"", ".", ".."} for segment in quoted):
        raise ValueError("an id is empty, '.' or '..'; expected an id that 8x8 gave")
    return "/" + "/".join(quoted)


def _checked_api_key(api_key: str) -> str:
    if not api_key:
        raise ValueError("the API key is missing: set it as the connection's password")
    if not re.fullmatch(r"[!-~]+", api_key):
        raise ValueError(
            "the API key holds a space, a line break or a character beyond ASCII; copy it again from 8x8 Connect"
        )
    return api_key


def _checked_subaccount_id(subaccount_id: str) -> str:
    if not subaccount_id:
        raise ValueError("the sub-account id is missing: set it as the connection's login")
    try:
        return msgspec.convert(subaccount_id, SubaccountId)
    except msgspec.ValidationError:
        raise ValueError(
            f"the sub-account id is {subaccount_id!r}; expected 3 to 50 characters of A-Z a-z 0-9 - . _ &"
        ) from None


def _checked_base_url(base_url: str) -> str:
    parts = urlsplit(base_url)
    if parts.username is not None or parts.password is not None:
        raise ValueError("8x8's address holds a user name or password; the API key is the only secret it takes")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"8x8's address is {base_url!r}; expected https://HOST or https://HOST:PORT")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ValueError(
            f"8x8's address is {base_url!r}: the API key goes out over https only, or to a loopback address"
        )
    return base_url.rstrip("/")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _asked_seconds(state: tenacity.RetryCallState) -> float | None:
    error = state.outcome.exception() if state.outcome else None
    return error.retry_after if isinstance(error, RateLimitedError) else None


def _seconds_to_wait(state: tenacity.RetryCallState) -> float:
    """As long as 8x8 asks, else longer from try to try; never all callers at the same moment."""
    asked = _asked_seconds(state)
    seconds = min(2.0 ** (state.attempt_number - 1), 30.0) if asked is None else asked
    return seconds + random.uniform(0.0, 1.0)  # noqa: S311  # spreads callers, keeps no secret


class _StopIfAskedForMore(tenacity.stop.stop_base):
    """Stops when 8x8 asks for more than is left of the longest wait."""

    def __init__(self, longest_wait: float) -> None:
        self._longest_wait = longest_wait

    def __call__(self, state: tenacity.RetryCallState) -> bool:
        return (_asked_seconds(state) or 0.0) > self._longest_wait - state.idle_for


def _retrying(
    worth_another_try: Callable[[BaseException], bool], sleep: Callable[[float], None], longest_wait: float
) -> tenacity.Retrying:
    return tenacity.Retrying(
        sleep=sleep,
        retry=tenacity.retry_if_exception(worth_another_try),
        wait=_seconds_to_wait,
        stop=tenacity.stop_after_attempt(MAX_TRIES) | _StopIfAskedForMore(longest_wait),
        before_sleep=_say_that_it_waits,
        reraise=True,
    )


def _at_most(max_tries: int, policy: tenacity.Retrying) -> tenacity.Retrying:
    if not 1 <= max_tries <= MAX_TRIES:
        raise ValueError(f"max_tries is {max_tries}; expected 1 to {MAX_TRIES}")
    return policy.copy(stop=tenacity.stop_after_attempt(max_tries) | policy.stop)  # type: ignore[operator]  # its stubs lack |


def _say_that_it_waits(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    seconds = state.next_action.sleep if state.next_action else 0.0
    reason = error.reason if isinstance(error, EightByEightError) else error
    log.warning("%s; trying again in %.1f s (try %d failed)", reason, seconds, state.attempt_number)


def _did_nothing(error: BaseException) -> bool:
    return isinstance(error, NeverSentError | RateLimitedError)


def _may_go_better(error: BaseException) -> bool:
    return isinstance(error, EightByEightError) and (
        not isinstance(error, RefusedError) or isinstance(error, RateLimitedError)
    )


def retrying_until_sent(sleep: Callable[[float], None], longest_wait: float) -> tenacity.Retrying:
    """
    Return what makes a call again that certainly did nothing (never sent, or 429), five times in all.

    It waits exactly as long as 8x8 asks, else 1 s, 2 s, 4 s and 8 s; up to a second more each time, so that not all
    callers come at the same moment. If 8x8 asks for more than is left of ``longest_wait``, the
    :class:`RateLimitedError` is raised at once; its text says until when 8x8 asks to wait. Otherwise the last failure
    is raised as it came.

    :param sleep: waits the seconds it is given
    :param longest_wait: seconds, for all waits of one call together
    """
    return _retrying(_did_nothing, sleep, longest_wait)


until_sent = retrying_until_sent(time.sleep, LONGEST_WAIT)
_until_answered = _retrying(_may_go_better, time.sleep, LONGEST_WAIT)
_USER_AGENT = f"airflow-provider-8x8/{__version__} {requests.utils.default_user_agent()}"
