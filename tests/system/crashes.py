"""A campaign of the crash tests, and what is done to one while it is sent: functions that return once it is done."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random
from signal import SIGCONT, SIGSTOP, SIGTERM
from typing import Any

from tests.support.deployment import ENDED, PATIENCE, Airflow3, Deployment, TaskInstance
from tests.support.kills import After, Killer, Moment, Victim
from tests.support.narrow_proxy import NarrowProxy
from tests.support.sandbox_process import SandboxProcess
from tests.system.people import ROWS, Outcome

CRASHES = int(os.environ.get("CRASHES", "2"))
"""How often each large campaign is killed."""
BATCH_SIZE = 1_000
BATCHES = ROWS // BATCH_SIZE
BY_HAND_RETRIES = 3
SEND_WITHIN = 30
SLOW_MOMENTS = {
    "rendering": [Victim.TASK],
    "query": [Victim.BOTH, Victim.TASK],
    "rows": [Victim.TASK],
}
"""Of tries that have left their mark and sent nothing yet, in their order, and what is killed there, a try each."""
POOL = "of_one"
"""The pool of the task that waits without a worker: it has one slot."""
ANSWER_LOST = {"on": "survey_batch", "kind": "close_after_accept"}
LOST = {"on": "survey_batch", "kind": "close_before_accept"}
UNANSWERED = {"on": "survey_batch", "kind": "hang_after_accept"}
NO_EXPORT_IS_READY = {"on": "log_export_result", "kind": "500", "times": 1_000_000}
FAULTS = ["500_after_accept", "close_after_accept", "hang_after_accept", "truncate", "500", "close_before_accept"]
_STARTING = threading.Lock()
"""A small machine that is to start nine of Airflow's processes at once starts none of them in time."""


@dataclass
class Campaign:
    """One campaign, while its crashes happen and after its end."""

    name: str
    airflow: Deployment
    sandbox: SandboxProcess
    killer: Killer
    random: Random
    expected: Outcome
    seconds: float = 0.0
    state: str | None = None
    tries: int = 0
    result: dict[str, Any] = field(default_factory=dict)
    seen: dict[str, Any] = field(default_factory=dict)
    """What the crash's own test wants to know."""

    @property
    def texted_twice(self) -> int:
        """How many people got more than one survey."""
        return sum(times > 1 for times in self.sandbox.times_texted().values())

    def run(self, crash: Callable[[Campaign], None]) -> Campaign:
        """Start it, let it crash, and wait for its end."""
        with _STARTING:
            began = time.monotonic()
            self.airflow.start_run(self.name)
            self.wait_for("a process", self.has_a_process)
        crash(self)
        task = self.wait_for("its end", self.has_ended)
        self.seconds = time.monotonic() - began
        self.state, self.tries = task.state, task.try_number
        self.result = self.airflow.result(self.name) or {}
        return self

    def wait_for(self, what: str, ask: Callable[[], Any], *, pause: float = 0.5) -> Any:
        """Return the first answer that is true; if none comes, fail with how far its run has come."""
        return self.airflow.wait_for(what, self.name, ask, pause=pause)

    def has_a_process(self) -> bool:
        """Tell whether one runs its task, or is about to."""
        task = self.airflow.task(self.name)
        return (task is not None and task.state == "running") or bool(self.moment("parsing").pids())

    def moment(self, name: str) -> Moment:
        """Return a moment of its task that its DAG file knows of."""
        return Moment(self.airflow.home / "holds", self.name, name)

    def clear(self) -> None:
        """Clear its task once it has failed, and its run with it: before that the scheduler would fail the new one."""
        self.wait_for("the end of the run", lambda: self.airflow.run_has_failed(self.name))
        task = self.airflow.task(self.name)
        assert task is not None
        self.airflow.clear(self.name, task.run_id)
        self.wait_for("the next try", lambda: not self.airflow.run_has_failed(self.name))

    def has_ended(self) -> TaskInstance | None:
        """Return its task, if that has ended."""
        task = self.airflow.task(self.name)
        return task if task is not None and task.state in ENDED else None

    @property
    def figures(self) -> str:
        """Say what happened."""
        counts = ", ".join(f"{victim} {times}" for victim, times in Counter(self.killer.kills).items()) or "none"
        faults = f", {len(self.seen['faults'])} faults" if "faults" in self.seen else ""
        return (
            f"{self.name}: {self.state} after {self.tries} tries and {self.seconds:.0f} s; "
            f"{len(self.killer.kills)} kills ({counts}){faults}, {self.sandbox.stats()}"
        )


def kill_often(campaign: Campaign) -> None:
    campaign.killer.kill_often(CRASHES - 1, batches=BATCHES)
    _kill_in_the_last_batch(campaign)


def _kill_in_the_last_batch(campaign: Campaign) -> None:
    all_but_one_batch = len(campaign.expected.accepted) - BATCH_SIZE
    campaign.killer.kill_in_the_last_batch(lambda: campaign.sandbox.accepted() >= all_but_one_batch)


