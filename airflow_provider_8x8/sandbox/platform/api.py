"""8x8's endpoints, as its OpenAPI file has them."""

from __future__ import annotations

import hmac
import re
import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import quote, unquote

from airflow_provider_8x8.sandbox.platform import limits
from airflow_provider_8x8.sandbox.platform.log_exports import MASKED_BODY, masked, read_job, status_of, to_csv
from airflow_provider_8x8.sandbox.platform.money import BALANCE, CURRENCY, PRICE_PER_PART, price_list, price_total
from airflow_provider_8x8.sandbox.platform.rate import RateLimit
from airflow_provider_8x8.sandbox.platform.store import Message, Store
from airflow_provider_8x8.sandbox.platform.surveys import send_batch, send_single
from airflow_provider_8x8.sandbox.platform.validation import Validator
from airflow_provider_8x8.sandbox.wire.errors import ApiError, Code, bad_request, not_found
from airflow_provider_8x8.sandbox.wire.http_messages import Answer, Request, StoppedError, json_answer
from airflow_provider_8x8.sandbox.wire.times import to_text


@dataclass(frozen=True, slots=True)
class Account:
    """Who may send what, and how fast the sandbox is."""

    api_key: str
    subaccount: str
    surveys: Sequence[str]
    """The ids of the surveys that there are; empty: any id is one."""
    batch_seconds: float
    """Seconds that pass before a batch is accepted."""


class Call(NamedTuple):
    """A request, and what it asks of 8x8."""

    operation: str
    ids: dict[str, str]
    """By their names in the path."""
    request: Request


class _Endpoint(NamedTuple):
    operation: str
    method: str
    path: re.Pattern[str]


def _endpoint(operation: str, method: str, path: str) -> _Endpoint:
    return _Endpoint(operation, method, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path)))


_SUBACCOUNT = "/api/v1/subaccounts/{subaccount}"
_ACCOUNT = "/api/v1/accounts/{account}"

# The first that fits is taken: an id is only what is not a word of the path.
_ENDPOINTS = (
    _endpoint("survey_batch", "POST", _SUBACCOUNT + "/surveys/{survey}/messages/batch"),
    _endpoint("survey", "POST", _SUBACCOUNT + "/surveys/{survey}/messages"),
    _endpoint("cancel_batch", "DELETE", _SUBACCOUNT + "/messages/batch/{batch}"),
    _endpoint("log_export", "POST", _SUBACCOUNT + "/messages/exports"),
    _endpoint("log_export_result", "GET", _SUBACCOUNT + "/messages/exports/{job}"),
    _endpoint("log_export_cancel", "DELETE", _SUBACCOUNT + "/messages/exports/{job}"),
    _endpoint("log_export_download", "GET", _SUBACCOUNT + "/messages/download/{token}"),
    _endpoint("get_message", "GET", _SUBACCOUNT + "/messages/{umid}"),
    _endpoint("cancel_message", "DELETE", _SUBACCOUNT + "/messages/{umid}"),
    _endpoint("delete_pii", "DELETE", _SUBACCOUNT + "/messages/{umid}/pii"),
    _endpoint("prices", "GET", _ACCOUNT + "/prices"),
    _endpoint("balance", "GET", _ACCOUNT + "/balance"),
)


