"""What the sandbox has accepted, in SQLite: in memory, or in a file that survives a restart and a kill."""

from __future__ import annotations

import sqlite3
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

_FILE_NAME = "sandbox.sqlite3"
_LOG_PAGE = 5_000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS message (
    umid TEXT NOT NULL,
    batch_id TEXT,
    client_batch_id TEXT,
    client_message_id TEXT,
    survey_id TEXT NOT NULL,
    destination TEXT NOT NULL,
    country TEXT NOT NULL,
    source TEXT NOT NULL,
    text TEXT NOT NULL,
    encoding TEXT NOT NULL,
    parts INTEGER NOT NULL,
    rejection TEXT,
    scheduled TEXT,
    created_at TEXT NOT NULL,
    cancelled INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS message_umid ON message (umid);
CREATE INDEX IF NOT EXISTS message_accepted_keys ON message (client_message_id, cancelled)
    WHERE batch_id IS NOT NULL AND rejection IS NULL;
CREATE INDEX IF NOT EXISTS message_single ON message (rejection) WHERE batch_id IS NULL;
CREATE TABLE IF NOT EXISTS batch (
    batch_id TEXT NOT NULL,
    client_batch_id TEXT,
    survey_id TEXT NOT NULL,
    accepted INTEGER NOT NULL,
    rejected INTEGER NOT NULL,
    created_at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS log_export (
    job_id TEXT NOT NULL UNIQUE,
    token TEXT NOT NULL UNIQUE,
    created_from TEXT NOT NULL,
    created_to TEXT NOT NULL,
    phone_number TEXT,
    countries TEXT,
    max_rows INTEGER NOT NULL,
    last_message INTEGER NOT NULL,
    expires TEXT NOT NULL,
    polled INTEGER NOT NULL,
    cancelled INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS request (count INTEGER NOT NULL);
"""

_FORGET = "DELETE FROM message; DELETE FROM batch; DELETE FROM log_export; DELETE FROM request;"


class Message(NamedTuple):
    """One message, of a batch or of its own. Times are texts of :func:`~..wire.times.to_text`."""

    umid: str
    batch_id: str | None
    client_batch_id: str | None
    client_message_id: str | None
    survey_id: str
    destination: str
    country: str
    source: str
    text: str
    encoding: str
    parts: int
    rejection: str | None
    scheduled: str | None
    created_at: str
    cancelled: bool = False

    def state(self, now: str) -> str:
        """Tell where the message stands: ``rejected``, ``cancelled``, ``queued`` until its time, then ``delivered``."""
        if self.rejection is not None:
            return "rejected"
        if self.cancelled:
            return "cancelled"
        return "queued" if self.scheduled is not None and self.scheduled > now else "delivered"


class BatchRecord(NamedTuple):
    """One batch that was accepted."""

    batch_id: str
    client_batch_id: str | None
    survey_id: str
    accepted: int
    rejected: int
    created_at: str


class LogExport(NamedTuple):
    """A log export job: which messages it gives, and how often it was asked after."""

    job_id: str
    token: str
    created_from: str
    created_to: str
    phone_number: str | None
    countries: str | None
    """A JSON list."""
    max_rows: int
    """0: no limit."""
    last_message: int
    """The newest message that there was when the export was asked for."""
    expires: str
    polled: int = 0
    cancelled: bool = False


# The tables' columns stand in the order of these tuples' fields.
_INSERT_MESSAGE = "INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_INSERT_BATCH = "INSERT INTO batch VALUES (?, ?, ?, ?, ?, ?)"
_INSERT_LOG_EXPORT = "INSERT INTO log_export VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_LOG = """
SELECT umid, batch_id, client_batch_id, client_message_id, survey_id, destination, country, source, '' AS text,
    encoding, parts, rejection, scheduled, created_at, cancelled FROM message
WHERE rowid BETWEEN ? AND ? AND created_at BETWEEN ? AND ?
    AND (? IS NULL OR destination = ?) AND (? IS NULL OR country IN (SELECT value FROM json_each(?)))
ORDER BY rowid LIMIT ?
"""


class Store:
    """
    The sandbox's memory, safe to use from several threads.

    :param folder: where the file is, made if absent; without it everything is gone with the process
    :raises OSError: the folder cannot be made
    :raises sqlite3.Error: the file cannot be used
    """

    def __init__(self, folder: Path | None) -> None:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        path = ":memory:" if folder is None else folder / _FILE_NAME
        self._connection = sqlite3.connect(path, check_same_thread=False)
        # A committed transaction survives the death of the process; that of the machine is not the sandbox's business.
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(_SCHEMA)
        self.changes = 0
        """How often something was written."""
        self.rewritten = 0
        """How often something was written over what had been there."""

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Give the store to one caller for a moment; everybody else waits."""
        with self._lock, self._connection:
            yield self._connection

    @contextmanager
    def _change(self, *, over: bool = False) -> Iterator[sqlite3.Connection]:
        with self.transaction() as connection:
            self.changes += 1
            self.rewritten += over
            yield connection

    def close(self) -> None:
        """Close the file. Nothing can be asked afterwards."""
        with self._lock:
            self._connection.close()

    def forget(self) -> None:
        """Forget every message, batch, job and count."""
        with self._change(over=True) as connection:
            connection.executescript(f"BEGIN; {_FORGET}")

    def count_request(self) -> None:
        """Count a batch POST, whatever becomes of it."""
        with self._change() as connection:
            if connection.execute("UPDATE request SET count = count + 1").rowcount == 0:
                connection.execute("INSERT INTO request VALUES (1)")

    def add_batch(self, batch: BatchRecord, messages: Sequence[Message]) -> None:
        """Keep a batch and all its messages, or nothing of it."""
        with self._change() as connection:
            connection.execute(_INSERT_BATCH, batch)
            connection.executemany(_INSERT_MESSAGE, messages)

    def add_single(self, message: Message) -> None:
        """Keep a message of its own."""
        with self._change() as connection:
            connection.execute(_INSERT_MESSAGE, message)

    def message(self, umid: str) -> Message | None:
        """Return one message, None if there is none."""
        found = self._messages("SELECT * FROM message WHERE umid = ?", (umid,))
        return found[0] if found else None

    def has_batch(self, batch_id: str) -> bool:
        """Tell whether there is such a batch."""
        with self.transaction() as connection:
            return bool(connection.execute("SELECT 1 FROM batch WHERE batch_id = ?", (batch_id,)).fetchone())

    def cancel(self, *, batch_id: str | None = None, umid: str | None = None, now: str) -> int:
        """
        Cancel what is scheduled and not yet sent.

        :param now: messages scheduled later than this can be cancelled
        :return: how many messages were cancelled
        """
        with self._change(over=True) as connection:
            return connection.execute(
                "UPDATE message SET cancelled = 1 WHERE (batch_id = ? OR umid = ?)"
                " AND rejection IS NULL AND cancelled = 0 AND scheduled > ?",
                (batch_id, umid, now),
            ).rowcount

    def mask(self, umid: str, number: str, text: str) -> None:
        """Replace a message's text and its number, also where the number stands in the message's id."""
        with self._change(over=True) as connection:
            connection.execute(
                "UPDATE message SET client_message_id = replace(client_message_id, destination, ?), destination = ?,"
                " text = ? WHERE umid = ?",
                (number, number, text, umid),
            )

    def last_message(self) -> int:
        """Return the number of the newest message, 0 if there is none."""
        with self.transaction() as connection:
            (last,) = connection.execute("SELECT coalesce(max(rowid), 0) FROM message").fetchone()
            return int(last)

    def add_log_export(self, job: LogExport) -> None:
        """Keep a log export job."""
        with self.transaction() as connection:
            connection.execute(_INSERT_LOG_EXPORT, job)

    def poll_log_export(self, job_id: str) -> LogExport | None:
        """Return a job as it was before it was asked after now, and count this question."""
        with self.transaction() as connection:
            row = connection.execute("SELECT * FROM log_export WHERE job_id = ?", (job_id,)).fetchone()
            connection.execute("UPDATE log_export SET polled = polled + 1 WHERE job_id = ?", (job_id,))
        return LogExport(*row) if row else None

    def cancel_log_export(self, job_id: str) -> bool:
        """Cancel a job; tell whether there was one."""
        with self.transaction() as connection:
            sql = "UPDATE log_export SET cancelled = 1 WHERE job_id = ?"
            return connection.execute(sql, (job_id,)).rowcount > 0

    def log_export_of_token(self, token: str) -> LogExport | None:
        """Return the job that a download link belongs to."""
        with self.transaction() as connection:
            row = connection.execute("SELECT * FROM log_export WHERE token = ?", (token,)).fetchone()
        return LogExport(*row) if row else None

    def log(self, job: LogExport) -> Iterator[list[Message]]:
        """
        Yield the messages of a log export in pages, oldest first, without their texts.

        Others may use the store between two pages.
        """
        left = job.max_rows or sys.maxsize
        for first in range(1, job.last_message + 1, _LOG_PAGE):
            numbers = (first, min(first + _LOG_PAGE - 1, job.last_message))
            number, countries = job.phone_number, job.countries
            times = (job.created_from, job.created_to)
            page = self._messages(_LOG, (*numbers, *times, number, number, countries, countries, left))
            if page:
                yield page
            left -= len(page)
            if left == 0:
                return

    def _messages(self, sql: str, parameters: tuple[object, ...]) -> list[Message]:
        with self.transaction() as connection:
            return list(map(Message._make, connection.execute(sql, parameters)))
