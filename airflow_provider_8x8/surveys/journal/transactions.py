"""Short transactions on the journal's database, which are tried again where the failure may pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine, RootTransaction
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from tenacity import stop_after_delay

from airflow_provider_8x8.retrying import retrying
from airflow_provider_8x8.surveys.journal.errors import JournalUnavailableError

Result = TypeVar("Result")

LOCK_SECONDS = 60
"""How long a transaction waits for another's lock: a worker that stalls in the middle of one must not stop all."""

_FIRST_STATEMENTS = {
    "postgresql": [f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"],
    "mysql": [f"SET SESSION innodb_lock_wait_timeout = {LOCK_SECONDS}"],
    "mariadb": [f"SET SESSION innodb_lock_wait_timeout = {LOCK_SECONDS}"],
    "sqlite": [],
}

_LONGEST_REST = 10.0
"""Seconds after which a connection goes back to the engine, which tries it before it gives it out again."""

# Whatever the database has refused: which of its errors pass is a list for each driver, and a list has gaps. What does
# not pass costs a quarter of a minute.
_RETRYING = retrying(
    lambda error: isinstance(error, DBAPIError),
    max_tries=7,
    first_wait=0.2,
    longest_wait=10.0,
    spread=0.5,
    also_stop=stop_after_delay(2 * LOCK_SECONDS),
)


class Transactions:
    """
    Transactions at READ COMMITTED, whatever the server's default; on SQLite, one writer at a time from the start.

    :param engine: an engine of one's own; where SQLAlchemy is older than 2, made with ``future=True``
    :param journal_conn_id: where the engine comes from, for messages
    :param may_write: False for who only reads: on SQLite that keeps no writer away
    :raises ValueError: a database of a kind whose locking was never tried, or one that ends with this process
    """

    def __init__(self, engine: Engine, journal_conn_id: str, *, may_write: bool = True) -> None:
        dialect = engine.dialect.name
        if dialect not in _FIRST_STATEMENTS:
            raise ValueError(
                f"journal_conn_id {journal_conn_id!r} leads to {dialect}; no survey is sent twice because the database "
                f"locks a row, and that was tried on {', '.join(_FIRST_STATEMENTS)} only"
            )
        if dialect == "sqlite" and engine.url.database in (None, "", ":memory:"):
            raise ValueError(f"journal_conn_id {journal_conn_id!r} leads to a SQLite database that is not in a file")
        self.journal_conn_id = journal_conn_id
        self._first_statements = _FIRST_STATEMENTS[dialect]
        if dialect == "sqlite":
            self._engine = engine.execution_options()
            event.listen(self._engine, "begin", _begin_immediate if may_write else _begin_to_read)
        else:
            self._engine = engine.execution_options(isolation_level="READ COMMITTED")
        self._keeps_connection = dialect != "sqlite"  # whose connections cost little, and are one thread's
        self._connection: Connection | None = None
        self._used = 0.0

    def run(self, work: Callable[[Connection], Result], purpose: str) -> Result:
        """
        Do some work in a transaction of its own, and commit.

        :param work: called again if the transaction fails, even if what has failed is the commit's answer alone
        :param purpose: what for, for messages: "write this"
        :raises JournalUnavailableError: it failed each time; the text is the database's, without parameters
        """
        try:
            result: Result = _RETRYING(self.once, work)
        except SQLAlchemyError as error:
            raise JournalUnavailableError(
                f"could not {purpose} in the journal's database (journal_conn_id {self.journal_conn_id!r}): "
                f"{_in_short(error)}"
            ) from None
        return result

    def close(self) -> None:
        """Close what connections there are."""
        self._give_back()
        self._engine.dispose()

    def once(self, work: Callable[[Connection], Result]) -> Result:
        """
        Do some work in a transaction of its own, and commit; what fails is not tried again.

        :raises SQLAlchemyError: it failed, or the commit's answer did not come
        """
        try:
            with self._begin() as transaction:
                result = work(transaction.connection)
        except BaseException:
            self._give_back()
            raise
        self._used = time.monotonic()
        if not self._keeps_connection:
            self._give_back()
        return result

    def _begin(self) -> RootTransaction:
        """
        Begin on the connection of the transaction before: what the engine does with each costs more than most do.

        If that was lost since, nothing is lost with it, and a new one is made at once.
        """
        if time.monotonic() - self._used > _LONGEST_REST:
            self._give_back()
        if self._connection is not None:
            try:
                return self._begin_on(self._connection)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                self._give_back()
        self._connection = self._engine.connect()
        return self._begin_on(self._connection)

    def _begin_on(self, connection: Connection) -> RootTransaction:
        transaction = connection.begin()
        for statement in self._first_statements:
            connection.exec_driver_sql(statement)
        return transaction

    def _give_back(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _begin_immediate(connection: Connection) -> None:
    """Take SQLite's write lock at once: taken later, it may be refused without waiting."""
    _begin(connection, "BEGIN IMMEDIATE")


def _begin_to_read(connection: Connection) -> None:
    _begin(connection, "BEGIN")


def _begin(connection: Connection, statement: str) -> None:
    # The driver's own BEGIN would come late, and not before every statement.
    connection.connection.driver_connection.isolation_level = None  # type: ignore[union-attr]  # it has one
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {LOCK_SECONDS * 1000}")
    connection.exec_driver_sql(statement)


def _in_short(error: SQLAlchemyError) -> str:
    """Return the database's class of error and first line: what follows (DETAIL, the statement) may hold values."""
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {(str(cause).splitlines() or [''])[0]}"
