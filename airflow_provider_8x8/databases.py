"""From an Airflow connection to its database: every connection to it is the hook's own."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection
    from airflow.providers.common.sql.hooks.sql import DbApiHook
    from sqlalchemy.engine import URL, Engine

_CURSOR_NAME = "eight_by_eight_rows"
_LOGGING_NAME = "airflow_provider_8x8"

# Arguments of MySqlHook that people write into the connection's extra, from where SQLExecuteQueryOperator hands them to
# the hook; the hook itself does not look for them there.
_MYSQL_HOOK_PARAMS = ("init_command", "local_infile")
# What is in a MySQL connection's extra and is not for PyMySQL as it stands there.
_NOT_FOR_PYMYSQL = {"client", "cursor", "schema", "ssl", *_MYSQL_HOOK_PARAMS}

# With these SQLAlchemy first asks a database whether it has hstore, which no column of ours is.
_LOOKING_FOR_HSTORE = ("postgresql", "postgresql+psycopg", "postgresql+psycopg2")

_DRIVERS = ("psycopg2", "psycopg", "pymysql", "MySQLdb", "mysql", "sqlite3")

_NAME_OF_SECRET = re.compile(r"pass|secret|token|key|credential", re.IGNORECASE)
_SECRET_IN_TEXT = re.compile(r"(?<=://)[^\s/@]*(?=@)|(?<=password=)\S+|(?<=passwd=)\S+|(?<=token=)\S+", re.IGNORECASE)


class UnreachableDatabaseError(Exception):
    """No connection could be made just now; the text names the Airflow connection, and shows no secret."""


class Database:
    """
    The database that an Airflow connection leads to.

    Each connection is made by the connection's hook, so that all of its extra, and whatever else the hook does with a
    new connection, has its effect; a URL, which can say less, is not connected with. The one exception is PyMySQL:
    ``MySqlHook`` does not connect with it (``{"client": "pymysql"}``), so that is done here from the same fields.

    :param conn_id: the Airflow connection
    :param named_by: the operator's argument that names it, for messages
    :param hook_params: further arguments for the hook
    :raises TypeError: the connection is not a database's, or its hook does not know one of ``hook_params``
    :raises ValueError: there is no such connection, or its hook is not installed
    """

    def __init__(self, conn_id: str, *, named_by: str, hook_params: Mapping[str, Any] | None = None) -> None:
        self._name = f"{named_by} {conn_id!r}"
        self._connection = _connection_of(conn_id, self._name)
        self._hook = _hook_of(self._connection, self._name, hook_params or {})

    def __str__(self) -> str:
        return self._name

    @property
    def connection(self) -> Connection:
        """Airflow's connection."""
        return self._connection

    @property
    def hook(self) -> DbApiHook:
        """The connection's hook."""
        return self._hook

    def connect(self) -> Any:
        """
        Open a DB-API connection.

        :raises UnreachableDatabaseError: that is not possible just now, or not at all
        """
        try:
            return self._open()
        except Exception as error:  # noqa: BLE001  # every driver has errors of its own, and hooks raise whatever they like
            raise UnreachableDatabaseError(f"{self} could not be connected to: {self._say(error)}") from None

    def engine(self, **options: Any) -> Engine:
        """
        Make an SQLAlchemy engine of the hook's connections; nothing is opened yet.

        SQLAlchemy is told the dialect, and no host, user or password. Whatever cursors and transactions the extra
        asks for, the engine's connections have plain ones. Whatever the log level, SQLAlchemy does not log what a
        statement is given or returns.

        :param options: for :func:`sqlalchemy.create_engine`
        :raises ValueError: SQLAlchemy has no way to this database
        """
        from sqlalchemy import create_engine
        from sqlalchemy.exc import ArgumentError, InvalidRequestError, NoSuchModuleError

        def connect() -> Any:
            try:
                connection = _plain(self._open())
            except driver_error as error:
                error.args = tuple(self._without_secrets(arg) if isinstance(arg, str) else arg for arg in error.args)
                raise
            except Exception as error:  # noqa: BLE001  # SQLAlchemy hands on what is not the driver's as it is
                raise InvalidRequestError(f"no connection: {self._say(error)}") from None
            return connection

        # At DEBUG level SQLAlchemy logs every row that it reads, and a phone number can be found from its hash.
        logging.getLogger(f"sqlalchemy.engine.Engine.{_LOGGING_NAME}").setLevel(logging.WARNING)
        try:
            url = self._bare_url()
            if url.drivername in _LOOKING_FOR_HSTORE:
                options["use_native_hstore"] = False
            engine = create_engine(
                url,
                creator=connect,
                logging_name=_LOGGING_NAME,
                hide_parameters=True,
                future=True,  # SQLAlchemy 1.4's way to be as 2.0
                **options,
            )
        except (ImportError, NoSuchModuleError, NotImplementedError, TypeError, ValueError) as error:
            reason = self._say(error)
        except ArgumentError as error:
            reason = type(error).__name__  # its text may be the URL
        else:
            driver_error: type[Exception] = engine.dialect.dbapi.Error  # type: ignore[union-attr]  # it has one by now
            return engine
        raise ValueError(f"{self}: SQLAlchemy has no way to this database ({reason})")

    def _open(self) -> Any:
        if self._connection.conn_type == "mysql" and self._connection.extra_dejson.get("client") == "pymysql":
            return _open_with_pymysql(self._connection, self._hook)
        return self._hook.get_conn()

    def _bare_url(self) -> URL:
        """Return the dialect, with the driver that the hook connects with, and the name of a database in a file."""
        from sqlalchemy.dialects import registry
        from sqlalchemy.engine import URL, make_url

        if driver := _driver_of_postgres_hook(self._hook):
            return URL.create(driver)
        try:
            url = make_url(self._hook.sqlalchemy_url)
        except NotImplementedError:
            url = make_url(self._hook.get_uri())
        if url.drivername == "duckdb":
            registry.register("duckdb.eight_by_eight", "airflow_provider_8x8.duckdb_dialect", "DuckDbDialect")
            return URL.create("duckdb+eight_by_eight", database=url.database)
        return URL.create(url.drivername, database=url.database)

    def _say(self, error: Exception) -> str:
        return f"{type(error).__name__}: {self._without_secrets(str(error)).strip()}"

    def _without_secrets(self, text: str) -> str:
        """Return a driver's or a hook's text without what the connection keeps secret."""
        extra = self._connection.extra_dejson
        secrets = [value for name, value in extra.items() if _NAME_OF_SECRET.search(name)]
        for secret in [self._connection.password, *secrets]:
            if secret and isinstance(secret, str):
                for written in {secret, quote(secret), quote(secret, safe=""), quote_plus(secret)}:
                    text = text.replace(written, "***")
        return _SECRET_IN_TEXT.sub("***", text)


