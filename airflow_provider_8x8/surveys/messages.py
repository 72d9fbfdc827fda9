"""A row becomes a message, or the reason why not."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Generator, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import msgspec
import pendulum

from airflow_provider_8x8.api.masking import mask_phone_numbers
from airflow_provider_8x8.api.models import (
    MAX_SCHEDULED_AHEAD,
    MAX_SMS_PARTS,
    SurveyMessage,
    SurveyTemplate,
    TemplateVariables,
)
from airflow_provider_8x8.surveys.report import Outcome, ReportLine
from airflow_provider_8x8.surveys.row_keys import RowKeys, to_client_message_id
from airflow_provider_8x8.surveys.template import Template, TemplateError, count_parts
from airflow_provider_8x8.surveys.values import (
    UnusableValueError,
    is_missing,
    to_phone_number,
    to_text,
    to_variable,
)

_MAX_QUOTED_LENGTH = 40
_MAX_KNOWN_LAYOUTS = 1_000

# How a column may spell the field it fills: as 8x8 spells it, or in snake_case.
_CAMEL_CASE = dict(zip(SurveyMessage.__struct_fields__, SurveyMessage.__struct_encode_fields__, strict=True))
_FIELD_OF_COLUMN = {spelling: name for name, camel in _CAMEL_CASE.items() for spelling in (name, camel)}
_TIMES = frozenset({"scheduled", "expiry"})
_WITH_OWN_RULES = frozenset({"destination", "template_body", "template_variables"})


class InvalidRowError(ValueError):
    """A row that cannot become a message; the text says why, phone numbers masked."""


class ColumnsError(ValueError):
    """The source as a whole lacks a column, or has one twice."""


class Rows(Protocol):
    """A source of rows that can be read more than once; each pass begins anew."""

    columns: Collection[str] | None
    """The names that every row has, known once a pass has begun; None where each row speaks for itself."""

    def __iter__(self) -> Generator[Any, None, None]: ...


class RowMessage(msgspec.Struct, frozen=True, gc=False):
    """
    A row that can be sent.

    :ivar number: 1 for the first row of the source
    :ivar row_key: the hash that makes the survey unique in its campaign
    :ivar unique_value: the text behind the row key, for the report
    """

    number: int
    row_key: bytes
    unique_value: str
    message: SurveyMessage

    def __repr__(self) -> str:
        return f"<RowMessage {self.number}>"

    @property
    def client_message_id(self) -> str:
        """What 8x8 and the report know the row by."""
        return str(self.message.client_message_id)

    def line(
        self,
        outcome: Outcome,
        *,
        batch_id: str | None = None,
        umid: str | None = None,
        code: str | int | None = None,
        description: str | None = None,
    ) -> ReportLine:
        """Return the row's line of the report."""
        return ReportLine(
            row_number=self.number,
            outcome=outcome,
            row_key=self.unique_value,
            client_message_id=self.message.client_message_id,
            destination=self.message.destination,
            umid=umid,
            batch_id=batch_id,
            code=code,
            description=description,
        )


