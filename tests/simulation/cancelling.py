"""
Somebody cancels batches of a campaign, at any moment, at once with others, and dies at any point of it.

What must hold: a batch that the journal has as cancelled is so at 8x8, all of it; and no try sends again what was
cancelled while it was at work.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_8x8.surveys.journal.entries import Entry, EntryState
from airflow_provider_8x8.surveys.journal.errors import JournalError
from airflow_provider_8x8.surveys.sending.cancelling import CampaignCancels, Canceller
from tests.simulation.campaign_journals import CampaignJournal
from tests.simulation.eight_by_eight import Client
from tests.simulation.worlds import Process, ProcessClock

if TYPE_CHECKING:
    from tests.simulation.histories import History

_LONGEST_REST = 60.0


class Cancellers:
    """Those who cancel in one history."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._alive: list[Process] = []
        self._cancelled: dict[str, float] = {}
        """By row key, when it was written down that the batch is cancelled that it was in."""
        history.campaign.on_cancelled = self._note
        history.server.on_count = self._check

    def start(self) -> None:
        """Begin."""
        for number in range(self._history.plan.cancellers):
            self._history.world.start(partial(self._live, number))

    def end(self) -> None:
        """Let nobody cancel any more."""
        for process in self._alive:
            process.die()

    def check_end(self) -> None:
        """Check that what the journal has as cancelled is."""
        for taken in self._history.server.taken:
            stored = self._history.campaign.batches.get(taken.client_batch_id)
            if stored is not None and stored.entry.state is EntryState.CANCELLED and taken.keys:
                self._history.world.violate(f"{stored.entry} is cancelled, and 8x8 has {taken.keys} of it")

    def held_keys(self) -> set[str]:
        """Return the row keys that 8x8 has cancelled, and that nobody may send: their batches are not cancelled."""
        batches = self._history.campaign.batches
        return {
            key
            for taken in self._history.server.taken
            if taken.cancelled and batches[taken.client_batch_id].entry.state is not EntryState.CANCELLED
            for key in taken.cancelled
        }

    def _live(self, number: int) -> None:
        world = self._history.world
        for time in range(3):
            world.wait(world.random.random() * _LONGEST_REST)
            if world.is_calm:
                return
            process = Process(world, f"cancel-{number}/{time}")
            self._alive.append(process)
            process.start(partial(self._cancel, process))
            world.wait_for(process)

    def _cancel(self, process: Process) -> None:
        campaign, server = self._history.campaign, self._history.server
        known = [stored.entry.batch_id for stored in campaign.batches.values() if stored.entry.batch_id]
        batch_ids = [batch_id for batch_id in known if process.world.random.random() < 0.6]
        journal = CampaignJournal(process, campaign)
        client: Any = Client(process, server, process.name)
        try:
            chance = self._history.chance
            memory = CampaignCancels(journal, journal.news(), batch_ids, campaign_id="simulated", chance=chance)
            canceller = Canceller(client, memory, clock=ProcessClock(process), stop=process.stop, chance=chance)
            for each in canceller.cancel(batch_ids):
                process.world.note("cancelling: %s", each)
        except JournalError as error:
            process.world.note("cancelling failed: %s", error)

    def _note(self, entry: Entry) -> None:
        for taken in self._history.server.taken:
            if taken.client_batch_id == entry.client_batch_id:
                self._cancelled.update(dict.fromkeys(taken.cancelled, self._history.world.now))

    def _check(self, key: str, client_batch_id: str) -> None:
        process = self._history.server.in_flight.get(client_batch_id)
        looked_at = None if process is None else self._history.campaign.first_looks.get(process)
        if looked_at is not None and self._cancelled.get(key, 0.0) > looked_at:
            self._history.world.violate(f"{key} was cancelled, and sent again by a try that was at work")
