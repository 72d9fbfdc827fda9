"""What fills the places of a text in each row: its columns, its own variables, the common ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airflow_provider_8x8.api.models import TemplateVariables
from airflow_provider_8x8.surveys.messages.fields import NOTHING, given_variables
from airflow_provider_8x8.surveys.messages.names import Names, find_value, shown
from airflow_provider_8x8.surveys.messages.row_message import InvalidRowError
from airflow_provider_8x8.surveys.messages.template import Template, hint_at_jinja
from airflow_provider_8x8.surveys.messages.values import (
    MAX_EXACT_NUMBER,
    UnusableValueError,
    is_encodable,
    is_missing,
    to_variable,
)


class Filling:
    """
    Finds what fills the places of texts, in rows with certain columns.

    :param columns: where each of them is
    :param own: which column has a row's own variables, None if none has
    :param common: the variables of all rows
    """

    def __init__(self, columns: Mapping[str, int], own: int | None, common: Mapping[str, Any]) -> None:
        self._names = Names(columns)
        self._index = columns
        self._own = own
        self._common = common

    @property
    def has_own(self) -> bool:
        """Whether rows may have variables of their own."""
        return self._own is not None

    def places_of(self, template: Template) -> list[tuple[str, int | None]]:
        """
        Return a template's names, each with where its column is.

        :raises AmbiguousNameError: more than one column fits
        """
        places = []
        for name in template.names:
            column = self._names.find(name)
            places.append((name, None if column is None else self._index[column]))
        return places

    def variables_of(self, places: Iterable[tuple[str, int | None]], values: Sequence[Any]) -> TemplateVariables:
        """
        Return what fills a template in a row.

        :param places: its names, each with where its column is
        :raises InvalidRowError: something is missing, or cannot be sent
        :raises AmbiguousNameError: more than one value fits a name
        """
        given = NOTHING if self._own is None else given_variables(values[self._own])
        variables: TemplateVariables = {}
        for name, index in places:
            value: Any = None if index is None else values[index]
            kind = type(value)
            # The two kinds that nearly all values are of, as to_variable takes them.
            if (kind is not str or not is_encodable(value)) and (
                kind is not int or not -MAX_EXACT_NUMBER <= value <= MAX_EXACT_NUMBER
            ):
                value = self.value_of(name, value, given)
            variables[name] = value
        return variables

    def value_of(self, name: str, value: Any = None, given: Mapping[str, Any] = NOTHING) -> str | int | float:
        """
        Return a variable that is not plain text or a number in its column.

        :param value: the column's; NULL is none
        :param given: the row's other ones
        :raises InvalidRowError: there is none, or it cannot be sent
        :raises AmbiguousNameError: more than one value fits the name
        """
        if is_missing(value) and given:
            value = find_value(given, name)
        if is_missing(value):
            value = find_value(self._common, name)
        if value is None:
            hint = hint_at_jinja(name)
            raise InvalidRowError(f"there is no value for {_placeholder(name)}" + (f". {hint}" if hint else ""))
        try:
            return to_variable(value)
        except UnusableValueError as error:
            raise InvalidRowError(f"the value for {_placeholder(name)} {error}") from None


def _placeholder(name: str) -> str:
    return "{{" + shown([name]) + "}}"