def server_side_cursor(connection: Any) -> Any | None:
    """
    Return a cursor whose rows stay with the server until they are fetched, or None where the driver has none.

    Its rows are tuples, whatever cursor the connection's extra asks for.
    """
    driver = driver_of(connection)
    if driver in ("psycopg2", "psycopg"):
        _keep_what_was_set(connection)
        connection.autocommit = False  # there are no such cursors outside of transactions
    if driver == "psycopg2":
        from psycopg2.extensions import cursor

        return connection.cursor(_CURSOR_NAME, cursor_factory=cursor)
    if driver == "psycopg":
        from psycopg.rows import tuple_row

        return connection.cursor(_CURSOR_NAME, row_factory=tuple_row)
    if driver in ("pymysql", "MySQLdb"):
        return connection.cursor(import_module(f"{driver}.cursors").SSCursor)
    if driver == "mysql":
        connection.can_consume_results = True  # else a cursor that was not read to its end cannot be closed
        return connection.cursor(buffered=False)
    return None


def driver_of(connection: Any) -> str:
    """Return the package of a connection's driver."""
    packages: list[str] = [kind.__module__.partition(".")[0].lstrip("_") for kind in connection.__class__.__mro__]
    return next((package for package in packages if package in _DRIVERS), packages[0])


def _plain(connection: Any) -> Any:
    """
    Return a connection with the cursors that SQLAlchemy expects, and no open transaction.

    It speaks UTF-8, whatever the extra or the driver's default is: else it may have no word for most letters.
    """
    driver = driver_of(connection)
    if driver == "duckdb":
        from airflow_provider_8x8.duckdb_dialect import OneTransaction

        return OneTransaction(connection)
    _keep_what_was_set(connection)
    if driver == "psycopg2":
        connection.cursor_factory = None
        connection.set_client_encoding("UTF8")
    elif driver == "psycopg":
        from psycopg.rows import tuple_row

        connection.row_factory = tuple_row
        connection.execute("SET client_encoding TO 'UTF8'")
        connection.commit()
    elif driver in ("pymysql", "MySQLdb"):
        connection.cursorclass = import_module(f"{driver}.cursors").Cursor
        connection.set_character_set("utf8mb4")
    elif driver == "mysql":
        connection.can_consume_results = True
    elif driver == "sqlite3":
        connection.row_factory = None
    return connection


