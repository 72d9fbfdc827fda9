"""A row becomes a message, or the reason why not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec

from airflow_provider_8x8.api.masking import mask_phone_numbers
from airflow_provider_8x8.api.models import (
    MAX_SMS_PARTS,
    SURVEY_LINK_LENGTH,
    SurveyMessage,
    TemplateVariables,
    is_destination,
)
from airflow_provider_8x8.surveys.report import Outcome, ReportLine
from airflow_provider_8x8.surveys.row_keys import RowKeys, to_client_message_id
from airflow_provider_8x8.surveys.template import Template, TemplateError, count_parts
from airflow_provider_8x8.surveys.times import check_times, parse_time
from airflow_provider_8x8.surveys.values import (
    MAX_EXACT_NUMBER,
    UnusableValueError,
    is_encodable,
    is_missing,
    to_phone_number,
    to_text,
    to_variable,
)

CAMEL_CASE = dict(zip(SurveyMessage.__struct_fields__, SurveyMessage.__struct_encode_fields__, strict=True))
"""The message's fields, by their names in snake_case."""

_MAX_QUOTED_LENGTH = 40
_MISSING = -1
_NOTHING: dict[str, Any] = {}
_NO_TEMPLATE = "the row has no template_body, and there is no common one"
_TIMES = frozenset({"scheduled", "expiry"})
_WITH_OWN_RULES = frozenset({"destination", "template_body", "template_variables"})


class InvalidRowError(ValueError):
    """A row that cannot become a message; the text says why, phone numbers masked."""


class RowMessage(msgspec.Struct, frozen=True, gc=False):
    """
    A row that can be sent.

    :ivar number: 1 for the first row of the source
    :ivar row_key: the hash that makes the survey unique in its campaign
    :ivar unique_value: the text behind the row key, for the report
    :ivar client_message_id: what 8x8 and the report know the row by
    :ivar encoded: the message as it goes to 8x8. Two batches are in memory at a time, and a message as objects takes
        three times as much: more than a processor's cache holds.
    """

    number: int
    row_key: bytes
    unique_value: str
    destination: str
    client_message_id: str
    encoded: bytes

    def __repr__(self) -> str:
        return f"<RowMessage {self.number}>"

    @property
    def message(self) -> SurveyMessage:
        """The message, decoded."""
        return msgspec.json.decode(self.encoded, type=SurveyMessage)

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
            client_message_id=self.client_message_id,
            destination=self.destination,
            umid=umid,
            batch_id=batch_id,
            code=code,
            description=description,
        )


