"""What each of the operators' arguments may be by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from enum import Enum
from pathlib import PurePath
from typing import Any, get_args

import msgspec

from airflow_provider_8x8.api.masking import mask_phone_numbers, mask_url
from airflow_provider_8x8.api.models import MAX_BATCH_SIZE, MAX_SOURCE_LENGTH, SubaccountId
from airflow_provider_8x8.operators.masked import CanaryNumber, as_text, quoted, refuse, shortened
from airflow_provider_8x8.surveys.journal.entries import MAX_CAMPAIGN_ID_LENGTH
from airflow_provider_8x8.surveys.messages.builder import check_common
from airflow_provider_8x8.surveys.messages.template import Template
from airflow_provider_8x8.surveys.messages.times import parse_time
from airflow_provider_8x8.surveys.messages.values import UnusableValueError, is_missing, to_variable
from airflow_provider_8x8.surveys.outcomes.verdict import OnEmpty
from airflow_provider_8x8.surveys.settings import (
    BEFORE_TRY,
    LONGEST_DURATION,
    MAX_CLIENT_BATCH_ID_PREFIX_LENGTH,
    OnInvalid,
    OnUnknown,
    Said,
)

COMMON_FIELDS = ("source", "encoding", "scheduled", "expiry", "dlr_callback_url")
"""Arguments that are fields of 8x8's messages, for all messages that do not fill them themselves."""

_PREFIX = re.compile(rf"(?:[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_CLIENT_BATCH_ID_PREFIX_LENGTH - 1}}})?")
_TABLE = re.compile(r"(?:[A-Za-z_][A-Za-z0-9_$]*\.){0,2}[A-Za-z_][A-Za-z0-9_$]*")
# What stands behind the scheme: a user with a password, which may have a slash, and is no host with a port; or a query.
_SECRET_IN_PATH = re.compile(r"[^/@]*:(?![0-9]+(?:/|\Z))[^@]*@|[^?]*\?.*=")
_URL_OF_A_FOLDER = "s3://connection@bucket/folder"


def is_to_be_resolved(value: Any) -> bool:
    """Tell whether Airflow fills in a value before the task runs: XCom arguments, callables, and Jinja."""
    if isinstance(value, str):
        return "{{" in value or "{%" in value
    return hasattr(value, "iter_references") or callable(value)


def _some_text(expected: str) -> Callable[[str, Any], str]:
    def check(name: str, value: Any) -> str:
        text = as_text(name, value)
        if not text.strip():
            raise ValueError(f"{name} is empty; expected {expected}")
        return text

    return check


def _connection(name: str, value: Any) -> str:
    """Return a connection's id. Anything else is not quoted: it may be the connection itself, with its password."""
    if not isinstance(value, str | int | Enum):
        raise ValueError(f"{name} is of type {type(value).__name__}; expected the id of an Airflow connection")
    conn_id = _some_text("the id of an Airflow connection")(name, value)
    if "://" in conn_id or conn_id.lstrip().startswith("{"):
        raise ValueError(f"{name} is a connection; expected its id, under which Airflow has it")
    return conn_id


def _template_body(name: str, value: Any) -> str:
    if not isinstance(value, str):
        refuse(name, value, "a text with {{url}} in it")
    try:
        Template.parse(value)
    except ValueError as error:
        raise ValueError(f"{name}: {mask_phone_numbers(str(error))}") from None
    return value


def _mapping(expected: str) -> Callable[[str, Any], Mapping[str, Any]]:
    def check(name: str, value: Any) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):  # which is not quoted: it may hold a secret
            hint = "; for a mapping out of Jinja set render_template_as_native_obj" if isinstance(value, str) else ""
            raise ValueError(f"{name} is of type {type(value).__name__}; expected a mapping of {expected}{hint}")
        for key in value:
            if not isinstance(key, str):
                raise ValueError(f"{name} has a name that is {quoted(key)}; expected a mapping of {expected}")
        return value

    return check


def _template_variables(name: str, value: Any) -> Mapping[str, Any]:
    variables = _mapping("names in the template to values")(name, value)
    for variable, item in variables.items():
        if is_to_be_resolved(item) or is_missing(item):
            continue
        try:
            to_variable(item)
        except UnusableValueError as error:
            raise ValueError(f"{name}[{quoted(variable)}] {error}") from None
    return variables


