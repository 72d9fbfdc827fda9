"""A SQL journal's database."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from airflow_provider_8x8.surveys.journal.errors import JournalUnavailableError
from airflow_provider_8x8.surveys.journal.tables import id_if_complete, make_tables
from airflow_provider_8x8.surveys.journal.transactions import Result, Transactions


class JournalDatabase(Transactions):
    """A SQL journal's database, whose tables are looked for once."""

    _journal_id: str | None = None

    def run_first(self, work: Callable[[Connection], Result], purpose: str) -> Result:
        """
        Do what :meth:`run` does, with all tables there.

        Where they are, as nearly always, that costs no transaction of its own.
        """
        if self._journal_id is None:
            try:
                self._journal_id, result = self.once(lambda connection: (id_if_complete(connection), work(connection)))
            except SQLAlchemyError:
                pass  # a table is not there, or may not be read, or the connection was lost: what follows tells
            else:
                if self._journal_id is not None:
                    return result
            self.make_tables()
        return self.run(work, purpose)

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