class Plan:
    """
    How the rows with certain columns become messages: what can be known of the columns is found out once.

    Most rows bring a plain number and short texts, and pay for nothing else: see :meth:`build`.
    """

    def __init__(
        self,
        columns: Sequence[str],
        fields: Mapping[str, str],
        unique_by: str,
        template: Template | None,
        common: Mapping[str, Any],
        variables: Mapping[str, Any],
        row_keys: RowKeys,
    ) -> None:
        self._index = {column: index for index, column in enumerate(columns)}
        at = {field: self._index[column] for field, column in fields.items()}
        self._destination = at.get("destination")
        self._template_body = at.get("template_body")
        self._template_variables = at.get("template_variables")
        self._own = [(field, index) for field, index in at.items() if field not in _WITH_OWN_RULES]
        self._unique_column = fields.get(unique_by, unique_by)
        self._unique = None if unique_by == "destination" else self._index.get(self._unique_column, _MISSING)
        self._template = template
        self._common = common
        self._common_in_message = {} if template else {CAMEL_CASE[name]: value for name, value in common.items()}
        self._variables = variables
        self._row_key_of = row_keys.of
        self._places = [] if template is None else self._places_of(template)
        self._is_plain = not self._own and not self._common_in_message

    def build(self, first_number: int, rows: Iterable[Sequence[Any]]) -> list[RowMessage | InvalidRowError]:
        """
        Make the messages of some rows, or the reasons why there are none.

        One loop, with nothing called for a row that brings a number as 8x8 wants it, short texts and whole numbers:
        nearly all do, and each call would be a twentieth of what such a row costs.

        :param first_number: the first row's
        """
        built: list[RowMessage | InvalidRowError] = []
        is_plain, destination_at, unique_at = self._is_plain, self._destination, self._unique
        encode = msgspec.json.Encoder().encode
        for number, values in enumerate(rows, first_number):
            try:
                own = _NOTHING if is_plain else self._own_fields(values)
                destination = None if destination_at is None else values[destination_at]
                if type(destination) is not str or not is_destination(destination):
                    destination = _mended_destination(destination, is_national="country" in own)
                template = self._template if self._template_body is None else self._template_of(values)
                if template is None:
                    raise InvalidRowError(_NO_TEMPLATE)
                variables: TemplateVariables = {}
                longest = SURVEY_LINK_LENGTH
                for name, index in self._places if template is self._template else self._places_of(template):
                    value: Any = None if index is None else values[index]
                    kind = type(value)
                    # The two kinds that nearly all values are of, as to_variable takes them.
                    if kind is str and (value.isascii() or is_encodable(value)):
                        if len(value) > longest:
                            longest = len(value)
                    elif kind is not int or not -MAX_EXACT_NUMBER <= value <= MAX_EXACT_NUMBER:
                        value = self._variable(values, name, value)
                        longest = max(longest, len(str(value)))
                    variables[name] = value
                if unique_at is None and not own:
                    unique_value = destination.removeprefix("+")
                else:
                    unique_value = self._unique_value(values, destination, own.get("country"))
                row_key = self._row_key_of(unique_value)
                client_message_id = own.get("clientMessageId") or to_client_message_id(row_key)
                # Every part of it has been checked: msgspec's own check of it all would cost as much again.
                message = SurveyMessage(
                    destination=destination,
                    template_body=None if template is self._template else template.body,
                    template_variables=variables or None,
                    client_message_id=client_message_id,
                )
                if not is_plain:
                    message = self._with_other_fields(message, own)
                if longest > template.longest_safe_value:
                    _check_parts(template, variables, message.encoding or self._common.get("encoding"))
                built.append(RowMessage(number, row_key, unique_value, destination, client_message_id, encode(message)))
            except InvalidRowError as error:
                built.append(error.with_traceback(None))
            except UnusableValueError as error:
                built.append(InvalidRowError(f"a value {error}"))
        return built

    def _own_fields(self, values: Sequence[Any]) -> dict[str, Any]:
        """Return what the row says for itself, by 8x8's names."""
        own: dict[str, Any] = {}
        for field, index in self._own:
            value = values[index]
            if is_missing(value) or value == "":
                continue
            if field in _TIMES:
                own[CAMEL_CASE[field]] = _time_of_row(field, value)
            elif field == "country":
                own[CAMEL_CASE[field]] = to_text(value).strip().upper()
            else:
                own[CAMEL_CASE[field]] = to_text(value).strip()
        return own

    def _template_of(self, values: Sequence[Any]) -> Template | None:
        body = values[self._template_body or 0]
        if is_missing(body) or body == "":
            return self._template
        try:
            return _parse(to_text(body))
        except TemplateError as error:
            raise InvalidRowError(str(error)) from None

    def _places_of(self, template: Template) -> list[tuple[str, int | None]]:
        """Return a template's names, each with where its column is."""
        return [(name, self._index.get(name)) for name in template.names]

    def _variable(self, values: Sequence[Any], name: str, value: Any) -> str | int | float:
        if is_missing(value) and self._template_variables is not None:
            own = values[self._template_variables]
            value = own.get(name) if isinstance(own, Mapping) else None
        if is_missing(value):
            value = self._variables.get(name)
        if value is None:
            raise InvalidRowError(f"there is no value for {{{{{name}}}}}")
        try:
            return to_variable(value)
        except UnusableValueError as error:
            raise InvalidRowError(f"the value for {{{{{name}}}}} {error}") from None

    def _with_other_fields(self, message: SurveyMessage, own: Mapping[str, Any]) -> SurveyMessage:
        """
        Return a message that fills other fields than every message does.

        :raises InvalidRowError: one of its fields is not what 8x8 takes
        """
        fields = {**self._common_in_message, **own, "destination": message.destination}
        try:
            whole = msgspec.convert(fields, SurveyMessage)
        except msgspec.ValidationError as error:
            raise InvalidRowError(say_what_is_wrong(error, fields)) from None
        if whole.scheduled is not None or whole.expiry is not None:
            try:
                check_times(whole.scheduled, whole.expiry)
            except ValueError as error:
                raise InvalidRowError(str(error)) from None
        whole.template_body, whole.template_variables = message.template_body, message.template_variables
        whole.client_message_id = message.client_message_id
        return whole

    def _unique_value(self, values: Sequence[Any], destination: str, country: str | None) -> str:
        if self._unique is None:
            digits = destination.removeprefix("+")
            return f"{country} {digits}" if country and digits == destination else digits
        value = None if self._unique == _MISSING else values[self._unique]
        if is_missing(value) or value == "":
            raise InvalidRowError(f"the column {self._unique_column}, which tells rows apart, is NULL or empty")
        return to_text(value)


_parse = lru_cache(maxsize=256)(Template.parse)


def _time_of_row(field: str, value: Any) -> datetime:
    try:
        return parse_time(field, value)
    except ValueError as error:
        raise InvalidRowError(mask_phone_numbers(str(error))) from None


def _mended_destination(value: Any, is_national: bool) -> str:
    """
    Return a phone number without what people put into it.

    :raises InvalidRowError: there is none, or it is one that 8x8 could not take
    """
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
    if not is_destination(number):
        raise InvalidRowError(
            f"destination {_quoted(number)} is not a phone number; expected 7 to 15 digits with the country code"
        )
    return number


def say_what_is_wrong(error: msgspec.ValidationError, fields: Mapping[str, Any]) -> str:
    """Return msgspec's words about one of some fields, with the field's value, phone numbers masked."""
    expected, _, path = str(error).partition(" - at `$.")
    field = path.rstrip("`")
    return f"{field} is {_quoted(fields.get(field))}; {expected[:1].lower()}{expected[1:]}"


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
