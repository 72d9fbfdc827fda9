"""The entry of a batch, which the journal has before the batch goes out."""

from __future__ import annotations

from airflow_provider_8x8.api.models import MAX_CLIENT_BATCH_ID_LENGTH
from airflow_provider_8x8.surveys.chance import Chance
from airflow_provider_8x8.surveys.clock import Clock
from airflow_provider_8x8.surveys.journal.entries import Entry
from airflow_provider_8x8.surveys.journal.ledger import Ledger
from airflow_provider_8x8.surveys.messages.builder import MessageBuilder
from airflow_provider_8x8.surveys.messages.row_keys import pack
from airflow_provider_8x8.surveys.messages.row_message import RowMessages
from airflow_provider_8x8.surveys.settings import Run, Settings


class Entering:
    """
    Makes the entries of batches, for one try.

    :param ledger: gets them
    :param builder: made the messages
    :param run: on whose behalf
    :param settings: how a client batch id begins, and within what time its request is to be out
    :param clock: tells the time
    :param chance: makes ids
    :param timeout: seconds that 8x8 has for an answer
    """

    def __init__(
        self,
        ledger: Ledger,
        builder: MessageBuilder,
        run: Run,
        *,
        settings: Settings,
        clock: Clock,
        chance: Chance,
        timeout: float,
    ) -> None:
        self._ledger = ledger
        self._builder = builder
        self._run = run
        self._settings = settings
        self._clock = clock
        self._chance = chance
        self._timeout = timeout

    def begin(self, rows: RowMessages, free_as_of: int | None, answered: Entry | None) -> Entry | None:
        """
        Make the entry of a batch durable, without the rows that others have entered meanwhile; None if all are.

        :param free_as_of: the ledger's count of changes when nobody held any of the rows; None if that was not looked
            for. Others of the campaign wait while it is.
        :param answered: see :meth:`Ledger.begin`
        """
        client_batch_id = self._new_client_batch_id()

        def compose() -> Entry | None:
            missing = rows
            if free_as_of != self._ledger.times_changed and (held := self._ledger.holders_of(rows.row_keys)):
                missing = rows.picked([row_key not in held for row_key in rows.row_keys])
            return self._entry(client_batch_id, missing) if missing else None

        return self._ledger.begin(compose, answered)

    def _entry(self, client_batch_id: str, rows: RowMessages) -> Entry:
        now = self._clock.now()
        return Entry(
            client_batch_id=client_batch_id,
            task_instance=self._run.task_instance,
            try_number=self._run.try_number,
            unique_by=self._builder.unique_by,
            row_keys=pack(rows.row_keys),
            message_keys=self._builder.message_keys(rows),
            begun=now,
            send_by=now + self._settings.send_within,
            answer_by=now + self._settings.send_within + self._timeout,
            scheduled=self._builder.last_scheduled(rows),
        )

    def _new_client_batch_id(self) -> str:
        prefix = self._settings.client_batch_id_prefix
        return prefix + self._chance.client_batch_id(MAX_CLIENT_BATCH_ID_LENGTH - len(prefix))
