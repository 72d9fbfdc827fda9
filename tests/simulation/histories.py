"""
A history: the tries of a campaign's task instances in a simulated world, as Airflow runs them.

First things go wrong, as the plan has it; then all becomes calm, and each task instance is tried until it has ended.
"""

from __future__ import annotations

import json
import logging
import string
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from unittest import mock

from greenlet import getcurrent

from airflow_provider_8x8.surveys.chance import ID_ALPHABET
from airflow_provider_8x8.surveys.journal.entries import Entry
from airflow_provider_8x8.surveys.journal.errors import JournalError
from airflow_provider_8x8.surveys.journal.marks import JournalName, Memory
from airflow_provider_8x8.surveys.journal.memory import MemoryJournal
from airflow_provider_8x8.surveys.journal.protocol import Journal
from airflow_provider_8x8.surveys.journal.state_store import StateStoreMemory
from airflow_provider_8x8.surveys.journal.task_memory import TaskMemory
from airflow_provider_8x8.surveys.messages.builder import MessageBuilder
from airflow_provider_8x8.surveys.messages.row_keys import RowKeys
from airflow_provider_8x8.surveys.messages.template import Template
from airflow_provider_8x8.surveys.outcomes.report import Report
from airflow_provider_8x8.surveys.outcomes.sinks import Sink
from airflow_provider_8x8.surveys.outcomes.summary import Summary
from airflow_provider_8x8.surveys.outcomes.verdict import Ending, OnEmpty, judge
from airflow_provider_8x8.surveys.sending import refusals as refusals_module
from airflow_provider_8x8.surveys.sending.pausing import Pause
from airflow_provider_8x8.surveys.sending.sender import SurveySender
from airflow_provider_8x8.surveys.settings import OnUnknown, Run, Settings
from tests.simulation import braking, properties
from tests.simulation.campaign_journals import Campaign, Database, DatabaseMemory
from tests.simulation.cancelling import Cancellers
from tests.simulation.eight_by_eight import Client, EightByEight
from tests.simulation.folders import Disk, SimulatedPath
from tests.simulation.plans import AtHand, Plan, Where
from tests.simulation.sources import UNIQUE_BY, Source, Table, invalid_row, row
from tests.simulation.state_stores import Accessor, StateStore
from tests.simulation.worlds import (
    Crashed,
    InlinePoster,
    Process,
    ProcessClock,
    Terminated,
    ThreadPoster,
    TimedOut,
    World,
)

MAX_CALM_TRIES = 8
"""Tries that each task instance has at most when all is calm."""

_CAMPAIGN = "campaign"
_TEMPLATE = Template.parse("{{k}} {{url}}")
_CANARY = "+12025559999"
_NEWLY_READ = 300.0


@dataclass(slots=True)
class TaskInstance:
    """One of the campaign's task instances, as Airflow knows it."""

    name: str
    table: Table
    store: StateStore
    try_number: int = 0
    was_cleared: bool = False
    is_lost: bool = False
    """What was known of it has been thrown away, or a try has died before anything was: it may refuse."""
    processes: list[Process] = field(default_factory=list)
    ending: Ending | None = None
    """How its newest try has ended; None if it has not, or died."""
    last: Try | None = None
    """Its newest try that has ended by itself."""
    pause: dict[str, Any] | None = None
    """What its newest try waits for without a process, as it is written down."""
    passes: dict[int, Passes] = field(default_factory=dict)
    """By the number of the try."""


@dataclass(slots=True)
class Try:
    """A try that has ended by itself."""

    number: int
    process: Process
    summary: Summary
    source: Source
    disk: Disk | None


@dataclass(slots=True)
class Passes:
    """
    How often a try has read its source.

    :ivar in_vain: how often one after the other, with nothing gained since the first of them
    """

    in_vain: int = 0
    most_gained: int = -1

    def note(self, gained: int) -> None:
        """Take note of another one, before which so many messages had been accepted or rejected."""
        self.in_vain = 1 if gained > self.most_gained else self.in_vain + 1
        self.most_gained = max(self.most_gained, gained)