class Api:
    """
    Answers 8x8's endpoints.

    :param account: the one account there is
    :param store: what was accepted
    :param log_lag: says how old a message must be to be in the logs that are asked for now
    :param url: the sandbox's own address, for download links
    :param stopping: set once the sandbox is to stop
    """

    def __init__(
        self, account: Account, store: Store, log_lag: Callable[[], timedelta], url: str, stopping: threading.Event
    ) -> None:
        self._account = account
        self._store = store
        self._log_lag = log_lag
        self._url = url
        self._stopping = stopping
        self._requests = RateLimit(limits.REQUESTS_PER_SECOND)
        self._message_reads = RateLimit(limits.GET_MESSAGE_PER_SECOND)
        self._handlers: dict[str, Callable[[Request, dict[str, str]], Answer]] = {
            "survey_batch": self._survey_batch,
            "survey": self._survey,
            "cancel_batch": self._cancel_batch,
            "log_export": self._log_export,
            "log_export_result": self._log_export_result,
            "log_export_cancel": self._log_export_cancel,
            "log_export_download": self._log_export_download,
            "get_message": self._get_message,
            "cancel_message": self._cancel_message,
            "delete_pii": self._delete_pii,
            "prices": self._prices,
            "balance": self._balance,
        }

    def admit(self, call: Call) -> None:
        """
        Let a call in, or refuse it for who asks, or for how often.

        :raises ApiError: it bears another key, names another account, or is one too many
        """
        if call.operation == "log_export_download":
            return  # The link is its own key.
        given = call.request.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self._account.api_key}".encode()):
            raise ApiError(HTTPStatus.UNAUTHORIZED, Code.UNAUTHORIZED, "Request was not authenticated properly")
        if call.ids.get("subaccount", self._account.subaccount) != self._account.subaccount:
            raise bad_request(Code.INVALID_SUBACCOUNT, "Provided subAccountId doesn't belong to your account")
        if not limits.ACCOUNT_ID.fullmatch(call.ids.get("account", str(uuid.UUID(int=0)))):
            raise bad_request(Code.INVALID_PARAMETER, "Invalid accountId.")
        self._requests.count()

    def answer(self, call: Call) -> Answer:
        """
        Do what an admitted call asks for.

        :raises ApiError: it is refused for what it asks for
        :raises StoppedError: the sandbox was stopped meanwhile
        """
        return self._handlers[call.operation](call.request, call.ids)

    def _survey_batch(self, request: Request, ids: dict[str, str]) -> Answer:
        self._check_survey(ids["survey"])
        batch = Validator(datetime.now(UTC)).batch(request.declared_json())
        if self._stopping.wait(self._account.batch_seconds):
            raise StoppedError
        return json_answer(send_batch(self._store, ids["survey"], batch, datetime.now(UTC)))

    def _survey(self, request: Request, ids: dict[str, str]) -> Answer:
        self._check_survey(ids["survey"])
        now = datetime.now(UTC)
        return json_answer(send_single(self._store, ids["survey"], Validator(now).single(request.declared_json()), now))

    def _check_survey(self, survey: str) -> None:
        # How 8x8 refuses it is not documented. Its file has only 400 for surveys, and 1008 is its code for a wrong id.
        if self._account.surveys and survey not in self._account.surveys:
            raise bad_request(Code.INVALID_ID, "Invalid surveyId.")

    def _cancel_batch(self, request: Request, ids: dict[str, str]) -> Answer:
        batch_id = _uuid(ids["batch"], "batchId")
        if not self._store.has_batch(batch_id):
            raise bad_request(Code.INVALID_ID, "Invalid batchId.")
        return json_answer({"cancelledCount": self._store.cancel(batch_id=batch_id, now=_now())})

    def _cancel_message(self, request: Request, ids: dict[str, str]) -> Answer:
        umid = self._message(ids).umid
        return json_answer({"cancelledCount": self._store.cancel(umid=umid, now=_now())})

    def _delete_pii(self, request: Request, ids: dict[str, str]) -> Answer:
        # An id that is none is not found, as 8x8's file has it: it knows no 400 here.
        try:
            umid = str(uuid.UUID(ids["umid"]))
        except ValueError:
            umid = ""
        message = self._store.message(umid)
        if message is None:
            raise not_found("Message not found.")
        self._store.mask(umid, masked(message.destination).removeprefix("+"), MASKED_BODY)
        return Answer(HTTPStatus.ACCEPTED)

    def _get_message(self, request: Request, ids: dict[str, str]) -> Answer:
        message = self._message(ids)
        # Only for messages that there are: asking for another one is how a connection is tested.
        self._message_reads.count()
        details: dict[str, object] = {
            "umid": message.umid,
            "subAccountId": self._account.subaccount,
            "direction": "outbound",
            "country": message.country,
            "status": status_of(message, _now()),
            "msisdn": masked(message.destination),
            "source": message.source,
            "body": MASKED_BODY,
            "encoding": message.encoding,
            "createdAt": message.created_at,
            "smsCount": message.parts,
            "price": {"total": price_total(message.parts), "perSms": PRICE_PER_PART, "currency": CURRENCY},
            "clientMessageId": message.client_message_id,
            "clientBatchId": message.client_batch_id,
            "batchId": message.batch_id,
        }
        return json_answer({name: value for name, value in details.items() if value is not None})

    def _log_export(self, request: Request, ids: dict[str, str]) -> Answer:
        payload = request.declared_json() if request.body else {}
        last_message = self._store.last_message()
        job = read_job(payload, datetime.now(UTC), self._log_lag(), last_message)
        self._store.add_log_export(job)
        return json_answer({"jobId": job.job_id}, HTTPStatus.ACCEPTED)

    def _log_export_result(self, request: Request, ids: dict[str, str]) -> Answer:
        job = self._store.poll_log_export(ids["job"])
        if job is None:
            raise not_found("Invalid jobId", Code.INVALID_JOB_ID)
        if job.cancelled:
            return json_answer({"status": "cancelled"})
        if job.polled < len(_LOG_EXPORT_PROGRESS):
            return json_answer({"status": _LOG_EXPORT_PROGRESS[job.polled]})
        if next(self._store.log(job._replace(max_rows=1)), None) is None:
            return json_answer({"status": "empty"})
        # By the name that the client has for the sandbox, which may listen on 0.0.0.0 or in a container.
        url = f"http://{request.headers['host']}" if "host" in request.headers else self._url
        link = f"{url}/api/v1/subaccounts/{quote(self._account.subaccount)}/messages/download/{job.token}"
        return json_answer({"status": "succeeded", "data": [link], "expires": job.expires})

    def _log_export_cancel(self, request: Request, ids: dict[str, str]) -> Answer:
        if not self._store.cancel_log_export(ids["job"]):
            raise not_found("Invalid jobId", Code.INVALID_JOB_ID)
        return Answer(HTTPStatus.NO_CONTENT)

    def _log_export_download(self, request: Request, ids: dict[str, str]) -> Answer:
        now = _now()
        job = self._store.log_export_of_token(ids["token"])
        if job is None or job.cancelled or job.expires <= now:
            raise not_found("There is no such file, or no longer")
        return Answer(stream=to_csv(self._store.log(job), self._account.subaccount, now), content_type="text/csv")

    def _prices(self, request: Request, ids: dict[str, str]) -> Answer:
        return json_answer(price_list(self._account.subaccount, request.query))

    def _balance(self, request: Request, ids: dict[str, str]) -> Answer:
        return json_answer({"balance": BALANCE, "currency": CURRENCY})

    def _message(self, ids: dict[str, str]) -> Message:
        message = self._store.message(_uuid(ids["umid"], "umid"))
        if message is None:
            raise not_found("Message not found.")
        return message


# What a job answers while it is being made: once each, so that every client has seen it, however fast it asks.
_LOG_EXPORT_PROGRESS = ("running",)


def read_call(request: Request) -> Call:
    """
    Tell what a request asks for.

    :raises ApiError: 404, there is no such endpoint
    """
    for endpoint in _ENDPOINTS:
        found = endpoint.path.fullmatch(request.path)
        if found and endpoint.method == request.method:
            ids = {name: unquote(value) for name, value in found.groupdict().items()}
            return Call(endpoint.operation, ids, request)
    raise not_found("There is no such resource. The sandbox's own page is /sandbox")


def _now() -> str:
    return to_text(datetime.now(UTC))


def _uuid(text: str, name: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise bad_request(Code.INVALID_PARAMETER, f"Invalid {name}.") from None
