"""What random histories have found, each made small: at every touch of the world where it can happen, or in a few."""

from __future__ import annotations

import dataclasses

import pytest

from airflow_provider_8x8.surveys.outcomes.verdict import Ending
from tests.simulation.crashes import JOURNALS, crashing_at, small
from tests.simulation.histories import History
from tests.simulation.plans import Plan, Where
from tests.simulation.sources import Kind, key, row

_TOUCHES = 250
"""More than any of these histories has before all is calm."""


def with_a_bad_row(journal: Where, *, is_refused: bool) -> Plan:
    """8x8 refuses the batch with row 2 for its sake, or rejects the row; neither shows in its logs."""
    plan = small(journal, "all taken")
    plan.habits.bad = {key(Kind.DESTINATION, 2): 1002}
    plan.habits.refuses_bad_rows, plan.habits.logs_rejected = is_refused, False
    return plan


@pytest.mark.parametrize("journal", JOURNALS)
def test_the_counts_add_up_wherever_the_report_fails(journal: Where) -> None:
    for touch in range(1, _TOUCHES):
        history = History(with_a_bad_row(journal, is_refused=True), seed=1)
        history.disk.fails_at = frozenset({touch})
        assert not history.run(), touch


@pytest.mark.parametrize("is_refused", [True, False])
@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.parametrize("journal", JOURNALS)
def test_a_rejected_row_that_no_log_shows_keeps_no_task_from_its_end(
    journal: Where, batch_size: int, *, is_refused: bool
) -> None:
    for touch in range(1, _TOUCHES):
        plan = dataclasses.replace(with_a_bad_row(journal, is_refused=is_refused), batch_size=batch_size)
        assert not crashing_at(plan, frozenset({touch})).run(), touch


@pytest.mark.parametrize("runs", [2, 3])
def test_runs_that_are_all_refused_the_same_rows_do_not_keep_each_other_busy_without_end(runs: int) -> None:
    for seed in range(4):
        plan = dataclasses.replace(
            small(Where.CAMPAIGN, "all taken"), runs=runs, rows=[list(range(6))] * runs, batch_size=1, tries=1, pace=3.0
        )
        plan.habits.refuses_bad_rows = True
        plan.habits.bad = {key(Kind.DESTINATION, number): 1000 for number in range(6)}
        history = History(plan, seed)
        assert not history.run(), seed
        for task in history.tasks:
            assert task.last is not None
            assert (task.ending, +task.last.summary.outcomes) == (Ending.FAIL_FOR_GOOD, {"not_sent": 6}), seed


class Shrinking(History):
    """The first run's source gives one row only, once all is calm."""

    def _be_calm(self) -> None:
        self.tasks[0].table.rows = [row(Kind.DESTINATION, 9)]
        super()._be_calm()


def test_rows_that_a_dead_run_held_are_not_lost_when_its_own_source_lacks_them() -> None:
    for touch in range(1, _TOUCHES):
        plan = dataclasses.replace(small(Where.CAMPAIGN, "all taken"), runs=2, rows=[[0, 1], [0, 1, 2]], tries=1)
        history = Shrinking(plan, seed=1)
        history.world.crash_at = frozenset({touch})
        assert not history.run(), touch
