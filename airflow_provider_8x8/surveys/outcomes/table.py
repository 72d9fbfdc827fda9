"""
The outcomes of a task instance's rows in a table of the warehouse, one row for each.

A row that is in a batch is known by its batch and its row key, whichever try writes it; one that is in none by its
number in the last reading of the source. So whatever is written twice is there once.

While batches are sent, a warehouse that does not answer or is locked holds nothing up: what is to be written is kept,
and written in the same order later, at the end of the reading at the latest.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from hashlib import blake2b
from types import TracebackType
from typing import Any, NamedTuple, Self

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from airflow_provider_8x8.api.masking import quotable
from airflow_provider_8x8.api.models import LogLine
from airflow_provider_8x8.surveys.clock import Clock
from airflow_provider_8x8.surveys.journal.entries import Entry, EntryState
from airflow_provider_8x8.surveys.journal.errors import SupersededError
from airflow_provider_8x8.surveys.messages.row_keys import RowKeys, unpack
from airflow_provider_8x8.surveys.messages.row_message import InvalidRowError, RowMessage
from airflow_provider_8x8.surveys.messages.texts import Texts
from airflow_provider_8x8.surveys.outcomes.lines import (
    BatchLines,
    ReportLine,
    lines_of_journal,
    outcomes_of,
    settled_lines,
)
from airflow_provider_8x8.surveys.outcomes.outcome import Outcome
from airflow_provider_8x8.surveys.outcomes.sinks import SinkError
from airflow_provider_8x8.surveys.outcomes.table_columns import LONGEST, Values
from airflow_provider_8x8.surveys.outcomes.table_database import TableDatabase, pieces, utc

log = logging.getLogger(__name__)

_MOST_KEPT = 200_000
"""Rows that are kept for a warehouse that does not take them, before sending waits for it."""

_NEXT_ATTEMPT = 10.0
"""Seconds after which it is tried again while batches are sent."""

_ROWS_AT_A_TIME = 1_000
_WRITTEN = "be written"


class TaskInstanceName(NamedTuple):
    """A task instance, as Airflow names it."""

    dag_id: str
    task_id: str
    run_id: str
    map_index: int


class _Known(NamedTuple):
    """What the source says of a row that is in a batch of before."""

    row_number: int
    row_key: str | None
    client_message_id: str | None
    parts: int | None

    def __repr__(self) -> str:
        return f"<_Known {self.row_number}>"  # the value that makes a row unique may be its phone number


@dataclass(slots=True)
class _There:
    """
    What is there of a batch.

    :ivar outcomes: how many rows have each
    :ivar numbered: how many rows have their number in the source
    :ivar with_code: how many have 8x8's code, which its answers and its logs give
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    numbered: int = 0
    with_code: int = 0

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self.outcomes.total()

    def is_as_settled(self, entry: Entry) -> bool:
        """Tell whether the outcomes are those of a sent entry, and not known from the journal alone."""
        return self.outcomes == outcomes_of(entry) and (self.with_code > 0 or entry.batch_id is None)


_NOTHING = _There()


