"""
Marks: what a memory says of a task instance itself, beside the journals of its campaigns.

Every try leaves one in each memory at hand (Airflow's task state store, the journal's database): first that it has
begun, and once its journal is open, which journal that is. A mark says all that was known of the tries before as well.
So the mark of the newest try before this one names every journal in which a try may have entered a batch; if it names
none, nothing was sent until then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from airflow_provider_8x8.surveys.journal.entries import Entry
from airflow_provider_8x8.surveys.journal.header import Header
from airflow_provider_8x8.surveys.journal.protocol import EntryLog


class JournalName(msgspec.Struct, frozen=True, omit_defaults=True):
    """
    Which journal.

    :ivar conn_id: the connection by which a SQL journal was reached; others may lead to the same one
    :ivar journal_id: what the database calls itself
    """

    kind: Literal["task state store", "sql"]
    conn_id: str | None = None
    journal_id: str | None = None

    def __str__(self) -> str:
        if self.kind != "sql":
            return "Airflow's task state store"
        return f"the SQL journal {self.journal_id} (journal_conn_id {self.conn_id!r})"

    def is_same_as(self, other: JournalName) -> bool:
        """Tell whether both are one journal."""
        return (self.kind, self.journal_id) == (other.kind, other.journal_id)


STATE_STORE = JournalName("task state store")


class Place(msgspec.Struct, frozen=True):
    """Where a try may have entered what it has sent: a campaign in a journal."""

    journal: JournalName
    campaign_id: str

    def __str__(self) -> str:
        return f"{self.journal}, campaign {self.campaign_id!r}"

    def is_same_as(self, other: Place) -> bool:
        """Tell whether both are one place."""
        return self.campaign_id == other.campaign_id and self.journal.is_same_as(other.journal)


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """
    What one try has left.

    :ivar try_number: the try's
    :ivar began: seconds since 1970, when the first try began that is known of
    :ivar places: all places that this try or one before it may have used
    :ivar had_store: whether the task state store was at hand; the same mark is left there then
    :ivar is_open: whether its journal was open, so that the try may have sent
    """

    try_number: int
    began: float
    places: list[Place]
    had_store: bool
    is_open: bool = False


class TaskJournal(EntryLog, Protocol):
    """A campaign's journal in one memory."""

    def open(self, header: Header, *, must_exist: bool = False) -> None:
        """
        Write the header, or check it against the one that is there.

        :param must_exist: it was opened before
        :raises JournalMismatchError: another header is there
        :raises JournalLostError: it must exist, and is not there
        """

    def entries(self) -> Sequence[Entry] | None:
        """Return all entries as they now stand, without opening it; None if it is not there."""


class Memory(Protocol):
    """
    Where marks are left, and a journal can be kept.

    :ivar is_airflows: whether it is Airflow's task state store, which every try has at hand once Airflow has one
    """

    is_airflows: bool

    @property
    def name(self) -> JournalName:
        """The journal's that is kept here. Raises what :meth:`marks` raises."""

    def marks(self) -> Sequence[Mark]:
        """
        Return what tries of the task instance have left here.

        :raises JournalError: it cannot be read
        """

    def leave(self, mark: Mark) -> None:
        """
        Leave the mark of this try, over an earlier one of its own.

        :raises JournalError: it cannot be written, or this try is not the newest
        """

    def journal(self, campaign_id: str) -> TaskJournal:
        """Return the journal of a campaign that is kept here."""

    def close(self) -> None:
        """Close what connections there are."""