class MessageBuilder:
    """
    Builds messages from the rows of one source.

    A column named like a message field, in snake_case or as 8x8 spells it, fills that field. Each placeholder is
    filled from the column of its name, else from the row's ``template_variables``, else from the common ones; a
    NULL counts as no value. Other columns stay here.

    :param row_keys: makes the campaign's row keys
    :param template: the common text, or None if every row brings its own
    :param common: template fields for messages that have none of their own; sent once for each batch where there is
        a common text, else in each message
    :param variables: template variables common to all messages
    :param unique_by: the row key's column; by default ``client_message_id`` if the source has that column, else
        ``destination``
    """

    def __init__(
        self,
        *,
        row_keys: RowKeys,
        template: Template | None,
        common: Mapping[str, Any] | None = None,
        variables: Mapping[str, Any] | None = None,
        unique_by: str | None = None,
    ) -> None:
        self._row_keys = row_keys
        self._template = template
        self._common = {name: value for name, value in (common or {}).items() if value is not None}
        self._variables = {name: value for name, value in (variables or {}).items() if not is_missing(value)}
        self._unique_by = _FIELD_OF_COLUMN.get(unique_by, unique_by) if unique_by else None
        self._layouts: dict[tuple[str, ...], _Layout] = {}
        self.own_fields: set[str] = set()
        """The message fields that columns of the source have filled so far."""

    @property
    def batch_template(self) -> SurveyTemplate | None:
        """What 8x8 gets once for a whole batch."""
        if self._template is None:
            return None
        return SurveyTemplate(template_body=self._template.body, **self._common)

    @property
    def unique_by(self) -> str:
        """
        The column that row keys are made of.

        :raises RuntimeError: no row was read that could tell
        """
        if self._unique_by is None:
            raise RuntimeError("the row key's column is not known before the first row")
        return self._unique_by

    @property
    def rows_bring_ids(self) -> bool:
        """Whether client message ids cannot be told from row keys."""
        return "client_message_id" in self.own_fields and self.unique_by != "client_message_id"

    def last_scheduled(self, rows: Iterable[RowMessage]) -> float | None:
        """Return when the last of some messages goes out, in seconds since 1970; None for at once."""
        common: datetime | None = self._common.get("scheduled")
        times = [common] if common is not None else []
        if "scheduled" in self.own_fields:
            times += [row.message.scheduled for row in rows if row.message.scheduled is not None]
        return max(times).timestamp() if times else None

    def canary(self, destination: str) -> SurveyMessage:
        """
        Make a message like the campaign's own that goes to a number of the team's own.

        A placeholder without a common value shows its own name.
        """
        template = self._template or Template.parse("{{url}}")
        return SurveyMessage(
            destination=destination,
            template_body=template.body,
            template_variables={name: to_variable(self._variables.get(name, name)) for name in template.names} or None,
            client_message_id=secrets.token_hex(16),
            source=self._common.get("source"),
            encoding=self._common.get("encoding"),
        )

    def use_columns(self, columns: Collection[str], *, complete: bool) -> None:
        """
        Learn which columns the first row has, before it is built.

        :param complete: every row has these columns and no others, so that what is missing can be said now
        :raises ColumnsError: two columns fill one field, or a column is missing that every row needs
        """
        layout = _Layout.of(columns)
        if self._unique_by is None:
            self._unique_by = "client_message_id" if "client_message_id" in layout.fields else "destination"
        if complete:
            self._check_columns(set(columns), layout)

    def _check_columns(self, names: set[str], layout: _Layout) -> None:
        needed = [layout.column("destination"), layout.column(str(self._unique_by))]
        if self._template is None:
            needed.append(layout.column("template_body"))
        elif "template_variables" not in layout.fields:
            needed.extend(name for name in self._template.names if name not in self._variables)
        if missing := [name for name in dict.fromkeys(needed) if name not in names]:
            raise ColumnsError(
                f"the source lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; it has "
                f"{', '.join(sorted(names)) or 'none'}. Name the columns in the query "
                "(SELECT phone AS destination, ...; quote names with capitals) or give a common value in "
                "template_variables"
            )

    def build(self, number: int, row: Any) -> RowMessage:
        """
        Make one row's message.

        :raises InvalidRowError: it cannot be sent
        """
        if not isinstance(row, Mapping):
            raise InvalidRowError(f"the row is of type {type(row).__name__}; expected a mapping of columns to values")
        try:
            return self._build(number, row)
        except UnusableValueError as error:
            raise InvalidRowError(f"a value {error}") from None

    def _build(self, number: int, row: Mapping[str, Any]) -> RowMessage:
        layout = self._layout_of(row)
        fields = _own_values(row, layout)
        destination = _destination(row.get("destination"), "country" in fields)
        fields["destination"] = destination
        template = self._template_of(row, layout)
        variables = self._variables_for(template, row, layout)
        if variables:
            fields["templateVariables"] = variables
        if self._template is None:
            for name, value in self._common.items():
                fields.setdefault(_CAMEL_CASE[name], value)
        if template is not self._template:
            fields["templateBody"] = template.body
        unique_value = self._unique_value(row, layout, destination, fields.get("country"))
        row_key = self._row_keys.of(unique_value)
        fields.setdefault("clientMessageId", to_client_message_id(row_key))
        message = _checked(fields)
        encoding = message.encoding or self._common.get("encoding")
        if not template.surely_fits(variables):
            _check_parts(template, variables, encoding)
        return RowMessage(number, row_key, unique_value, message)

    def _layout_of(self, row: Mapping[str, Any]) -> _Layout:
        """Return which columns of a row fill which fields. Rows of XCom need not be alike."""
        columns = tuple(row)
        layout = self._layouts.get(columns)
        if layout is None:
            try:
                layout = _Layout.of(columns)
            except ColumnsError as error:
                raise InvalidRowError(str(error)) from None
            self.own_fields.update(layout.fields)
            if len(self._layouts) < _MAX_KNOWN_LAYOUTS:
                self._layouts[columns] = layout
        return layout

    def _template_of(self, row: Mapping[str, Any], layout: _Layout) -> Template:
        body = row.get(layout.column("template_body"))
        if not is_missing(body) and body != "":
            try:
                return _parse(to_text(body))
            except TemplateError as error:
                raise InvalidRowError(str(error)) from None
        if self._template is None:
            raise InvalidRowError("the row has no template_body, and there is no common one")
        return self._template

    def _variables_for(self, template: Template, row: Mapping[str, Any], layout: _Layout) -> TemplateVariables:
        own = row.get(layout.column("template_variables"))
        own_variables = own if isinstance(own, Mapping) else {}
        variables: TemplateVariables = {}
        for name in template.names:
            value = row.get(name)
            if is_missing(value):
                value = own_variables.get(name)
            if is_missing(value):
                value = self._variables.get(name)
            if value is None:
                raise InvalidRowError(f"there is no value for {{{{{name}}}}}")
            try:
                variables[name] = to_variable(value)
            except UnusableValueError as error:
                raise InvalidRowError(f"the value for {{{{{name}}}}} {error}") from None
        return variables

    def _unique_value(self, row: Mapping[str, Any], layout: _Layout, destination: str, country: str | None) -> str:
        if self._unique_by == "destination":
            digits = destination.removeprefix("+")
            return f"{country} {digits}" if country and digits == destination else digits
        column = layout.column(str(self._unique_by))
        value = row.get(column)
        if is_missing(value) or value == "":
            raise InvalidRowError(f"the column {column}, which tells rows apart, is NULL or empty")
        return to_text(value)


