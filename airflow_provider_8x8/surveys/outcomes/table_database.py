"""
The outcome table: how it is written in each kind of database.

Rows are upserted where the dialect has a statement for it, else deleted and inserted in one transaction.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DataError, DBAPIError, SQLAlchemyError
from tenacity import stop_after_delay

from airflow_provider_8x8.api.masking import mask_phone_numbers
from airflow_provider_8x8.retrying import retrying
from airflow_provider_8x8.surveys.outcomes.outcome import Outcome
from airflow_provider_8x8.surveys.outcomes.sinks import SinkError
from airflow_provider_8x8.surveys.outcomes.table_columns import (
    DELIVERY_COLUMNS,
    KEY,
    LONGEST,
    OPTIONS,
    Values,
    columns,
    texts,
    widest_row,
)

log = logging.getLogger(__name__)

Result = TypeVar("Result")
Item = TypeVar("Item")
LOCK_SECONDS = 30
"""How long a statement waits for another's lock where nothing else is to be done meanwhile."""

IMPATIENT_LOCK_SECONDS = 1
"""Likewise while batches are being sent."""

_AT_A_TIME = 1_000
_NAMES_AT_A_TIME = 500

_READ_COMMITTED = ("postgresql", "mysql", "mariadb")

_KEPT = frozenset({"source_row", "row_key", "client_message_id", "batch_id", "umid", "parts"})
"""Columns that keep their value where a later one is NULL: 8x8's logs know less of a row than its source."""

_SAID = (Outcome.ACCEPTED.value, Outcome.REJECTED.value)
"""What 8x8 has said of a row. A process that stood still may not know it yet, and write that nothing is known."""

_SAID_COLUMNS = ("outcome", "code", "description")

# Whatever the database has refused: which of its errors pass is a list for each driver, and a list has gaps.
_RETRYING = retrying(
    lambda error: isinstance(error, DBAPIError),
    max_tries=7,
    first_wait=0.2,
    longest_wait=10.0,
    spread=0.5,
    also_stop=stop_after_delay(2 * LOCK_SECONDS),
)


# Drivers raise the latter two as they are, of a value that they cannot hand on.
_FAILURES = (SQLAlchemyError, ValueError, OverflowError)


class OutcomeTableError(SinkError):
    """The outcome table could not be made, written or read; the text holds no row and no secret."""


_SMALL_PRICE = 0.0125
_LEAST_PRICE = 0.0001

_RIGHTS = "The connection's user needs SELECT, INSERT, UPDATE and DELETE on it"


def utc(seconds: float) -> datetime:
    """Return a time as the table has it: in UTC and whole seconds, which every database keeps."""
    return datetime.fromtimestamp(int(seconds), UTC).replace(tzinfo=None)


