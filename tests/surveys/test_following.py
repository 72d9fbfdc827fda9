"""Following deliveries through the sandbox's logs, with a clock that moves only when somebody waits."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest

from airflow_provider_8x8.surveys.outcomes.sent_batches import SentBatches
from airflow_provider_8x8.surveys.sending.following import LONGEST_EXPORT, Follower, Job, Progress
from tests.api.servers import batch, client_of

LAG = {"on": "log_export", "kind": "log_lag_seconds", "seconds": 1_000_000}
HOUR = 3600.0


class MovedClock:
    """Begins at the machine's time; to wait takes none."""

    def __init__(self) -> None:
        self.time = time.time()

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def stop() -> threading.Event:
    return threading.Event()


@pytest.fixture
def follower(sandbox: Any, clock: MovedClock, stop: threading.Event) -> Follower:
    """Of three messages that were just sent."""
    client = client_of(sandbox.url)
    sent = client.send_survey_batch("orders", batch(3))
    return Follower(
        client,
        SentBatches((sent.batch_id,), accepted=3),
        since=clock.now(),
        final_share=1.0,
        poll_interval=600.0,
        clock=clock,
        stop=stop,
    )


def follow(follower: Follower, progress: Progress, *, written_down: bool = False) -> Progress:
    """Look until all is over."""
    while True:
        wait = follower.ask(progress)
        if wait is None:
            return progress
        if written_down:
            progress = Progress.of(json.loads(json.dumps(progress.as_builtins())))
        follower.wait(wait)
        if follower.read(progress):
            return progress


@pytest.mark.parametrize("written_down", [False, True])
def test_it_ends_once_enough_is_final(sandbox: Any, follower: Follower, clock: MovedClock, written_down: bool) -> None:
    began = clock.now()
    sandbox.faults([{**LAG, "times": 2}])
    progress = follow(follower, follower.begin(HOUR, None), written_down=written_down)
    assert progress.report is not None
    assert (progress.report.delivered_count, progress.report.timed_out) == (3, False)
    assert 1200 <= clock.now() - began < 1800, "the third look"


def test_the_last_look_is_at_the_end(sandbox: Any, follower: Follower, clock: MovedClock) -> None:
    sandbox.faults([LAG])
    progress = follower.begin(900.0, None)
    assert progress.ends_at == clock.now() + 900
    follow(follower, progress)
    assert progress.report is not None
    assert (progress.report.messages_seen, progress.report.timed_out) == (0, True)
    assert progress.ends_at <= clock.now() < progress.ends_at + LONGEST_EXPORT


def test_what_was_seen_last_stays_when_a_later_look_fails(sandbox: Any, follower: Follower) -> None:
    sandbox.faults([{**LAG, "times": 1}, {"on": "log_export_download", "kind": "truncate", "times": 9}])
    progress = follower.begin(0.0, None)
    for seen in (0, None):
        if seen is None:
            progress.ends_at += HOUR
        follower.ask(progress)
        follower.read(progress)
    assert progress.report is not None
    assert (progress.report.messages_seen, progress.report.timed_out) == (0, True)


def test_what_cannot_go_better_ends_it(sandbox: Any, follower: Follower) -> None:
    sandbox.faults([{"on": "log_export", "kind": "404"}])
    progress = follow(follower, follower.begin(HOUR, None))
    assert progress.is_hopeless
    assert progress.report is None
    assert "HTTP 404" in str(progress.problem)


def test_it_ends_when_the_task_is_to_end(follower: Follower, stop: threading.Event, sandbox: Any) -> None:
    sandbox.faults([LAG])
    progress = follower.begin(HOUR, None)
    follower.ask(progress)
    stop.set()
    assert follower.read(progress)
    progress.job = None
    assert follower.read(progress)


def test_an_export_that_another_try_has_left_is_read(sandbox: Any, follower: Follower) -> None:
    left = follower.begin(HOUR, None)
    follower.ask(left)
    sandbox.faults([{"on": "log_export", "kind": "500", "times": 1_000}])
    progress = follow(follower, follower.begin(HOUR, left.job))
    assert progress.report is not None
    assert progress.report.delivered_count == 3


@pytest.mark.parametrize(("older", "later"), [(LONGEST_EXPORT + 1, 0.0), (0.0, 60.0)], ids=["too old", "too short"])
def test_an_export_that_does_not_serve_is_not_taken_over(
    follower: Follower, clock: MovedClock, older: float, later: float
) -> None:
    left = Job("gone", clock.now() - older, clock.now() - HOUR + later)
    assert follower.begin(HOUR, left).job is None


@pytest.mark.parametrize("timeout", [0.0, HOUR])
def test_another_export_is_asked_for_at_once_where_the_one_that_was_left_is_gone(
    follower: Follower, clock: MovedClock, timeout: float
) -> None:
    began = clock.now()
    progress = follower.begin(timeout, Job("gone", began - 1, began - HOUR))
    assert progress.job is not None
    follow(follower, progress)
    assert progress.report is not None
    assert progress.report.delivered_count == 3
    # One more look at most: what was just sent may lie after the second up to which the first one asks.
    assert clock.now() - began < 1200


@pytest.mark.parametrize("on", ["log_export", "log_export_result"])
def test_it_does_not_wait_for_longer_than_there_is_time(
    sandbox: Any, follower: Follower, clock: MovedClock, on: str
) -> None:
    sandbox.faults([{"on": on, "kind": "429", "retry_after": 86_400}])
    progress = follow(follower, follower.begin(HOUR, None))
    assert clock.now() < progress.ends_at
    assert progress.report is None
    assert "86400 s" in str(progress.problem)