def _parameters(name: str, value: Any) -> Any:
    if not isinstance(value, Mapping | list | tuple):  # which is not quoted: it may hold anything
        hint = "; for one out of Jinja set render_template_as_native_obj" if isinstance(value, str) else ""
        raise ValueError(f"{name} is of type {type(value).__name__}; expected a mapping, a list or a tuple{hint}")
    return value


def _common_field(expected: str, show: Callable[[Any], str] = quoted) -> Callable[[str, Any], str]:
    def check(name: str, value: Any) -> str:
        text = as_text(name, value)
        try:
            check_common({name: text or None})
        except ValueError:
            raise ValueError(f"{name} is {show(text)}; expected {expected}") from None
        return text

    return check


def _time(name: str, value: Any) -> Any:
    if value == "":
        return value
    try:
        parse_time(name, value, shortened)
    except ValueError as error:
        raise ValueError(mask_phone_numbers(str(error))) from None
    return value


def _limit(name: str, value: Any) -> Any:
    return refuse(name, value, "a datetime, or ISO 8601 with offset") if value == "" else _time(name, value)


def _canary(name: str, value: Any) -> Any:
    number = value if isinstance(value, CanaryNumber) else CanaryNumber(value)
    if number:
        number.checked()
    return number


def _settled_batches(name: str, value: Any) -> Mapping[str, Said]:
    expected = "a mapping of client batch ids to accepted or not_accepted, or such a mapping as JSON text"
    if isinstance(value, str):
        if value.strip() in ("", "None", "null"):
            return {}
        try:
            value = json.loads(value)
        except ValueError:
            raise ValueError(f"{name} is {quoted(value)}; expected {expected}") from None
    if not isinstance(value, Mapping):
        refuse(name, value, expected)
    for batch, said in value.items():
        if not isinstance(batch, str) or said not in get_args(Said):
            raise ValueError(f"{name} has {quoted(batch)}: {quoted(said)}; expected {expected}")
        if batch.startswith(BEFORE_TRY) and said != "not_accepted":
            raise ValueError(f"{name} has {quoted(batch)}: 'accepted'; expected not_accepted, or the batches' own ids")
    return value


def _campaign_id(name: str, value: Any) -> str:
    text = as_text(name, value)
    if not 1 <= len(text.strip()) <= MAX_CAMPAIGN_ID_LENGTH or len(text) > MAX_CAMPAIGN_ID_LENGTH:
        refuse(name, text, f"1 to {MAX_CAMPAIGN_ID_LENGTH} characters that name what may not be surveyed twice")
    if not text.isprintable():
        refuse(name, text, "characters that can be printed: no line breaks, tabs or other control characters")
    return text


def _client_batch_id_prefix(name: str, value: Any) -> str:
    text = as_text(name, value)
    if not _PREFIX.fullmatch(text):
        refuse(
            name,
            text,
            f"at most {MAX_CLIENT_BATCH_ID_PREFIX_LENGTH} characters: letters A to Z, digits, hyphens, underscores and "
            "dots, first a letter or digit",
        )
    return text


def _outcome_table(name: str, value: Any) -> str:
    text = as_text(name, value)
    if not _TABLE.fullmatch(text):
        refuse(name, text, "the name of a table, or schema.table: letters A to Z, digits, underscores and $ in each")
    return text


def _report_path(name: str, value: Any) -> Any:
    is_airflows = hasattr(value, "protocol")  # as an ObjectStoragePath has
    text = str(value) if is_airflows or isinstance(value, PurePath) else as_text(name, value)
    _, is_url, rest = text.partition("://")
    if is_url and _SECRET_IN_PATH.match(rest):
        raise ValueError(
            f"{name} holds a password or a query; expected the id of a connection, as in {_URL_OF_A_FOLDER}"
        )
    if is_airflows:
        return value
    if text and not is_url and not PurePath(text).is_absolute():
        refuse(name, text, f"an absolute path, or a URL such as {_URL_OF_A_FOLDER}")
    return text


