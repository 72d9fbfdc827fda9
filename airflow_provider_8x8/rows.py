"""Rows from XCom or the DAG file, and rows from SQL."""

from __future__ import annotations

import logging
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from airflow_provider_8x8.surveys.builder import ColumnsError

if TYPE_CHECKING:
    from airflow.providers.common.sql.hooks.sql import DbApiHook
    from sqlalchemy.engine import CursorResult, Engine

_ROWS_AT_A_TIME = 5_000
_LOGGING_NAME = "airflow_provider_8x8"


class GivenRows:
    """
    Rows that are at hand: mappings, or lists of them as mapped tasks give them.

    Airflow renders no Jinja in it, since it does not know the class, and shows its repr, which holds no row.

    :raises TypeError: these are not rows
    """

    columns: Collection[str] | None = None

    def __init__(self, rows: Any) -> None:
        if isinstance(rows, str | bytes | Mapping) or not isinstance(rows, Iterable):
            raise TypeError(
                f"rows is of type {type(rows).__name__}; expected a list of mappings, such as a task's output "
                "(give the output itself, or render text with render_template_as_native_obj)"
            )
        self._rows = rows

    def __iter__(self) -> Generator[Any, None, None]:
        return _flat(self._rows)

    def __repr__(self) -> str:
        if isinstance(self._rows, list | tuple):
            return f"<{sum(1 for _ in self)} rows>"
        return "<rows of mapped tasks>"


def _flat(rows: Iterable[Any]) -> Generator[Any, None, None]:
    for row in rows:
        if _holds_rows(row):
            yield from _flat(row)
        else:
            yield row


def _holds_rows(row: Any) -> bool:
    """Tell a list of rows from a row that is not a mapping: that one is invalid, and must count once."""
    return isinstance(row, list | tuple) and all(isinstance(item, Mapping | list | tuple) for item in row)


class SqlRows:
    """
    The rows of a query as their values, read as a stream; every pass runs the query anew, and nothing is committed.

    A server-side cursor is used where the driver has one, by way of SQLAlchemy; else the hook's own connection and
    ``fetchmany``, which for some drivers means that the driver holds the whole result.

    :param hook: the database
    :param sql: one statement that returns rows
    :param parameters: bound in the driver's own style
    """

    def __init__(self, hook: DbApiHook, sql: str, parameters: Mapping[str, Any] | Sequence[Any] | None = None) -> None:
        self._hook = hook
        self._sql = sql
        self._parameters: Any = tuple(parameters) if isinstance(parameters, list) else parameters
        self.columns: Collection[str] | None = None

    def __iter__(self) -> Generator[Sequence[Any], None, None]:
        engine = _streaming_engine(self._hook)
        chunks = self._from_hook() if engine is None else self._from_engine(engine)
        with closing(chunks):
            self.columns = _checked_columns(next(chunks))
            for chunk in chunks:
                yield from chunk

    def _from_engine(self, engine: Engine) -> Generator[Any, None, None]:
        """Yield the column names, then lists of rows."""
        # Without parameters a % in the statement is just a %, as in SQLExecuteQueryOperator.
        options = {
            "stream_results": True,
            "no_parameters": not self._parameters,
        }
        try:
            with engine.connect() as connection:
                streaming = connection.execution_options(**options)
                with closing(streaming.exec_driver_sql(self._sql, self._parameters or None)) as result:
                    yield list(result.keys()) if result.returns_rows else []
                    yield from _chunks(result)
        finally:
            engine.dispose()

    def _from_hook(self) -> Generator[Any, None, None]:
        """Yield the column names, then lists of rows."""
        with closing(self._hook.get_conn()) as connection, closing(connection.cursor()) as cursor:
            if self._parameters:
                cursor.execute(self._sql, self._parameters)
            else:
                cursor.execute(self._sql)
            yield [column[0] for column in cursor.description or ()]
            while chunk := cursor.fetchmany(_ROWS_AT_A_TIME):
                yield chunk


def _chunks(result: CursorResult[Any]) -> Generator[Sequence[Any], None, None]:
    """
    Yield a result's rows, some at a time.

    From the second time on from the driver's own cursor: SQLAlchemy's rows cost six times as much to fetch. It has read
    ahead what was in the first chunk; if the cursor's own count does not say that this was all, it is left to go on.
    """
    first = result.fetchmany(_ROWS_AT_A_TIME)
    yield first
    cursor = result.cursor
    is_read_up_to_here = first and getattr(cursor, "rownumber", None) == len(first)
    source = cursor if cursor is not None and is_read_up_to_here else result
    while chunk := source.fetchmany(_ROWS_AT_A_TIME):
        yield chunk


def _checked_columns(columns: list[str]) -> list[str]:
    if not columns:
        raise ColumnsError("the statement returns no rows; expected a SELECT")
    if repeated := sorted({name for name in columns if columns.count(name) > 1}):
        raise ColumnsError(f"the query returns more than one column named {', '.join(repeated)}; rename one")
    return columns


def _streaming_engine(hook: DbApiHook) -> Engine | None:
    """Return an engine whose driver has server-side cursors, or None."""
    try:
        engine = hook.get_sqlalchemy_engine(engine_kwargs={"logging_name": _LOGGING_NAME, "hide_parameters": True})
    except Exception:  # noqa: BLE001
        # No SQLAlchemy, no dialect for this database, or no URI: each hook says it in its own way, and none of it
        # matters, since the hook's own connection is always there.
        return None
    # At DEBUG level SQLAlchemy logs every row that it reads.
    logging.getLogger(f"sqlalchemy.engine.Engine.{_LOGGING_NAME}").setLevel(logging.WARNING)
    if engine.dialect.supports_server_side_cursors:
        return engine
    engine.dispose()
    return None