def kill_by_hand(campaign: Campaign) -> None:
    """Kill it as the others, as often as it has retries. It begins anew each time: its last batch is the query's."""
    times = min(CRASHES, BY_HAND_RETRIES)
    in_the_last_but_one = sorted(campaign.expected.accepted)[-BATCH_SIZE]  # the last batch is a little smaller

    campaign.killer.kill_often(times - 1, batches=BATCHES)
    campaign.killer.kill_in_the_last_batch(lambda: campaign.sandbox.newest_texted() >= in_the_last_but_one)
    campaign.seen["texted twice by kills at random moments"] = campaign.texted_twice  # the last one shows only later


def kill_amid_faults(campaign: Campaign) -> None:
    """Let every few batches meet a fault until the last kill, and for the first half of the batches at least."""
    made = campaign.sandbox.requests_made
    kinds = campaign.random.sample(FAULTS, len(FAULTS))
    struck = campaign.seen["faults"] = []
    with ThreadPoolExecutor(1) as background:
        kills = background.submit(campaign.killer.kill_often, CRASHES - 1, batches=BATCHES)

        def is_over() -> bool:
            return kills.done() and (made() >= BATCHES // 2 or campaign.has_ended() is not None)

        def wait_until_made(number: int) -> None:
            campaign.wait_for("more batches", lambda: made() >= number or is_over(), pause=0.05)

        while not is_over():
            wait_until_made(made() + campaign.random.randint(0, 3))
            kind = kinds[len(struck) % len(kinds)]
            before = made()
            campaign.sandbox.arm([{"on": "survey_batch", "kind": kind}])
            wait_until_made(before + 1)
            if made() > before:
                struck.append(kind)
        campaign.sandbox.arm([])
        kills.result()
    _kill_in_the_last_batch(campaign)


def kill_the_only_batch(campaign: Campaign) -> None:
    """Kill a try whose only batch is on the wire, and the next one while it looks for what became of that."""
    campaign.killer.kill(Victim.BOTH, lambda: campaign.sandbox.requests_made() >= 1, within=2)
    campaign.killer.kill(Victim.TASK, After(campaign.random.uniform(0, 3)), within=0)


def kill_the_supervisor(campaign: Campaign) -> None:
    """Leave the try to itself: with a SQL journal it needs nobody, and goes on beside the next one."""
    campaign.killer.kill(Victim.SUPERVISOR, lambda: campaign.sandbox.requests_made() >= 2)
    (orphan,) = campaign.killer.killed_pids
    campaign.wait_for("the next try", lambda: campaign.killer.newer_try_than(orphan))
    campaign.seen["accepted before the next try"] = campaign.sandbox.accepted()
    campaign.seen["beside the next try"] = campaign.airflow.owns(orphan)


def kill_around_its_waits(campaign: Campaign) -> None:
    """
    Kill a task before it waits for 8x8's logs without a worker, its triggerer while it waits, and it after its waits.

    The first wait is for the logs to show the first batch: what follows it sends all others. The second one is until
    a batch is proven to be lost: what follows sends its rows again.
    """
    airflow, sandbox, killer = campaign.airflow, campaign.sandbox, campaign.killer
    before, after_first, after_second = campaign.random.sample([Victim.TASK, Victim.TASK, Victim.BOTH], 3)
    airflow.start_triggerer()
    rendering = campaign.moment("rendering")
    campaign.wait_for("the task", rendering.pids)
    campaign.seen["open slots while it runs"] = airflow.open_slots(POOL)

    sandbox.arm([ANSWER_LOST, NO_EXPORT_IS_READY])
    rendering.release()
    # While the batch is on the wire, or while the worker waits itself for an export: it does so for five seconds.
    killer.kill(before, lambda: sandbox.requests_made() >= 1, within=2)

    sandbox.arm([ANSWER_LOST, NO_EXPORT_IS_READY])
    _wait_for_deferral(campaign)
    campaign.seen["open slots while it waits"] = airflow.open_slots(POOL)
    campaign.seen["accepted before its first wait"] = sandbox.accepted()
    exports = sandbox.log_exports()
    _kill_its_triggerer(campaign)
    begun = sandbox.requests_made() + campaign.random.randint(1, 4)
    sandbox.arm([])
    killer.kill(after_first, lambda: sandbox.requests_made() >= begun)
    campaign.seen["exports that its triggerer's death has cost"] = sandbox.log_exports() - exports

    sandbox.arm([LOST])
    _wait_for_deferral(campaign)
    campaign.seen["accepted before its second wait"] = sandbox.accepted()
    made = sandbox.requests_made()
    sandbox.arm([UNANSWERED])
    killer.kill(after_second, lambda: sandbox.requests_made() > made, within=2)
    sandbox.arm([])


def _wait_for_deferral(campaign: Campaign) -> None:
    """Return once the task waits without a worker."""

    def is_deferred() -> bool:
        task = campaign.airflow.task(campaign.name)
        assert task is not None
        assert task.state not in ENDED, campaign.airflow.log_text(campaign.name)[-4000:]
        return task.state == "deferred"

    campaign.wait_for("the wait without a worker", is_deferred, pause=0.05)


def _kill_its_triggerer(campaign: Campaign) -> None:
    """Kill the triggerer that has the task's trigger, and start another one; return once that has it."""
    airflow = campaign.airflow
    first = campaign.wait_for("a triggerer that has the trigger", lambda: airflow.triggerer_of(campaign.name))
    airflow.kill_triggerer()
    airflow.start_triggerer()
    campaign.wait_for("another one that has it", lambda: airflow.triggerer_of(campaign.name) not in (None, first))


def kill_in_the_body(proxy: NarrowProxy) -> Callable[[Campaign], None]:
    def crash(campaign: Campaign) -> None:
        campaign.killer.kill(Victim.BOTH, proxy.is_held.is_set)
        proxy.go_on.set()
        assert proxy.ended.wait(PATIENCE)

    proxy.hold()
    return crash


def stop_in_the_body(proxy: NarrowProxy) -> Callable[[Campaign], None]:
    """Stop a try in the middle of its POST, and continue it when a newer one runs and its time is over."""

    def crash(campaign: Campaign) -> None:
        assert proxy.is_held.wait(PATIENCE)
        held_at = time.monotonic()
        pid = campaign.killer.wait_for_try()
        assert pid is not None
        campaign.killer.signal(pid, Victim.BOTH, SIGSTOP)
        campaign.seen["supervisor"] = supervisor = campaign.killer.supervisor_of(pid)
        proxy.go_on.set()  # what is in the connection may arrive
        newer = campaign.wait_for("a newer try", lambda: campaign.killer.newer_try_than(pid))
        time.sleep(max(0.0, held_at + SEND_WITHIN + 1 - time.monotonic()))
        campaign.seen["overtaken while running"] = campaign.airflow.owns(newer)
        for stopped in (supervisor, pid):
            os.kill(stopped, SIGCONT)
        assert proxy.ended.wait(PATIENCE)

    proxy.hold()
    return crash


def tell_to_end(campaign: Campaign) -> None:
    pid = _on_the_wire(campaign)
    campaign.killer.signal(pid, Victim.SUPERVISOR, SIGTERM)


def mark_failed(campaign: Campaign) -> None:
    """Mark the task as failed while a batch is on the wire, and clear it once its process is gone."""
    assert isinstance(campaign.airflow, Airflow3)
    pid = _on_the_wire(campaign)
    task = campaign.airflow.task(campaign.name)
    assert task is not None
    campaign.airflow.mark_failed(campaign.name, task.run_id)
    campaign.wait_for("the end of the try", lambda: not campaign.airflow.owns(pid))
    campaign.seen["accepted by the first try"] = campaign.sandbox.accepted()
    campaign.clear()


def _on_the_wire(campaign: Campaign) -> int:
    """Return the process that has a batch on the wire, not its first one if that is short."""
    at_least = 1 if campaign.sandbox.batch_seconds > 10 else 3
    campaign.wait_for("a batch", lambda: campaign.sandbox.requests_made() >= at_least, pause=0.05)
    pid = campaign.killer.wait_for_try()
    assert pid is not None
    return pid


def kill_before_the_first_batch(campaign: Campaign) -> None:
    """Kill each try a little later than the one before, once their mark is left, and twice in the query."""
    campaign.seen["accepted before the kills were over"] = 0
    for name, victims in SLOW_MOMENTS.items():
        moment = campaign.moment(name)
        for victim in victims:
            campaign.killer.kill_at(moment, victim)
        campaign.seen["accepted before the kills were over"] += campaign.sandbox.requests_made()
        moment.release()


def kill_at_once(campaign: Campaign) -> None:
    """Kill the first try before anything of ours runs, and settle what the next one refuses to guess."""
    moment = campaign.moment("parsing")
    campaign.killer.kill_at(moment, Victim.TASK)
    moment.release()
    refused = campaign.wait_for("the refusal", campaign.has_ended)
    campaign.seen["made by those who do not know"] = campaign.sandbox.requests_made()
    campaign.seen["what it says"] = campaign.airflow.log_text(campaign.name)
    said = {refused.run_id: {f"before try {refused.try_number + 1}": "not_accepted"}}
    campaign.airflow.set_variable(f"settled_batches_of_{campaign.name}", json.dumps(said))
    campaign.clear()


def kill_and_change_the_journal(victim: Victim) -> Callable[[Campaign], None]:
    """Kill a try in the middle of its sending, and give the next one another journal."""

    def crash(campaign: Campaign) -> None:
        campaign.wait_for("the third batch", lambda: campaign.sandbox.requests_made() >= 3, pause=0.05)
        campaign.moment("is_changed").hold()
        campaign.killer.kill(victim, lambda: True)
        campaign.seen["made by the first try"] = campaign.sandbox.requests_made()

    return crash


def has_left_its_mark(campaign: Campaign) -> bool:
    """Tell whether a later try can know of the first: it can as soon as Airflow renders. By hand, none ever does."""
    return campaign.name == "by_hand" or bool(campaign.moment("rendering").pids())
