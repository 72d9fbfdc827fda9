"""The log export: jobs, and the CSV file they give."""

from __future__ import annotations

import csv
import io
import secrets
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from airflow_provider_8x8.sandbox.platform import limits
from airflow_provider_8x8.sandbox.platform.money import CURRENCY, PRICE_PER_PART, price_total
from airflow_provider_8x8.sandbox.platform.numbers import CALLING_CODE_OF_COUNTRY
from airflow_provider_8x8.sandbox.platform.store import LogExport, Message
from airflow_provider_8x8.sandbox.wire.errors import Code, bad_request
from airflow_provider_8x8.sandbox.wire.times import from_log_export_time, to_text

_DEFAULT_SPAN = timedelta(days=7)
_OUTBOUND = 1

MASKED_BODY = "**MASKED**"

COLUMNS = (
    "umid",
    "subaccountid",
    "direction",
    "country",
    "operator",
    "mcc",
    "mnc",
    "status_value",
    "status_details",
    "status_errorcode",
    "status_errormessage",
    "status_timestamp",
    "msisdn",
    "source",
    "encoding",
    "createdat",
    "smscount",
    "price_currency",
    "price_persms",
    "price_total",
    "clientmessageid",
    "clientbatchid",
    "batchid",
    "body",
)


def masked(digits: str) -> str:
    """Return a phone number masked as 8x8 does it: without its last four digits."""
    return f"+{digits[:-4]}xxxx"


def read_job(payload: object, now: datetime, lag: timedelta, last_message: int) -> LogExport:
    """
    Return the job that a ``LogExportRequest`` asks for.

    :param now: when it is asked for, aware
    :param lag: how old a message must be to be in the logs
    :param last_message: the newest message there is
    :raises ApiError: 400, something in it is wrong
    """
    if not isinstance(payload, dict):
        raise bad_request(Code.INVALID_PARAMETER, "The request must be an object")
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    created_from = _time(payload, "from", today - _DEFAULT_SPAN)
    created_to = _time(payload, "to", now)
    if created_from >= created_to:
        raise bad_request(Code.INVALID_PARAMETER, "from must be before to")
    return LogExport(
        job_id=secrets.token_urlsafe(48),
        token=secrets.token_urlsafe(48),
        created_from=to_text(created_from),
        created_to=min(to_text(created_to), to_text(now - lag)),
        phone_number=_phone_number(payload),
        countries=_countries(payload),
        max_rows=_limit(payload),
        last_message=last_message,
        expires=to_text(now + limits.LOG_EXPORT_LIFETIME),
    )


def to_csv(pages: Iterable[Sequence[Message]], subaccount: str, now: str) -> Iterator[bytes]:
    """
    Write the file of a log export, a piece for each page; phone numbers and texts are masked.

    :param pages: messages without their texts
    """
    yield _to_lines([COLUMNS])
    for page in pages:
        yield _to_lines(_row(message, subaccount, now) for message in page)


def _to_lines(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _row(message: Message, subaccount: str, now: str) -> Sequence[object]:
    status = status_of(message, now)
    return (
        *(message.umid, subaccount, _OUTBOUND, message.country, "", "", ""),
        *(status.get(name, "") for name in ("state", "detail", "errorCode", "errorMessage", "timestamp")),
        *(masked(message.destination), message.source, message.encoding, message.created_at, message.parts),
        *(CURRENCY, PRICE_PER_PART, price_total(message.parts) if message.rejection is None else 0.0),
        *(message.client_message_id, message.client_batch_id, message.batch_id, MASKED_BODY),
    )


def status_of(message: Message, now: str) -> dict[str, object]:
    """Return a message's state with its details, in 8x8's words."""
    state = message.state(now)
    if state == "rejected":
        return {
            "state": "rejected",
            "errorCode": int(Code.INVALID_MSISDN),
            "errorMessage": message.rejection,
            "timestamp": message.created_at,
        }
    if state == "cancelled":
        # 8x8 has no state of its own for it.
        return {"state": "undelivered", "errorMessage": "Cancelled", "timestamp": message.created_at}
    if state == "delivered":
        timestamp = message.scheduled or message.created_at
        return {"state": "delivered", "detail": "delivered_to_recipient", "timestamp": timestamp}
    return {"state": state, "timestamp": message.created_at}


def _time(payload: dict[str, Any], name: str, default: datetime) -> datetime:
    if name not in payload:
        return default
    try:
        moment = from_log_export_time(payload[name])
        to_text(moment)
    except (TypeError, ValueError, OverflowError):
        raise bad_request(Code.INVALID_PARAMETER, f"{name} is neither a date nor a time") from None
    return moment


def _phone_number(payload: dict[str, Any]) -> str | None:
    number = payload.get("phoneNumber")
    if number is None:
        return None
    if not isinstance(number, str) or not limits.DESTINATION.fullmatch(number):
        raise bad_request(Code.INVALID_MSISDN, "phoneNumber is no E.164 number")
    return number.removeprefix("+")


def _countries(payload: dict[str, Any]) -> str | None:
    countries = payload.get("countries")
    if countries is None:
        return None
    if not isinstance(countries, list) or any(
        not isinstance(country, str) or country not in CALLING_CODE_OF_COUNTRY for country in countries
    ):
        raise bad_request(Code.INVALID_COUNTRY, "countries must be a list of ISO 3166-1 alpha-2 codes")
    return msgspec.json.encode(countries).decode() if countries else None


def _limit(payload: dict[str, Any]) -> int:
    limit = payload.get("limit", 0)
    if isinstance(limit, bool) or not isinstance(limit, int) or not 0 <= limit < 2**63:
        raise bad_request(Code.INVALID_PARAMETER, "limit must be a whole number, 0 for no limit")
    return limit
