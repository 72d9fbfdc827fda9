"""Waits for an export of 8x8's logs without a worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from airflow_provider_8x8.hooks.eight_by_eight import EightByEightHook
from airflow_provider_8x8.surveys.sending.log_exports import JobPoll


class EightByEightLogExportTrigger(BaseTrigger):
    """
    Fires when an export of 8x8's logs is over, at a given time at the latest; without an export, at that time.

    It makes GET requests only, each in a thread, so that the triggerer's event loop goes on. Its event is what it was
    given as ``progress``: not the links to the export's files, each of which is its own key. Whatever fails is left to
    the task, which asks once more.

    :param until: seconds since 1970, so that a triggerer that is started anew does not begin the time anew
    :param job_id: 8x8's id of the export, None to wait for the time only
    :param progress: what the task is to know when it goes on; nothing that JSON does not know, and no secret
    :param eight_by_eight_conn_id: connection of type ``eight_by_eight``, ``eight_by_eight_default`` by default
    :param subaccount_id: another sub-account than the connection's
    """

    def __init__(
        self,
        *,
        until: float,
        job_id: str | None,
        progress: dict[str, Any],
        eight_by_eight_conn_id: str = EightByEightHook.default_conn_name,
        subaccount_id: str | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's
        self.until = until
        self.job_id = job_id
        self.progress = progress
        self.eight_by_eight_conn_id = eight_by_eight_conn_id
        self.subaccount_id = subaccount_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what a triggerer makes the trigger from; the API key stays in the connection."""
        return (
            "airflow_provider_8x8.triggers.log_export.EightByEightLogExportTrigger",
            {
                "until": self.until,
                "job_id": self.job_id,
                "progress": self.progress,
                "eight_by_eight_conn_id": self.eight_by_eight_conn_id,
                "subaccount_id": self.subaccount_id,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and fire once."""
        if self.job_id is None:
            await asyncio.sleep(self._seconds_left())
        else:
            try:
                await self._wait_for(self.job_id)
            except Exception as error:  # noqa: BLE001  # the task meets it again, and says what it means
                # Without the error's own text: whatever raises here may quote a connection.
                self.log.warning("8x8's log export could not be asked after: %s", type(error).__name__)
        yield TriggerEvent(self.progress)  # type: ignore[no-untyped-call]  # Airflow's

    async def _wait_for(self, job_id: str) -> None:
        hook = EightByEightHook(self.eight_by_eight_conn_id, subaccount_id=self.subaccount_id)
        # Not asyncio.to_thread: some Airflows fetch connections over the triggerer's own loop, which asgiref finds.
        client = await sync_to_async(lambda: hook.client, thread_sensitive=False)()
        poll = JobPoll(client, job_id)
        ask = sync_to_async(poll.ask, thread_sensitive=False)
        while await ask() is None and self._seconds_left() > poll.pause:
            await asyncio.sleep(poll.pause)

    def _seconds_left(self) -> float:
        return max(0.0, self.until - time.time())
