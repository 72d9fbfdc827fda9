"""The outcome table of an operator's arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.pool import QueuePool

from airflow_provider_8x8.databases import Database
from airflow_provider_8x8.surveys.outcomes.table import TaskInstanceName
from airflow_provider_8x8.surveys.outcomes.table_database import TableDatabase

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

_RECYCLE_SECONDS = 60


def database_of(outcome_table: str, outcome_conn_id: str) -> TableDatabase:
    """
    Return the table; nothing is opened yet.

    :raises TypeError: the connection does not lead to a database
    :raises ValueError: there is no such connection, or SQLAlchemy has no way to its database
    """
    engine = Database(outcome_conn_id, named_by="outcome_conn_id").engine(
        # One connection, tried before use: it is idle for as long as 8x8 takes for a batch.
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        pool_pre_ping=True,
        pool_recycle=_RECYCLE_SECONDS,
    )
    return TableDatabase(engine, outcome_table, outcome_conn_id)


def task_instance_of(context: Context) -> TaskInstanceName:
    """Return the task instance that runs."""
    ti = context["ti"]
    return TaskInstanceName(ti.dag_id, ti.task_id, ti.run_id, -1 if ti.map_index is None else ti.map_index)
