"""How the operators' arguments are checked when the DAG is parsed: each, and all together."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from airflow_provider_8x8.api.models import MAX_ALPHANUMERIC_SOURCE_LENGTH
from airflow_provider_8x8.operators.checks import CHECKS, is_to_be_resolved, whole_number
from airflow_provider_8x8.operators.masked import quoted, unmasked

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator

    from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator
    from airflow_provider_8x8.operators.survey_texts import SurveyTextsOperator

_NEVER_NONE = frozenset(
    {
        "survey_id",
        "client_batch_id_prefix",
        "batch_size",
        "brake_after",
        "on_invalid",
        "on_empty",
        "on_unknown",
        "reconcile_timeout",
        "log_settle_time",
        "deferrable",
        "final_share",
        "timeout",
        "poll_interval",
        "eight_by_eight_conn_id",
    }
)
"""Arguments that cannot be None: they have to be given, or have another default."""

_IN_DAG_FILE: dict[str, Callable[[str, Any], Any]] = {"max_messages": whole_number(1)}
"""Stricter checks, of what a DAG file has and no upstream."""


def are_to_be_resolved(value: Any) -> bool:
    """
    Tell whether Airflow fills in the rows before the task runs: XCom arguments, a list of nothing else, and Jinja.

    :raises ValueError: only some of the rows are that
    """
    if isinstance(value, list | tuple):
        references = [is_to_be_resolved(item) for item in value if not isinstance(item, str)]
        if any(references) and not all(references):
            raise ValueError("rows mixes outputs of tasks with rows of the DAG file; give one or the other")
        return any(references)
    return is_to_be_resolved(value)


def is_mapped(task: BaseOperator) -> bool:
    """Tell whether a task is an instance of a mapped one: what it is given is an upstream's."""
    return bool(getattr(task, "_BaseOperator__from_mapped", False))


def check_arguments(task: BaseOperator, names: Collection[str]) -> None:
    """
    Check all that is known of some of an operator's arguments when its DAG is parsed, and set each as it is used.

    :raises ValueError: an argument is not as it must be; likewise a TypeError
    """
    checks = CHECKS if is_mapped(task) else CHECKS | _IN_DAG_FILE
    for name in filter(names.__contains__, checks):
        value = getattr(task, name)
        is_left_out = value is None and name not in _NEVER_NONE
        if not is_left_out and not (name in task.template_fields and is_to_be_resolved(value)):
            setattr(task, name, checks[name](name, value))


def check_source_of_rows(task: SurveyTextsOperator, *, has_rows: bool) -> None:
    """
    Check where an operator's rows come from, and whom they come from to those who get them.

    :param has_rows: whether there are rows, or an upstream gives some
    :raises ValueError: there are two sources, or there is none
    """
    if has_rows == (task.sql is not None):
        raise ValueError(
            f"rows and sql: found {'both' if has_rows else 'neither'}; expected exactly one of rows and sql"
        )
    if task.sql is not None and not task.sql_conn_id:
        raise ValueError("sql needs sql_conn_id, the connection to run it on")
    if not is_to_be_resolved(task.source) and (warning := warning_about_source(task.source)):
        warnings.warn(warning, UserWarning, stacklevel=3)


def check_together(task: EightByEightSurveyBatchOperator) -> None:
    """
    Check what depends on several arguments: the sizes of batches, and for how long is remembered what was sent.

    :raises ValueError: they do not go together
    """
    if task.first_batch_size is not None and task.first_batch_size > task.batch_size:
        raise ValueError(f"first_batch_size is {task.first_batch_size}; expected at most batch_size={task.batch_size}")
    if task.campaign_id is not None and task.journal_conn_id is None:
        raise ValueError(
            "campaign_id needs journal_conn_id, a SQL journal: Airflow's own task state store ends with the task "
            "instance. A DAG's default_args can give it to all of its tasks"
        )
    check_outcome_table(task.outcome_table, task.outcome_conn_id)
    if task.retries and task.journal_conn_id is None and not _has_task_state_store():
        warnings.warn(
            f"{task.task_id}: retries is {task.retries}, but a second try refuses to send, because it cannot know "
            "what the first one sent; set journal_conn_id, or retries=0 (unless the connection "
            f"{task.eight_by_eight_conn_id!r} names a journal in its extra)",
            UserWarning,
            stacklevel=3,
        )


def check_outcome_table(table: Any, conn_id: Any) -> None:
    """
    Check that a table for outcomes and its connection are given together.

    :raises ValueError: they are not
    """
    if (table is None) != (conn_id is None):
        given, lacking = (
            ("outcome_table", "outcome_conn_id") if conn_id is None else ("outcome_conn_id", "outcome_table")
        )
        raise ValueError(f"{given} needs {lacking}: the table, and the connection to its database")


def warning_about_source(source: Any) -> str | None:
    """Return a warning that phones may not show a sender as it is; None if they do."""
    given = unmasked(source)
    sender = str(given or "")
    if sender.isdigit() or len(sender) <= MAX_ALPHANUMERIC_SOURCE_LENGTH:
        return None
    return (
        f"source {quoted(given)} has more than {MAX_ALPHANUMERIC_SOURCE_LENGTH} characters and is not all "
        "digits; operators may replace or cut such a sender"
    )


def _has_task_state_store() -> bool:
    """Tell whether this Airflow gives tasks a place to remember in: 3.3 does."""
    try:
        from airflow import sdk
    except ImportError:
        return False
    return "NEVER_EXPIRE" in sdk.__all__
