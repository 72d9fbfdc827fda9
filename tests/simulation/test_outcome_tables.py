"""The outcome table agrees with what is counted, and with 8x8, wherever a process dies."""

from __future__ import annotations

import pytest

from tests.simulation.crashes import JOURNALS, SCRIPTS, small
from tests.simulation.outcome_tables import HistoryWithTable
from tests.simulation.plans import Where
from tests.simulation.seeds import run_seeds


def test_the_table_agrees_in_random_histories() -> None:
    found = run_seeds(range(2_000_000, 2_000_150), make=HistoryWithTable)
    assert not found


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("journal", JOURNALS)
def test_ten_deaths_leave_one_row_for_each_row_read(journal: Where, script: str) -> None:
    plan = small(journal, script)
    plan.tries = 12
    for first in range(3, 60, 9):
        history = HistoryWithTable(plan=small(journal, script), seed=1)
        history.plan.tries = 12
        history.world.crash_at = frozenset(range(first, first + 400, 40))
        assert not history.run(), first
