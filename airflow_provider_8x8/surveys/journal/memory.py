"""The journal in memory."""

from __future__ import annotations

import time
from collections.abc import Sequence

from airflow_provider_8x8.surveys.journal.entries import Entry
from airflow_provider_8x8.surveys.journal.header import Header
from airflow_provider_8x8.surveys.journal.protocol import Compose


class MemoryJournal:
    """
    A journal that ends with its try: good for one try and no more.

    For Airflow below 3.3 without a SQL journal, and for programs without Airflow.
    """

    outlives_try = False

    def __init__(self, began: float | None = None) -> None:
        self._first_begun = time.time() if began is None else began
        self._entries: dict[str, Entry] = {}

    @property
    def first_begun(self) -> float:
        """See :class:`Journal`."""
        return self._first_begun

    def open(self, header: Header) -> None:
        """Do nothing: there is no older header to check."""

    def news(self) -> Sequence[Entry]:
        """See :class:`Journal`."""
        return ()

    def begin(self, compose: Compose) -> Entry | None:
        """See :class:`Journal`."""
        entry = compose(())
        if entry is not None:
            self._entries[entry.client_batch_id] = entry
        return entry

    def settle(self, entry: Entry) -> Entry:
        """See :class:`Journal`."""
        if self._entries[entry.client_batch_id].gives_way_to(entry):
            self._entries[entry.client_batch_id] = entry
        return self._entries[entry.client_batch_id]

    def settle_and_begin(self, entry: Entry, compose: Compose) -> tuple[Entry, Entry | None]:
        """See :class:`Journal`."""
        return self.settle(entry), self.begin(compose)
