"""The rows of one source become messages."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Protocol

import msgspec

from airflow_provider_8x8.api.advice import with_advice
from airflow_provider_8x8.api.models import SurveyMessage, SurveyTemplate
from airflow_provider_8x8.surveys.messages.fields import CAMEL_CASE, say_what_is_wrong
from airflow_provider_8x8.surveys.messages.names import (
    AmbiguousNameError,
    Names,
    find_value,
    shown,
    without_case_and_separators,
)
from airflow_provider_8x8.surveys.messages.plan import Plan
from airflow_provider_8x8.surveys.messages.row_keys import RowKeys, are_folded
from airflow_provider_8x8.surveys.messages.row_message import Built, InvalidRowError, RowMessages
from airflow_provider_8x8.surveys.messages.template import Template, hint_at_jinja
from airflow_provider_8x8.surveys.messages.times import check_times
from airflow_provider_8x8.surveys.messages.values import is_missing, to_variable

_MAX_KNOWN_PLANS = 1_000
_NO_MAPPING = "the row is of type {}; expected a mapping of columns to values"

_FIELDS = {without_case_and_separators(name): name for name in CAMEL_CASE}


class SourceError(ValueError):
    """The source as a whole cannot be used, and another try mends nothing; phone numbers are masked."""


class ColumnsError(SourceError):
    """The source as a whole lacks a column, or has one twice; names that are phone numbers are masked."""


class Rows(Protocol):
    """A source of rows that can be read more than once; each pass begins anew."""

    @property
    def columns(self) -> Collection[str] | None:
        """The names of the values that every row is, known once a pass has begun; None where rows are mappings."""

    def __iter__(self) -> Generator[Any, None, None]: ...


class MessageBuilder:
    """
    Builds messages from the rows of one source.

    A column named like a message field, without regard to case, underscores, blanks, hyphens and dots, fills that
    field. Each placeholder is filled from the column of its name, else from the row's ``template_variables`` (a
    mapping, or it as JSON), else from the common ones; a NULL counts as no value. A name that is not there exactly is
    found without regard to case and to blanks and invisible marks around it. Other columns stay here.

    :param row_keys: makes the campaign's row keys
    :param template: the common text, or None if every row brings its own
    :param common: template fields for messages that have none of their own; sent once for each batch where there is
        a common text, else in each message
    :param variables: template variables common to all messages
    :param unique_by: the row key's column; by default ``client_message_id`` if the source has that column (where rows
        are mappings: all of the first thousand), else ``destination``
    :param now: tells the time, in seconds since 1970
    """

    def __init__(
        self,
        *,
        row_keys: RowKeys,
        template: Template | None,
        common: Mapping[str, Any] | None = None,
        variables: Mapping[str, Any] | None = None,
        unique_by: str | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._row_keys = row_keys
        self._template = template
        self._common = {name: value for name, value in (common or {}).items() if value is not None}
        self._variables = {name: value for name, value in (variables or {}).items() if not is_missing(value)}
        self._unique_by = _FIELDS.get(without_case_and_separators(unique_by), unique_by) if unique_by else None
        self._now = now
        self._plans: dict[tuple[str, ...], Plan] = {}
        self._plan: Plan | None = None
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
        """Whether rows have brought client message ids of their own."""
        return "client_message_id" in self.own_fields

    def message_keys(self, rows: RowMessages) -> bytes | None:
        """Return what finds some rows by their client message ids, None if their row keys do."""
        if not self.rows_bring_ids:
            return None
        if self.unique_by == "client_message_id" and are_folded(rows.client_message_ids):
            return None
        return self._row_keys.of_messages(rows.client_message_ids)

    def problem_with_common_times(self) -> str | None:
        """
        Say what is wrong now with the common ``scheduled`` and ``expiry``, None if nothing is.

        No row is invalid for their sake: whoever begins a batch has to ask.
        """
        try:
            check_times(
                self._common.get("scheduled"), self._common.get("expiry"), datetime.fromtimestamp(self._now(), UTC)
            )
        except ValueError as error:
            return str(error)
        return None

    def last_scheduled(self, rows: RowMessages) -> float | None:
        """Return when the last of some messages goes out, in seconds since 1970; None for at once."""
        common: datetime | None = self._common.get("scheduled")
        times = [common] if common is not None else []
        if "scheduled" in self.own_fields:
            whole = [message for message in rows.messages if isinstance(message, SurveyMessage)]
            times += [message.scheduled for message in whole if message.scheduled is not None]
        return max(times).timestamp() if times else None

    def canary(self, destination: str) -> SurveyMessage:
        """
        Make a message like the campaign's own that goes to a number of the team's own, without an id.

        A placeholder without a common value shows its own name.
        """
        template = self._template or Template.parse("{{url}}")
        return SurveyMessage(
            destination=destination,
            template_body=template.body,
            template_variables={name: self._common_value(name) for name in template.names} or None,
            source=self._common.get("source"),
            encoding=self._common.get("encoding"),
        )

    def _common_value(self, name: str) -> str | int | float:
        try:
            value = find_value(self._variables, name)
        except AmbiguousNameError:  # no matter, if the source has a column for it
            value = None
        return to_variable(name if value is None else value)

    def use_columns(self, columns: Collection[str], *, complete: bool, others: Iterable[Collection[str]] = ()) -> None:
        """
        Learn which columns the first row has, before it is built.

        :param complete: every row has these columns and no others, in this order, so that what is missing can be said
            now, and rows come as values alone
        :param others: the columns of rows that soon follow: a ``client_message_id`` tells rows apart only if all of
            them have it, whichever comes first
        :raises ColumnsError: two columns fill one field, or a column is missing that every row needs
        """
        fields = _fields_of(columns)
        if self._unique_by is None:
            all_have_ids = all(map(_has_id, (columns, *others)))
            self._unique_by = "client_message_id" if all_have_ids else "destination"
        if complete:
            self._check_columns(columns, fields)
            self._plan = self._plan_of(tuple(columns))

    def _check_columns(self, columns: Collection[str], fields: Mapping[str, str]) -> None:
        names, variables = Names(columns), Names(self._variables)
        try:
            needed = ["destination"] if self._template else ["destination", "template_body"]
            missing = [name for name in needed if name not in fields]
            if self.unique_by not in fields and names.find_loosely(self.unique_by) is None:
                missing.append(self.unique_by)
            if self._template is not None and "template_variables" not in fields:
                missing += [
                    name for name in self._template.names if names.find(name) is None and variables.find(name) is None
                ]
        except AmbiguousNameError as error:
            raise ColumnsError(str(error)) from None
        if missing:
            missing = list(dict.fromkeys(missing))
            raise ColumnsError(
                with_advice(
                    f"the source lacks the column{'s' if len(missing) > 1 else ''} {shown(missing)}; it has "
                    f"{_described(columns, fields)}",
                    *dict.fromkeys(map(hint_at_jinja, missing)),
                    "Name the columns in the query (SELECT phone AS destination, ...), or give a common value in "
                    "template_variables",
                    "Names match without regard to case, those of 8x8's fields and of unique_by without regard to "
                    "underscores, blanks, hyphens and dots, too",
                )
            )

    def build(self, first_number: int, rows: Sequence[Any]) -> Built:
        """
        Make the messages of rows that follow one another, or the reasons why there are none.

        :param first_number: the first row's
        :param rows: mappings, or the values of the columns that the source has said its rows all have
        """
        if self._plan is not None:
            return self._plan.build(first_number, rows)
        built: Built = []
        number = first_number
        for columns, group in groupby(rows, _columns_of):
            alike = list(group)
            if columns is None:
                built += _all_invalid(number, [_NO_MAPPING.format(type(row).__name__) for row in alike])
            else:
                built += self._build_alike(number, columns, [tuple(row.values()) for row in alike])
            number += len(alike)
        return built

    def _build_alike(self, number: int, columns: tuple[str, ...], rows: Sequence[Sequence[Any]]) -> Built:
        """Make the messages of rows that all have the same columns."""
        try:
            return self._plan_of(columns).build(number, rows)
        except ColumnsError as error:
            return [*self._with_what_is_known(_all_invalid(number, [str(error)] * len(rows)), columns, rows)]

    def _with_what_is_known(
        self, errors: Iterable[InvalidRowError], columns: tuple[str, ...], rows: Iterable[Sequence[Any]]
    ) -> Iterator[InvalidRowError]:
        """Give the reasons why rows are invalid what can be known of rows whose columns are not all clear."""
        names = Counter(_FIELDS.get(without_case_and_separators(column)) for column in columns)
        fields = {
            field: column
            for column in columns
            if (field := _FIELDS.get(without_case_and_separators(column))) is not None and names[field] == 1
        }
        try:
            plan = Plan(columns, fields, self.unique_by, None, {}, {}, self._row_keys, self._now)
        except AmbiguousNameError:  # the row key's column is not clear either
            yield from errors
            return
        for error, values in zip(errors, rows, strict=True):
            yield plan.with_what_is_known(error, error.number, values)

    def _plan_of(self, columns: tuple[str, ...]) -> Plan:
        """
        Return how rows with these columns become messages. Rows of XCom need not be alike.

        :raises ColumnsError: two columns fill one field, or fit one name
        """
        plan = self._plans.get(columns)
        if plan is None:
            fields = _fields_of(columns)
            try:
                plan = Plan(
                    columns,
                    fields,
                    self.unique_by,
                    self._template,
                    self._common,
                    self._variables,
                    self._row_keys,
                    self._now,
                )
            except AmbiguousNameError as error:
                raise ColumnsError(str(error)) from None
            self.own_fields.update(fields)
            if len(self._plans) < _MAX_KNOWN_PLANS:
                self._plans[columns] = plan
        return plan


def _has_id(columns: Iterable[str]) -> bool:
    return any(_FIELDS.get(without_case_and_separators(column)) == "client_message_id" for column in columns)


def _columns_of(row: Any) -> tuple[str, ...] | None:
    """Return the columns of a row that is a mapping, None of any other."""
    return tuple(row) if isinstance(row, Mapping) else None


def _all_invalid(first_number: int, reasons: Iterable[str]) -> Iterator[InvalidRowError]:
    for number, reason in enumerate(reasons, first_number):
        error = InvalidRowError(reason)
        error.number = number
        yield error


def _fields_of(columns: Iterable[str]) -> dict[str, str]:
    """
    Return the message fields that columns fill, each with its column.

    :raises ColumnsError: two columns fill one field
    """
    fields: dict[str, str] = {}
    for column in columns:
        field = _FIELDS.get(without_case_and_separators(column))
        if field is None:
            continue
        if field in fields:
            raise ColumnsError(
                f"the columns {shown([fields[field], column], ' and ')} fill the same field, {field}, since names "
                "match without regard to case, underscores, blanks, hyphens and dots; leave one out"
            )
        fields[field] = column
    return fields


def _described(columns: Iterable[str], fields: Mapping[str, str]) -> str:
    """Say which columns there are, and which fields they fill where that is not plain."""
    filled = {column: field for field, column in fields.items()}
    described = [
        shown([column]) if filled.get(column, column) == column else f"{shown([column])} (as {filled[column]})"
        for column in sorted(columns)
    ]
    return ", ".join(described) or "none"


def check_common(fields: Mapping[str, Any]) -> None:
    """
    Check values that are common to all messages, by their names in snake_case.

    :raises ValueError: one of them is not what 8x8 takes
    """
    named = {CAMEL_CASE[name]: value for name, value in fields.items() if value is not None}
    try:
        msgspec.convert({"templateBody": "{{url}}", **named}, SurveyTemplate)
    except msgspec.ValidationError as error:
        raise ValueError(say_what_is_wrong(error, named)) from None
