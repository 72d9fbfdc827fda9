"""What a journal is to a sender."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from airflow_provider_8x8.surveys.journal.entries import Entry
from airflow_provider_8x8.surveys.journal.header import Header

Compose = Callable[[Sequence[Entry]], Entry | None]
"""
Makes the entry of a batch that is to be sent, told what others have entered or settled since the last look.

Returns None if they have left nothing to send. It may be called more than once for one batch, and then gives the same
client batch id.
"""


class EntryLog(Protocol):
    """
    The entries of one campaign, as one try sees them.

    Every method raises :class:`JournalError`; what was to be written may then have been written, or not.
    """

    def news(self) -> Sequence[Entry]:
        """
        Return the campaign's entries, as they now stand, that were made or settled since the last look at them.

        The first look gives them all, in the order of their beginning. Entries that this object itself has made may be
        among them.
        """

    def begin(self, compose: Compose) -> Entry | None:
        """
        Make one entry durable, if this try may send, while nobody else of the campaign makes one.

        :raises SupersededError: a newer try may send, this one may not
        """

    def settle(self, entry: Entry) -> Entry:
        """
        Write what became of an entry if the one that is there gives way to it, and return it as it then stands.

        :param entry: the entry with its new state; see :meth:`Entry.gives_way_to`
        :return: this very object if it was written by this call, for sure; else what was there
        """

    def settle_and_begin(self, entry: Entry, compose: Compose) -> tuple[Entry, Entry | None]:
        """
        Do both, together where the journal can: what the first returns, and what the second does.

        What ``compose`` raises may leave the first undone, too.
        """


class Journal(EntryLog, Protocol):
    """
    The journal of one campaign, for the sender of one try.

    :ivar outlives_try: whether another try can read it
    :ivar first_begun: when the first try of the task instance began, in seconds since 1970, known once it is open
    """

    outlives_try: bool

    @property
    def first_begun(self) -> float:
        """See above."""

    def open(self, header: Header) -> None:
        """
        Write the header, or check it against the one that is there.

        :raises JournalMismatchError: another one is there
        :raises JournalLostError: what the task instance has sent is not known any more
        """
