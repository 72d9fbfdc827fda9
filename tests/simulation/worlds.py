"""
Simulated worlds: one clock, one stream of chance, and processes that run only from one touch of the world to the next.

Everything outside a process (8x8, stores, clocks, files) is touched through :meth:`Process.touch`. Each touch takes
time, may be where the process dies, and is where another process may get its turn. So a seed is a whole history.
"""

from __future__ import annotations

import heapq
import random
import threading
from collections.abc import Callable
from typing import Any

from greenlet import getcurrent, greenlet

from airflow_provider_8x8.surveys.sending.posting import Post, Posting

START = 1_800_000_000.0
"""When every history begins, in seconds since 1970."""

MAX_TOUCHES = 60_000
"""A history with more does not end."""

_STALLS = (0.5, 3.0, 12.0, 35.0, 70.0, 300.0, 1500.0, 9000.0)
"""How long a stall may last: below and above each time that the code under test goes by."""


class Crashed(BaseException):
    """The process was killed. Nothing catches it, and nothing that it does from now on has any effect."""


class TimedOut(BaseException):
    """As ``AirflowTaskTimeout``: raised in the main thread, wherever that is."""


class Terminated(Exception):  # noqa: N818  # as AirflowException is one
    """As Airflow 2's signal handler raises it in the main thread after ``on_kill``."""


class Thread(greenlet):  # type: ignore[misc]  # it has no types
    """Something that runs on its own from touch to touch."""

    process: Process | None = None
    turn = 0


class World:
    """
    The clock, the order of events and the dice of one history.

    :param seed: of the dice
    :param is_traced: keep what happened, for people
    """

    def __init__(self, seed: int, *, is_traced: bool = False) -> None:
        self.random = random.Random(seed)  # noqa: S311  # chance, not secrets
        self.now = START
        self.touches = 0
        self.violations: list[str] = []
        self.is_calm = False
        """Nothing goes wrong any more."""
        self.stall_chance = 0.0
        self.crash_chance = 0.0
        self.crashes_left = 0
        self.crash_at: frozenset[int] = frozenset()
        """The touches, counted over the whole history, at which a process dies."""
        self.interruption: type[BaseException] = Crashed
        """How it dies."""
        self.pace = 0.0
        """Seconds that a touch takes at most; 0: always the same."""
        self.trace: list[str] | None = [] if is_traced else None
        self._hub = getcurrent()
        self._events: list[tuple[float, int, int, Any]] = []
        self._number = 0

    # what happened

    def violate(self, text: str) -> None:
        """Note that a property does not hold."""
        self.violations.append(text)
        self.note("VIOLATION: %s", text)

    def note(self, text: str, *values: Any) -> None:
        """Add a line to the trace."""
        if self.trace is not None:
            process = getattr(getcurrent(), "process", None)
            who = process.name if process else "world"
            self.trace.append(f"{self.now - START:12.3f} {self.touches:6d} {who:10s} {text % values}")

    # whose turn it is

    def run(self) -> None:
        """Let all that was started run to its end."""
        while self._events:
            moment, _, turn, what = heapq.heappop(self._events)
            if isinstance(what, Thread):
                if what.dead or turn != what.turn:
                    continue
                process = what.process
                if process is not None and process.frozen_until > moment and not process.is_dead:
                    self._push(process.frozen_until, what)
                    continue
                self.now = max(self.now, moment)
                what.switch()
            else:
                self.now = max(self.now, moment)
                what()

    def start(self, work: Callable[[], None], process: Process | None = None) -> Thread:
        """Have something run on its own, from now on."""
        thread = Thread(work, self._hub)
        thread.process = process
        self._push(self.now, thread)
        return thread

    def wait_for(self, process: Process, seconds: float | None = None) -> None:
        """Wait for a process's end, for so long at most."""
        if process.is_done:
            return
        process.watchers.append(getcurrent())
        if seconds is None:
            self.park()
        else:
            self.wait(seconds)
        if not process.is_done:
            process.watchers.remove(getcurrent())

    def later(self, seconds: float, work: Callable[[], None]) -> None:
        """Have something happen, whoever dies meanwhile."""
        self._push(self.now + seconds, work)

    def wait(self, seconds: float) -> None:
        """Let time go by for the thread that calls, and others have their turn."""
        until = self.now + seconds
        thread: Any = getcurrent()
        process = thread.process
        is_frozen = process is not None and process.frozen_until > until
        if not is_frozen and (not self._events or self._events[0][0] > until):
            self.now = until
            return
        self._push(until, thread)
        self._hub.switch()

    def park(self) -> None:
        """Wait until :meth:`wake`."""
        self._hub.switch()

    def wake(self, thread: Thread) -> None:
        """Give a thread its turn now, whatever it waits for."""
        thread.turn += 1
        self._push(self.now, thread)

    def _push(self, moment: float, what: Any) -> None:
        self._number += 1
        heapq.heappush(self._events, (moment, self._number, what.turn if isinstance(what, Thread) else 0, what))

    # chance

    def happens(self, chance: float) -> bool:
        """Throw the dice for something that goes wrong."""
        return chance > 0 and not self.is_calm and self.random.random() < chance

    def stall(self) -> float:
        """Return how long a stall lasts."""
        return self.random.choice(_STALLS) * self.random.uniform(0.5, 1.5)