class TableDatabase:
    """
    A table for outcomes in some database.

    :param engine: an engine of one's own; where SQLAlchemy is older than 2, made with ``future=True``
    :param name: ``table`` or ``schema.table``
    :param conn_id: where the engine comes from, for messages
    """

    def __init__(self, engine: Engine, name: str, conn_id: str) -> None:
        schema, _, table = name.rpartition(".")
        self.name = name
        self.table = sa.Table(
            table,
            sa.MetaData(),
            *columns(),
            schema=sa.sql.quoted_name(schema, quote=False if "." in schema else None) if schema else None,
            comment="one row for each row of a survey's source, and what became of it",
            **OPTIONS,
        )
        self._said = f"the outcome table {name} (outcome_conn_id {conn_id!r})"
        self._dialect = engine.dialect.name
        is_known = self._dialect in _READ_COMMITTED
        self._engine = engine.execution_options(**({"isolation_level": "READ COMMITTED"} if is_known else {}))
        self._lock_seconds = LOCK_SECONDS
        if self._dialect == "sqlite":
            event.listen(self._engine, "begin", self._begin_on_sqlite)
        self._upsert = _upsert_of(self._dialect, self.table)
        self._written: Sequence[Values] = ()

    def __str__(self) -> str:
        return self._said

    def prepare(self, common: Values) -> None:
        """
        Make the table if it is not there, and see that it can be written as it will be.

        Several tasks may do so at once.

        :param common: the columns that all rows of the task instance that writes them have in common, if one does
        :raises OutcomeTableError: it cannot
        """
        there = self._columns_there()
        if isinstance(there, SQLAlchemyError):
            not_read, not_made = there, self._make()
            there = self._columns_there()
            if isinstance(there, SQLAlchemyError):
                also = "" if not_made is None else f"; it could not be made either: {in_short(not_made)}"
                raise OutcomeTableError(
                    f"{self} could not be read: {in_short(not_read)}{also}. {_RIGHTS}; CREATE and a "
                    "schema that is there, if it is to be made"
                )
        lacking = [column.name for column in self.table.columns if column.name.lower() not in there]
        if lacking:
            raise OutcomeTableError(
                f"{self} is there and lacks the columns {', '.join(lacking)}; add them, or name a table that is not "
                "there yet: it is made then"
            )
        self._try_out(common)

    def run(self, work: Callable[[Connection], Result], purpose: str) -> Result:
        """
        Do some work in a transaction of its own, and commit; what fails is tried again for a while.

        :param work: may be called more than once
        :param purpose: what for, for messages: "be written"
        :raises OutcomeTableError: it failed each time
        """
        try:
            result: Result = _RETRYING(self._once, work)
        except _FAILURES as error:
            raise OutcomeTableError(f"{self} could not {purpose}: {self._in_short(error)}") from None
        return result

    def attempt(self, work: Callable[[Connection], Any]) -> str | None:
        """Do some work in a transaction of its own, and commit; return why that failed, None if it has not."""
        self._lock_seconds = IMPATIENT_LOCK_SECONDS
        try:
            self._once(work)
        except _FAILURES as error:
            return self._in_short(error)
        finally:
            self._lock_seconds = LOCK_SECONDS
        return None

    def close(self) -> None:
        """Close what connections there are."""
        self._engine.dispose()

    # what is written

    def write(self, connection: Connection, rows: Sequence[Values]) -> None:
        """Write rows over those that may be there; what only an earlier writer knew, and deliveries, stay."""
        for some in pieces(rows, _AT_A_TIME):
            self._written = some
            if self._upsert is not None:
                connection.execute(self._upsert, some)
            else:
                self._replace(connection, some)

    def _replace(self, connection: Connection, rows: Sequence[Values]) -> None:
        columns = self.table.columns
        whole = []
        for owner in dict.fromkeys(row["owner"] for row in rows):
            own = {row["row_id"]: row for row in rows if row["owner"] == owner}
            for ids in pieces(list(own), _NAMES_AT_A_TIME):
                is_one = sa.and_(columns.owner == owner, columns.row_id.in_(ids))
                there = {
                    row["row_id"]: row
                    for row in connection.execute(sa.select(self.table).where(is_one)).mappings().all()
                }
                connection.execute(sa.delete(self.table).where(is_one))
                whole += [_merged(there.get(row_id, {}), own[row_id]) for row_id in ids]
        connection.execute(sa.insert(self.table), whole)

    # what is there

    def _columns_there(self) -> set[str] | SQLAlchemyError:
        """Return the table's columns in small letters, or why it cannot be read."""
        nothing = (
            sa.select(sa.text("*")).select_from(self.table).where(sa.literal_column("1") == sa.literal_column("0"))
        )
        try:
            return self._once(
                lambda connection: {
                    name.lower()
                    for name in connection.execute(nothing).keys()  # noqa: SIM118  # a result is no mapping
                }
            )
        except SQLAlchemyError as error:
            return error

    def _make(self) -> SQLAlchemyError | None:
        """Make the table; return why that failed, as where another task has made it at the same moment."""
        try:
            self._once(self.table.create)
        except SQLAlchemyError as error:
            return error
        if self._dialect == "duckdb":
            return None  # it upserts no column that is in an index, and finds rows without one
        index = sa.Index(f"ix_{self.table.name}_umid"[:60], self.table.columns.umid)
        try:
            self._once(index.create)
        except SQLAlchemyError as error:
            log.info("%s has no index of umids: %s", self, in_short(error))
        return None

    def _try_out(self, common: Values) -> None:
        """
        Do with rows what tasks do with theirs, with values as wide as they may come, and take all back.

        :raises OutcomeTableError: that is not possible
        """
        columns = self.table.columns
        owner = f"trial {secrets.token_hex(8)}".ljust(LONGEST["owner"], "x")
        whole = {**widest_row(common), "owner": owner}
        there = {**whole, "row_id": "there".ljust(LONGEST["row_id"], "x"), "price": _SMALL_PRICE}
        later = {name: value for name, value in there.items() if name not in DELIVERY_COLUMNS}
        may_be_null = {column.name for column in columns if column.nullable}
        sparse = [
            {name: None if name in may_be_null else value for name, value in later.items()}
            | {"row_id": outcome.value, "outcome": outcome.value}
            for outcome in Outcome
        ]
        written = texts(self.table)
        is_trial = columns.owner == owner
        is_whole = sa.and_(is_trial, columns.row_id == whole["row_id"])
        is_there = sa.and_(is_trial, columns.row_id == there["row_id"])
        self._written = [whole]
        doing = ""

        def work(connection: Connection) -> tuple[int, float | None, list[str]]:
            nonlocal doing
            doing = "INSERT"
            connection.execute(sa.insert(self.table), [whole, there])
            doing = "UPDATE"
            connection.execute(sa.update(self.table).where(is_whole).values(delivery_state="read"))
            doing = "DELETE"
            connection.execute(sa.delete(self.table).where(is_whole))
            doing = "to write over a row"
            self.write(connection, [later])
            doing = "INSERT of a row of which little is known"
            self.write(connection, sparse)
            doing = "SELECT"
            count = connection.execute(sa.select(sa.func.count()).select_from(self.table).where(is_trial)).scalar_one()
            seen = connection.execute(sa.select(columns.price, *(columns[name] for name in written)).where(is_there))
            price, *found = seen.first() or (None, *(there[name] for name in written))
            return int(count), price, [name for name, text in zip(written, found, strict=True) if text != there[name]]

        try:
            count, price, changed = _RETRYING(self._once, work, commits=False)
        except _FAILURES as error:
            raise OutcomeTableError(
                f"{self} cannot be written, {doing} has failed: {self._in_short(error)}. {_RIGHTS}, and "
                "columns as docs/warehouse.md has them"
            ) from None
        if count != 1 + len(sparse):
            raise OutcomeTableError(
                f"{self} has no primary key of {' and '.join(KEY)}: a row would be there more than once"
            )
        if changed:
            raise OutcomeTableError(
                f"{self} gives back other text than was written into {', '.join(changed)}; make it VARCHAR"
            )
        if price is None or abs(float(price) - _SMALL_PRICE) > _LEAST_PRICE:
            raise OutcomeTableError(f"{self} has a column price that keeps no fractions; make it a decimal number")

    def _in_short(self, error: Exception) -> str:
        """Say what has failed and, if values were at fault, which columns are narrower than them."""
        said = in_short(error)
        if not isinstance(error, DataError):
            return said
        try:
            with self._engine.connect() as connection:
                found = sa.inspect(connection).get_columns(self.table.name, schema=self.table.schema)
        except (SQLAlchemyError, NotImplementedError):
            return said
        widths = {column["name"]: getattr(column["type"], "length", None) for column in found}
        needed = {name: max(len(row.get(name) or "") for row in self._written) for name in texts(self.table)}
        narrow = [
            f"{name} has {width} characters, and {needed[name]} are needed"
            for name, width in widths.items()
            if width is not None and width < needed.get(name, 0)
        ]
        return f"{said}. Too narrow: {'; '.join(narrow)}" if narrow else said

    # transactions

    def _once(self, work: Callable[[Connection], Result], *, commits: bool = True) -> Result:
        """
        Do some work in a transaction of its own.

        :raises SQLAlchemyError: it failed, or the commit's answer did not come
        :raises ValueError: the driver cannot hand on a value; likewise :class:`OverflowError`
        """
        try:
            with self._engine.connect() as connection, connection.begin() as transaction:
                self._prepare_session(connection)
                result = work(connection)
                if not commits:
                    transaction.rollback()
                return result
        finally:
            if self._dialect == "duckdb":
                self._engine.dispose()  # as long as it is open, no other process can open the file

    def _prepare_session(self, connection: Connection) -> None:
        """Limit the waiting for locks. Columns that know time zones are given UTC, and MySQL is to cut nothing off."""
        if self._dialect == "postgresql":
            connection.exec_driver_sql(
                f"SELECT set_config('lock_timeout', '{self._lock_seconds}s', true), set_config('TimeZone', 'UTC', true)"
            )
        elif self._dialect in ("mysql", "mariadb"):
            connection.exec_driver_sql(
                f"SET SESSION innodb_lock_wait_timeout = {self._lock_seconds}, SESSION time_zone = '+00:00', "
                "SESSION sql_mode = CONCAT(@@SESSION.sql_mode, ',STRICT_ALL_TABLES')"
            )

    def _begin_on_sqlite(self, connection: Connection) -> None:
        """Take SQLite's write lock at once: taken later, it may be refused without waiting."""
        connection.connection.driver_connection.isolation_level = None  # type: ignore[union-attr]  # it has one
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {self._lock_seconds * 1000}")
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def pieces(items: Sequence[Item], size: int = _NAMES_AT_A_TIME) -> Iterator[Sequence[Item]]:
    """Yield a sequence in pieces: no statement may have any number of values."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def in_short(error: Exception) -> str:
    """Return the database's class of error and first line: what follows (DETAIL, the statement) may hold values."""
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {mask_phone_numbers((str(cause).splitlines() or [''])[0])}"


