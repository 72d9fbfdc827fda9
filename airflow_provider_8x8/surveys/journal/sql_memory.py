"""What a SQL journal's database knows of task instances themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from airflow_provider_8x8.surveys.journal.database import JournalDatabase
from airflow_provider_8x8.surveys.journal.errors import CorruptJournalError, SupersededError
from airflow_provider_8x8.surveys.journal.marks import JournalName, Mark, Place
from airflow_provider_8x8.surveys.journal.sql import SqlJournal
from airflow_provider_8x8.surveys.journal.tables import MARK


class SqlMemory:
    """
    What a SQL journal's database knows of one task instance.

    See :class:`~airflow_provider_8x8.surveys.journal.marks.Memory`.

    :param database: its own: nobody else uses it, and :meth:`close` closes it
    :param task_instance: its name, without its tries
    :param deployment: which Airflow the task instance is of, since others may have one of the same name; None if that
        is not known
    """

    is_airflows = False

    def __init__(self, database: JournalDatabase, task_instance: str, *, deployment: str | None = None) -> None:
        self._database = database
        self._task_instance = task_instance
        self._task_key = _task_key(task_instance, deployment)
        # As for headers: what was left before the deployment was known is anybody's.
        self._task_keys = {self._task_key, _task_key(task_instance, None)}

    @property
    def name(self) -> JournalName:
        """See :class:`~airflow_provider_8x8.surveys.journal.marks.Memory`."""
        return JournalName("sql", self._database.journal_conn_id, self._database.make_tables())

    def marks(self) -> Sequence[Mark]:
        """See :class:`~airflow_provider_8x8.surveys.journal.marks.Memory`."""
        return self._database.run_first(self._read_marks, "read what earlier tries have left")

    def leave(self, mark: Mark) -> None:
        """See :class:`~airflow_provider_8x8.surveys.journal.marks.Memory`."""
        self._database.run(partial(self._write_mark, mark), "write that this try has begun")

    def journal(self, campaign_id: str) -> SqlJournal:
        """See :class:`~airflow_provider_8x8.surveys.journal.marks.Memory`."""
        return SqlJournal(self._database, campaign_id)

    def close(self) -> None:
        """See :class:`~airflow_provider_8x8.surveys.journal.marks.Memory`."""
        self._database.close()

    def _is_ours(self) -> Any:
        """Return the condition in SQL that a mark is of this task instance."""
        return MARK.c.task_key.in_(self._task_keys)

    def _read_marks(self, connection: Connection) -> list[Mark]:
        found = connection.execute(sa.select(MARK).where(self._is_ours())).mappings()
        return [self._mark(row) for row in found]

    def _mark(self, row: Mapping[Any, Any]) -> Mark:
        try:
            places = msgspec.json.decode(row["places"], type=list[Place])
        except msgspec.MsgspecError as error:
            raise CorruptJournalError(
                f"what try {row['try_number']} of {self._task_instance} has left in {MARK.name} is not what this "
                f"provider writes ({error})"
            ) from None
        return Mark(
            try_number=row["try_number"],
            began=row["began"],
            places=places,
            had_store=bool(row["had_store"]),
            is_open=bool(row["is_open"]),
        )

    def _write_mark(self, mark: Mark, connection: Connection) -> None:
        places = msgspec.json.encode(mark.places).decode()
        what = {"began": mark.began, "places": places, "had_store": mark.had_store, "is_open": mark.is_open}
        # All are locked: of two tries that leave a mark at once the older sees the newer one's, or is seen by it.
        key_of = (MARK.c.task_key, MARK.c.try_number)
        left = [tuple(row) for row in connection.execute(sa.select(*key_of).where(self._is_ours()).with_for_update())]
        if any(try_number > mark.try_number for _, try_number in left):
            raise SupersededError("a newer try of this task instance has begun, so this one sends nothing more")
        if (self._task_key, mark.try_number) in left:
            this_try = sa.and_(MARK.c.task_key == self._task_key, MARK.c.try_number == mark.try_number)
            connection.execute(sa.update(MARK).where(this_try).values(**what))
            return
        key = {"task_key": self._task_key, "try_number": mark.try_number, "task_instance": self._task_instance}
        connection.execute(sa.insert(MARK).values(**key, **what))


def _task_key(task_instance: str, deployment: str | None) -> str:
    return blake2b("\n".join(filter(None, [task_instance, deployment])).encode(), digest_size=32).hexdigest()
