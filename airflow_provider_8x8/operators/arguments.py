"""What each of the operator's arguments may be, and how much of it Airflow gets to see once it is rendered."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date, time, timedelta
from enum import Enum
from numbers import Integral
from pathlib import PurePath
from typing import Any, NoReturn, get_args
from urllib.parse import urlsplit

import msgspec
from airflow.providers.common.compat.sdk import AirflowException, redact

from airflow_provider_8x8.api.masking import mask_phone_numbers
from airflow_provider_8x8.api.models import MAX_BATCH_SIZE, MAX_SOURCE_LENGTH, Destination, SubaccountId
from airflow_provider_8x8.surveys.journal.entries import MAX_CAMPAIGN_ID_LENGTH
from airflow_provider_8x8.surveys.messages.builder import check_common
from airflow_provider_8x8.surveys.messages.phone_numbers import to_phone_number
from airflow_provider_8x8.surveys.messages.template import Template
from airflow_provider_8x8.surveys.messages.times import parse_time
from airflow_provider_8x8.surveys.messages.values import (
    UnusableValueError,
    is_encodable,
    is_missing,
    to_variable,
)
from airflow_provider_8x8.surveys.outcomes.verdict import OnEmpty
from airflow_provider_8x8.surveys.settings import (
    BEFORE_TRY,
    MAX_CLIENT_BATCH_ID_PREFIX_LENGTH,
    OnInvalid,
    OnUnknown,
    Said,
)

TEXTS = frozenset(
    {
        "survey_id",
        "sql",
        "sql_conn_id",
        "source",
        "encoding",
        "dlr_callback_url",
        "canary_destination",
        "campaign_id",
        "report_path",
    }
)
"""Templated arguments that are text, whatever ``render_template_as_native_obj`` would make of them."""

_NEEDED = frozenset({"survey_id", "sql", "sql_conn_id", "campaign_id", "not_after"})
"""
Templated arguments that may be left out, but not come out as nothing: no other campaign or query is a default for one,
and a limit that has got lost is none.
"""

NEVER_NONE = frozenset(
    {
        "survey_id",
        "client_batch_id_prefix",
        "batch_size",
        "on_invalid",
        "on_empty",
        "on_unknown",
        "reconcile_timeout",
        "log_settle_time",
        "eight_by_eight_conn_id",
    }
)
"""Arguments that have to be given, or have a default that None would not stand for."""

_PREFIX = re.compile(rf"(?:[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_CLIENT_BATCH_ID_PREFIX_LENGTH - 1}}})?")
_MAX_QUOTED_LENGTH = 60
_HIDDEN = "***"
_URL_OF_A_FOLDER = "s3://connection@bucket/folder"

# A day is no phone number, and what one looks for first. Quoted as in SQL, nothing before or after can belong to it.
_MOMENT = (
    r"(?:19|20)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])"
    r"(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:\d\d)?)?"
)
_IS_MOMENT = re.compile(_MOMENT)
_QUOTED_MOMENT = re.compile(f"('{_MOMENT}')")


# what Airflow sees


class Masked:
    """
    A rendered argument of which Airflow stores and shows no phone number and no secret.

    :ivar value: what was rendered
    :ivar shown: what Airflow gets instead
    """

    def __init__(self, value: Any, shown: Any) -> None:
        self.value = value
        self.shown = shown

    def __bool__(self) -> bool:
        return bool(self.value)

    def __repr__(self) -> str:
        shown = redact(self.shown)
        return shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False)

    def serialize(self) -> Any:
        """Return what Airflow 3 shows; Airflow 2 takes the repr."""
        return self.shown


class MaskedMapping(Masked, Mapping[str, Any]):
    """A mapping whose values are there for whoever asks for them, and not to be shown."""

    def __getitem__(self, name: str) -> Any:
        return self.value[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.value)

    def __len__(self) -> int:
        return len(self.value)


class CanaryNumber(Masked):
    """The canary's number, or what was given for it."""

    def __init__(self, value: Any) -> None:
        super().__init__(value, mask(value if isinstance(value, str) else str(value)))

    def checked(self) -> str:
        """
        Return the number.

        :raises ValueError: it is none
        """
        try:
            return msgspec.convert(to_phone_number(_text("canary_destination", self.value)), Destination)
        except msgspec.ValidationError:
            raise ValueError(
                f"canary_destination is {self}; expected a phone number with the country code, 7 to 15 digits"
            ) from None


