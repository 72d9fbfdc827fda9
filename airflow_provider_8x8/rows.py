"""Rows from XCom or the DAG file, rows of a function, and rows from SQL."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from itertools import islice
from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException

from airflow_provider_8x8.api.masking import mask_phone_numbers, where_raised
from airflow_provider_8x8.databases import Database, driver_of, server_side_cursor
from airflow_provider_8x8.surveys.messages.builder import ColumnsError, SourceError

log = logging.getLogger(__name__)

_EXPECTED = "expected mappings, or lists of them and of nothing else"
_OF_TABLES = (
    "; of a DataFrame give its rows as mappings: df.to_dict('records') in pandas, df.to_dicts() in polars, "
    "table.to_pylist() in pyarrow"
)
_TABLES = ("__dataframe__", "__arrow_c_stream__", "__arrow_c_array__")
"""By these protocols DataFrames are read, whoever's they are; columns that stand alone know some of them, too."""

_ROWS_AT_A_TIME = 5_000
_MAX_KEPT_ROWS = 1_000_000


class GivenRows:
    """
    Rows that are at hand: mappings, or lists of them as mapped tasks give them; None is no rows.

    Every pass begins anew; the rows of an iterator are kept for that, at most 1,000,000.

    Airflow does not know the class: so it renders no Jinja in it, and shows its repr, which holds no row.

    :param rows: mappings, or lists of them; None is no rows
    :raises TypeError: these are not rows
    :raises SourceError: among those of a list is something that may hold any number of them
    """

    columns: Collection[str] | None = None

    def __init__(self, rows: Any) -> None:
        if not _may_be_rows(rows):
            hint = (
                _OF_TABLES
                if _is_table(rows)
                else " (give the output itself, or render text with render_template_as_native_obj)"
            )
            raise TypeError(
                f"rows is of type {type(rows).__name__}; expected a list of mappings, such as a task's output{hint}"
            )
        self._rows: Iterable[Any]
        if rows is None:
            self._rows = ()
        else:
            self._rows = _KeptRows(rows) if isinstance(rows, Iterator) else rows
        self._count = sum(1 for _ in self) if isinstance(rows, list | tuple) else None

    def __iter__(self) -> Generator[Any, None, None]:
        with _endings_as_errors():
            yield from _flat(self._rows)

    def __repr__(self) -> str:
        if self._count is not None:
            return f"<{self._count} rows>"
        return "<rows of an iterator>" if isinstance(self._rows, _KeptRows) else "<rows of mapped tasks>"


class _KeptRows:
    """
    The rows of an iterator, which gives them only once: all are read when the first is asked for, and kept.

    :raises ValueError: when they are read: there are more than may be kept
    """

    def __init__(self, rows: Iterator[Any]) -> None:
        self._iterator = rows
        self._rows: list[Any] | None = None
        self._failure: Exception | None = None

    def __iter__(self) -> Iterator[Any]:
        if self._failure is not None:
            raise self._failure  # asked again, an iterator that has failed looks as if it had come to its end
        if self._rows is None:
            try:
                self._rows = self._read()
            except Exception as error:
                self._failure = error
                raise
        return iter(self._rows)

    def _read(self) -> list[Any]:
        rows = list(islice(self._iterator, _MAX_KEPT_ROWS + 1))
        if len(rows) > _MAX_KEPT_ROWS:
            raise ValueError(
                f"rows is an iterator of more than {_MAX_KEPT_ROWS:,} rows, which have to be kept for a second pass; "
                "give sql, which is read as a stream, or an object that can be iterated over more than once"
            )
        return rows


