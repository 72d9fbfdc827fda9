"""The entry of a batch, which the journal has before the batch goes out."""

from __future__ import annotations

import secrets
import string
from collections.abc import Sequence

from airflow_provider_8x8.api.models import MAX_CLIENT_BATCH_ID_LENGTH
from airflow_provider_8x8.surveys.clock import Clock
from airflow_provider_8x8.surveys.journal.entries import SEND_WITHIN, Entry
from airflow_provider_8x8.surveys.journal.ledger import Ledger
from airflow_provider_8x8.surveys.messages.builder import MessageBuilder
from airflow_provider_8x8.surveys.messages.row_keys import pack
from airflow_provider_8x8.surveys.messages.row_message import RowMessage
from airflow_provider_8x8.surveys.settings import Run

_ID_ALPHABET = string.ascii_lowercase + string.digits


class Entering:
    """
    Makes the entries of batches, for one try.

    :param ledger: gets them
    :param builder: made the messages
    :param run: on whose behalf
    :param prefix: in front of every client batch id
    :param clock: tells the time
    :param timeout: seconds that 8x8 has for an answer
    """

    def __init__(
        self, ledger: Ledger, builder: MessageBuilder, run: Run, *, prefix: str, clock: Clock, timeout: float
    ) -> None:
        self._ledger = ledger
        self._builder = builder
        self._run = run
        self._prefix = prefix
        self._clock = clock
        self._timeout = timeout

    def begin(self, rows: Sequence[RowMessage]) -> Entry | None:
        """Make the entry of a batch durable, without the rows that others have entered meanwhile; None if all are."""
        client_batch_id = _new_client_batch_id(self._prefix)

        def compose() -> Entry | None:
            missing = rows
            if self._ledger.holds_any:
                missing = [row for row in missing if self._ledger.holder_of(row.row_key) is None]
            return self._entry(client_batch_id, missing) if missing else None

        return self._ledger.begin(compose)

    def _entry(self, client_batch_id: str, rows: Sequence[RowMessage]) -> Entry:
        now = self._clock.now()
        return Entry(
            client_batch_id=client_batch_id,
            run=self._run.run,
            try_number=self._run.try_number,
            unique_by=self._builder.unique_by,
            row_keys=pack([row.row_key for row in rows]),
            message_keys=self._builder.message_keys(rows),
            begun=now,
            send_by=now + SEND_WITHIN,
            answer_by=now + SEND_WITHIN + self._timeout,
            scheduled=self._builder.last_scheduled(rows),
        )


def _new_client_batch_id(prefix: str) -> str:
    length = MAX_CLIENT_BATCH_ID_LENGTH - len(prefix)
    return prefix + "".join(secrets.choice(_ID_ALPHABET) for _ in range(length))