class Unusable:
    """
    What was rendered to something that the argument cannot be; it shows why.

    Nothing is raised where Airflow renders: the task would end before it can say what was sent.

    :param may_go_better: another try may render it
    """

    def __init__(self, reason: str, *, may_go_better: bool = False) -> None:
        self.reason = reason
        self.may_go_better = may_go_better

    def __repr__(self) -> str:
        return f"<{self.reason}>"


def unmasked(value: Any) -> Any:
    """
    Return an argument as it was rendered.

    :raises ValueError: it was rendered to something that it cannot be
    :raises AirflowException: it could not be rendered
    """
    if isinstance(value, Unusable):
        raise (AirflowException if value.may_go_better else ValueError)(value.reason)
    return value.value if isinstance(value, Masked) else value


def mask(value: Any) -> Any:
    """Return a value as JSON can hold it, without phone numbers; days and times stay as they are."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _mask_text(value)
    if isinstance(value, Mapping):
        return {_mask_text(str(name)): mask(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [mask(item) for item in value]
    if isinstance(value, date | time):
        return value.isoformat()
    masked = mask_phone_numbers(text := str(value))
    return value if masked == text and type(value) in (int, float) else masked


def _mask_text(text: str) -> str:
    if _IS_MOMENT.fullmatch(text):
        return text
    parts = _QUOTED_MOMENT.split(text)
    return "".join(part if index % 2 else mask_phone_numbers(part) for index, part in enumerate(parts))


def _mask_url(url: str) -> str:
    """Return where a URL leads to, without what may let one in there."""
    try:
        parts = urlsplit(url)
        address = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
    except ValueError:
        return _HIDDEN
    if not parts.hostname:
        return _HIDDEN
    user = f"{_HIDDEN}@" if "@" in parts.netloc else ""
    rest = f"/{_HIDDEN}" if parts.path.strip("/") or parts.query or parts.fragment else ""
    return mask_phone_numbers(address.replace("://", f"://{user}", 1)) + rest


_SHOWN: dict[str, Callable[[Any], Any]] = {
    "template_variables": lambda given: MaskedMapping(given, mask(given)),
    "sql": lambda given: Masked(given, mask(given)),
    "parameters": lambda given: Masked(given, mask(given)),
    "sql_hook_params": lambda given: MaskedMapping(given, dict.fromkeys(map(str, given), _HIDDEN)),
    "source": lambda given: Masked(given, mask(given)),
    "dlr_callback_url": lambda given: Masked(given, _mask_url(given)),
}


def usable(name: str, value: Any) -> Any:
    """Return a rendered argument as the task uses it and Airflow shows it, or an :class:`Unusable`."""
    if isinstance(value, Masked | Unusable):
        return value
    if value is None:
        return came_to_nothing(name) if name in _NEEDED else None
    try:
        checked = CHECKS[name](name, value)
    except ValueError as error:
        return Unusable(str(error))
    return _SHOWN[name](checked) if name in _SHOWN else checked


def came_to_nothing(name: str) -> Unusable:
    """Return what stands for a template that has found no value."""
    return Unusable(f"{name} was rendered to None; expected a value: give one, or leave {name} out")


def is_to_be_resolved(value: Any) -> bool:
    """Tell what Airflow fills in before the task runs: XCom arguments, callables, and Jinja."""
    if isinstance(value, str):
        return "{{" in value or "{%" in value
    return hasattr(value, "iter_references") or callable(value)


def quoted(value: Any) -> str:
    """Return a value as an error may quote it: phone numbers masked, long ones cut."""
    text = mask_phone_numbers(repr(str(value)) if isinstance(value, str) else repr(value))
    return text if len(text) <= _MAX_QUOTED_LENGTH else f"{text[:_MAX_QUOTED_LENGTH]}..."


# what each may be


def _refuse(name: str, value: Any, expected: str) -> NoReturn:
    kind = "" if isinstance(value, str) else f", of type {type(value).__name__}"
    raise ValueError(f"{name} is {quoted(value)}{kind}; expected {expected}")


def _text(name: str, value: Any) -> str:
    """Return text; a whole number is the text of its digits."""
    if isinstance(value, Enum):
        value = value.value
    if not isinstance(value, bool) and isinstance(value, Integral):
        return str(int(value))
    if not isinstance(value, str):
        _refuse(name, value, "text, or a whole number for text that is all digits; give it as text")
    if not is_encodable(value):
        raise ValueError(f"{name} holds half a character (a lone surrogate); expected text in Unicode")
    return str(value)


def _some_text(expected: str) -> Callable[[str, Any], str]:
    def check(name: str, value: Any) -> str:
        text = _text(name, value)
        if not text.strip():
            raise ValueError(f"{name} is empty; expected {expected}")
        return text

    return check


def _connection(name: str, value: Any) -> str:
    """Return a connection's id; what is none is not quoted: it may be the connection itself, with its password."""
    if not isinstance(value, str | int | Enum):
        raise ValueError(f"{name} is of type {type(value).__name__}; expected the id of an Airflow connection")
    conn_id = _some_text("the id of an Airflow connection")(name, value)
    if "://" in conn_id or conn_id.lstrip().startswith("{"):
        raise ValueError(f"{name} is a connection; expected its id, under which Airflow has it")
    return conn_id