class FunctionRows:
    """
    The rows that a function returns or yields; every pass calls it anew, and what it yields is read as a stream.

    None is no rows. A None that it yields is an invalid row: what else it will yield is not known then.

    :param call: calls the function
    :param name: the function's, for people
    """

    columns: Collection[str] | None = None

    def __init__(self, call: Callable[[], Any], name: str) -> None:
        self._call = call
        self._name = name
        self._iterator: Iterator[Any] | None = None

    def __iter__(self) -> Generator[Any, None, None]:
        has_given = False
        try:
            with _endings_as_errors():
                rows = self._called()
                with closing(rows) if isinstance(rows, Generator) else nullcontext():
                    for row in _flat(rows, none_is_no_rows=False if isinstance(rows, Iterator) else None):
                        has_given = True
                        yield row
        except SourceError:
            raise
        except AirflowFailException as error:
            said = mask_phone_numbers(str(error))
            raise SourceError(f"{self._name}() has raised {type(error).__name__}: {said}") from None
        except AirflowSkipException as error:
            if has_given:
                raise
            log.info("%s: there are none: %s", self, mask_phone_numbers(str(error)))
        except Exception as error:
            # Its text stands, numbers masked, in what the task fails with.
            log.error("%s: %s at:\n%s", self, type(error).__name__, where_raised(error))
            raise

    def _called(self) -> Iterable[Any]:
        """
        Return what the function gives this time.

        :raises SourceError: these are no rows, or they were read before
        :raises Exception: what the function raises
        """
        rows = self._call()
        if not _may_be_rows(rows):
            raise SourceError(
                f"{self._name}() has returned a value of type {type(rows).__name__}; expected a list of mappings, or a "
                f"generator that yields them{_OF_TABLES if _is_table(rows) else ''}"
            )
        if isinstance(rows, Iterator):
            if rows is self._iterator:
                raise SourceError(
                    f"{self._name}() has returned the same iterator twice, which gives its rows only once; expected a "
                    "new one from each call"
                )
            self._iterator = rows
        return () if rows is None else rows

    def __repr__(self) -> str:
        return f"<rows of {self._name}()>"


@contextmanager
def _endings_as_errors() -> Iterator[None]:
    """
    Have what ends a process, such as ``sys.exit()``, end the source only: the result has to say what was sent, and to
    Airflow 2 an exit without a status is a success.

    What Airflow raises from outside in the midst of the source is none of the source's, nor is Ctrl-C.

    :raises RuntimeError: in place of what is no :class:`Exception`
    """
    try:
        yield
    except Exception:
        raise
    except BaseException as error:
        is_airflows = type(error).__module__.partition(".")[0] == "airflow"
        if is_airflows or isinstance(error, GeneratorExit | KeyboardInterrupt):
            raise
        raise RuntimeError(f"{type(error).__name__}: {error}").with_traceback(error.__traceback__) from None


def _may_be_rows(rows: Any) -> bool:
    if rows is None:
        return True
    return isinstance(rows, Iterable) and not (isinstance(rows, str | bytes | Mapping) or _is_table(rows))


def _is_table(value: Any) -> bool:
    """Tell whether a value is a DataFrame: what it gives one by one are its columns, not its rows."""
    return any(hasattr(value, protocol) for protocol in _TABLES) and hasattr(value, "columns")


def _flat(rows: Iterable[Any], none_is_no_rows: bool | None = None) -> Generator[Any, None, None]:
    """
    Yield each row of some, or of lists of them.

    :param none_is_no_rows: whether a None is the output of a task that had no rows; by default that is looked up
    :raises SourceError: among them is something that may hold any number of rows: it must not count as one
    """
    for row in rows:
        if isinstance(row, dict):  # as nearly all are
            yield row
            continue
        if row is None:
            if none_is_no_rows is None:
                none_is_no_rows = _is_outputs(rows)
            if none_is_no_rows:
                continue
        if _holds_rows(row):
            yield from _flat(row)
        elif _may_hold_rows(row):
            raise SourceError(
                f"among the rows is a value of type {type(row).__name__}, which may hold many; {_EXPECTED}"
                f"{_OF_TABLES if _is_table(row) else ''}"
            )
        else:
            yield row


def _holds_rows(row: Any) -> bool:
    """Tell a list of rows from a row that is not a mapping: that one is invalid, and must count once."""
    return isinstance(row, list | tuple) and all(
        isinstance(item, Mapping | list | tuple) or item is None for item in row
    )


def _may_hold_rows(row: Any) -> bool:
    """Tell what is no list of rows, and may hold some all the same, from a row that is not a mapping."""
    if isinstance(row, list | tuple):
        return any(isinstance(item, Mapping) or _may_hold_rows(item) for item in row)
    return not isinstance(row, str | bytes | Mapping) and (isinstance(row, Iterable) or _is_table(row))