class Process:
    """
    A worker's process: one try.

    :param skew: how far its clock is ahead
    """

    def __init__(self, world: World, name: str, *, skew: float = 0.0) -> None:
        self.world = world
        self.name = name
        self.stop = threading.Event()
        self.is_dead = False
        self.is_done = False
        self.began = world.now
        self.ended = float("inf")
        self.frozen_until = 0.0
        self.main: Thread | None = None
        self.watchers: list[Any] = []
        """Threads that wait for its end."""
        self.interruption: type[BaseException] | None = None
        """What is raised in its main thread at the next touch."""
        self._skew = skew
        self._threads: list[Thread] = []

    @property
    def is_alive(self) -> bool:
        """Whether it may still do something."""
        return not self.is_dead and not self.is_done

    def start(self, work: Callable[[], None]) -> None:
        """Run its main thread."""
        self.main = self.fork(work, self._ended)

    def fork(self, work: Callable[[], None], ended: Callable[[], None] | None = None) -> Thread:
        """Run a thread of it."""

        def run() -> None:
            try:
                work()
            except Crashed:
                pass
            finally:
                if ended is not None:
                    ended()

        thread = self.world.start(run, self)
        self._threads.append(thread)
        return thread

    def _ended(self) -> None:
        self.is_done = True
        self.ended = self.world.now
        for thread in self.watchers:
            self.world.wake(thread)
        self.watchers.clear()

    def clock(self) -> float:
        """Read its clock, and do nothing else."""
        return self.world.now + self._skew

    def touch(self, what: str) -> None:
        """
        Touch the world: time goes by, others may have their turn, and it may be the end.

        :raises Crashed: the process is dead
        """
        world = self.world
        if self.is_dead:
            raise Crashed
        world.touches += 1
        if world.trace is not None:
            world.note("%s", what)
        if world.touches in world.crash_at:
            self._interrupt(world.interruption)
        elif self.interruption is not None and getcurrent() is self.main:
            kind, self.interruption = self.interruption, None
            self._interrupt(kind)
        elif world.crashes_left and world.happens(world.crash_chance):
            world.crashes_left -= 1
            self._interrupt(Crashed)
        if world.touches > MAX_TOUCHES:
            world.violate("the history does not end")
            self.die()
            raise Crashed
        self._let_time_go_by()
        if self.is_dead:
            raise Crashed

    def _interrupt(self, kind: type[BaseException]) -> None:
        if kind is Crashed:
            self.die()
        elif getcurrent() is not self.main:
            return  # signals reach the main thread only
        if kind is Terminated:
            self.stop.set()
        self.world.note("%s", kind.__name__)
        raise kind

    def _let_time_go_by(self) -> None:
        world = self.world
        seconds = world.random.random() * world.pace if world.pace else 0.01
        if world.happens(world.stall_chance):
            stall = world.stall()
            world.note("stalls for %.1f s", stall)
            if world.random.random() < 0.5:
                self.frozen_until = world.now + stall  # SIGSTOP
            else:
                seconds += stall
        world.wait(seconds)

    def sleep(self, seconds: float) -> None:
        """Wait, unless it is to stop."""
        self.touch("sleep")
        if not self.stop.is_set():
            self.world.wait(max(0.0, seconds))  # what is over is not waited for, as a real clock has it
        if self.is_dead:
            raise Crashed

    def die(self) -> None:
        """Be killed, wherever it is."""
        self.world.note("%s is killed", self.name)
        self.is_dead = True
        for thread in self._threads:
            if not thread.dead and thread is not getcurrent():
                self.world.wake(thread)


