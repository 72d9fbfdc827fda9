"""From an Airflow connection to an SQLAlchemy engine for the journal."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sqlalchemy.pool import QueuePool

from airflow_provider_8x8.databases import Database

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

_LOGGING_NAME = "airflow_provider_8x8_journal"
_RECYCLE_SECONDS = 60


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
    # At DEBUG level SQLAlchemy logs every row that it reads, and a phone number can be found from its hash.
    logging.getLogger(f"sqlalchemy.engine.Engine.{_LOGGING_NAME}").setLevel(logging.WARNING)
    return Database(journal_conn_id, named_by="journal_conn_id").engine(
        # One connection, since a new one for each of a batch's two transactions would cost as much as the batch's
        # building. It is tried before use, and replaced when it has been at rest: firewalls and servers close such
        # connections unseen.
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        pool_pre_ping=True,
        pool_recycle=_RECYCLE_SECONDS,
        hide_parameters=True,
        logging_name=_LOGGING_NAME,
        future=True,  # SQLAlchemy 1.4's way to be as 2.0
    )
