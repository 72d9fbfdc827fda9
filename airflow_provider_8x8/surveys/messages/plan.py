"""A row becomes a message, or the reason why not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec

from airflow_provider_8x8.api.models import (
    MAX_SMS_PARTS,
    SURVEY_LINK_LENGTH,
    SurveyMessage,
    TemplateVariables,
    is_destination,
)
from airflow_provider_8x8.surveys.messages.fields import (
    CAMEL_CASE,
    NOTHING,
    READERS,
    as_given,
    country_of,
    mended_destination,
    message_id_of,
    say_what_is_wrong,
    text_of,
)
from airflow_provider_8x8.surveys.messages.filling import Filling
from airflow_provider_8x8.surveys.messages.names import AmbiguousNameError, Names, shown
from airflow_provider_8x8.surveys.messages.parts import count_parts, encoding_of
from airflow_provider_8x8.surveys.messages.plain_columns import PlainColumns
from airflow_provider_8x8.surveys.messages.row_keys import RowKeys, to_client_message_id
from airflow_provider_8x8.surveys.messages.row_message import (
    Built,
    InvalidRowError,
    RowMessage,
    TextTooLongError,
    in_order,
)
from airflow_provider_8x8.surveys.messages.template import Template, TemplateError, parse_again
from airflow_provider_8x8.surveys.messages.times import PastTimeError, check_order, check_times
from airflow_provider_8x8.surveys.messages.values import (
    UnusableValueError,
    is_blank,
    to_text,
    to_unique_text,
)

_MISSING = -1
_NO_TEMPLATE = "the row has no template_body, and there is no common one"
_WITH_OWN_RULES = frozenset({"destination", "template_body", "template_variables"})


class Plan:
    """
    How the rows with certain columns become messages: what can be known of the columns is found out once.

    Most rows bring a plain number and short texts: these are read a column at a time, and only the others one by one.
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
        now: Callable[[], float],
    ) -> None:
        """
        Find out what the columns are for.

        :raises AmbiguousNameError: two columns fit one name
        """
        self._index = {column: index for index, column in enumerate(columns)}
        at = {field: self._index[column] for field, column in fields.items()}
        self._destination = at.get("destination")
        self._template_body = at.get("template_body")
        self._country = at.get("country")
        self._client_message_id = at.get("client_message_id")
        self._own: list[tuple[str, str, Callable[[Any], Any], int]] = [
            (field, CAMEL_CASE[field], READERS.get(field, text_of), index)
            for field, index in at.items()
            if field not in _WITH_OWN_RULES
        ]
        self._unique_by = unique_by
        unique_column = fields.get(unique_by) or Names(columns).find_loosely(unique_by)
        self._unique = None if unique_by == "destination" else self._index.get(unique_column or "", _MISSING)
        self._unique_column = shown([unique_column or unique_by])
        self._template = template
        self._common = common
        self._common_in_message = {} if template else {CAMEL_CASE[name]: value for name, value in common.items()}
        self._row_key_of = row_keys.of
        self._now = now
        self._filling = Filling(self._index, at.get("template_variables"), variables)
        self._places = [] if template is None else self._filling.places_of(template)
        self._plain_columns = self._find_plain_columns(row_keys)

    def build(self, first_number: int, rows: Sequence[Sequence[Any]]) -> Built:
        """
        Make the messages of some rows, or the reasons why there are none.

        :param first_number: the first row's
        :param rows: at least one
        """
        if self._plain_columns is None:
            return in_order(self._build_row(number, values) for number, values in enumerate(rows, first_number))
        sendable, odd = self._plain_columns.build(first_number, rows)
        invalid = {}
        for place in sorted(odd):
            row = self._build_row(first_number + place, rows[place])
            if isinstance(row, RowMessage):
                sendable.replace(place, row)
            else:
                invalid[place] = row
        return sendable.split_by(invalid)

    def _find_plain_columns(self, row_keys: RowKeys) -> PlainColumns | None:
        """Return what reads the rows by columns, None if they have to be read row by row."""
        template, at = self._template, {field: index for field, _, _, index in self._own}
        if (
            template is None
            or self._template_body is not None
            or self._filling.has_own
            or self._destination is None
            or self._unique == _MISSING
            or at.keys() - {"client_message_id"}
            or template.longest_safe_value < SURVEY_LINK_LENGTH  # then any value may be too long
        ):
            return None
        try:
            constants = {name: self._filling.value_of(name) for name, index in self._places if index is None}
        except (AmbiguousNameError, InvalidRowError):  # each row has to say so
            return None
        if any(len(str(value)) > template.longest_safe_value for value in constants.values()):
            return None
        return PlainColumns(
            destination=self._destination,
            unique=self._unique,
            message_id=at.get("client_message_id"),
            values={name: index for name, index in self._places if index is not None},
            constants=constants,
            longest_value=template.longest_safe_value,
            row_keys=row_keys,
        )

    def _build_row(self, number: int, values: Sequence[Any]) -> RowMessage | InvalidRowError:
        try:
            return self._message_of(number, values)
        except InvalidRowError as error:
            return self.with_what_is_known(error.with_traceback(None), number, values)
        except (AmbiguousNameError, UnusableValueError) as error:
            return self.with_what_is_known(InvalidRowError(str(error)), number, values)

    def _message_of(self, number: int, values: Sequence[Any]) -> RowMessage:
        """
        Make a row's message.

        :raises InvalidRowError: there is none
        :raises AmbiguousNameError: more than one value fits a name
        :raises UnusableValueError: a value is neither text nor number
        """
        own = self._own_fields(values) if self._own else NOTHING
        if self._destination is None:
            raise InvalidRowError(self._lacking("destination"))
        destination = values[self._destination]
        if type(destination) is not str or not is_destination(destination):
            destination = mended_destination(destination, own.get("country"))
        template = self._template if self._template_body is None else self._template_of(values)
        if template is None:
            raise InvalidRowError(_NO_TEMPLATE)
        places = self._places if template is self._template else self._filling.places_of(template)
        variables = self._filling.variables_of(places, values)
        own_id = own.get("clientMessageId")
        unique_value = self._unique_value(values, destination, own.get("country"), own_id)
        row_key = self._row_key_of(unique_value)
        client_message_id = own_id or to_client_message_id(row_key)
        # Every part of it has been checked: msgspec's own check of it all would cost as much again.
        message = SurveyMessage(
            destination=destination,
            template_body=None if template is self._template else template.body,
            template_variables=variables or None,
            client_message_id=client_message_id,
        )
        if own or self._common_in_message:
            message = self._with_other_fields(message, own)
        if max((len(str(value)) for value in variables.values()), default=0) > template.longest_safe_value or (
            template.longest_safe_value < SURVEY_LINK_LENGTH
        ):
            _check_parts(template, variables, message.encoding or self._common.get("encoding"))
        return RowMessage(number, row_key, unique_value, destination, client_message_id, message)

    def with_what_is_known(self, error: InvalidRowError, number: int, values: Sequence[Any]) -> InvalidRowError:
        """Give the reason why a row is invalid what can be known of the row, whatever that reason is."""
        error.number = number
        country = own_id = None
        with suppress(UnusableValueError):
            country = country_of(None if self._country is None else values[self._country])
        with suppress(InvalidRowError, UnusableValueError):
            own_id = message_id_of(None if self._client_message_id is None else values[self._client_message_id])
        with suppress(InvalidRowError, UnusableValueError):
            destination = None if self._destination is None else values[self._destination]
            error.destination = mended_destination(destination, country)
        with suppress(InvalidRowError, UnusableValueError):
            if self._unique is not None or error.destination is not None:
                error.unique_value = self._unique_value(values, error.destination or "", country, own_id)
                error.row_key = self._row_key_of(error.unique_value)
        error.client_message_id = own_id
        if own_id is None and error.row_key is not None:
            error.client_message_id = to_client_message_id(error.row_key)
        error.given_destination = as_given(values, self._destination)
        error.given_message_id = as_given(values, self._client_message_id)
        return error

    def _own_fields(self, values: Sequence[Any]) -> dict[str, Any]:
        """Return what the row says for itself, by 8x8's names."""
        own: dict[str, Any] = {}
        for field, name, read, index in self._own:
            value = values[index]
            if is_blank(value):
                continue
            try:
                own[name] = read(value)
            except UnusableValueError as error:
                raise InvalidRowError(f"{field} {error}") from None
        return own

    def _template_of(self, values: Sequence[Any]) -> Template | None:
        body = values[self._template_body or 0]
        if is_blank(body):
            return self._template
        try:
            return parse_again(to_text(body))
        except TemplateError as error:
            raise InvalidRowError(error.reason) from None
        except UnusableValueError as error:
            raise InvalidRowError(f"template_body {error}") from None

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
        self._check_times(own.get("scheduled"), own.get("expiry"))
        whole.template_body, whole.template_variables = message.template_body, message.template_variables
        whole.client_message_id = message.client_message_id
        return whole

    def _check_times(self, scheduled: datetime | None, expiry: datetime | None) -> None:
        """
        Check the row's own times, against each other or the common ones; those for themselves are not the row's fault.

        :raises InvalidRowError: they do not do
        """
        if scheduled is None and expiry is None:
            return
        now = datetime.fromtimestamp(self._now(), UTC)
        try:
            check_times(scheduled, expiry, now)
            check_order(scheduled or self._common.get("scheduled"), expiry or self._common.get("expiry"))
        except PastTimeError as error:
            raise InvalidRowError(str(error), past_time=error.moment) from None
        except ValueError as error:
            raise InvalidRowError(str(error)) from None

    def _unique_value(self, values: Sequence[Any], destination: str, country: str | None, own_id: str | None) -> str:
        if self._unique is None:
            digits = destination.removeprefix("+")
            return f"{country} {digits}" if country and digits == destination else digits
        if self._unique_by == "client_message_id":
            text = own_id  # as it is sent, and found again in 8x8's logs
        else:
            if self._unique == _MISSING:
                raise InvalidRowError(self._lacking(self._unique_column))
            value = values[self._unique]
            text = None if is_blank(value) else to_unique_text(value)
        if text is None:
            raise InvalidRowError(f"the column {self._unique_column}, which tells rows apart, is NULL or empty")
        return text

    def _lacking(self, column: str) -> str:
        """Say that a row, which is a mapping, has no such column: of a query's rows that is found before."""
        return f"the row has no {column}; it has {shown(self._index) or 'nothing'}"


def _check_parts(template: Template, variables: TemplateVariables, encoding: str | None) -> None:
    text = template.render(variables)
    parts = count_parts(text, encoding)
    if parts > MAX_SMS_PARTS:
        raise TextTooLongError(
            f"the text takes {parts} SMS parts; 8x8 sends the first {MAX_SMS_PARTS} and cuts off the rest",
            keeps_link=template.keeps_link(variables, encoding_of(text, encoding)),
        )
