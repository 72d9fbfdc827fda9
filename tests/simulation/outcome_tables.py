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
from airflow_provider_8x8.surveys.outcomes.cause import Cause
from airflow_provider_8x8.surveys.outcomes.table import OutcomeTable, TaskInstanceName
from airflow_provider_8x8.surveys.outcomes.table_database import TableDatabase
from airflow_provider_8x8.surveys.outcomes.verdict import Ending
from tests.simulation.histories import History, TaskInstance, Try
from tests.simulation.plans import Plan
from tests.simulation.properties import is_alone
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
            task.name,
            texts=Texts(Template.parse("{{k}} {{url}}")),
            clock=ProcessClock(process),
        )

    def run(self) -> list[str]:
        """Let it happen, and return what is wrong about it, and about the table."""
        super().run()
        for task in self.tasks:
            if task.last is not None and task.ending is Ending.SUCCESS and not self.plan.cancellers:
                self._check_batches(task, task.last)
        self._engine.dispose()
        return self.world.violations

    def check_try(self, task: TaskInstance, done: Try, ending: Ending) -> None:
        """Hold the table against what the try says, too."""
        super().check_try(task, done, ending)
        if self._may_differ(task, done):
            return
        with self._engine.connect() as connection:
            found = connection.execute(
                sa.text("SELECT owner, outcome, row_key FROM outcomes WHERE task_id = :task"), {"task": task.name}
            ).all()
        if not done.source.last_pass:  # what was in no batch in an earlier try's reading stays until the next one
            found = [row for row in found if not row.owner.startswith("rows ")]
        there = Counter(row.outcome for row in found)
        counted = Counter({str(outcome): count for outcome, count in done.summary.outcomes.items() if count})
        if self.plan.changes:
            # What is not sent of a batch that 8x8 turns out not to have stands there, also if the source has lost it.
            del there["not_sent"], counted["not_sent"]
        if there != counted:
            self.world.violate(f"{task.name}: the table has {there}, and the result {counted}: {done.summary.stop}")
        if ending is not Ending.SUCCESS or self.plan.changes:
            return
        if any(row.outcome == "accepted" and row.row_key is None for row in found):
            self.world.violate(f"{task.name}: a row was sent, and the table does not know which one it was")

    def _check_batches(self, task: TaskInstance, done: Try) -> None:
        """Hold the rows of batches against the result, whoever has stood still and gone on after it."""
        with self._engine.connect() as connection:
            found = connection.execute(
                sa.text("SELECT outcome FROM outcomes WHERE task_id = :task AND owner NOT LIKE 'rows %'"),
                {"task": task.name},
            ).scalars()
        there = Counter(found)
        counted = {name: done.summary.outcomes[name] for name in ("accepted", "rejected")}
        if done.summary.stop is None and {name: there[name] for name in counted} != counted:
            self.world.violate(f"{task.name}: in the end the table has {there}, and the result {counted}")

    def _may_differ(self, task: TaskInstance, done: Try) -> bool:
        """Tell whether the table may have something else than the result says, until the task is tried again."""
        stop, cause = done.summary.stop or "", done.summary.cause
        # An interruption may strike anywhere, and the first reason to stop hides those after it.
        may_be_hidden = stop != "" and (self.plan.report_faults > 0 or len(self.plan.interruptions) > 0)
        is_cut_short = (
            may_be_hidden or cause is Cause.JOURNAL or stop.startswith(("the report", "somebody has cancelled"))
        )
        return is_cut_short or not done.summary.was_begun or not is_alone(task, done)