class _Layout(NamedTuple):
    """Which columns of a row fill which fields of its message."""

    fields: dict[str, str]

    @classmethod
    def of(cls, columns: Collection[str]) -> _Layout:
        """
        Find the fields among columns.

        :raises ColumnsError: two columns fill one field
        """
        fields: dict[str, str] = {}
        for column in columns:
            field = _FIELD_OF_COLUMN.get(column)
            if field is None:
                continue
            if field in fields:
                raise ColumnsError(f"the columns {fields[field]} and {column} fill the same field; leave one out")
            fields[field] = column
        return cls(fields)

    def column(self, name: str) -> str:
        """Return the column that fills a field; any other name is a column's own."""
        return self.fields.get(name, name)


def _own_values(row: Mapping[str, Any], layout: _Layout) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field, column in layout.fields.items():
        value = row[column]
        if field in _WITH_OWN_RULES or is_missing(value) or value == "":
            continue
        if field in _TIMES:
            values[_CAMEL_CASE[field]] = _time_of_row(field, value)
        elif field == "country":
            values[_CAMEL_CASE[field]] = to_text(value).strip().upper()
        else:
            values[_CAMEL_CASE[field]] = to_text(value).strip()
    return values


def parse_time(name: str, value: Any) -> datetime:
    """
    Return a point in time from a datetime or ISO 8601 text.

    :raises ValueError: it is neither, or has no offset from UTC
    """
    moment = value
    if isinstance(value, str):
        try:
            moment = pendulum.parse(value.strip(), tz=None, exact=True)
        except ValueError:
            moment = None
    if not isinstance(moment, datetime):
        raise ValueError(f"{name} is {value!r}; expected a datetime or ISO 8601 such as 2026-01-31T09:00:00+08:00")
    if moment.utcoffset() is None:
        raise ValueError(f"{name} is {value!s}, without an offset from UTC; expected one such as +08:00 or Z")
    # pendulum's and pandas' own classes are datetimes that msgspec does not take.
    return datetime.fromisoformat(moment.isoformat(timespec="milliseconds"))