def _template_body(name: str, value: Any) -> str:
    if not isinstance(value, str):
        _refuse(name, value, "a text with {{url}} in it")
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
        text = _text(name, value)
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
        parse_time(name, value)
    except ValueError as error:
        raise ValueError(mask_phone_numbers(str(error))) from None
    return value


def _limit(name: str, value: Any) -> Any:
    return _refuse(name, value, "a datetime, or ISO 8601 with offset") if value == "" else _time(name, value)


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
        _refuse(name, value, expected)
    for batch, said in value.items():
        if not isinstance(batch, str) or said not in get_args(Said):
            raise ValueError(f"{name} has {quoted(batch)}: {quoted(said)}; expected {expected}")
        if batch.startswith(BEFORE_TRY) and said != "not_accepted":
            raise ValueError(f"{name} has {quoted(batch)}: 'accepted'; expected not_accepted, or the batches' own ids")
    return value


def _campaign_id(name: str, value: Any) -> str:
    text = _text(name, value)
    if not 1 <= len(text.strip()) <= MAX_CAMPAIGN_ID_LENGTH or len(text) > MAX_CAMPAIGN_ID_LENGTH:
        _refuse(name, text, f"1 to {MAX_CAMPAIGN_ID_LENGTH} characters that name what may not be surveyed twice")
    if not text.isprintable():
        _refuse(name, text, "characters that can be printed: no line breaks, tabs or other control characters")
    return text


def _client_batch_id_prefix(name: str, value: Any) -> str:
    text = _text(name, value)
    if not _PREFIX.fullmatch(text):
        _refuse(
            name,
            text,
            f"at most {MAX_CLIENT_BATCH_ID_PREFIX_LENGTH} characters: letters A to Z, digits, hyphens, underscores and "
            "dots, first a letter or digit",
        )
    return text


def _report_path(name: str, value: Any) -> Any:
    if hasattr(value, "protocol"):
        return value  # an ObjectStoragePath
    text = str(value) if isinstance(value, PurePath) else _text(name, value)
    _, is_url, rest = text.partition("://")
    user = rest.partition("/")[0].rpartition("@")[0]
    if is_url and ":" in user:
        raise ValueError(f"{name} holds a password; expected the id of a connection, as in {_URL_OF_A_FOLDER}")
    if text and not is_url and not PurePath(text).is_absolute():
        _refuse(name, text, f"an absolute path, or a URL such as {_URL_OF_A_FOLDER}")
    return text


