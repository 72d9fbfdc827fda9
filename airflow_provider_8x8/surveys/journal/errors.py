"""What goes wrong with a journal: nothing more is sent then."""

from __future__ import annotations

from typing import ClassVar

from airflow_provider_8x8.api.advice import with_advice


class JournalError(Exception):
    """
    The journal cannot serve: nothing more is sent. The text holds no row.

    :param reason: what was found
    :param advice: what to do
    :cvar may_go_better: whether another try may find it well
    """

    may_go_better: ClassVar[bool] = False

    def __init__(self, reason: str, *advice: str) -> None:
        super().__init__(with_advice(reason, *advice))


class JournalUnavailableError(JournalError):
    """The journal could not be read or written just now; another try may find it well."""

    may_go_better = True


class SupersededError(JournalError):
    """Airflow has begun a newer try of this task instance, or no longer knows this one: only the newest may send."""

    may_go_better = True


class JournalMismatchError(JournalError):
    """The campaign's journal was written for another survey, another meaning of row keys, or by a newer version."""


class JournalLostError(JournalError):
    """There was a journal, and Airflow has thrown it away."""


class CorruptJournalError(JournalError):
    """The journal holds something that no version has written, or lacks what must be there."""
