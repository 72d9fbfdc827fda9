"""Every crash, and every two crashes, of a small campaign: at each touch of the world in turn."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice
from multiprocessing import get_context

from tests.simulation.eight_by_eight import Habits
from tests.simulation.histories import History
from tests.simulation.message_logs import Disorder, Lag
from tests.simulation.plans import Plan, Where
from tests.simulation.worlds import Crashed

JOURNALS = (Where.STATE_STORE, Where.CAMPAIGN)

SCRIPTS: dict[str, list[str]] = {
    "all taken": [],
    "first answer lost": ["lost_after"],
    "second request lost": ["taken", "lost_before"],
    "last answer a 500": ["taken", "taken", "500_after"],
}
"""What becomes of each POST in turn."""


def small(journal: Where, script: str) -> Plan:
    """Five valid rows in batches of two, and an invalid one."""
    return Plan(
        habits=Habits(lag=Lag(Disorder.ACCEPTANCES, bound=5.0, least=0.0, outages=[]), script=list(SCRIPTS[script])),
        journal=journal,
        rows=[[0, 1, 2, -1, 3, 4]],
        tries=4,
        settle_time=5.0,
        reconcile_timeout=5.0,
    )


def crashing_at(plan: Plan, touches: frozenset[int], kind: type[BaseException] = Crashed) -> History:
    """Return the history in which a try dies at each of these touches."""
    history = History(plan, seed=1)
    history.world.crash_at, history.world.interruption = touches, kind
    return history


def points(journal: Where, script: str, first: int | None = None) -> range:
    """Return the touches at which there can be a crash, before all is calm; or, after a first one, a second."""
    history = crashing_at(small(journal, script), frozenset() if first is None else frozenset({first}))
    calm_at: list[int] = []
    be_calm = history._be_calm

    def note_when() -> None:
        calm_at.append(history.world.touches)
        be_calm()

    history._be_calm = note_when  # type: ignore[method-assign]  # this history's alone
    history.run()
    return range((first or 0) + 1, calm_at[0] + 1)


def doubles(journal: Where, script: str) -> Iterator[frozenset[int]]:
    """Yield every crash with every later one: the second's points are those of the history with the first."""
    for first in points(journal, script):
        for second in points(journal, script, first):
            yield frozenset({first, second})


def run_doubles(case: tuple[Where, str], *, every: int = 1) -> tuple[int, list[str]]:
    """
    Run every double crash of a small campaign.

    :param every: so many-th only
    :return: how many, and what is wrong
    """
    journal, script = case
    count, found = 0, []
    for crashes in islice(doubles(journal, script), 0, None, every):
        count += 1
        violations = crashing_at(small(journal, script), crashes).run()
        if violations:
            found.append(f"{journal}, {script}, crashes at {sorted(crashes)}: {'; '.join(violations)}")
    return count, found


def explore_doubles(*, processes: int, every: int = 1) -> tuple[int, list[str]]:
    """Run the double crashes of all small campaigns; return how many, and what is wrong."""
    cases = [(journal, script) for journal in JOURNALS for script in SCRIPTS]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        results = list(pool.map(partial(run_doubles, every=every), cases))
    return sum(count for count, _ in results), [text for _, found in results for text in found]