def _whole(low: int, high: int | None = None) -> Callable[[str, Any], int]:
    def check(name: str, value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < low or (high and value > high):
            _refuse(name, value, f"{low} to {high}" if high else f"a whole number of at least {low}")
        return value

    return check


def _max_rejected(name: str, value: Any) -> Any:
    is_number = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if not is_number and not (isinstance(value, float) and 0 < value < 1):
        _refuse(name, value, "a whole number, or a float between 0 and 1 as a share")
    return value


def _one_of(*allowed: str) -> Callable[[str, Any], str]:
    def check(name: str, value: Any) -> str:
        if not isinstance(value, str) or value not in allowed:
            _refuse(name, value, f"one of {', '.join(allowed)}")
        return value

    return check


_LONGEST_DURATION = timedelta(days=30)


def _duration(name: str, value: Any) -> timedelta:
    if not isinstance(value, timedelta) or not timedelta() <= value <= _LONGEST_DURATION:
        _refuse(name, value, f"a timedelta from 0 to {_LONGEST_DURATION.days} days")
    return value


def _subaccount_id(name: str, value: Any) -> str:
    text = _text(name, value)
    try:
        return msgspec.convert(text, SubaccountId)
    except msgspec.ValidationError:
        _refuse(name, text, "3 to 50 letters, digits, hyphens, dots, underscores and ampersands")


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
    "dlr_callback_url": _common_field("a URL that begins with https:// or http://", _mask_url),
    "client_batch_id_prefix": _client_batch_id_prefix,
    "batch_size": _whole(1, MAX_BATCH_SIZE),
    "max_messages": _whole(1),
    "not_after": _limit,
    "max_rejected": _max_rejected,
    "on_invalid": _one_of(*OnInvalid),
    "on_empty": _one_of(*OnEmpty),
    "on_unknown": _one_of(*OnUnknown),
    "reconcile_timeout": _duration,
    "log_settle_time": _duration,
    "canary_destination": _canary,
    "settled_batches": _settled_batches,
    "campaign_id": _campaign_id,
    "journal_conn_id": _connection,
    "report_path": _report_path,
    "eight_by_eight_conn_id": _connection,
    "subaccount_id": _subaccount_id,
}
"""
For each argument what returns it as it is used, or raises a ValueError that says what was found and what is expected.

The rows are not among them: :class:`~airflow_provider_8x8.rows.GivenRows` knows what they may be.
"""


def as_written(template: Any, native: Any, render: Callable[[str], Any]) -> Any:
    """
    Return what a template was rendered to, without what native rendering has read into its text.

    Jinja's native rendering takes a result that looks like Python for Python: ``1_000`` is the number 1000 then, and
    ``1.50`` is 1.5. What comes from a value of that kind stays so.

    :param native: what it was rendered to
    :param render: renders a template natively
    """
    if not isinstance(template, str):
        return native
    text = _as_text(template, render)
    return native if is_to_be_resolved(template) and str(native) == text else text


def parameter_as_written(template: Any, native: Any, render: Callable[[str], Any]) -> Any:
    """
    Return what a parameter was rendered to natively, unless that is a number that was written in another way.

    ``+12025550123`` would lose its plus, and then match nothing. What else native rendering makes of a parameter, such
    as a list, is what it is chosen for.
    """
    if not isinstance(template, str) or not isinstance(native, int | float):
        return native
    text = _as_text(template, render)
    return native if str(native) == text else text


def _as_text(template: str, render: Callable[[str], Any]) -> str:
    text: str = render(_NO_PYTHON + template)
    return text.removeprefix(_NO_PYTHON)


_NO_PYTHON = "\u2063"  # an invisible separator: what begins with it is text to Jinja, whatever follows
