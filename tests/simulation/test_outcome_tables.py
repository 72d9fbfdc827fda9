"""The outcome table agrees with what is counted, and knows each row, wherever a process dies."""

from __future__ import annotations

import pytest

from tests.simulation.crashes import SCRIPTS, small
from tests.simulation.outcome_tables import HistoryWithTable
from tests.simulation.plans import Where
from tests.simulation.seeds import run_seeds


def with_deaths_at(journal: Where, script: str, touches: range) -> list[str]:
    plan = small(journal, script)
    plan.tries = 12
    history = HistoryWithTable(plan, 1)
    history.world.crash_at = frozenset(touches)
    return history.run()


def test_random_histories() -> None:
    assert not run_seeds(range(2_000_000, 2_000_040), make=HistoryWithTable)


@pytest.mark.parametrize(
    "seed",
    [
        2_000_038,  # another run finds out about a batch, and has it in the table as its own
        2_000_427,  # an earlier try's batch is unknown, and this one ends before it has looked
        2_001_246,  # another run finds out that the batch was not sent, which this one has there as unknown
        2_002_430,  # or that it was sent
        2_021_471,  # or that it was sent, while this one decides that it was not
    ],
)
def test_what_others_find_out(seed: int) -> None:
    assert not run_seeds(range(seed, seed + 1), make=HistoryWithTable)


def test_every_single_death_from_the_first_batch_on() -> None:
    for touch in range(40, 100):
        assert not with_deaths_at(Where.CAMPAIGN, "all taken", range(touch, touch + 1)), touch


@pytest.mark.parametrize("script", SCRIPTS)
def test_ten_deaths(script: str) -> None:
    for first in (5, 25):
        assert not with_deaths_at(Where.STATE_STORE, script, range(first, first + 400, 40)), first
