"""Random histories, and crashes of a small campaign at every touch of the world."""

from __future__ import annotations

import os

import pytest

from tests.simulation.crashes import JOURNALS, SCRIPTS, crashing_at, explore_doubles, points, small
from tests.simulation.plans import Where
from tests.simulation.seeds import explore
from tests.simulation.worlds import Crashed, Terminated, TimedOut

HISTORIES = int(os.environ.get("SIMULATED_HISTORIES", "4000"))
FIRST_SEED = 1_000_000  # others than those of make simulation

ONE_DOUBLE_IN = 40
"""The tests run so many of the double crashes; make simulation runs them all."""


def test_no_history_breaks_the_promise() -> None:
    found = explore(FIRST_SEED, HISTORIES, processes=2)
    assert not found, "\n".join(f"python -m tests.simulation --seed {seed}: {why}" for seed, why in found.items())


@pytest.mark.parametrize("kind", [Crashed, TimedOut, Terminated])
@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("journal", JOURNALS)
def test_every_single_crash(journal: Where, script: str, kind: type[BaseException]) -> None:
    touches = points(journal, script)
    assert len(touches) > 40
    for touch in touches:
        violations = crashing_at(small(journal, script), frozenset({touch}), kind).run()
        assert not violations, (touch, violations)


def test_double_crashes() -> None:
    count, found = explore_doubles(processes=2, every=ONE_DOUBLE_IN)
    assert count > 1_000
    assert not found, "\n".join(found)
