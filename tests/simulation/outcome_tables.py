"""Histories whose outcomes go into a real SQLite table, which processes touch before and after each transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import StaticPool

from airflow_provider_8x8.surveys.messages.template import Template
from airflow_provider_8x8.surveys.messages.texts import Texts
from airflow_provider_8x8.surveys.outcomes.table import OutcomeTable, TaskInstanceName
from airflow_provider_8x8.surveys.outcomes.table_database import TableDatabase
from airflow_provider_8x8.surveys.outcomes.verdict import Ending
from tests.simulation.histories import History, TaskInstance
from tests.simulation.plans import Plan
from tests.simulation.properties import _was_alone
from tests.simulation.worlds import Process, ProcessClock


class SimulatedTable(TableDatabase):
    """The table, as one process has it."""

    def __init__(self, process: Process, engine: Engine) -> None:
        super().__init__(engine, "outcomes", "warehouse")
        self._process = process

    def _once(self, work: Callable[[Connection], Any], *, commits: bool = True) -> Any:
        self._process.touch("outcome table: begin")
        result = super()._once(work, commits=commits)
        self._process.touch("outcome table: committed")
        return result

    def close(self) -> None:
        """Leave the engine to the other processes."""


class HistoryWithTable(History):
    """A history with an outcome table."""

    def __init__(self, plan: Plan, seed: int, *, is_traced: bool = False) -> None:
        super().__init__(plan, seed, is_traced=is_traced)
        self._engine = sa.create_engine(
            "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}, future=True
        )

    def outcome_table(self, process: Process, task: TaskInstance) -> OutcomeTable:
        """Return the table that a try writes outcomes into."""
        return OutcomeTable(
            SimulatedTable(process, self._engine),
            "campaign",
            TaskInstanceName("dag", task.name, "run", -1),
            texts=Texts(Template.parse("{{k}} {{url}}")),
            clock=ProcessClock(process),
        )

    def run(self) -> list[str]:
        """Let it happen, and return what is wrong about it, and about the table."""
        super().run()
        for task in self.tasks:
            self._check_table(task)
        self._engine.dispose()
        return self.world.violations

    def _check_table(self, task: TaskInstance) -> None:
        if task.last is None or task.ending is not Ending.SUCCESS or not _was_alone(self):
            return
        with self._engine.connect() as connection:
            found = connection.execute(
                sa.text("SELECT outcome, row_key FROM outcomes WHERE task_id = :task"), {"task": task.name}
            ).all()
        expected = Counter({str(outcome): count for outcome, count in task.last.summary.outcomes.items() if count})
        if Counter(outcome for outcome, _ in found) != expected:
            self.world.violate(f"{task.name}: the table has {Counter(row[0] for row in found)}, counted is {expected}")
        if not self.plan.changes and any(outcome == "accepted" and row_key is None for outcome, row_key in found):
            self.world.violate(f"{task.name}: a row was sent, and the table does not know which one it was")
