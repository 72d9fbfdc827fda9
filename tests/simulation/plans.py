"""What a history is like: drawn from its seed, or written down for a small campaign."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from enum import StrEnum

from airflow_provider_8x8.surveys.sending.refusals import ALIKE, MORE_REQUESTS
from airflow_provider_8x8.surveys.settings import Limits, OnUnknown
from tests.simulation.eight_by_eight import Habits
from tests.simulation.message_logs import Disorder, Lag
from tests.simulation.sources import Kind, key
from tests.simulation.worlds import START, Terminated, TimedOut

_BAD_CODES = (1000, 1002, 1004, 1009)
_INTERRUPTIONS: tuple[tuple[type[BaseException], ...], ...] = ((), (TimedOut,), (Terminated,))


class Where(StrEnum):
    """Which journal a campaign has."""

    STATE_STORE = "state store"
    CAMPAIGN = "SQL"
    MEMORY = "memory"
    CHANGING = "another one from try to try"


@dataclass(frozen=True, slots=True)
class AtHand:
    """
    What a try is configured with.

    :ivar database: where ``journal_conn_id`` leads to, if there is one
    :ivar has_store: Airflow has a task state store
    """

    database: str | None
    has_store: bool = True


@dataclass(slots=True, kw_only=True)
class Plan:
    """
    What a history is like.

    :ivar runs: task instances of the campaign, at once
    :ivar pool: valid rows come from this many
    :ivar rows: the source of each run at first: numbers of rows, -1 for an invalid one
    :ivar tries: tries of each run before all becomes calm
    :ivar zombies: how likely Airflow declares a try dead that is not
    :ivar clears: how likely a task that has ended is cleared
    :ivar clear_on_success: Airflow throws the state of a task away that has succeeded
    :ivar more_requests: for the parts of refused batches, beyond one for each row
    :ivar kills: how likely a try is told to end
    :ivar interruptions: how it is then interrupted besides, if at all
    :ivar final_canary: there is a canary when all is calm
    :ivar skew: seconds that the clocks of two workers differ at most
    :ivar at_hand: how each try is configured in turn, where that changes; the last is how it stays
    :ivar has_times: rows bring times of their own
    :ivar never_starts: how likely a try dies before any of our code has run
    :ivar forgets: how likely one of the memories is thrown away between two tries
    :ivar not_after: no batch is begun later
    :ivar limits: how much may go wrong
    :ivar first_batch_size: so many go out first
    :ivar cancellers: so many people cancel batches now and then
    :ivar is_deferrable: a try waits for 8x8's logs without a process, and goes on in a new one
    :ivar trigger_faults: how likely such a wait fails, so that the try only says what it has sent
    """

    habits: Habits
    journal: Where = Where.STATE_STORE
    kind: Kind = Kind.DESTINATION
    runs: int = 1
    pool: int = 12
    rows: list[list[int]] = field(default_factory=list)
    batch_size: int = 2
    tries: int = 1
    settle_time: float = 20.0
    reconcile_timeout: float = 120.0
    on_unknown: OnUnknown = OnUnknown.FAIL
    has_canary: bool = False
    final_canary: bool = True
    max_messages: int | None = None
    scheduled: float | None = None
    has_threads: bool = False
    has_report: bool = True
    shows_open_files: bool = False
    has_worker_backend: bool = False
    zombies: float = 0.0
    clears: float = 0.0
    clear_on_success: bool = False
    more_requests: int = MORE_REQUESTS
    kills: float = 0.0
    interruptions: list[type[BaseException]] = field(default_factory=list)
    store_faults: float = 0.0
    source_faults: float = 0.0
    report_faults: float = 0.0
    skew: float = 0.0
    pace: float = 0.0
    stalls: float = 0.0
    crashes: float = 0.0
    changes: bool = False
    retry_delay: float = 1.0
    at_hand: list[AtHand] = field(default_factory=list)
    has_times: bool = False
    never_starts: float = 0.0
    forgets: float = 0.0
    not_after: float | None = None
    limits: Limits = field(default_factory=Limits)
    first_batch_size: int | None = None
    cancellers: int = 0
    is_deferrable: bool = False
    trigger_faults: float = 0.0


def draw(seed: int) -> Plan:
    """Draw a plan from a seed."""
    chance = random.Random(f"plan {seed}")  # noqa: S311  # chance, not secrets
    journal = chance.choices(list(Where), (10, 10, 1, 8))[0]
    kind = chance.choices(list(Kind), (4, 1, 1, 1))[0]
    settle_time = chance.choice((10.0, 20.0, 60.0, 200.0))
    skew = chance.choice((0.0, 0.0, 0.0, 3.0))
    runs = chance.choice((1, 1, 2, 2, 3)) if journal is Where.CAMPAIGN else 1
    pool = chance.randint(3, 9)
    scheduled = START + chance.uniform(0, 1000) if chance.random() < 0.1 else None
    rows = [_rows(chance, pool) for _ in range(runs)]
    changes = chance.random() < 0.6
    habits = _habits(chance, settle_time - 2 * skew, kind, pool)
    if not changes and min(len(set(each) - {-1}) for each in rows) >= ALIKE and chance.random() < 0.15:
        habits.refuses_all = chance.choice(_BAD_CODES)
    plan = Plan(
        habits=habits,
        journal=journal,
        kind=kind,
        runs=runs,
        pool=pool,
        rows=rows,
        batch_size=chance.randint(1, 4),
        tries=chance.randint(1, 4),
        settle_time=settle_time,
        reconcile_timeout=chance.choice((0.0, 5.0, 60.0, 200.0, 400.0)),
        on_unknown=chance.choices(list(OnUnknown), (8, 1, 1))[0],
        has_canary=chance.random() < 0.4,
        final_canary=chance.random() < 0.9,
        max_messages=1000 if chance.random() < 0.15 else None,
        scheduled=scheduled,
        has_threads=chance.random() < 0.6,
        has_report=chance.random() < 0.6,
        shows_open_files=chance.random() < 0.5,
        has_worker_backend=chance.random() < 0.3,
        zombies=chance.choice((0.0, 0.0, 0.3, 0.8)),
        clears=chance.choice((0.0, 0.5)),
        clear_on_success=chance.random() < 0.2,
        more_requests=chance.choice((4, 10, MORE_REQUESTS)),
        kills=chance.choice((0.0, 0.0, 0.3)),
        interruptions=list(chance.choice(_INTERRUPTIONS)),
        store_faults=chance.choice((0.0, 0.0, 0.01, 0.1)),
        source_faults=chance.choice((0.0, 0.0, 0.03)),
        report_faults=chance.choice((0.0, 0.0, 0.0, 0.02)),
        skew=skew,
        pace=chance.choice((0.05, 0.5, 3.0)),
        stalls=chance.choice((0.0, 0.005, 0.03)),
        crashes=chance.choice((0.0, 0.005, 0.02)),
        changes=changes,
        retry_delay=chance.choice((0.0, 5.0, 100.0)),
        at_hand=_at_hand(chance, journal),
        has_times=scheduled is None and habits.refuses_all is None and chance.random() < 0.1,
        never_starts=chance.choice((0.0, 0.0, 0.0, 0.1)),
        # A campaign of several runs rests on its database: whoever deletes it there, lets a new run begin anew.
        forgets=chance.choice((0.0, 0.0, 0.0, 0.2)) if journal is not Where.CAMPAIGN else 0.0,
        not_after=START + chance.uniform(0, 500) if habits.refuses_all is None and chance.random() < 0.1 else None,
        limits=_limits(chance) if chance.random() < 0.25 else Limits(),
        first_batch_size=chance.choice((1, 2)) if chance.random() < 0.15 else None,
        is_deferrable=chance.random() < 0.5,
        trigger_faults=chance.choice((0.0, 0.0, 0.1)),
    )
    _draw_cancelling(plan, seed)
    _draw_endless_exports(plan, seed)
    return plan


def _draw_endless_exports(plan: Plan, seed: int) -> None:
    """Have some exports never end in some histories, by dice of its own: all others stay as they are."""
    chance = random.Random(f"exports {seed}")  # noqa: S311  # chance, not secrets
    if chance.random() < 0.15:
        plan.habits.faults["export_endless"] = chance.choice((0.1, 0.5, 1.0))


def _draw_cancelling(plan: Plan, seed: int) -> None:
    """Have batches cancelled in some histories of campaigns, by dice of its own: all others stay as they are."""
    chance = random.Random(f"cancelling {seed}")  # noqa: S311  # chance, not secrets
    if plan.journal is Where.CAMPAIGN and chance.random() < 0.3:
        plan.cancellers = chance.choice((1, 1, 2))
        plan.habits.cancels_again = chance.random() < 0.3
        plan.habits.faults["gone"] = chance.choice((0.0, 0.1, 0.4))


def _limits(chance: random.Random) -> Limits:
    return Limits(
        max_rejected=chance.choice((None, 0, 1, 0.3)),
        max_invalid=chance.choice((None, None, 0, 1, 0.2)),
        brake_after=chance.choice((1, 3, 5)),
    )


def _at_hand(chance: random.Random, journal: Where) -> list[AtHand]:
    if journal is not Where.CHANGING:
        has_store = journal is Where.STATE_STORE or (journal is Where.CAMPAIGN and chance.random() < 0.5)
        return [AtHand("a" if journal is Where.CAMPAIGN else None, has_store)]
    upgraded_after = chance.choice((0, 0, 0, 1, 2))  # tries until Airflow has a store
    return [
        AtHand(chance.choice((None, "a", "a", "b")), has_store=number >= upgraded_after)
        for number in range(chance.randint(2, 6))
    ]


def _rows(chance: random.Random, pool: int) -> list[int]:
    numbers = [number for number in range(pool) if chance.random() < 0.8]
    numbers += [chance.choice((-1, chance.randrange(pool))) for _ in range(chance.choice((0, 0, 1, 2)))]
    if chance.random() < 0.5:  # else neighbours stay what they are
        chance.shuffle(numbers)
    return numbers


_FAULTS = (
    "429",
    "lost_before",
    "500_before",
    "lost_after",
    "500_after",
    "never_sent",
    "never_complete",
    "odd",
    "rejected_row",
    "export_failed",
    "export_cut",
    "export_unreachable",
    "export_429",
    "export_gone",
    "slow_answer",
)


def _habits(chance: random.Random, bound: float, kind: Kind, pool: int) -> Habits:
    mood = chance.choice((0.0, 0.05, 0.2, 0.5))
    faults = {name: mood for name in _FAULTS if chance.random() < 0.4}
    faults |= {"401": chance.choice((0.0, 0.0, 0.03)), "export_refused": chance.choice((0.0, 0.0, 0.05))}
    bad = _bad(chance, pool)
    codes = _BAD_CODES if chance.random() < 0.5 else (chance.choice(_BAD_CODES),)
    return Habits(
        lag=_lag(chance, bound),
        faults=faults,
        refuses_bad_rows=chance.random() < 0.5,
        bad={key(kind, number): chance.choice(codes) for number in bad},
        logs_rejected=chance.random() < 0.6,
        logs_scheduled_late=chance.random() < 0.5,
        clock=chance.choice((0.0, 0.0, chance.uniform(-3000.0, 60.0))),
    )


def _bad(chance: random.Random, pool: int) -> list[int]:
    """Draw the numbers of the rows that are bad: none or few of them, neighbours, or most."""
    kind = chance.choice(("few", "few", "neighbours", "most"))
    if kind == "neighbours":
        first = chance.randrange(pool)
        return list(range(first, min(pool, first + chance.randint(2, 4))))
    share = 0.1 if kind == "few" else 0.8
    return [number for number in range(pool) if chance.random() < share]


def _lag(chance: random.Random, bound: float) -> Lag:
    outages = []
    end = START
    for _ in range(chance.choice((0, 0, 1, 2, 3))):
        begin = end + chance.uniform(0.0, 500.0)
        end = begin + chance.choice((30.0, 300.0, 3000.0)) * chance.random()
        outages.append((begin, end))
    return Lag(chance.choice(list(Disorder)), bound, chance.choice((0.0, 1.0, 30.0, 150.0)), outages)
