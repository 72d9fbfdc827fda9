"""How long it takes until it is known what became of one batch of fifty, by how far 8x8's logs lag."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_8x8.api.models import LogExportRequest
from airflow_provider_8x8.surveys.outcomes.verdict import Ending
from airflow_provider_8x8.surveys.settings import Settings
from tests.simulation.eight_by_eight import EightByEight, Habits
from tests.simulation.histories import History, TaskInstance
from tests.simulation.message_logs import Disorder, Lag
from tests.simulation.plans import Plan

LAGS = (0, 1, 5, 10, 20, 30, 60, 120)
"""Minutes."""

BATCHES = 50
RETRY_DELAY = 300.0
"""Seconds: Airflow's default."""

MAX_TRIES = 40
_CANARY = "+12025559999"


@dataclass(slots=True)
class Outcome:
    """
    What it took.

    :ivar minutes: until all was settled; None if nothing but a person can settle it
    """

    tries: int
    exports: int
    minutes: float | None
    working_minutes: float
    canaries: int


class CountingExports(EightByEight):
    """Counts what is asked of its logs."""

    exports = 0

    def begin_export(self, request: LogExportRequest) -> str:
        """Take an order."""
        self.exports += 1
        return super().begin_export(request)


class LostBatch(History):
    """A campaign of fifty batches, with the operator's defaults; the one in the middle is lost, or its answer is."""

    def __init__(self, lag: float, fate: str, *, has_canary: bool, at: int) -> None:
        script = ["taken"] * (at - 1) + [fate]
        plan = Plan(
            habits=Habits(lag=Lag(Disorder.ACCEPTANCES, bound=1.0, least=lag, outages=[]), script=script),
            rows=[list(range(2 * BATCHES))],
            pool=2 * BATCHES,
            has_canary=has_canary,
        )
        super().__init__(plan, seed=1)
        self.server: CountingExports = CountingExports(self.world, plan.habits)
        self.working = 0.0
        self.outcome: Outcome | None = None

    def settings(self) -> Settings:
        """Return the operator's defaults."""
        return Settings(survey_id="survey", batch_size=2, canary_destination=_CANARY if self.plan.has_canary else None)

    def _live(self, task: TaskInstance) -> None:
        began = self.world.now
        for _ in range(MAX_TRIES):
            tried = self.world.now
            self._try(task)
            self.working += self.world.now - tried
            if task.ending is Ending.SUCCESS:
                break
            self.world.wait(RETRY_DELAY)
        is_settled = task.ending is Ending.SUCCESS
        self.outcome = Outcome(
            tries=task.try_number,
            exports=self.server.exports,
            minutes=(self.world.now - began) / 60 if is_settled else None,
            working_minutes=self.working / 60,
            canaries=self.server.canaries,
        )


def what_it_takes(lag: float, fate: str, *, has_canary: bool, at: int = BATCHES // 2) -> Outcome:
    """
    Run one history.

    :param lag: seconds by which the logs lag
    :param fate: of the batch: ``lost_before`` 8x8 had it, or ``lost_after``
    :param at: which batch
    """
    history = LostBatch(lag, fate, has_canary=has_canary, at=at)
    violations = history.run()
    if violations or history.outcome is None:
        raise AssertionError(violations)
    return history.outcome


def table() -> str:
    """Return what it takes, as a table for the docs."""
    lines = [
        "| 8x8's logs lag by | its answer was lost | it was lost itself, with a canary | and without |",
        "|---|---|---|---|",
    ]
    for minutes in LAGS:
        cells = [
            _cell(what_it_takes(60.0 * minutes, "lost_after", has_canary=False)),
            _cell(what_it_takes(60.0 * minutes, "lost_before", has_canary=True)),
            _cell(what_it_takes(60.0 * minutes, "lost_before", has_canary=False)),
        ]
        lines.append(f"| {minutes} min | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(outcome: Outcome) -> str:
    if outcome.minutes is None:
        return "a person has to look"
    tries = "1 try" if outcome.tries == 1 else f"{outcome.tries} tries"
    exports = "1 export" if outcome.exports == 1 else f"{outcome.exports} exports"
    return f"{tries}, {exports}, {outcome.minutes:.0f} min, {outcome.working_minutes:.0f} of them on a worker"