def _keep_what_was_set(connection: Any) -> None:
    """Keep what a hook has set in a new connection, such as a role: a rollback would undo it."""
    connection.commit()


def _connection_of(conn_id: str, name: str) -> Connection:
    from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

    try:
        return BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        raise ValueError(f"{name}: there is no such connection; add it to Airflow, or name another") from None


def _hook_of(connection: Connection, name: str, hook_params: Mapping[str, Any]) -> DbApiHook:
    from airflow.providers.common.compat.sdk import AirflowException, AirflowOptionalProviderFeatureException
    from airflow.providers.common.sql.hooks.sql import DbApiHook

    kind = f"{name} is of type {connection.conn_type!r}"
    try:
        hook = connection.get_hook()  # type: ignore[no-untyped-call]  # Airflow's
    except (ImportError, AirflowOptionalProviderFeatureException) as error:
        raise ValueError(f"{kind}, whose hook cannot be imported ({error}); install what it needs") from None
    except AirflowException:
        raise ValueError(f"{kind}, which no installed provider knows; install the database's provider") from None
    if not isinstance(hook, DbApiHook):
        raise TypeError(f"{kind}; expected a database, one whose hook is a DbApiHook")
    extra = connection.extra_dejson
    if connection.conn_type == "mysql":
        hook_params = {**{key: extra[key] for key in _MYSQL_HOOK_PARAMS if key in extra}, **hook_params}
    elif connection.conn_type == "postgres" and "cursor" in extra:
        # Rows come as tuples whatever cursor it is, and with psycopg 3 the hook refuses some.
        hook_params = {"connection": _without_cursor(connection), **hook_params}
    if not hook_params:
        return hook
    try:
        with_params: DbApiHook = connection.get_hook(hook_params=dict(hook_params))  # type: ignore[no-untyped-call]  # Airflow's
    except TypeError as error:
        raise TypeError(f"{name}: sql_hook_params do not fit {type(hook).__name__}: {error}") from None
    return with_params


def _driver_of_postgres_hook(hook: DbApiHook) -> str | None:
    """Return what PostgresHook connects with: its URL names what the extra's ``sqlalchemy_scheme`` says instead."""
    for kind in type(hook).__mro__:
        uses_psycopg3 = getattr(sys.modules.get(kind.__module__), "USE_PSYCOPG3", None)
        if uses_psycopg3 is not None:
            return "postgresql+psycopg" if uses_psycopg3 else "postgresql+psycopg2"
    return None


def _without_cursor(connection: Connection) -> Connection:
    extra = {key: value for key, value in connection.extra_dejson.items() if key != "cursor"}
    fields = ("conn_id", "conn_type", "host", "login", "password", "schema", "port")
    return type(connection)(**{name: getattr(connection, name) for name in fields}, extra=json.dumps(extra))


def _open_with_pymysql(connection: Connection, hook: Any) -> Any:
    """
    Connect with PyMySQL as ``MySqlHook`` does with mysqlclient.

    SQLAlchemy makes numbers and flags of what the extra has as text.
    """
    import pymysql
    from sqlalchemy.dialects.mysql.pymysql import dialect
    from sqlalchemy.engine import URL

    extra = connection.extra_dejson
    url = URL.create(
        "mysql+pymysql",
        username=connection.login,
        password=connection.password,
        host=connection.host or "localhost",
        port=connection.port,
        database=hook.schema or connection.schema or None,
        query={key: str(value) for key, value in extra.items() if value and key not in _NOT_FOR_PYMYSQL},
    )
    _, arguments = dialect(dbapi=pymysql).create_connect_args(url)
    if ssl := extra.get("ssl"):
        arguments["ssl"] = json.loads(ssl) if isinstance(ssl, str) else ssl
    if init_command := getattr(hook, "init_command", None):  # which the hook of older providers does not know
        arguments["init_command"] = init_command
    if hook.local_infile:
        arguments["local_infile"] = True
    opened = pymysql.connect(**arguments)
    if opened.ssl and not opened.server_capabilities & pymysql.constants.CLIENT.SSL:
        opened.close()
        raise pymysql.OperationalError("the connection's extra asks for TLS, which the server does not offer")
    return opened
