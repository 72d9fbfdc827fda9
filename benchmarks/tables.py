"""The same rows in PostgreSQL and in DuckDB."""

from __future__ import annotations

import contextlib
import csv
from collections import Counter
from pathlib import Path

import msgspec
import psycopg2

from benchmarks.people import Person, Trouble, make_people

_COLUMNS = "order_nr BIGINT, phone VARCHAR, first_name VARCHAR"


class Table(msgspec.Struct, frozen=True):
    """
    A table of people.

    :ivar rows: how many, all in all
    :ivar without_number: of them
    :ivar invalid: of them, those without a number included
    :ivar duplicate: of them
    """

    rows: int
    without_number: int
    invalid: int
    duplicate: int

    @property
    def name(self) -> str:
        return f"orders_{self.rows}"

    @property
    def select(self) -> str:
        """The query of all contenders."""
        return f'SELECT phone AS destination, first_name AS "firstName", order_nr FROM {self.name}'

    @property
    def sendable(self) -> int:
        """How many surveys are to go out."""
        return self.rows - self.invalid - self.duplicate


def make_table(rows: int, postgres_uri: str, folder: Path, duckdb_file: Path | None = None) -> Table:
    """
    Make a table of people in PostgreSQL and, if its file is given, in DuckDB.

    :param folder: for a file in between
    """
    file = folder / f"{rows}.csv"
    try:
        table = _write_csv(rows, file)
        _copy_to_postgres(table, file, postgres_uri)
        if duckdb_file is not None:
            _copy_to_duckdb(table, file, duckdb_file)
    finally:
        file.unlink(missing_ok=True)
    return table


def _write_csv(rows: int, file: Path) -> Table:
    troubles: Counter[Trouble | None] = Counter()

    def counted(person: Person) -> tuple[object, ...]:
        troubles[person.trouble] += 1
        return person[:3]

    with file.open("w", encoding="utf-8", newline="") as output:
        csv.writer(output).writerows(map(counted, make_people(rows)))
    nulls = troubles["null"]
    return Table(rows, nulls, nulls + troubles["invalid"], troubles["duplicate"])


def _copy_to_postgres(table: Table, file: Path, uri: str) -> None:
    with contextlib.closing(psycopg2.connect(uri)) as connection, file.open("rb") as rows:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(f"CREATE TABLE {table.name} ({_COLUMNS})")
        cursor.copy_expert(f"COPY {table.name} FROM STDIN (FORMAT csv)", rows)
        cursor.execute(f"VACUUM (ANALYZE, FREEZE) {table.name}")  # else the first who reads it would do part of this
        cursor.execute("CHECKPOINT")


def _copy_to_duckdb(table: Table, file: Path, duckdb_file: Path) -> None:
    import duckdb

    columns = dict(column.split() for column in _COLUMNS.split(", "))
    with duckdb.connect(duckdb_file) as connection:
        connection.execute(
            f"CREATE TABLE {table.name} AS SELECT * FROM read_csv(?, columns = {columns}, header = false)", [str(file)]
        )
