"""Who holds which row key: what was sent, or may have been, is not sent again."""

from __future__ import annotations

from collections.abc import Iterable

from airflow_provider_8x8.surveys.journal import Entry, EntryState, unpack


class Holders:
    """
    The entries of a campaign by the row keys that they hold.

    An entry in effect holds its row keys. The rejected ones are held for the run that sent them only: nobody was
    texted, and another run may come with data that were mended since.

    :param run: the task instance on whose behalf is asked
    """

    def __init__(self, run: str, entries: Iterable[Entry]) -> None:
        self._run = run
        self._holder: dict[bytes, str] = {}
        for entry in entries:
            self.learn(entry)

    def __bool__(self) -> bool:
        return bool(self._holder)

    def learn(self, entry: Entry) -> None:
        """Take note of a new entry, or of what became of an old one."""
        for key in unpack(entry.row_keys):
            if self._holder.get(key) == entry.client_batch_id:
                del self._holder[key]
        if not entry.is_in_effect:
            return
        is_own = entry.run == self._run
        free = set() if is_own or entry.state is not EntryState.SENT else set(unpack(entry.rejected_keys))
        for key in unpack(entry.row_keys):
            if key not in free:
                self._holder.setdefault(key, entry.client_batch_id)

    def of(self, row_key: bytes) -> str | None:
        """Return the client batch id of the entry that holds a row key, if any does."""
        return self._holder.get(row_key)