def whole_number(low: int, high: int | None = None) -> Callable[[str, Any], int]:
    def check(name: str, value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < low or (high and value > high):
            refuse(name, value, f"{low} to {high}" if high else f"a whole number of at least {low}")
        return value

    return check


def _whole_once_rendered(name: str, value: Any) -> int:
    """Return a whole number that a template has come to: 0 is what was approved, and no mistake in a DAG file."""
    text = value.strip() if isinstance(value, str) else ""
    return whole_number(0)(name, int(text) if text.isascii() and text.isdecimal() else value)


def _number_or_share(*, may_be_all: bool) -> Callable[[str, Any], Any]:
    def check(name: str, value: Any) -> Any:
        is_number = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        is_share = isinstance(value, float) and (0 < value < 1 or (may_be_all and value == 1))
        if not is_number and not is_share:
            bounds = "above 0 and at most 1" if may_be_all else "between 0 and 1"
            refuse(name, value, f"a whole number, or a float {bounds} as a share")
        return value

    return check


def _one_of(*allowed: str) -> Callable[[str, Any], str]:
    def check(name: str, value: Any) -> str:
        if not isinstance(value, str) or value not in allowed:
            refuse(name, value, f"one of {', '.join(allowed)}")
        return value

    return check


def _duration(least: timedelta = timedelta()) -> Callable[[str, Any], timedelta]:
    def check(name: str, value: Any) -> timedelta:
        if not isinstance(value, timedelta) or not least <= value <= LONGEST_DURATION:
            low = f"{least.seconds} second" if least else "0"
            refuse(name, value, f"a timedelta from {low} to {LONGEST_DURATION.days} days")
        return value

    return check


def _share(name: str, value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 1:
        refuse(name, value, "a number above 0 and at most 1")
    return value


def _true_or_false(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        refuse(name, value, "True or False")
    return value


def _subaccount_id(name: str, value: Any) -> str:
    text = as_text(name, value)
    try:
        return msgspec.convert(text, SubaccountId)
    except msgspec.ValidationError:
        refuse(name, text, "3 to 50 letters, digits, hyphens, dots, underscores and ampersands")


CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "survey_id": _some_text("the id that 8x8 gave the survey"),
    "template_body": _template_body,
    "template_variables": _template_variables,
    "sql": _some_text("one statement that returns rows, or the name of a .sql file"),
    "sql_conn_id": _connection,
    "parameters": _parameters,
    "sql_hook_params": _mapping("names of the hook's arguments to values"),
    "unique_by": _some_text("the name of a column"),
    "source": _common_field(f"at most {MAX_SOURCE_LENGTH} characters"),
    "encoding": _common_field("AUTO, GSM7 or UCS2"),
    "scheduled": _time,
    "expiry": _time,
    "dlr_callback_url": _common_field("a URL that begins with https:// or http://", mask_url),
    "client_batch_id_prefix": _client_batch_id_prefix,
    "batch_size": whole_number(1, MAX_BATCH_SIZE),
    "max_messages": _whole_once_rendered,
    "not_after": _limit,
    # All of them is no limit: 1.0 is somebody's slip for 1.
    "max_rejected": _number_or_share(may_be_all=False),
    "max_invalid": _number_or_share(may_be_all=False),
    "brake_after": whole_number(1),
    "first_batch_size": whole_number(1, MAX_BATCH_SIZE),
    "on_invalid": _one_of(*OnInvalid),
    "on_empty": _one_of(*OnEmpty),
    "on_unknown": _one_of(*OnUnknown),
    "reconcile_timeout": _duration(),
    "log_settle_time": _duration(),
    "canary_destination": _canary,
    "settled_batches": _settled_batches,
    "campaign_id": _campaign_id,
    "journal_conn_id": _connection,
    "report_path": _report_path,
    "outcome_table": _outcome_table,
    "outcome_conn_id": _connection,
    "deferrable": _true_or_false,
    "sent_after": _limit,
    "final_share": _share,
    "timeout": _duration(),
    "poll_interval": _duration(least=timedelta(seconds=1)),
    "min_delivered": _number_or_share(may_be_all=True),
    "eight_by_eight_conn_id": _connection,
    "subaccount_id": _subaccount_id,
}
"""
For each argument what returns it as it is used, or raises a ValueError that says what was found and what is expected.

The rows are not among them: :class:`~airflow_provider_8x8.rows.GivenRows` knows what they may be.
"""
