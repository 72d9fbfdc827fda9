"""Which journal a running task has: that of a SQL database, else Airflow's task state store, else none."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from airflow_provider_8x8.surveys.clock import Clock
from airflow_provider_8x8.surveys.journal.database import JournalDatabase
from airflow_provider_8x8.surveys.journal.entries import Entry
from airflow_provider_8x8.surveys.journal.errors import JournalError
from airflow_provider_8x8.surveys.journal.marks import JournalName, Memory
from airflow_provider_8x8.surveys.journal.memory import MemoryJournal
from airflow_provider_8x8.surveys.journal.protocol import Journal
from airflow_provider_8x8.surveys.journal.task_memory import TaskMemory
from airflow_provider_8x8.surveys.settings import BEFORE_TRY, Said

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_8x8.surveys.journal.remembered import RememberedJournal

log = logging.getLogger(__name__)


class JournalsAtHand:
    """
    The memories of a task instance that one try can reach.

    What fails here is not raised at once: first, the mark that the try has begun is left wherever it can be.

    :param context: the running task's
    :param journal_conn_id: gives the connection of the SQL journal, None if there is none; raises what it likes
    :param deployment: which Airflow this is, None if that is not known
    :param clock: tells the time
    :param is_resumed: the try goes on in another process, after a wait without a worker
    """

    def __init__(
        self,
        context: Context,
        journal_conn_id: Callable[[], str | None],
        *,
        deployment: str | None,
        clock: Clock,
        is_resumed: bool = False,
    ) -> None:
        ti = context["ti"]
        self.task_instance = name_of(context)
        self._try_number: int = ti.try_number
        self._is_first = self._try_number == 1 and not is_resumed
        self._deployment = deployment
        self._began = clock.now()
        self._problem: Exception | None = None
        self.journal_conn_id: str | None = None
        """The connection of the SQL journal, None if there is none."""
        memories: list[Memory] = []
        if (store := context.get("task_state_store")) is not None:
            from airflow.sdk import NEVER_EXPIRE  # type: ignore[attr-defined]  # its stub lags behind

            from airflow_provider_8x8.surveys.journal.state_store import StateStoreMemory

            memories.append(
                StateStoreMemory(store, self.task_instance, try_number=self._try_number, never_expire=NEVER_EXPIRE)
            )
        try:
            self.journal_conn_id = journal_conn_id()
            if self.journal_conn_id is not None:
                memories.append(self._sql_memory(self.journal_conn_id))
        except Exception as error:  # noqa: BLE001  # secrets backends and hooks raise what they like
            self._problem = error
        self._memory = (
            TaskMemory(
                self.task_instance,
                self._try_number,
                memories,
                connect=self._connect,
                clock=clock,
                is_resumed=is_resumed,
            )
            if memories
            else None
        )
        self._journal: RememberedJournal | None = None

    def leave_mark(self) -> None:
        """Leave the mark that this try has begun. What fails is tried again when the journal is opened."""
        if self._memory is not None:
            try:
                self._memory.begin()
            except JournalError as error:
                log.warning("That this try has begun could not be written everywhere: %s", error)

    def choose(self, campaign_id: str) -> None:
        """Choose the journal of a campaign that reaches furthest of those at hand."""
        if self._memory is not None:
            self._journal = self._memory.journal(campaign_id)

    def journal(self, said: Mapping[str, Said]) -> Journal:
        """
        Return the journal that was chosen.

        :param said: what somebody has made sure of. That the tries before this one have sent nothing that no memory
            knows of is believed for this try alone
        :raises TypeError: the connection of the SQL journal is not a database's
        :raises ValueError: it cannot serve, or there is none, and this is not the first try
        :raises Exception: what else Airflow has raised when it was asked for the connection
        :raises JournalError: what a person says could not be written
        """
        if self._problem is not None:
            raise self._problem
        nothing_else_was_sent = f"{BEFORE_TRY}{self._try_number}" in said
        if self._journal is not None and self._memory is not None:
            if nothing_else_was_sent:
                self._memory.trust()
            return self._journal
        if self._try_number > 1 and not nothing_else_was_sent:
            raise ValueError(
                f"this is try {self._try_number} of the task instance, and what an earlier try has sent is not known. "
                "Look into 8x8's portal or the earlier try's log, then trigger a new DAG run with the rows that are "
                "missing; set journal_conn_id, and the next time another try will know"
            )
        if not self._is_first and not nothing_else_was_sent:
            raise ValueError(
                "this try goes on after a wait without a worker, and its journal is not there any more: what an "
                "earlier try has sent is not known, nor what this one has. Put journal_conn_id back and clear the "
                "task; or look into 8x8's portal, and trigger a new DAG run with the rows that are missing"
            )
        return MemoryJournal(self._began)

    def known_entries(self) -> list[Entry] | None:
        """Return what is known to be sent by earlier tries, without opening the journal; None if that is not known."""
        if self._journal is None:
            return [] if self._is_first else None
        try:
            return self._journal.known_entries()
        except JournalError as error:
            log.warning("What earlier tries have sent could not be read: %s", error)
            return None

    @property
    def known_campaign_id(self) -> str | None:
        """The campaign of what :meth:`known_entries` has found; None if there is no journal."""
        return None if self._journal is None else self._journal.known_campaign_id

    @property
    def outlive_try(self) -> bool:
        """Whether another try can know what this one has sent."""
        return self._memory is not None

    def close(self) -> None:
        """Close what connections there are."""
        if self._memory is not None:
            self._memory.close()

    def _sql_memory(self, conn_id: str) -> Memory:
        from airflow_provider_8x8.journals.sql import engine_of
        from airflow_provider_8x8.surveys.journal.sql_memory import SqlMemory

        return SqlMemory(JournalDatabase(engine_of(conn_id), conn_id), self.task_instance, deployment=self._deployment)

    def _connect(self, name: JournalName) -> Memory:
        return self._sql_memory(str(name.conn_id))


def name_of(context: Context) -> str:
    """Return the task instance's name, without its tries."""
    ti = context["ti"]
    mapped = [] if ti.map_index is None or ti.map_index < 0 else [str(ti.map_index)]
    return "/".join([ti.dag_id, ti.run_id, ti.task_id, *mapped])
