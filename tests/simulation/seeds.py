"""Random histories, each from its seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

from tests.simulation.histories import History
from tests.simulation.plans import draw

_SEEDS_AT_A_TIME = 100


def explore(
    first: int, count: int, *, processes: int = 1, make: Callable[..., History] = History
) -> dict[int, list[str]]:
    """
    Run the histories of so many seeds.

    :param make: makes each of them
    :return: of the seeds of which a property does not hold, which
    """
    starts = range(first, first + count, _SEEDS_AT_A_TIME)
    pieces = [range(start, min(start + _SEEDS_AT_A_TIME, first + count)) for start in starts]
    run = partial(run_seeds, make=make)
    found: Iterator[dict[int, list[str]]]
    if processes == 1:
        found = map(run, pieces)
        return {seed: violations for piece in found for seed, violations in piece.items()}
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        found = pool.map(run, pieces)
        return {seed: violations for piece in found for seed, violations in piece.items()}


def run_seeds(seeds: range, *, make: Callable[..., History] = History) -> dict[int, list[str]]:
    """Run some, and return what is wrong."""
    found = {}
    for seed in seeds:
        violations = make(draw(seed), seed).run()
        if violations:
            found[seed] = violations
    return found


def replay(seed: int, make: Callable[..., History] = History) -> str:
    """Run one again, and return what happened in it."""
    plan = draw(seed)
    history = partial(make, is_traced=True)(plan, seed)
    history.world.note("%s", plan)
    history.run()
    return "\n".join(history.world.trace or ())
