"""Random histories, and crashes of a small campaign at every touch of the world."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.simulation.crashes import JOURNALS, SCRIPTS, crashing_at, explore_doubles, points, small
from tests.simulation.lost_batches import table, what_it_takes
from tests.simulation.plans import Where
from tests.simulation.seeds import explore
from tests.simulation.worlds import Crashed, Terminated, TimedOut

HISTORIES = int(os.environ.get("SIMULATED_HISTORIES", "4000"))
FIRST_SEED = 1_000_000  # others than those of make simulation

ONE_DOUBLE_IN = 200
"""The tests run so many of the double crashes; make simulation runs them all."""


def test_no_history_breaks_the_promise() -> None:
    found = explore(FIRST_SEED, HISTORIES, processes=2)
    assert not found, "\n".join(f"python -m tests.simulation --seed {seed}: {why}" for seed, why in found.items())


@pytest.mark.parametrize("seed", [9017912, 9030324])
def test_a_seed_is_one_history_whatever_process_runs_it(seed: int) -> None:
    command = [sys.executable, "-m", "tests.simulation", "--seed", str(seed)]
    happened = {
        subprocess.run(
            command, env={**os.environ, "PYTHONHASHSEED": hash_seed}, cwd=ROOT, capture_output=True, check=True
        ).stdout
        for hash_seed in "12"
    }
    assert len(happened) == 1


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


@pytest.mark.parametrize("lag", [0, 5, 10, 30])
def test_a_lost_batch_comes_to_its_end_with_the_defaults_and_a_canary(lag: int) -> None:
    found = what_it_takes(60.0 * lag, "lost_before", has_canary=True)
    assert found.minutes is not None
    assert found.tries <= 4, "with retries=3"
    assert found.canaries == 1


def test_the_docs_have_the_table_of_what_a_lost_batch_takes() -> None:
    assert table() in (ROOT / "docs" / "guarantees.md").read_text()
