"""Makes of the operators' arguments what a running task reads rows and makes messages with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from airflow import __version__ as airflow_version
from airflow.providers.common.compat.sdk import conf

from airflow_provider_8x8.hooks.eight_by_eight import EightByEightHook
from airflow_provider_8x8.operators.checks import CHECKS, COMMON_FIELDS
from airflow_provider_8x8.operators.masked import unmasked
from airflow_provider_8x8.operators.survey_texts import SurveyTextsOperator
from airflow_provider_8x8.rows import GivenRows, SqlRows
from airflow_provider_8x8.surveys.messages.builder import MessageBuilder, Rows, check_common
from airflow_provider_8x8.surveys.messages.row_keys import RowKeys
from airflow_provider_8x8.surveys.messages.template import Template
from airflow_provider_8x8.surveys.messages.times import parse_time

_TIMES = ("scheduled", "expiry")
_DEFAULT_ADDRESS = "http://localhost:8080"


def source_of_rows(task: SurveyTextsOperator) -> Rows:
    """
    Return where the rows come from; nothing is opened yet.

    :raises TypeError: ``sql_conn_id`` does not lead to a database
    :raises ValueError: there is no such connection
    """
    if task.sql is None:
        return task.rows if task.rows is not None else GivenRows(None)
    return SqlRows.from_connection(
        str(task.sql_conn_id),
        unmasked(task.sql),
        unmasked(task.parameters),
        hook_params=unmasked(task.sql_hook_params),
    )


def builder_of(task: SurveyTextsOperator, row_keys: RowKeys) -> MessageBuilder:
    """
    Return what makes messages of the rows.

    :raises ValueError: an argument was rendered to something that it cannot be
    """
    return MessageBuilder(
        row_keys=row_keys,
        template=template_of(task),
        common=_parse_common({name: getattr(task, name) for name in COMMON_FIELDS}),
        variables=task.template_variables,
        unique_by=task.unique_by,
    )


def template_of(task: SurveyTextsOperator) -> Template | None:
    """Return the common text, None if every row brings its own."""
    return None if task.template_body is None else Template.parse(task.template_body)


class NamesJournal(Protocol):
    """A task with a journal."""

    journal_conn_id: str | None
    eight_by_eight_conn_id: str


def journal_connection(task: NamesJournal) -> str | None:
    """
    Return the connection of the SQL journal: the task's own, else the one that the connection to 8x8 names.

    :raises ValueError: what that one names is no connection's id
    :raises Exception: what else Airflow raises when it is asked for the connection to 8x8
    """
    if task.journal_conn_id is not None:
        return task.journal_conn_id
    named = EightByEightHook(task.eight_by_eight_conn_id).journal_conn_id
    try:
        return None if named is None else CHECKS["journal_conn_id"]("journal_conn_id", named)
    except ValueError as error:
        raise ValueError(f"Connection {task.eight_by_eight_conn_id!r}: in its extra {error}") from None


def deployment() -> str | None:
    """Return by what name this Airflow is told from others that share a journal; None if it has none."""
    named = conf.get("eight_by_eight", "deployment", fallback=None)
    address = conf.get("webserver" if airflow_version.startswith("2.") else "api", "base_url", fallback=None)
    return named or (None if address in (None, "", _DEFAULT_ADDRESS) else address.rstrip("/"))


def _parse_common(fields: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: unmasked(value) for name, value in fields.items()}
    parsed = {
        name: parse_time(name, value) if name in _TIMES else value
        for name, value in given.items()
        if value not in (None, "")
    }
    check_common(parsed)
    return parsed
