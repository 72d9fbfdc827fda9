"""Kill the processes that run a task, as an out-of-memory killer or a lost machine does, and count how often."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Self

import psutil

from tests.support.deployment import ENDED, Deployment, TaskInstance
from tests.support.sandbox_process import SandboxProcess

_PAUSE = 0.02
_LOOK_EVERY = 0.5


class Victim(StrEnum):
    """What is killed: Airflow runs each task in a process of its own, below one that supervises it."""

    TASK = "task"
    SUPERVISOR = "supervisor"
    BOTH = "both"


class Killer:
    """
    Kills the tries of one DAG's one run.

    :param airflow: that runs it
    :param dag_id: whose
    :param sandbox: that it sends to
    :param random: for the moments
    :param victims: what is killed
    :param has_begun: tells whether the first try has come so far that the next one is to go on from it
    :ivar kills: what was killed, in order
    :ivar killed_pids: the processes of the tries that it was done to
    :ivar killed: the running tries that it was done to, as they were then, in order
    """

    def __init__(
        self,
        airflow: Deployment,
        dag_id: str,
        sandbox: SandboxProcess,
        random: Random,
        victims: Sequence[Victim] = tuple(Victim),
        has_begun: Callable[[], bool] = lambda: True,
    ) -> None:
        self._airflow = airflow
        self._dag_id = dag_id
        self._sandbox = sandbox
        self._random = random
        self._victims = victims
        self._has_begun = has_begun
        self.killed_pids: set[int] = set()
        self.killed: list[TaskInstance] = []
        self.kills: list[Victim] = []

    def kill_often(self, times: int, *, batches: int) -> None:
        """
        Kill the running try at random moments of its sending.

        :param times: how often, unless the task ends before
        :param batches: how many the campaign needs, for the kills to be spread over
        """
        for _ in range(times):
            self.kill(self._some_victim(), self._some_moment(max(1, batches // (times + 1))))

    def kill_at(self, moment: Moment, victim: Victim) -> None:
        """Kill the next process that is held up at a moment, whether or not Airflow knows yet that it runs."""

        def held_up() -> list[int]:
            return [pid for pid in moment.pids() - self.killed_pids if self._airflow.owns(pid)]

        pid = self._airflow.wait_for("a process that is held up", self._dag_id, held_up)[0]
        self.signal(pid, victim, signal.SIGKILL)
        self.killed_pids.add(pid)
        self.kills.append(victim)

    def kill_in_the_last_batch(self, is_begun: Callable[[], bool]) -> None:
        """Kill the running try, or what is left of it, while its last batch is on the wire."""
        self.kill(self._some_victim(), is_begun, within=0.8 * self._sandbox.batch_seconds)

    def kill(self, victim: Victim, has_come: Callable[[], bool], *, within: float | None = None) -> None:
        """
        Kill the running try some time after a moment has come, if the task has not ended by then.

        :param within: seconds, by default those of one and a half batches: before, while and after one is on the wire
        """
        within = 1.5 * self._sandbox.batch_seconds if within is None else within
        while (pid := self._running_try_when(has_come)) is not None:
            time.sleep(self._random.uniform(0, within))
            if self.wait_for_try() != pid:  # it has just ended, and a kill would count for nothing
                continue
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):  # likewise
                if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                    continue
                task = self._airflow.task(self._dag_id)
                assert task is not None
                self.signal(pid, victim, signal.SIGKILL)
                self.killed_pids.add(pid)
                if not self._has_succeeded():
                    self.kills.append(victim)
                    self.killed.append(task)
                return

    def _has_succeeded(self) -> bool:
        """Tell whether a kill came too late, after the try's success was on its way."""
        time.sleep(1)
        task = self._airflow.task(self._dag_id)
        return task is not None and task.state == "success"

    def _running_try_when(self, has_come: Callable[[], bool]) -> int | None:
        """Return the process of the try that is running when a moment has come, or None if the task has ended."""
        pid = self.wait_for_try()
        looked_at = time.monotonic()
        while pid is not None and not has_come():
            time.sleep(_PAUSE)
            if time.monotonic() > looked_at + _LOOK_EVERY:
                pid = self.wait_for_try()
                looked_at = time.monotonic()
        return pid

    def wait_for_try(self) -> int | None:
        """Return the process of the running try, once there is one, or None if the task has ended."""

        def running_or_ended() -> TaskInstance | None:
            task = self._airflow.task(self._dag_id)
            return task if task is not None and (task.state in ENDED or self._is_alive(task)) else None

        task: TaskInstance = self._airflow.wait_for("a try", self._dag_id, running_or_ended, pause=_PAUSE)
        return None if task.state in ENDED else task.pid

    def signal(self, pid: int, victim: Victim, number: signal.Signals) -> None:
        """
        Send a signal to a try's processes, to the supervisor first: it must not tell of the other's end.

        :raises ProcessLookupError: the try has just ended
        :raises psutil.NoSuchProcess: likewise
        """
        supervisor = self.supervisor_of(pid)
        pids = {
            Victim.TASK: [pid],
            Victim.SUPERVISOR: [supervisor],
            Victim.BOTH: [supervisor, pid],
        }[victim]
        assert all(map(self._airflow.owns, pids)), pids
        if supervisor in pids:
            self._stop_with_its_try(supervisor, pid)
        for each in pids:
            os.kill(each, number)
        if supervisor in pids and number not in (signal.SIGKILL, signal.SIGSTOP):
            os.kill(supervisor, signal.SIGCONT)

    def _stop_with_its_try(self, supervisor: int, pid: int) -> None:
        """
        Stop a supervisor while it has a try.

        Without one it may hold the lock of the queue that all workers of Airflow's LocalExecutor take their tasks from,
        and with its death none of them would ever get another.
        """

        def has_stopped() -> bool:
            return psutil.Process(supervisor).status() in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)

        os.kill(supervisor, signal.SIGSTOP)
        self._airflow.wait_for("the supervisor to stop", self._dag_id, has_stopped, pause=0.001)
        try:
            has_ended = psutil.Process(pid).ppid() != supervisor
        except psutil.NoSuchProcess:
            has_ended = True
        if has_ended:
            os.kill(supervisor, signal.SIGCONT)
            raise ProcessLookupError(f"the try of process {pid} has ended")

    def supervisor_of(self, pid: int) -> int:
        """Return the process above that of a try."""
        return int(psutil.Process(pid).ppid())

    def newer_try_than(self, pid: int) -> int | None:
        """Return the process of a running try that is not this one."""
        task = self._airflow.task(self._dag_id)
        return task.pid if task is not None and self._is_alive(task) and task.pid != pid else None

    def _is_alive(self, task: TaskInstance) -> bool:
        pid = task.pid
        return task.state == "running" and pid is not None and pid not in self.killed_pids and self._airflow.owns(pid)

    def _some_victim(self) -> Victim:
        return self._random.choice(self._victims)

    def _some_moment(self, batches: int) -> Callable[[], bool]:
        """Return a moment of a try: a while after its start, or after one to so many batches."""
        if self._random.random() < 0.25:
            after = After(self._random.uniform(0, 5))
            return lambda: self._has_begun() and after()
        wanted = self._sandbox.requests_made() + self._random.randint(1, batches)
        return lambda: self._sandbox.requests_made() >= wanted


class Moment:
    """
    A moment of a task that its DAG file knows of: it tells who has come to it, and may hold them up there.

    :param folder: where the DAG file and this leave word to each other
    :param dag_id: whose task
    :param name: as the DAG file calls it
    """

    def __init__(self, folder: Path, dag_id: str, name: str) -> None:
        self._held = folder / f"{dag_id}.{name}"

    def pids(self) -> set[int]:
        """Return the processes that have come to it."""
        return {int(file.suffix[1:]) for file in self._held.parent.glob(f"{self._held.name}.*")}

    def hold(self) -> Self:
        """Hold up everybody who comes to it."""
        self._held.touch()
        return self

    def release(self) -> None:
        """Let all go on, and hold up nobody any more."""
        self._held.unlink()


class After:
    """A time after it was first asked."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends_at: float | None = None

    def __call__(self) -> bool:
        if self._ends_at is None:
            self._ends_at = time.monotonic() + self._seconds
        return time.monotonic() >= self._ends_at
