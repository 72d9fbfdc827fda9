"""The SQL journal's database: from an Airflow connection to an engine, and how old campaigns are deleted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy.pool import QueuePool

from airflow_provider_8x8.databases import Database
from airflow_provider_8x8.surveys.journal.database import JournalDatabase
from airflow_provider_8x8.surveys.journal.pruning import prune

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

_RECYCLE_SECONDS = 60
_SHORTEST_REST = timedelta(days=1)


def engine_of(journal_conn_id: str) -> Engine:
    """
    Make an engine for an Airflow connection; nothing is opened yet.

    Its connections are those of the connection's hook, with all of its extra. MySQL and MariaDB need
    ``apache-airflow-providers-mysql``, which connects with mysqlclient, or with PyMySQL if the extra has
    ``{"client": "pymysql"}``.

    :param journal_conn_id: a connection to a database
    :raises TypeError: the connection is not a database's
    :raises ValueError: there is no such connection, or SQLAlchemy has no way to its database
    """
    return Database(journal_conn_id, named_by="journal_conn_id").engine(
        # One connection, since a new one for each of a batch's two transactions would cost as much as building the
        # batch. It is tried before use, and replaced when it has been idle: firewalls and servers close idle
        # connections without a word.
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        pool_pre_ping=True,
        pool_recycle=_RECYCLE_SECONDS,
    )


def prune_journal(journal_conn_id: str, older_than: timedelta) -> int:
    """
    Delete the campaigns that were not used for some time, with their entries.

    A campaign stays if nobody knows what became of one of its batches. A task of a deleted campaign that is cleared
    later refuses to send, but a new run of a deleted ``campaign_id`` sends its surveys again: ``older_than`` should be
    more than the time in which anybody would start one.

    :param journal_conn_id: the SQL journal's connection
    :param older_than: since when a campaign was not used; at least a day, since it may rest between two tries
    :return: how many campaigns were deleted
    :raises TypeError: the connection is not a database's
    :raises ValueError: the time is too short, or the connection leads to no database that can hold a journal
    :raises JournalUnavailableError: the database could not be read or written just now
    """
    if older_than < _SHORTEST_REST:
        raise ValueError(f"older_than is {older_than}; expected at least {_SHORTEST_REST}, since a campaign may rest")
    database = JournalDatabase(engine_of(journal_conn_id), journal_conn_id)
    try:
        return prune(database, datetime.now(UTC).replace(tzinfo=None) - older_than)
    finally:
        database.close()
