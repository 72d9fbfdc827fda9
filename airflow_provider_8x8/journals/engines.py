"""From an Airflow connection to an SQLAlchemy engine for the journal."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import QueuePool

if TYPE_CHECKING:
    from airflow.providers.common.sql.hooks.sql import DbApiHook
    from sqlalchemy.engine import Engine

_LOGGING_NAME = "airflow_provider_8x8_journal"
_RECYCLE_SECONDS = 60


def engine_of(journal_conn_id: str) -> Engine:
    """
    Make an engine for an Airflow connection; nothing is opened yet.

    MySQL and MariaDB need ``apache-airflow-providers-mysql``, which connects with mysqlclient, or with PyMySQL if the
    connection's extra has ``{"client": "pymysql"}``.

    :param journal_conn_id: a connection to a database
    :raises TypeError: the connection is not a database's
    :raises ValueError: there is no such connection, or SQLAlchemy has no way to its database
    """
    hook = _hook_of(journal_conn_id)
    options = {
        # One connection, since a new one for each of a batch's two transactions would cost as much as the batch's
        # building. It is tried before use, and replaced when it has been at rest: firewalls and servers close such
        # connections unseen.
        "poolclass": QueuePool,
        "pool_size": 1,
        "max_overflow": 0,
        "pool_pre_ping": True,
        "pool_recycle": _RECYCLE_SECONDS,
        "hide_parameters": True,
        "logging_name": _LOGGING_NAME,
        "future": True,  # SQLAlchemy 1.4's way to be as 2.0
    }
    # At DEBUG level SQLAlchemy logs every row that it reads, and a phone number can be found from its hash.
    logging.getLogger(f"sqlalchemy.engine.Engine.{_LOGGING_NAME}").setLevel(logging.WARNING)
    try:
        return hook.get_sqlalchemy_engine(engine_kwargs=options)
    except (ImportError, NoSuchModuleError, NotImplementedError) as error:
        reason = f"{type(error).__name__}: {error}"
    except ArgumentError as error:
        reason = type(error).__name__  # its text may be the URL, with the password
    raise ValueError(f"journal_conn_id {journal_conn_id!r}: SQLAlchemy has no way to this database ({reason})")


def _hook_of(journal_conn_id: str) -> DbApiHook:
    from airflow.providers.common.compat.sdk import AirflowException, AirflowNotFoundException, BaseHook
    from airflow.providers.common.sql.hooks.sql import DbApiHook

    try:
        connection = BaseHook.get_connection(journal_conn_id)
    except AirflowNotFoundException:
        raise ValueError(f"journal_conn_id {journal_conn_id!r}: there is no such connection") from None
    try:
        hook = connection.get_hook()  # type: ignore[no-untyped-call]
    except AirflowException:
        raise ValueError(
            f"journal_conn_id {journal_conn_id!r} is of type {connection.conn_type!r}, which no installed provider "
            "knows; install the database's provider"
        ) from None
    if not isinstance(hook, DbApiHook):
        raise TypeError(f"journal_conn_id {journal_conn_id!r} is of type {connection.conn_type!r}; expected a database")
    return hook
