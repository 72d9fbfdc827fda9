"""How often a try reads its source again while others of the campaign take its rows up and set them free again."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from airflow_provider_8x8.surveys.journal.entries import Entry, EntryState
from airflow_provider_8x8.surveys.journal.memory import MemoryJournal
from airflow_provider_8x8.surveys.journal.protocol import Compose
from airflow_provider_8x8.surveys.outcomes.cause import Cause
from airflow_provider_8x8.surveys.sending.rereading import MAX_IN_VAIN
from tests.surveys.test_sender import Client, HurriedClock, outcomes, rows, sender, taken


class ContendedJournal(MemoryJournal):
    """
    A journal in which another run of the campaign takes up rows just before they are entered, and lets them go after.

    :param times: how often it does
    :param but: how many rows of a batch it leaves
    """

    def __init__(self, times: int, *, but: int = 0) -> None:
        super().__init__()
        self._times, self._but = times, but
        self._other: Entry | None = None
        self.taken_up = 0

    def begin(self, compose: Compose) -> Entry | None:
        if self.taken_up == self._times:
            return super().begin(compose)
        mine = compose(())
        if mine is None or len(mine) <= self._but:
            return super().begin(compose)
        self.taken_up += 1
        held = mine.row_keys[self._but * len(mine.row_keys) // len(mine) :]
        other = msgspec.structs.replace(
            mine, client_batch_id=f"other{self.taken_up}", task_instance="other", row_keys=held
        )
        self._other = other
        entry = compose([other])
        if entry is not None:
            self._entries[entry.client_batch_id] = entry
        return entry

    def news(self) -> Sequence[Entry]:
        other, self._other = self._other, None
        return () if other is None else [msgspec.structs.replace(other, state=EntryState.NOT_SENT)]


def test_a_try_whose_rows_others_hold_in_turns_ends_and_another_one_goes_on() -> None:
    client, journal = Client(taken), ContendedJournal(10_000)
    contended = sender(client, journal=journal)
    summary = contended.send(rows(5))
    assert journal.taken_up == MAX_IN_VAIN
    assert outcomes(summary) == {"not_sent": 5}
    assert summary.stop is not None
    assert summary.stop.startswith(f"the source was read {MAX_IN_VAIN} times in a row with nothing accepted")
    assert (summary.is_final, summary.cause, client.batches) == (False, Cause.OTHER, [])


class Waits(HurriedClock):
    """Remembers how long it was to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)
        super().sleep(seconds)


def test_a_try_waits_longer_each_time_so_that_it_comes_out_of_step_with_others() -> None:
    clock = Waits()
    sender(Client(taken), journal=ContendedJournal(10_000), clock=clock).send(rows(5))
    assert len(clock.seconds) == MAX_IN_VAIN - 2, "not after the first reading, nor after the last"
    for number, seconds in enumerate(clock.seconds, start=1):
        assert 2**number <= seconds <= 2 ** (number + 1)


@pytest.mark.parametrize("times", [1, 2, MAX_IN_VAIN - 1])
def test_rows_that_others_let_go_at_last_are_sent(times: int) -> None:
    summary = sender(Client(taken), journal=ContendedJournal(times)).send(rows(5))
    assert (outcomes(summary), summary.stop) == ({"accepted": 5}, None)


def test_as_long_as_each_reading_brings_something_the_source_is_read_again() -> None:
    count, clock = 3 * MAX_IN_VAIN, Waits()
    journal = ContendedJournal(10_000, but=1)
    summary = sender(Client(taken), journal=journal, clock=clock).send(rows(count))
    assert (outcomes(summary), summary.stop, clock.seconds) == ({"accepted": count}, None, [])