class ProcessClock:
    """The clock that a sender gets."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def now(self) -> float:
        """Return seconds since 1970 by the worker's clock."""
        self._process.touch("clock")
        return self._process.clock()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self._process.sleep(seconds)


class InlinePoster:
    """Makes POSTs at once, in the thread that asks for them."""

    def post(self, post: Post) -> Posting:
        """See :class:`~airflow_provider_8x8.surveys.sending.posting.Poster`."""
        posting = _Posting()
        posting.work(post)
        return posting

    def close(self) -> None:
        """See :class:`~airflow_provider_8x8.surveys.sending.posting.Poster`."""


class _Posting:
    """A POST that is over."""

    def __init__(self) -> None:
        self._value: Any = None
        self._error: Exception | None = None

    def work(self, post: Post) -> None:
        """Make the POST."""
        try:
            self._value = post(self.on_sent)
        except Exception as error:  # noqa: BLE001  # as every executor does
            self._error = error

    def on_sent(self) -> None:
        """Take note that the request is out."""

    def wait_until_sent(self) -> None:
        """See :class:`~airflow_provider_8x8.surveys.sending.posting.Posting`."""

    def result(self) -> Any:
        """See :class:`~airflow_provider_8x8.surveys.sending.posting.Posting`."""
        if self._error is not None:
            raise self._error
        return self._value


class ThreadPoster(InlinePoster):
    """Makes POSTs in a thread of their own, as the sender's own does."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def post(self, post: Post) -> Posting:
        """See :class:`~airflow_provider_8x8.surveys.sending.posting.Poster`."""
        posting = _ThreadPosting(self._process)
        self._process.fork(lambda: posting.work(post))
        return posting


class _ThreadPosting(_Posting):
    """A POST that a thread of a process makes."""

    def __init__(self, process: Process) -> None:
        super().__init__()
        self._process = process
        self._waiting: Thread | None = None
        self._is_sent = self._is_over = False

    def work(self, post: Post) -> None:
        """Make the POST, and tell who waits."""
        super().work(post)
        self._is_over = True
        self.on_sent()

    def on_sent(self) -> None:
        """Tell who waits that the request is out."""
        self._is_sent = True
        if self._waiting is not None:
            self._process.world.wake(self._waiting)

    def wait_until_sent(self) -> None:
        """See :class:`~airflow_provider_8x8.surveys.sending.posting.Posting`."""
        while not self._is_sent:
            self._park()

    def result(self) -> Any:
        """See :class:`~airflow_provider_8x8.surveys.sending.posting.Posting`."""
        self._process.touch("wait for the POST")
        while not self._is_over:
            self._park()
        return super().result()

    def _park(self) -> None:
        self._waiting = getcurrent()
        self._process.world.park()
        self._waiting = None
        if self._process.is_dead:
            raise Crashed