def _upsert_of(dialect: str, table: sa.Table) -> Any:
    """Return the statement that writes rows over those that are there, None if none is known for the dialect."""
    if dialect in ("mysql", "mariadb"):
        into_mysql = mysql.insert(table)
        return into_mysql.on_duplicate_key_update(_changes(table, into_mysql.inserted))
    if dialect in ("postgresql", "duckdb"):
        into_postgres = postgresql.insert(table)
        changes = _changes(table, into_postgres.excluded, is_text=dialect == "duckdb")
        return into_postgres.on_conflict_do_update(index_elements=list(KEY), set_=changes)
    if dialect == "sqlite":
        into_sqlite = sqlite.insert(table)
        return into_sqlite.on_conflict_do_update(index_elements=list(KEY), set_=_changes(table, into_sqlite.excluded))
    return None


def _changes(table: sa.Table, new: Any, *, is_text: bool = False) -> Values:
    """Return what an upsert sets; ``is_text``: new values come as text, whatever the column's type."""
    # MySQL sets one column after the other: this comes to the same after the outcome is set, which is the first.
    # Its words are literals, since not every driver takes parameters there.
    words: dict[str, Any] = {outcome: sa.literal_column(f"'{outcome}'") for outcome in (Outcome.UNKNOWN.value, *_SAID)}
    said = [table.columns.outcome == words[outcome] for outcome in _SAID]
    is_known = sa.and_(new["outcome"] == words[Outcome.UNKNOWN.value], sa.or_(*said))

    def of(column: sa.Column[Any]) -> Any:
        its = sa.cast(new[column.name], column.type) if is_text else new[column.name]
        if column.name in _SAID_COLUMNS:
            return sa.case((is_known, column), else_=its)
        return sa.func.coalesce(its, column) if column.name in _KEPT else its

    return {
        column.name: of(column)
        for column in table.columns
        if column.name not in KEY and column.name not in DELIVERY_COLUMNS
    }


def _merged(there: Mapping[Any, Any], new: Values) -> Values:
    """Return what an upsert makes of a row."""
    deliveries = {name: there.get(name) for name in DELIVERY_COLUMNS}
    kept = {name: there.get(name) for name in _KEPT if new[name] is None}
    is_known = new["outcome"] == Outcome.UNKNOWN.value and there.get("outcome") in _SAID
    said = {name: there.get(name) for name in _SAID_COLUMNS if is_known}
    return {**new, **deliveries, **kept, **said}
