"""A SQL journal's database."""

from __future__ import annotations

from functools import partial

from airflow_provider_8x8.surveys.journal.errors import JournalUnavailableError
from airflow_provider_8x8.surveys.journal.tables import make_tables
from airflow_provider_8x8.surveys.journal.transactions import Transactions


class JournalDatabase(Transactions):
    """A SQL journal's database, whose tables are looked for once."""

    _journal_id: str | None = None

    def make_tables(self) -> str:
        """
        Have all tables and columns there; return by which id the database knows itself.

        :raises JournalUnavailableError: they are not there and cannot be made, the text names them; or it could not be
            seen
        """
        if self._journal_id is None:
            self._journal_id = self._find_or_make_tables()
        return self._journal_id

    def _find_or_make_tables(self) -> str:
        lacking: list[str] = []
        try:
            return self.run(partial(make_tables, lacking=lacking), "find or make the journal's tables")
        except JournalUnavailableError as error:
            if not lacking:
                raise
            raise JournalUnavailableError(
                f"{error}. There is no {', no '.join(lacking)} that this role may see. Have a role that may make them "
                "use the journal once, or make them by hand; this one needs SELECT, INSERT and UPDATE on the tables"
            ) from None