class OutcomeTable:
    """
    Writes what becomes of one task instance's rows; see :class:`~airflow_provider_8x8.surveys.outcomes.sinks.Sink`.

    :param database: the table
    :param campaign_id: the rows' campaign
    :param task: whose rows they are
    :param run: the same task instance, as the journal names it
    :param texts: tell how many parts a message takes
    :param clock: tells the time
    """

    def __init__(
        self,
        database: TableDatabase,
        campaign_id: str,
        task: TaskInstanceName,
        run: str,
        *,
        texts: Texts,
        clock: Clock,
    ) -> None:
        self._database = database
        self._run = run
        self._texts = texts
        self._clock = clock
        self._common: Values = {"campaign_id": campaign_id, **task._asdict()}
        named = "\0".join(map(str, task))  # not by the campaign, which may be another one in the next try
        self._owner = f"rows {blake2b(named.encode(), digest_size=16).hexdigest()}"
        self._is_reading = False
        self._forgets_rows = False
        self._rows: list[Values] = []
        self._kept: deque[tuple[Callable[[Connection], Any], int]] = deque()
        self._not_before = 0.0
        self._lacking: set[str] = set()
        self._known: dict[str, dict[bytes, _Known]] = {}

    def __enter__(self) -> Self:
        # Before anything is sent: a table that cannot be written shows now.
        try:
            self._database.prepare(self._common)
        except BaseException:
            self._database.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if isinstance(error, SupersededError):
                self._write_kept()  # the rows that are in no batch are those of the newest try's reading
            elif error is None or isinstance(error, Exception):
                self.end_reading()
        except SinkError as failure:
            if error is None:
                raise
            log.warning("%s", failure)  # what ends the task matters more
        finally:
            self._database.close()

    def compare(self, own: Sequence[Entry]) -> set[str]:
        """Hold the table against the journal."""
        there = self._there(own)
        lacking = set()
        for entry in own:
            name = entry.client_batch_id
            its = there.get(name, _NOTHING)
            if not entry.is_in_effect:
                if its.rows:
                    self.take_back_batch(name, with_rows=False)
                continue
            if not its.rows or its.numbered < its.rows:
                self._lacking.add(name)
            if entry.state is EntryState.SENT:
                if not its.is_as_settled(entry):
                    lacking.add(name)
            elif entry.state is EntryState.ASSUMED_SENT and its.outcomes != outcomes_of(entry):
                self._write_settled(entry, {})
        return lacking

    def forget_rows(self) -> None:
        """
        Delete the rows that are in no batch, with the first that is written of this reading.

        Not before: a process that stood still may only find out then that there is a newer try, whose rows they are.
        """
        self._is_reading = self._forgets_rows = True
        self._rows = []

    def write_row(self, line: ReportLine) -> None:
        """Write a row that is in no batch, with others."""
        self._rows.append(self._values(self._owner, str(line.row_number), line))
        if len(self._rows) == _ROWS_AT_A_TIME:
            self._write_rows()

    def note_own(self, row: RowMessage | InvalidRowError, client_batch_id: str) -> None:
        """Keep what is known of a row that was written without it, or will be."""
        if client_batch_id not in self._lacking or row.row_key is None:
            return
        parts = self._texts.parts_of([row.message])[0] if isinstance(row, RowMessage) else None
        known = _Known(row.number, row.unique_value, row.client_message_id, parts)
        self._known.setdefault(client_batch_id, {})[row.row_key] = known

    def end_reading(self) -> None:
        """Write all that is left, and wait for the warehouse if need be."""
        self._write_rows()
        self._forget_rows()
        for client_batch_id, rows in self._known.items():
            self._submit(partial(self._complete, client_batch_id, dict(rows)), len(rows))
        self._is_reading = False
        self._write_kept()

    def write_answers(self, entry: Entry, lines: BatchLines) -> None:
        """Write a batch."""
        parts = self._texts.parts_of(lines.rows.messages)
        self._submit_batch(entry, zip(lines.rows.row_keys, lines, parts, strict=True))

    def has_as_settled(self, entry: Entry) -> bool:
        """Tell whether a sent batch is there with the outcomes that the journal has."""
        return self._there([entry]).get(entry.client_batch_id, _NOTHING).is_as_settled(entry)

    def write_batch_from_journal(self, entry: Entry, row_keys: RowKeys) -> None:
        """Write a batch as far as the journal knows it, unless its rows have these outcomes; umids can follow."""
        if self._there([entry]).get(entry.client_batch_id, _NOTHING).outcomes != outcomes_of(entry):
            self.write_batch_from_logs(entry, {}, row_keys)

    def write_batch_from_logs(self, entry: Entry, found: Mapping[bytes, LogLine], row_keys: RowKeys) -> None:
        """
        Write a batch as the journal and 8x8's logs have it; what the table knows of its rows beside that stays.

        Another run's batch is left to that run: its rows would stand here as this one's.
        """
        if entry.task_instance != self._run:
            return
        if entry.client_batch_id not in self._known and not self._there([entry]):
            self._lacking.add(entry.client_batch_id)
        self._write_settled(entry, found)

    def take_back_batch(self, client_batch_id: str, *, with_rows: bool) -> None:
        """Delete a batch; with its rows as far as the table knows their numbers."""
        known = self._known.pop(client_batch_id, {}) if with_rows else {}
        self._submit(partial(self._take_back, client_batch_id, known, with_rows=with_rows), 0)

    # what is written

    def _write_settled(self, entry: Entry, found: Mapping[bytes, LogLine]) -> None:
        lines = settled_lines(entry, found, lines_of_journal(entry, found))
        known = self._known.get(entry.client_batch_id, {})
        for row_key in known.keys() & lines.keys():
            its, line = known[row_key], lines[row_key]
            line.row_number, line.row_key = its.row_number, its.row_key
            line.client_message_id = its.client_message_id or line.client_message_id
        if entry.resent_keys:
            of_others = [row_key.hex() for row_key in unpack(entry.resent_keys)]
            self._submit(partial(self._delete, entry.client_batch_id, of_others), 0)
        parts = ((row_key, line, known[row_key].parts if row_key in known else None) for row_key, line in lines.items())
        self._submit_batch(entry, parts)

    def _submit_batch(self, entry: Entry, lines: Iterable[tuple[bytes, ReportLine, int | None]]) -> None:
        of_batch = {"client_batch_id": entry.client_batch_id, "sent_at": utc(entry.begun)}
        values = [
            self._values(entry.client_batch_id, row_key.hex(), line) | of_batch | {"parts": parts}
            for row_key, line, parts in lines
        ]
        self._submit(lambda connection: self._database.write(connection, values), len(values))

    def _write_rows(self) -> None:
        if not self._rows:
            return
        rows, self._rows = self._rows, []
        self._submit(lambda connection: self._database.write(connection, rows), len(rows))

    def _values(self, owner: str, row_id: str, line: ReportLine) -> Values:
        return {
            **self._common,
            "owner": owner,
            "row_id": row_id,
            "source_row": line.row_number,
            "row_key": _storable(line.row_key),
            "client_message_id": _storable(line.client_message_id),
            "outcome": line.outcome.value,
            # 8x8's words may quote the number, and be of any length.
            "code": None if line.code is None else _storable(_words(str(line.code))[: LONGEST["code"]]),
            "description": line.description and _storable(_words(line.description)),
            "batch_id": line.batch_id,
            "client_batch_id": None,
            "umid": line.umid,
            "parts": None,
            "sent_at": None,
            "updated_at": utc(self._clock.now()),
        }

    # transactions

    def _complete(self, client_batch_id: str, rows: Mapping[bytes, _Known], connection: Connection) -> None:
        """Add to a batch's rows what the source says of them, where they are there without it."""
        table, columns = self._database.table, self._database.table.columns
        update = (
            sa.update(table)
            .where(columns.owner == client_batch_id, columns.row_id == sa.bindparam("of_row"))
            .values(
                source_row=sa.bindparam("number"),
                row_key=sa.bindparam("key"),
                client_message_id=sa.func.coalesce(columns.client_message_id, sa.bindparam("message_id")),
                parts=sa.bindparam("sms_parts"),
            )
        )
        lacking = sa.select(columns.row_id).where(columns.owner == client_batch_id, columns.source_row.is_(None))
        ids = set(connection.execute(lacking).scalars())
        given = [
            {
                "of_row": row_key.hex(),
                "number": its.row_number,
                "key": _storable(its.row_key),
                "message_id": its.client_message_id,
                "sms_parts": its.parts,
            }
            for row_key, its in rows.items()
            if row_key.hex() in ids
        ]
        if given:
            connection.execute(update, given)

    def _take_back(
        self, client_batch_id: str, known: Mapping[bytes, _Known], connection: Connection, *, with_rows: bool
    ) -> None:
        table, columns = self._database.table, self._database.table.columns
        of_batch = columns.owner == client_batch_id
        if with_rows:
            there = connection.execute(
                sa.select(columns.row_id, columns.source_row, columns.row_key, columns.client_message_id).where(
                    of_batch
                )
            ).all()
            lines = {
                row.row_id: ReportLine(row.source_row, Outcome.NOT_SENT, row.row_key, row.client_message_id)
                for row in there
            }
            for row_key, its in known.items():
                lines[row_key.hex()] = ReportLine(its.row_number, Outcome.NOT_SENT, its.row_key, its.client_message_id)
            rows = [
                # By the row key: the row's number may be another row's in the reading of now.
                self._values(self._owner, row_id, line)
                for row_id, line in lines.items()
                if line.row_number is not None
            ]
            if rows:
                self._database.write(connection, rows)
        connection.execute(sa.delete(table).where(of_batch))

    def _delete(self, client_batch_id: str, row_ids: Sequence[str], connection: Connection) -> None:
        table, columns = self._database.table, self._database.table.columns
        for ids in pieces(row_ids):
            connection.execute(sa.delete(table).where(columns.owner == client_batch_id, columns.row_id.in_(ids)))

    def _count(self, own: Sequence[Entry], connection: Connection) -> dict[str, _There]:
        columns = self._database.table.columns
        there: defaultdict[str, _There] = defaultdict(_There)
        for names in pieces([entry.client_batch_id for entry in own]):
            counted = (
                sa.select(
                    columns.owner,
                    columns.outcome,
                    sa.func.count(),
                    sa.func.count(columns.source_row),
                    sa.func.count(columns.code),
                )
                .where(columns.owner.in_(names))
                .group_by(columns.owner, columns.outcome)
            )
            for name, outcome, rows, numbered, with_code in connection.execute(counted).all():
                there[name].outcomes[outcome] = rows
                there[name].numbered += numbered
                there[name].with_code += with_code
        return there

    def _there(self, own: Sequence[Entry]) -> dict[str, _There]:
        """Return what is there of batches, by client batch id; without those of which nothing is."""
        self._write_kept()
        return self._database.run(partial(self._count, own), "be read")

    # when it is written

    def _forget_rows(self) -> None:
        if self._forgets_rows:
            self._forgets_rows = False
            table = self._database.table
            own = sa.delete(table).where(table.columns.owner == self._owner)
            self._submit(lambda connection: connection.execute(own), 0)

    def _submit(self, work: Callable[[Connection], Any], rows: int) -> None:
        """Write something, after all that was to be written before."""
        self._forget_rows()
        self._kept.append((work, rows))
        if not self._is_reading or sum(kept for _, kept in self._kept) > _MOST_KEPT:
            self._write_kept()
        elif time.monotonic() >= self._not_before:
            self._attempt_kept()

    def _write_kept(self) -> None:
        while self._kept:
            self._database.run(self._kept[0][0], _WRITTEN)
            self._kept.popleft()

    def _attempt_kept(self) -> None:
        while self._kept:
            problem = self._database.attempt(self._kept[0][0])
            if problem is not None:
                if not self._not_before:
                    log.warning("%s is written later, since it cannot be just now: %s", self._database, problem)
                self._not_before = time.monotonic() + _NEXT_ATTEMPT
                return
            self._kept.popleft()


# 8x8 says the same of nearly all rows, and to look for numbers in it takes some ten microseconds.
_words = lru_cache(256)(quotable)


def _storable(text: str | None) -> str | None:
    """Return a text without what some databases take in none."""
    if text is None or (text.isascii() and "\0" not in text):
        return text
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
