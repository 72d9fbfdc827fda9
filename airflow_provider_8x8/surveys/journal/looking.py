"""A look into a campaign's SQL journal, which leaves nothing there."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from airflow_provider_8x8.surveys.journal.entries import Entry
from airflow_provider_8x8.surveys.journal.errors import CorruptJournalError, JournalUnavailableError
from airflow_provider_8x8.surveys.journal.header import JOURNAL_FORMAT, Header, check_header
from airflow_provider_8x8.surveys.journal.memory import MemoryJournal
from airflow_provider_8x8.surveys.journal.tables import (
    BATCH,
    CAMPAIGN,
    FIND_CAMPAIGN,
    JOURNAL,
    READ_ALL,
    entry_of,
    header_of,
)
from airflow_provider_8x8.surveys.journal.transactions import Transactions


class JournalToLookInto(Transactions):
    """A SQL journal's database for somebody who only reads: no table is made in it, and no lock is taken."""

    def __init__(self, engine: Engine, journal_conn_id: str) -> None:
        super().__init__(engine, journal_conn_id, may_write=False)
        self._file = engine.url.database if engine.dialect.name == "sqlite" else None

    def entries(self, campaign_id: str, header: Header | None) -> Sequence[Entry]:
        """
        Return what was entered for a campaign, which is nothing where there is no such campaign, or no journal yet.

        :param header: what the row keys mean to whoever asks; None takes them as the journal does
        :raises JournalMismatchError: they mean something else in the journal
        :raises JournalError: the journal could not be read, or holds what no version has written
        """
        # A driver makes the file of a SQLite database that is not there.
        if self._file and not self._file.startswith("file:") and not Path(self._file).exists():
            return ()

        def look(connection: Connection) -> Sequence[Entry]:
            tables = sa.inspect(connection)
            if not all(tables.has_table(table.name) for table in (CAMPAIGN, BATCH)):
                return ()
            there = {column["name"] for table in (CAMPAIGN, BATCH) for column in tables.get_columns(table.name)}
            if not there.issuperset(column.name for table in (CAMPAIGN, BATCH) for column in table.columns):
                raise JournalUnavailableError(
                    f"{JOURNAL.name} is of an older format than {JOURNAL_FORMAT}: the first task that sends brings it "
                    "up to date"
                )
            row = connection.execute(FIND_CAMPAIGN, {"this": campaign_id}).mappings().first()
            if row is None:
                return ()
            found = header_of(row)
            check_header(found, header or found, campaign_id)
            return _entries_of(connection, row["id"], campaign_id)

        return self.run(look, "read a campaign's batches")


def _entries_of(connection: Connection, row_id: int, campaign_id: str) -> list[Entry]:
    with closing(connection.execute(READ_ALL, {"of": row_id})) as found:
        try:
            return [entry_of(row) for row in found.mappings()]
        except ValueError as error:
            raise CorruptJournalError(
                f"the journal of campaign {campaign_id!r} holds what no version has written: {error}"
            ) from None


class JournalSeen(MemoryJournal):
    """
    What was entered for a campaign when somebody looked.

    :param entries: all of the campaign
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        super().__init__()
        self._seen = entries

    def news(self) -> Sequence[Entry]:
        """See :class:`~airflow_provider_8x8.surveys.journal.protocol.EntryLog`."""
        news, self._seen = self._seen, ()
        return news