def check_times(scheduled: datetime | None, expiry: datetime | None) -> None:
    """
    Check when a message shall go out and until when it may.

    :raises ValueError: ``scheduled`` is past or more than 7 days ahead, or ``expiry`` is past or before it
    """
    now = datetime.now(UTC)
    if scheduled is not None and scheduled <= now:
        raise ValueError(f"scheduled is {scheduled.isoformat()}, which is past; expected a time to come")
    if scheduled is not None and scheduled > now + MAX_SCHEDULED_AHEAD:
        raise ValueError(
            f"scheduled is {scheduled.isoformat()}; 8x8 takes at most {MAX_SCHEDULED_AHEAD / timedelta(days=1):g} "
            "days ahead"
        )
    if expiry is not None and expiry <= (scheduled or now):
        raise ValueError(f"expiry is {expiry.isoformat()}; expected a time after {'scheduled' if scheduled else 'now'}")


def check_common(fields: Mapping[str, Any]) -> None:
    """
    Check values that are common to all messages, by their names in snake_case.

    :raises ValueError: one of them is not what 8x8 takes
    """
    named = {_CAMEL_CASE[name]: value for name, value in fields.items() if value is not None}
    try:
        msgspec.convert({"templateBody": "{{url}}", **named}, SurveyTemplate)
    except msgspec.ValidationError as error:
        raise ValueError(_say(error, named)) from None


_parse = lru_cache(maxsize=256)(Template.parse)


def _time_of_row(field: str, value: Any) -> datetime:
    try:
        return parse_time(field, value)
    except ValueError as error:
        raise InvalidRowError(mask_phone_numbers(str(error))) from None


def _destination(value: Any, is_national: bool) -> str:
    number = "" if is_missing(value) else to_phone_number(value)
    if not number:
        raise InvalidRowError("destination is NULL or empty")
    if "(0)" in str(value):
        raise InvalidRowError(f"destination {_quoted(value)} has a trunk '(0)'; leave it out")
    if number.startswith("00"):
        raise InvalidRowError(f"destination {_quoted(value)} begins with 00; write + and the country code")
    if number.startswith("0"):
        example = "leave the 0 out" if is_national else "or country='AU' with 412345678"
        raise InvalidRowError(f"destination {_quoted(value)} has a leading 0; give an international number, {example}")
    return number


def _checked(fields: dict[str, Any]) -> SurveyMessage:
    try:
        message = msgspec.convert(fields, SurveyMessage)
    except msgspec.ValidationError as error:
        raise InvalidRowError(_say(error, fields)) from None
    if message.scheduled is not None or message.expiry is not None:
        try:
            check_times(message.scheduled, message.expiry)
        except ValueError as error:
            raise InvalidRowError(str(error)) from None
    return message


def _say(error: msgspec.ValidationError, fields: Mapping[str, Any]) -> str:
    expected, _, path = str(error).partition(" - at `$.")
    field = path.rstrip("`")
    found = _quoted(fields.get(field))
    if field == "destination":
        return f"destination {found} is not a phone number; expected 7 to 15 digits with the country code"
    return f"{field} is {found}; {expected[:1].lower()}{expected[1:]}"


def _quoted(value: Any) -> str:
    text = str(value)
    # Masked before it is cut, or the cut could leave a number that is too short to be seen as one.
    masked = mask_phone_numbers(text)
    return repr(masked if len(masked) <= _MAX_QUOTED_LENGTH else masked[:_MAX_QUOTED_LENGTH] + "...")


def _check_parts(template: Template, variables: TemplateVariables, encoding: str | None) -> None:
    parts = count_parts(template.render(variables), encoding)
    if parts > MAX_SMS_PARTS:
        raise InvalidRowError(
            f"the text takes {parts} SMS parts; 8x8 sends the first {MAX_SMS_PARTS} and cuts off the rest"
        )