def _is_outputs(rows: Iterable[Any]) -> bool:
    """Tell the outputs of several tasks, of which one may be None, from rows, of which None is an invalid one."""
    if isinstance(rows, list | tuple | _KeptRows):
        return all(row is None or _holds_rows(row) for row in rows)
    # Airflow hands the outputs of a mapped task over as a sequence of its own. Somebody else's object has rows: that is
    # not looked up in it, since it may be one that gives them only once.
    return type(rows).__module__.partition(".")[0] == "airflow"


class SqlRows:
    """
    The rows of a query as their values, read as a stream; every pass runs the query anew, and nothing is committed.

    A server-side cursor is used where the driver has one; else the driver's usual one and ``fetchmany``, which for some
    drivers means that the driver holds the whole result. The log says so once.

    :param database: where to run it
    :param sql: one statement that returns rows
    :param parameters: bound in the driver's own style
    """

    def __init__(
        self, database: Database, sql: str, parameters: Mapping[str, Any] | Sequence[Any] | None = None
    ) -> None:
        self._database = database
        self._sql = sql
        self._parameters: Any = tuple(parameters) if isinstance(parameters, list) else parameters
        self._has_said_how = False
        self.columns: Collection[str] | None = None

    @classmethod
    def from_connection(
        cls,
        sql_conn_id: str,
        sql: str,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        *,
        hook_params: Mapping[str, Any] | None = None,
    ) -> SqlRows:
        """
        Return the rows of a query in the database of an Airflow connection; nothing is opened yet.

        :param sql_conn_id: the connection
        :param hook_params: further arguments for the database's hook
        :raises TypeError: the connection is not a database's, or its hook does not know one of ``hook_params``
        :raises ValueError: there is no such connection, or its hook is not installed
        """
        return cls(Database(sql_conn_id, named_by="sql_conn_id", hook_params=hook_params), sql, parameters)

    def __iter__(self) -> Generator[Sequence[Any], None, None]:
        with closing(self._database.connect()) as connection, closing(self._cursor(connection)) as cursor:
            # Without parameters a % in the statement is just a %, as in SQLExecuteQueryOperator.
            cursor.execute(self._sql, *([self._parameters] if self._parameters else []))
            # psycopg2 does not tell a named cursor's columns before it has fetched.
            can_fetch = cursor.description or getattr(cursor, "name", None)
            chunk = cursor.fetchmany(_ROWS_AT_A_TIME) if can_fetch else []
            columns = _checked_columns([column[0] for column in cursor.description or ()])
            self.columns = columns
            while chunk:
                yield from _values(chunk, columns)
                chunk = cursor.fetchmany(_ROWS_AT_A_TIME)

    def _cursor(self, connection: Any) -> Any:
        cursor = server_side_cursor(connection)
        if cursor is not None:
            return cursor
        if not self._has_said_how:
            self._has_said_how = True
            log.info(
                "%s: no server-side cursor is known for %s; its usual cursor is read %s rows at a time, and how much "
                "of the result the driver holds in memory is up to it",
                self._database,
                driver_of(connection),
                _ROWS_AT_A_TIME,
            )
        return connection.cursor()


def _values(rows: Sequence[Any], columns: Sequence[str]) -> Iterable[Sequence[Any]]:
    """Return rows as their values in the columns' order: some cursors yield mappings, or objects of their own."""
    if isinstance(rows[0], tuple | list):
        return rows
    if isinstance(rows[0], Mapping):
        if missing := [column for column in columns if column not in rows[0]]:
            raise ColumnsError(f"the cursor yields mappings without the query's column {', '.join(missing)}")
        return ([row[column] for column in columns] for row in rows)
    return (tuple(row) for row in rows)


def _checked_columns(columns: list[str]) -> list[str]:
    if not columns:
        raise ColumnsError("the statement returns no rows; expected a SELECT")
    if repeated := sorted({name for name in columns if columns.count(name) > 1}):
        raise ColumnsError(f"the query returns more than one column named {', '.join(repeated)}; rename one")
    return columns
