"""A client of 8x8's SMS API: one method for each operation."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from airflow_provider_8x8.api.auth import BearerAuth, NoAuth, checked_api_key
from airflow_provider_8x8.api.calls import USER_AGENT, Calls
from airflow_provider_8x8.api.errors import RefusedError
from airflow_provider_8x8.api.links import is_own_link
from airflow_provider_8x8.api.log_lines import read_log_lines
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
)
from airflow_provider_8x8.api.regions import DEFAULT_REGION, REGIONS, address_of, checked_base_url
from airflow_provider_8x8.api.transport import download
from airflow_provider_8x8.api.tries import MAX_TRIES

DEFAULT_TIMEOUT = 60.0
"""Seconds for a whole call, upload and answer together."""

LOG_EXPORT_FILE_SECONDS = 15 * 60.0
"""Seconds for reading one file of a log export."""

_NOT_FOUND = 1300


class EightByEightClient:
    """
    8x8's SMS API for one sub-account.

    .. code-block:: python

        client = EightByEightClient("API-KEY", subaccount_id="example_hq", base_url=REGIONS["europe"])
        message = client.get_message("d0b3e4c8-3f38-4a7c-9d1e-5c1f2a6b7e90")

    Each method is one operation of 8x8's. A call that certainly did nothing (it never left, or 8x8 answered 429)
    is made again, at most five times; reading calls are also made again after any failure but a refusal. **A POST
    whose outcome is not known is never repeated**, and nothing here remembers one: that is the operator's work.

    Between two calls it waits as long as 8x8 asks, else 1 s, 2 s, 4 s and 8 s, always up to a second more. If 8x8 asks
    for so much that all waits of the call would take more than two minutes, it does not wait: the
    :class:`RateLimitedError` is raised at once, and says until when 8x8 asks to wait. With ``max_tries=1`` a call is
    made exactly once, for callers that wait by a clock of their own. How many calls 8x8 takes is on its page `API rate
    limiting <https://developer.8x8.com/connect/docs/api-rate-limiting>`__.

    Each call has a connection of its own, so a client may be used from several threads.

    Every method raises an :class:`~airflow_provider_8x8.api.errors.EightByEightError` if its call fails: a
    :class:`RefusedError` where 8x8 says no, an :class:`UnknownOutcomeError` where there is no usable answer, a
    :class:`NeverSentError` where a request with a body was not sent at all.

    :param api_key: key from the 8x8 Connect portal, printable ASCII without spaces; it is sent over https only, or to a
        loopback address
    :param subaccount_id: 3 to 50 characters of ``A-Z a-z 0-9 - . _ &``
    :param base_url: where 8x8 is: one of :data:`~airflow_provider_8x8.api.regions.REGIONS`, by default that of Asia
        Pacific; or a proxy or sandbox
    :param account_id: a UUID, needed for prices and balance only
    :param timeout: seconds for a whole call, upload and answer together; above 0, 60 by default
    :param connection: what errors call the connection that these come from
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
        self._auth = BearerAuth(checked_api_key(api_key))
        self.subaccount_id = _checked_subaccount_id(subaccount_id)
        self.base_url = checked_base_url(base_url)
        self.account_id = account_id
        if not timeout > 0:
            raise ValueError(f"timeout is {timeout!r}; expected seconds above 0")
        self.timeout = timeout
        self.connection = f"{connection} (sub-account {self.subaccount_id} at {self.base_url})"
        self._calls = Calls(self._auth, self.base_url, timeout, self.connection)

    def __repr__(self) -> str:
        return f"<EightByEightClient {self.subaccount_id} at {self.base_url}>"

    @property
    def address(self) -> str:
        """Which 8x8 this leads to: scheme and host. All loopback addresses, where sandboxes are, count as one."""
        return address_of(self.base_url)

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

        See 8x8's `tutorial <https://developer.8x8.com/connect/docs/tutorial-sms-engage>`__.

        :param survey_id: the id that 8x8 gave the survey
        :param batch: the messages, and what they have in common
        :param send_by: seconds since 1970. With it the call is made exactly once, and never completed later than
            this: the last piece of its body is then withheld, which is a :class:`NeverSentError`. For callers that
            write down every single POST; they try again by :func:`~airflow_provider_8x8.api.tries.retrying_until_sent`.
        :param on_sent: with ``send_by``, called as soon as the last byte of the request is handed to the network
        :raises NeverSentError: 8x8 could not be reached in five tries, or the request was not complete by ``send_by``
        :raises RateLimitedError: 8x8 answered 429 (without ``send_by``: five times, or it asks for a long wait)
        :raises RefusedError: 8x8 did not accept any of the batch
        :raises UnknownOutcomeError: 8x8 may have accepted the batch, or not; it was not sent again
        :raises ValueError: the survey's id is empty, ``.`` or ``..``
        """
        path = self._survey_path(survey_id, "messages", "batch")
        if send_by is None:
            return self._calls.until_sent(path, BatchResponse, batch)
        return self._calls.once("POST", path, BatchResponse, batch, send_by=send_by, on_sent=on_sent)

    def send_survey(self, survey_id: str, message: SurveyMessage, *, send_by: float | None = None) -> MessageResponse:
        """
        Send one survey. Raises what :meth:`send_survey_batch` raises.

        A message that 8x8 takes and rejects comes back with the status ``REJECTED``.

        :param survey_id: the id that 8x8 gave the survey
        :param message: the message, with a ``template_body`` of its own
        :param send_by: seconds since 1970, as for a batch: the call is made once, and not completed later than this
        """
        path = self._survey_path(survey_id, "messages")
        if send_by is None:
            return self._calls.until_sent(path, MessageResponse, message)
        return self._calls.once("POST", path, MessageResponse, message, send_by=send_by)

    def cancel_batch(self, batch_id: str, *, max_tries: int = MAX_TRIES) -> CancelResponse:
        """
        Cancel what is still scheduled of a batch, by 8x8's batch id.

        8x8 documents this for scheduled SMS batches; for survey batches it says nothing. A call whose answer is lost
        may have cancelled what the next one then counts no more: who wants to know makes each call himself.

        :param max_tries: how often the call is made at most, 1 to 5, which is the default
        :raises EightByEightError: 8x8 does not know the batch, or it is not known whether it was cancelled
        """
        return self._calls.until_answered(
            "DELETE", self._path("messages", "batch", batch_id), CancelResponse, max_tries
        )

    def cancel_message(self, umid: str) -> CancelResponse:
        """
        Cancel one scheduled message, by its umid.

        :raises EightByEightError: 8x8 does not know the message, or it is not known whether it was cancelled
        """
        return self._calls.until_answered("DELETE", self._path("messages", umid), CancelResponse)

    def get_message(self, umid: str, *, max_tries: int = MAX_TRIES) -> MessageDetails:
        """
        Return one message as it stands. 8x8 takes one such request a second for each sub-account.

        :param max_tries: how often the call is made at most, 1 to 5, which is the default
        :raises RefusedError: code 1300: 8x8 does not know the message
        :raises EightByEightError: 8x8 does not say
        """
        return self._calls.until_answered("GET", self._path("messages", umid), MessageDetails, max_tries)

    def start_log_export(
        self, request: LogExportRequest, *, max_tries: int = MAX_TRIES, timeout: float | None = None
    ) -> LogExportJob:
        """
        Have 8x8 export its message logs; poll the job with :meth:`get_log_export`.

        :param request: the time in question, and what else narrows it down
        :param max_tries: how often the call is made at most, 1 to 5, which is the default; what the last one got is
            raised
        :param timeout: seconds for each call, if that is less than the client's own timeout
        :raises EightByEightError: there is no export, or it is not known which
        """
        # A POST, but a second export does no harm.
        path = self._path("messages", "exports")
        return self._calls.until_answered(
            "POST", path, LogExportJob, max_tries, request=request, expected_status=202, timeout=timeout
        )

    def get_log_export(self, job_id: str, *, max_tries: int = MAX_TRIES, timeout: float | None = None) -> LogExport:
        """
        Return how a log export stands, and once it has succeeded, the links to its CSV files.

        See 8x8's page `Get log export job result
        <https://developer.8x8.com/connect/reference/get-log-export-job-result>`__.

        :param job_id: from :attr:`LogExportJob.job_id`
        :param max_tries: how often the call is made at most, 1 to 5, which is the default; what the last one got is
            raised
        :param timeout: seconds for each call, if that is less than the client's own timeout
        :raises EightByEightError: 8x8 does not say
        """
        path = self._path("messages", "exports", job_id)
        return self._calls.until_answered("GET", path, LogExport, max_tries, timeout=timeout)

    def read_log_export(self, link: str, *, seconds: float = LOG_EXPORT_FILE_SECONDS) -> Generator[LogLine, None, None]:
        """
        Read one CSV file of a log export by its link, a line at a time; it is never whole in memory.

        The link is its own key. The API key goes along to 8x8's own hosts and to the client's own address, and
        nowhere else; another link must be https and lead to the public internet. Redirects are not followed. Nothing
        is tried again.

        Whatever ends the iteration closes the connection; nothing is opened before it begins. That a file is whole is
        known once the iteration ends without an error, not before: its end is proven by its length, or by the last of
        its chunks, and a file of which that cannot be said (compressed, or until the connection closes) is not read.

        :param link: from :attr:`LogExport.data`
        :param seconds: for the whole file, with what is done between the lines; 900 by default
        :raises UnknownOutcomeError: the link is not followed, or what came is not, or may not be, the whole file:
            then the lines before prove nothing by what is not among them
        :raises RefusedError: 8x8 does not give the file; :class:`RateLimitedError`: not yet
        """
        own = is_own_link(link, [self.base_url, *REGIONS.values()])
        pieces = download(
            link,
            auth=self._auth if own else NoAuth(),
            headers={"User-Agent": USER_AGENT, "Accept": "text/csv", "Accept-Encoding": "identity"},
            seconds=seconds,
            timeout=self.timeout,
            public_only=not own,
        )
        with closing(pieces):
            yield from read_log_lines(pieces)

    def get_balance(self) -> Balance:
        """
        Return what is left on the account.

        :raises ValueError: the client has no account id
        :raises RefusedError: code 1201: the account is not prepaid
        :raises EightByEightError: 8x8 does not say
        """
        return self._calls.until_answered("GET", self._account_path("balance"), Balance)

    def get_prices(
        self, *, country: str | None = None, mcc: int | None = None, mnc: int | None = None
    ) -> dict[str, Any]:
        """
        Return the account's prices as 8x8 gives them: per sub-account, country and operator.

        :param country: two letters (ISO 3166-1)
        :param mcc: mobile country code, together with ``mnc``
        :param mnc: mobile network code
        :raises ValueError: the client has no account id
        :raises EightByEightError: 8x8 does not say
        """
        filters = {"country": country, "mcc": mcc, "mnc": mnc}
        query = urlencode({name: value for name, value in filters.items() if value is not None})
        return self._calls.until_answered("GET", f"{self._account_path('prices')}?{query}".rstrip("?"), dict[str, Any])

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


def _join(*segments: str) -> str:
    quoted = [quote(segment, safe="") for segment in segments]
    # "." and ".." survive quoting, and every HTTP library resolves them: the call would reach another resource.
    if any(segment in {"", ".", ".."} for segment in quoted):
        raise ValueError("an id is empty, '.' or '..'; expected an id that 8x8 gave")
    return "/" + "/".join(quoted)


def _checked_subaccount_id(subaccount_id: str) -> str:
    if not subaccount_id:
        raise ValueError("the sub-account id is missing: set it as the connection's login")
    try:
        return msgspec.convert(subaccount_id, SubaccountId)
    except msgspec.ValidationError:
        raise ValueError(
            f"the sub-account id is {subaccount_id!r}; expected 3 to 50 characters of A-Z a-z 0-9 - . _ &"
        ) from None
