"""
Rows, as a source gives them: others each time, or in another order; invalid ones, and twice the same.

Each row brings in its column ``k`` what makes it unique, which goes into the text: so the simulated 8x8 can tell row
keys apart without the code under test.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from zlib import crc32

from tests.simulation.worlds import START, Process, World


class Kind(StrEnum):
    """How rows are told apart."""

    DESTINATION = "by destination"
    OWN_IDS = "by client_message_id"
    OWN_IDS_BESIDE = "by destination, with a client_message_id of their own"
    COLUMN = "by a column"


UNIQUE_BY = {Kind.OWN_IDS_BESIDE: "destination", Kind.COLUMN: "customer"}
"""The sender's ``unique_by``, where it is not the default."""


def row(kind: Kind, number: int) -> dict[str, Any]:
    """Return a valid row."""
    destination = f"+1202555{number:04d}"
    if kind is Kind.OWN_IDS:
        return {"destination": destination, "client_message_id": f"m{number}", "k": f"m{number}"}
    if kind is Kind.OWN_IDS_BESIDE:
        return {"destination": destination, "client_message_id": f"own-{number}", "k": destination[1:]}
    if kind is Kind.COLUMN:
        return {"destination": destination, "customer": f"c{number}", "k": f"c{number}"}
    return {"destination": destination, "k": destination[1:]}


def key(kind: Kind, number: int) -> str:
    """Return a valid row's ``k``."""
    return str(row(kind, number)["k"])


def invalid_row(kind: Kind, number: int) -> dict[str, Any]:
    """Return a row that cannot be sent; where it is not told apart by its number, it may be that of a valid one."""
    return {**row(kind, number), "destination": "0412345678", "k": "invalid"}


def key_of_invalid(kind: Kind, invalid: dict[str, Any]) -> str | None:
    """Return the ``k`` of the valid row with the row key of an invalid one, None where it has none."""
    column = {Kind.OWN_IDS: "client_message_id", Kind.COLUMN: "customer"}.get(kind)
    return None if column is None else str(invalid[column])


def expiry(of: dict[str, Any]) -> float:
    """Return until when a row's message may go out, where rows bring such times: always the same for one row."""
    return START + crc32(str(of["destination"]).encode()) % 2_000


@dataclass(slots=True)
class Table:
    """What a query gives, just now."""

    world: World
    kind: Kind
    pool: int
    """Valid rows come from this many."""
    faults: float = 0.0
    knows_columns: bool = True
    has_times: bool = False
    """Each row brings a time of its own, until when its message may go out."""
    rows: list[dict[str, Any]] = field(default_factory=list)

    def change(self) -> None:
        """Add, remove and reorder rows."""
        chance = self.world.random
        for _ in range(chance.randrange(4)):
            roll = chance.random()
            if roll < 0.3 and len(self.rows) > 1:
                self.rows.pop(chance.randrange(len(self.rows)))
            elif roll < 0.6:
                self.rows.insert(chance.randrange(len(self.rows) + 1), row(self.kind, chance.randrange(self.pool)))
            elif roll < 0.75:
                self.rows.append(invalid_row(self.kind, chance.randrange(self.pool)))
            else:
                chance.shuffle(self.rows)

    @property
    def valid_keys(self) -> set[str]:
        """The row keys that are to be sent."""
        return {each["k"] for each in self.rows if each["k"] != "invalid"}


class Source:
    """
    The query, as one try runs it: each pass begins anew. If it knows its columns, its rows are plain values.

    :param on_query: called at the beginning of each pass
    """

    def __init__(self, process: Process, table: Table, on_query: Callable[[], None]) -> None:
        self._process = process
        self._table = table
        self._on_query = on_query
        self.columns: list[str] | None = None
        self.last_pass: list[dict[str, Any]] = []
        """What the last pass has given so far."""

    def __iter__(self) -> Generator[Any, None, None]:
        self._process.touch("source: query")
        self._on_query()
        self.last_pass = []
        rows = list(self._table.rows)
        if self._table.knows_columns and rows:
            self.columns = list(rows[0])
            if self._table.has_times:
                self.columns.append("expiry")
        for each in rows:
            self._process.touch("source: row")
            if self._table.world.happens(self._table.faults):
                raise ConnectionError("the warehouse went away")
            self.last_pass.append(each)
            given = {**each, "expiry": datetime.fromtimestamp(expiry(each), UTC)} if self._table.has_times else each
            yield given if self.columns is None else tuple(given.values())
