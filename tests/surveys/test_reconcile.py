"""The canary: one survey a try, sent when it can prove the most."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_8x8.api.models import LogLine, SurveyMessage
from airflow_provider_8x8.surveys.journal import ROW_KEY_BYTES, SEND_WITHIN, Entry, EntryState
from airflow_provider_8x8.surveys.reconcile import Canary, Reconciler
from airflow_provider_8x8.surveys.row_keys import RowKeys

MINUTE = 60.0
CANARY = Canary("order-feedback", SurveyMessage(destination="6598765432", client_message_id="canary"))


class FakeClock:
    """Time passes by sleeping, and a little by asking."""

    def __init__(self, now: float) -> None:
        self._now = now

    def now(self) -> float:
        self._now += 0.01
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += seconds


class LogsWithoutLag:
    """An 8x8 whose logs have what it took at once: of what the tests lost it has nothing, so only canaries."""

    def __init__(self) -> None:
        self.lines: list[LogLine] = []

    def start_log_export(self, request: Any) -> Any:
        return SimpleNamespace(job_id="job")

    def get_log_export(self, job_id: str) -> Any:
        return SimpleNamespace(status="succeeded", data=["link"])

    def read_log_export(self, link: str) -> Iterator[LogLine]:
        yield from self.lines

    def send_survey(self, survey_id: str, message: SurveyMessage) -> None:
        self.lines.append(LogLine("umid", str(message.client_message_id), "", "", "sent", None, None))


class Lost:
    """Batches that never came to 8x8, begun at these times, and what one try finds out about them after the last."""

    def __init__(self, begun: Sequence[float], *, settle_time: float, timeout: float) -> None:
        self.logs = LogsWithoutLag()
        self.clock = FakeClock(max(begun) + 1)
        self.entries = {entry.client_batch_id: entry for entry in map(_entry, begun)}
        reconciler = Reconciler(
            self.logs,  # type: ignore[arg-type]
            RowKeys("campaign"),
            clock=self.clock,
            stop=threading.Event(),
            settle_time=timedelta(seconds=settle_time),
            timeout=timedelta(seconds=timeout),
            canary=CANARY,
        )
        reconciler.settle(lambda: self.open, self.entries.values, self._take, wait=True)

    @property
    def open(self) -> list[Entry]:
        return [entry for entry in self.entries.values() if entry.is_open]

    @property
    def states(self) -> Mapping[str, EntryState]:
        return {name: entry.state for name, entry in self.entries.items()}

    def _take(self, finding: Any) -> None:
        self.entries[finding.entry.client_batch_id] = finding.entry


def _entry(begun: float) -> Entry:
    return Entry(
        client_batch_id=f"begun-at-{begun:g}",
        run="run",
        try_number=1,
        unique_by="destination",
        row_keys=bytes(ROW_KEY_BYTES),
        begun=begun,
        send_by=begun + SEND_WITHIN,
    )


@pytest.mark.parametrize("second", [0.0, 5.0, 20.0, 3 * MINUTE])
def test_one_canary_serves_all_batches_that_are_missing(second: float) -> None:
    lost = Lost([1000.0, 1000.0 + second], settle_time=1, timeout=15 * MINUTE)
    assert set(lost.states.values()) == {EntryState.NOT_SENT}
    assert len(lost.logs.lines) == 1
    assert lost.clock.now() < 1000 + second + 3 * MINUTE, "it is not waited for what cannot come any more"


def test_a_batch_for_which_the_time_is_too_short_does_not_keep_the_canary_from_the_others() -> None:
    lost = Lost([1000.0, 1000.0 + 8 * MINUTE], settle_time=5 * MINUTE, timeout=10 * MINUTE)
    assert list(lost.states.values()) == [EntryState.NOT_SENT, EntryState.PENDING]


def test_no_canary_is_sent_that_could_prove_nothing_before_the_time_is_over() -> None:
    lost = Lost([1000.0], settle_time=10 * MINUTE, timeout=15 * MINUTE)
    assert list(lost.states.values()) == [EntryState.PENDING]
    assert lost.logs.lines == []
