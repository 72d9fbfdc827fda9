"""Whom the crash tests survey, and what is to become of them."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import NamedTuple

ROWS = 50_000


class Outcome(NamedTuple):
    """What is to become of the first rows."""

    rows_read: int
    accepted: frozenset[str]
    rejected_count: int
    invalid_count: int
    duplicate_count: int


def make_people(file: Path) -> Path:
    """Make a database with one table: of each thousand rows one is invalid, one a duplicate, one rejected by 8x8."""
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE people (order_nr INTEGER, destination TEXT, first_name TEXT)")
        database.executemany("INSERT INTO people VALUES (?, ?, ?)", map(_row, range(1, ROWS + 1)))
    database.close()
    return file


def outcome(rows: int = ROWS) -> Outcome:
    """Return what is to become of the first rows of the table."""
    thousands = rows // 1_000
    accepted = frozenset(_digits(n) for n in range(1, rows + 1) if n % 1_000 not in (7, 8, 9))
    return Outcome(rows, accepted, thousands, thousands, thousands)


def _row(number: int) -> tuple[int, str, str]:
    match number % 1_000:
        case 7:
            return number, "0412345678", "Invalid"  # no country
        case 8:
            return number - 2, f"+{_digits(number - 2)}", "Duplicate"
        case 9:
            return number, f"+210{number:08}", "Rejected"  # a calling code that no country has
    return number, f"+{_digits(number)}", "Zoë"


def _digits(number: int) -> str:
    return f"1202{5_000_000 + number}"