class History:
    """
    One history.

    :param plan: what it is like
    :param seed: of all that is left to chance
    """

    def __init__(self, plan: Plan, seed: int, *, is_traced: bool = False) -> None:
        self.plan = plan
        self.world = World(seed, is_traced=is_traced)
        self.chance = WorldsChance(self.world)
        self.server = EightByEight(self.world, plan.habits)
        self.server.on_accept = self._accepted_again
        self.databases = {name: Database(self.world, name, plan.store_faults) for name in ("a", "b")}
        for database in self.databases.values():
            database.campaign(_CAMPAIGN).on_decision = self._decided
        self.disk = Disk(self.world, plan.shows_open_files, plan.report_faults)
        self.resent: dict[str, int] = {}
        self.tasks = [self._task_instance(number) for number in range(plan.runs)]
        self.cancellers = Cancellers(self)
        self._living = len(self.tasks)
        self.world.pace, self.world.stall_chance = plan.pace, plan.stalls
        self.world.crash_chance, self.world.crashes_left = plan.crashes, 6

    @property
    def campaign(self) -> Campaign:
        """What the database has in which campaigns of several runs are."""
        return self.databases["a"].campaign(_CAMPAIGN)

    def _task_instance(self, number: int) -> TaskInstance:
        plan = self.plan
        table = Table(self.world, plan.kind, plan.pool, plan.source_faults, self.world.random.random() < 0.7)
        table.has_times = plan.has_times
        table.rows = [row(plan.kind, n) if n >= 0 else invalid_row(plan.kind, 0) for n in plan.rows[number]]
        store = StateStore(self.world, has_worker_backend=plan.has_worker_backend, faults=plan.store_faults)
        name = f"run-{number}" if plan.journal is Where.CAMPAIGN else _CAMPAIGN
        return TaskInstance(name, table, store)

    def run(self) -> list[str]:
        """Let it happen, and return what is wrong about it."""
        with _simulated(self.plan.more_requests):
            for task in self.tasks:
                self.world.start(partial(self._live, task))
            self.cancellers.start()
            self.world.run()
        return self.world.violations

    # Airflow

    def _live(self, task: TaskInstance) -> None:
        """Run a task instance's tries while things go wrong, and the last ones when they do not."""
        for _ in range(self.plan.tries):
            self._try(task)
            if task.ending in (Ending.SUCCESS, Ending.FAIL_FOR_GOOD) and not self._is_cleared(task):
                break
            if self.plan.changes:
                task.table.change()
            if self.world.happens(self.plan.forgets):
                self._forget(task)
            self.world.wait(self.world.random.random() * self.plan.retry_delay)
        self._living -= 1
        if not self._living:
            self._be_calm()

    def _try(self, task: TaskInstance) -> None:
        """Run one try until it has ended, or Airflow believes so."""
        process = self._start(task)
        self._see_through(task, process)
        while task.pause is not None:
            self._see_through(task, self._resume(task, task.pause))

    def _see_through(self, task: TaskInstance, process: Process) -> None:
        """Wait for a process's end, or until Airflow believes in it."""
        world, plan = self.world, self.plan
        if world.happens(plan.kills):
            world.later(world.random.random() * 60.0, lambda: self._tell_to_end(process))
        if world.happens(plan.zombies):
            world.wait_for(process, world.stall())
        else:
            world.wait_for(process)
        if process.is_dead:
            world.wait(world.random.random() * 20.0)  # until Airflow knows

    def _resume(self, task: TaskInstance, pause: dict[str, Any]) -> Process:
        """Have a try go on after a wait; meanwhile other runs go on, and a memory may be thrown away."""
        world = self.world
        world.note("the try waits without a process")
        until = Pause.of(pause).wait.until
        world.wait(max(0.0, until - world.now) + world.random.random() * 20.0)
        if world.happens(self.plan.forgets):
            self._forget(task)
        return self._run(task, pause)

    def _start(self, task: TaskInstance) -> Process:
        task.try_number += 1
        task.store.newest += 1
        task.ending = None
        if task.try_number > 1 and not self._has_marks(task):
            task.is_lost = True
        return self._run(task, None)

    def _run(self, task: TaskInstance, pause: dict[str, Any] | None) -> Process:
        """Start a process of the newest try."""
        task.pause = None
        skew = self.world.random.uniform(-1, 1) * self.plan.skew
        process = Process(self.world, f"{task.name}/{task.try_number}", skew=skew)
        looks = self.campaign.first_looks
        if pause is not None and task.processes[-1] in looks:
            looks[process] = looks[task.processes[-1]]  # it is the same try
        task.processes.append(process)
        accessor = Accessor(process, task.store)
        number = task.try_number
        process.start(lambda: self._execute(task, process, accessor, number, pause))
        if self.world.happens(self.plan.never_starts):
            process.die()
        return process

    def _forget(self, task: TaskInstance) -> None:
        """Throw away one of the memories, as somebody might by hand."""
        memories: list[StateStore | Database] = [task.store, *self.databases.values()]
        memory = self.world.random.choice(memories)
        self.world.note("%s is thrown away", type(memory).__name__)
        memory.throw_away()
        for each in self.tasks:
            each.is_lost = True

    def _tell_to_end(self, process: Process) -> None:
        process.stop.set()
        if self.plan.has_threads and self.plan.interruptions:
            process.interruption = self.plan.interruptions[0]
        if self.world.random.random() < 0.5:
            self.world.later(self.world.random.random() * 60.0, process.die)

    def _is_cleared(self, task: TaskInstance) -> bool:
        """Clear a task that has ended, if somebody wants to."""
        if task.ending is Ending.SUCCESS and self.plan.clear_on_success:
            task.store.throw_away()
            task.is_lost = True
        if not self.world.happens(self.plan.clears):
            return False
        self._clear(task)
        return True

    def _clear(self, task: TaskInstance) -> None:
        self.world.note("%s is cleared", task.name)
        task.was_cleared = True
        task.store.newest += 1

    def _be_calm(self) -> None:
        """Let nothing go wrong any more, and try all until it has ended."""
        world = self.world
        world.is_calm = True
        world.note("all is calm")
        self.cancellers.end()
        for database in self.databases.values():
            if (holder := database.campaign(_CAMPAIGN).holder) is not None:
                holder.die()  # somebody ends whoever stalls with the database's lock
        world.wait(max(0.0, self.plan.habits.lag.ends - world.now, (self.plan.scheduled or 0.0) - world.now))
        for task in self.tasks:
            world.start(partial(self._finish, task))

    def _finish(self, task: TaskInstance) -> None:
        if self.plan.journal is Where.MEMORY:
            return
        if task.ending in (Ending.SUCCESS, Ending.FAIL_FOR_GOOD):
            self._clear(task)
        for _ in range(MAX_CALM_TRIES):
            self.world.wait_for(self._start(task))
            while task.pause is not None:
                self.world.wait_for(self._resume(task, task.pause))
            if task.ending in (Ending.SUCCESS, Ending.FAIL_FOR_GOOD):
                break
            self.world.wait(self.plan.settle_time)  # as retries do, or somebody who clears it
        self._living -= 1
        if self._living == -len(self.tasks):
            properties.check_end(self)

    # one try

    def _execute(
        self,
        task: TaskInstance,
        process: Process,
        accessor: Accessor,
        number: int,
        pause: dict[str, Any] | None,
    ) -> None:
        """
        Do what the operator does.

        :param pause: the try goes on after this wait
        """
        ending: Ending | None
        memory: TaskMemory | None = None
        try:
            memory = self.memory(task, process, accessor, number, is_resumed=pause is not None)
            if memory is not None:
                self._leave_mark(memory)
        except (TimedOut, Terminated):
            ending = Ending.FAIL
        else:
            if memory is None and (number > 1 or pause is not None):
                ending = Ending.FAIL_FOR_GOOD
            else:
                journal = MemoryJournal(self.world.now) if memory is None else memory.journal(_CAMPAIGN)
                ending = self._send(task, process, number, journal, pause)
        if ending is not None and task.processes[-1] is process:
            task.ending = ending
            self.world.note("the try ends: %s", ending.name)

    def _leave_mark(self, memory: TaskMemory) -> None:
        try:
            memory.begin()
        except JournalError as error:
            self.world.note("no mark everywhere: %s", error)

    def _send(
        self, task: TaskInstance, process: Process, number: int, journal: Journal, pause: dict[str, Any] | None
    ) -> Ending | None:
        """Make a try, or its next part; return how it ends, None if it waits without a process."""
        source = Source(process, task.table, partial(self._note_pass, task, process, number))
        has_failed = pause is not None and self.world.happens(self.plan.trigger_faults)
        resumed = None if pause is None or has_failed else Pause.of(pause)
        sender = self._sender(task, process, number, journal, resumed)
        try:
            summary = sender.conclude(source, "the trigger has failed") if has_failed else sender.send(source)
        except (TimedOut, Terminated):
            return Ending.FAIL
        except Crashed:
            raise
        except BaseException as error:  # noqa: BLE001  # nothing else may come out
            self.world.violate(f"try {process.name} raised {type(error).__name__}: {error}")
            return Ending.FAIL
        if process.is_dead:
            raise Crashed
        self.world.note("summary: %s", summary)
        if sender.pause is not None:
            if task.processes[-1] is process:
                task.pause = json.loads(json.dumps(sender.pause.as_builtins()))
            return None
        done = Try(number, process, summary, source, self.disk if self.plan.has_report else None)
        ending = judge(
            summary,
            on_empty=OnEmpty.SUCCEED,
            on_unknown=self.plan.on_unknown,
            limits=self.plan.limits,
            may_try_again=self.plan.journal is not Where.MEMORY,
        ).ending
        self.check_try(task, done, ending)
        if task.processes[-1] is process:
            task.last = done
        return ending

    def _note_pass(self, task: TaskInstance, process: Process, number: int) -> None:
        """Take note that a try reads its source, and check that it does not without end."""
        passes = task.passes.setdefault(number, Passes())
        passes.note(self._gained(task))
        properties.check_passes(self, process, passes.in_vain)

    def _gained(self, task: TaskInstance) -> int:
        """Return of how many of a task instance's messages 8x8 has accepted or rejected so far."""
        own = [stored.entry for stored in self.campaign.batches.values() if stored.entry.task_instance == task.name]
        rejected = sum(entry.rejected_count for entry in own) if own else len(self.server.rejected)
        return rejected + self.server.accepted_by_run.get(task.name, Counter()).total()

    def check_try(self, task: TaskInstance, done: Try, ending: Ending) -> None:
        """Check what a try says of itself, and what it leaves behind."""
        properties.check_try(self, task, done, ending)

    def _sender(
        self, task: TaskInstance, process: Process, number: int, journal: Journal, resumed: Pause | None
    ) -> SurveySender:
        plan = self.plan
        row_keys = RowKeys(_CAMPAIGN)
        client: Any
        client = Client(process, self.server, task.name)
        poster = ThreadPoster(process) if plan.has_threads else InlinePoster()
        scheduled = None if plan.scheduled is None else datetime.fromtimestamp(plan.scheduled, UTC)
        report = Report(SimulatedPath(process, self.disk), _CAMPAIGN, task.name) if plan.has_report else None
        sender = SurveySender(
            client,
            MessageBuilder(
                row_keys=row_keys,
                template=_TEMPLATE,
                common={"scheduled": scheduled},
                unique_by=UNIQUE_BY.get(plan.kind),
                now=process.clock,
            ),
            row_keys,
            run=Run(_CAMPAIGN, task.name, number),
            settings=self.settings(),
            journal=journal,
            report=report,
            outcome_table=self.outcome_table(process, task),
            stop=process.stop,
            clock=ProcessClock(process),
            chance=self.chance,
            poster=poster,
            keeps_worker=not (plan.is_deferrable and journal.outlives_try),
            resumed=resumed,
        )
        client.on_post = partial(self._check_post, task, process, sender)
        return sender

    def outcome_table(self, process: Process, task: TaskInstance) -> Sink | None:
        """Return the table that a try writes outcomes into; most histories have none."""
        return None

    def _check_post(self, task: TaskInstance, process: Process, sender: SurveySender) -> None:
        if not sender._ledger._changed_by_others:  # what others found out counts from the next reading on
            braking.check_post(self, task, process, sender._ledger.entries(), sender._fates.tally)

    def settings(self) -> Settings:
        """Return how it is sent."""
        plan, lag = self.plan, self.plan.habits.lag
        timeout, has_canary = plan.reconcile_timeout, plan.has_canary
        if self.world.is_calm:
            timeout = 2 * plan.settle_time + lag.least + lag.bound + _NEWLY_READ
            has_canary = plan.final_canary
        return Settings(
            survey_id="survey",
            batch_size=plan.batch_size,
            max_messages=plan.max_messages,
            limits=plan.limits,
            first_batch_size=plan.first_batch_size,
            on_unknown=plan.on_unknown,
            reconcile_timeout=timedelta(seconds=timeout),
            log_settle_time=timedelta(seconds=plan.settle_time),
            canary_destination=_CANARY if has_canary else None,
            not_after=None if plan.not_after is None else datetime.fromtimestamp(plan.not_after, UTC),
        )

    def at_hand(self, number: int) -> AtHand:
        """Return what a try is configured with."""
        configured = self.plan.at_hand or [AtHand("a" if self.plan.journal is Where.CAMPAIGN else None)]
        if self.world.is_calm:  # somebody has changed it back to what it was at first, on the newest Airflow
            return AtHand(configured[0].database, has_store=configured[-1].has_store)
        return configured[min(number, len(configured)) - 1]

    def memory(
        self, task: TaskInstance, process: Process, accessor: Accessor, number: int, *, is_resumed: bool = False
    ) -> TaskMemory | None:
        """Return what one try knows of those before it, and of itself; None if it has no journal."""
        if self.plan.journal is Where.MEMORY:
            return None
        at_hand = self.at_hand(number)
        memories: list[Memory] = []
        if at_hand.has_store:
            memories.append(self.state_store(task, accessor, number))
        if at_hand.database is not None:
            memories.append(DatabaseMemory(process, self.databases[at_hand.database], task.name))
        if not memories:
            return None

        def connect(name: JournalName) -> Memory:
            return DatabaseMemory(process, self.databases[str(name.conn_id)], task.name)

        return self.task_memory(
            task.name,
            number,
            memories,
            connect=connect,
            clock=ProcessClock(process),
            chance=self.chance,
            is_resumed=is_resumed,
        )

    task_memory = TaskMemory

    def state_store(self, task: TaskInstance, accessor: Accessor, number: int) -> Memory:
        """Return what one try has of the task state store."""
        return StateStoreMemory(
            accessor,
            task.name,
            try_number=number,
            never_expire=None,
            sleep=lambda seconds: getcurrent().process.sleep(seconds),
        )

    def _has_marks(self, task: TaskInstance) -> bool:
        """Tell whether any memory that the newest try has at hand knows of the task instance."""
        at_hand = self.at_hand(task.try_number)
        marks = self.databases[at_hand.database].marks if at_hand.database else {}
        in_store = at_hand.has_store and any(key.startswith("8x8/mark") for key in task.store.values)
        return in_store or any(name == task.name for name, _ in marks)

    def first_begun(self, task: TaskInstance) -> float:
        """Return when a task instance's first try began by its own clock, as its marks have it."""
        in_store = [value["began"] for key, value in task.store.values.items() if key.startswith("8x8/mark")]
        marks = [mark for database in self.databases.values() for mark in database.marks.items()]
        return min([*in_store, *(mark.began for (name, _), mark in marks if name == task.name)], default=float("inf"))

    def batch_ids(self, task: TaskInstance) -> set[str] | None:
        """Return which batches are the task instance's own; None for all."""
        if self.plan.journal is not Where.CAMPAIGN:
            return None
        return {name for name, stored in self.campaign.batches.items() if stored.entry.task_instance == task.name}

    def _accepted_again(self, key: str, client_batch_id: str) -> None:
        if self.plan.on_unknown is not OnUnknown.RESEND:
            self.world.violate(f"{key} was accepted {self.server.accepted[key]} times")
            return
        campaign = self.campaign
        begun = campaign.batches.get(client_batch_id)
        for taken in self.server.taken:
            answered = campaign.answered.get(taken.client_batch_id, float("inf"))
            if begun is None or key not in taken.keys or campaign.batches[taken.client_batch_id].entry.resent_keys:
                continue
            if answered < begun.entry.begun - 2 * self.plan.skew:
                self.world.violate(f"{key} was accepted again, though it was written down that 8x8 had it")

    def _decided(self, entry: Entry) -> None:
        process = self.server.in_flight.get(entry.client_batch_id)
        if process is not None and process.is_alive and process is not getattr(getcurrent(), "process", None):
            left = entry.may_be_answered_until - self.world.now
            if left > 2 * self.plan.skew:
                self.world.violate(f"{entry} was decided, though its call may be answered for {left:.1f} s")


class WorldsChance:
    """
    A world's dice.

    :param world: its
    """

    def __init__(self, world: World) -> None:
        self._dice = world.random

    def token(self, count: int) -> str:
        """See :class:`~airflow_provider_8x8.surveys.chance.Chance`."""
        return "".join(self._dice.choices(string.hexdigits[:16], k=2 * count))

    def client_batch_id(self, length: int) -> str:
        """See :class:`~airflow_provider_8x8.surveys.chance.Chance`."""
        return "".join(self._dice.choice(ID_ALPHABET) for _ in range(length))

    def jitter(self, most: float) -> float:
        """See :class:`~airflow_provider_8x8.surveys.chance.Chance`."""
        return self._dice.uniform(0.0, most)


@contextmanager
def _simulated(more_requests: int) -> Iterator[None]:
    """Have the code under test give up after fewer refusals; it logs nothing."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with mock.patch.object(refusals_module, "MORE_REQUESTS", more_requests):
            yield
    finally:
        logging.disable(before)
