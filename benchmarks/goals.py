"""What the operator is to reach beside the others, whatever the machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from benchmarks.figures import MEBIBYTE, decimals, mebibytes, table


class Goal(msgspec.Struct, frozen=True, tag_field="kind"):
    """
    A figure beside what it is to be.

    :ivar what: which figure
    :ivar measured: in this run
    :ivar wanted: what it is to be at least, or at most
    :ivar is_memory: both are bytes, and not ratios
    """

    what: str
    measured: float
    wanted: float
    is_memory: bool = False

    @property
    def is_reached(self) -> bool:
        raise NotImplementedError


class AtLeast(Goal, frozen=True):
    """A figure that is to be large."""

    @property
    def is_reached(self) -> bool:
        return self.measured >= self.wanted


class AtMost(Goal, frozen=True):
    """A figure that is to be small."""

    @property
    def is_reached(self) -> bool:
        return self.measured <= self.wanted


_TIMES: dict[str, float] = {"by hand": 1.5, "by hand, counts only": 1.0, "bare loop": 0.6}
_GROWTH = 150 * MEBIBYTE


def of_comparison(rows: int, ratios: dict[str, float], growth: float) -> list[Goal]:
    """
    Return the goals of the comparison.

    :param ratios: how many times as fast as which contender
    :param growth: bytes of memory
    """
    found: list[Goal] = [
        AtLeast(f"{rows:,} rows: times as fast as {other}", ratio, _TIMES[other])
        for other, ratio in ratios.items()
        if other in _TIMES
    ]
    return [*found, AtMost(f"{rows:,} rows: memory growth", growth, _GROWTH, is_memory=True)]


def of_few_rows(rows: int, ratio: float) -> Goal:
    """Return the goal for a small campaign, by how many times as fast as by hand it is."""
    return AtLeast(f"{rows:,} rows: times as fast as by hand", ratio, 1.0)


def of_slow_8x8(overhead: float) -> Goal:
    """Return the goal for an 8x8 that takes its time, by the share that is not waiting."""
    return AtMost("a slow 8x8: longer than the waiting, by a share of", overhead, 0.03)


def of_shard(ratio: float, growth: float) -> list[Goal]:
    """
    Return the goals of one of ten shards.

    :param ratio: how many times as fast as a campaign alone
    :param growth: bytes of memory more than that
    """
    return [
        AtLeast("one of ten shards: times as fast as alone", ratio, 0.5),
        AtMost("one of ten shards: more memory than alone", growth, _GROWTH, is_memory=True),
    ]


def as_table(goals: Sequence[Goal]) -> str:
    """Return goals for people."""
    rows = [("", "measured", "wanted", "")]
    for goal in goals:
        show: Callable[[float], str] = _in_mebibytes if goal.is_memory else decimals(2)
        bound = "at most" if isinstance(goal, AtMost) else "at least"
        verdict = "reached" if goal.is_reached else "missed"
        rows.append((goal.what, show(goal.measured), f"{bound} {show(goal.wanted)}", verdict))
    return table(*rows)


def _in_mebibytes(value: float) -> str:
    return f"{mebibytes(value)} MiB"
