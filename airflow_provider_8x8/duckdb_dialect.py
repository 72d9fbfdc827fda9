"""
SQLAlchemy's way to DuckDB, as far as an outcome table needs it.

DuckDB takes PostgreSQL's statements. The dialect that others have made for it reads system tables that SQLAlchemy asks
for and DuckDB does not have; nothing is asked for here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from types import ModuleType
from typing import Any

import duckdb
from sqlalchemy.dialects.postgresql.base import PGDialect

_INSERT = re.compile(r"(INSERT INTO .*? )VALUES \([?, ]+\)(.*)", re.DOTALL)


class DuckDbDialect(PGDialect):
    """PostgreSQL's, over DuckDB's own connections."""

    name = "duckdb"
    driver = "eight_by_eight"
    default_paramstyle = "qmark"
    supports_statement_cache = True
    supports_sane_rowcount = False
    supports_sane_multi_rowcount = False
    supports_server_side_cursors = False
    insert_returning = False

    @classmethod
    def import_dbapi(cls) -> ModuleType:
        """Return the driver."""
        return duckdb

    dbapi = import_dbapi  # type: ignore[assignment]  # SQLAlchemy 1.4's name for it

    def initialize(self, connection: Any) -> None:
        """Ask nothing of the database."""
        self.server_version_info = (14, 0)
        self.default_schema_name = "main"

    def on_connect(self) -> None:
        """Have nothing done to a new connection."""

    def do_begin(self, dbapi_connection: Any) -> None:
        """Begin a transaction: else each statement is one of its own."""
        dbapi_connection.begin()

    def do_rollback(self, dbapi_connection: Any) -> None:
        """Roll back, if there is something."""
        with suppress(duckdb.TransactionException):
            dbapi_connection.rollback()


class OneTransaction:
    """A connection whose cursors share its transaction: DuckDB's own are connections of their own."""

    def __init__(self, opened: duckdb.DuckDBPyConnection) -> None:
        self._opened = opened
        self.begin, self.commit, self.rollback = opened.begin, opened.commit, opened.rollback
        self.close = opened.close

    def cursor(self) -> _Cursor:
        """Return one."""
        return _Cursor(self._opened)


class _Cursor:
    arraysize = 1

    def __init__(self, opened: duckdb.DuckDBPyConnection) -> None:
        self._opened = opened
        self.description: Any = None
        self.rowcount = -1
        self.fetchone, self.fetchmany, self.fetchall = opened.fetchone, opened.fetchmany, opened.fetchall

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> None:
        """Execute a statement. One that changes rows returns their number as a row, which is none to SQLAlchemy."""
        self._opened.execute(statement, list(parameters))
        self.description = self._opened.description or None
        if self.description and self.description[0][0] == "Count":
            self.rowcount = next((count for (count,) in self._opened.fetchall()), -1)
            self.description = None

    def executemany(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """
        Execute a statement for each of some rows.

        An INSERT gets them all as JSON: bound value by value, each row would take DuckDB more than a millisecond.
        """
        inserts = _INSERT.match(statement)
        if inserts is None:
            self._opened.executemany(statement, [list(row) for row in rows])
            return
        into, after = inserts.groups()
        names = [f"v{number}" for number in range(len(rows[0]))]
        kind = json.dumps([dict.fromkeys(names, "VARCHAR")])
        given = f"SELECT {', '.join(names)} FROM (SELECT unnest(from_json(?, '{kind}'), recursive := true))"  # noqa: S608  # no value is in it
        as_json = json.dumps([dict(zip(names, row, strict=True)) for row in rows], default=str)
        self._opened.execute(f"{into}{given}{after}", [as_json])

    def close(self) -> None:
        """Do nothing: the connection goes on."""
