"""What must hold of limits: once more has gone wrong than is allowed, no batch is begun, and the task says so."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from airflow_provider_8x8.surveys.journal.entries import Entry, EntryState
from airflow_provider_8x8.surveys.outcomes.summary import Summary, Tally
from airflow_provider_8x8.surveys.outcomes.verdict import Ending

if TYPE_CHECKING:
    from tests.simulation.histories import History, TaskInstance
    from tests.simulation.worlds import Process


def check_post(
    history: History, task: TaskInstance, process: Process, entries: Collection[Entry], tally: Tally
) -> None:
    """Check that a batch may be begun, by all that the process has in its journal, and has read."""
    limits = history.plan.limits
    seen = tally.invalid + tally.sendable
    is_known = history.plan.runs == 1 or not isinstance(limits.max_invalid, float)  # else others take rows meanwhile
    if is_known and _is_too_much(limits.max_invalid, tally.invalid, seen, limits.brake_after):
        history.world.violate(f"{process.name} begins a batch after {tally.invalid} of {seen} rows were invalid")
    if any(other.ended > process.began for other in task.processes if other is not process):
        return  # what another process of the task writes down meanwhile, this one knows only once it has begun
    all_own = [each for each in entries if each.task_instance == task.name and each.is_batch]
    own = [each for each in all_own if each.is_in_effect]
    accepted, rejected = sum(each.accepted_count for each in own), sum(each.rejected_count for each in own)
    answered = accepted + rejected
    # What somebody cancels while the source is read counts as answered until it is read anew.
    cancelled = sum(each.most_accepted for each in all_own if each.state is EntryState.CANCELLED)
    if all(_is_too_much(limits.max_rejected, rejected, answered + more, limits.brake_after) for more in (0, cancelled)):
        history.world.violate(f"{process.name} begins a batch after {rejected} of {answered} were rejected")
    size = history.plan.first_batch_size
    was_cancelled = any(each.state is EntryState.CANCELLED for each in all_own)
    if size is None or answered or was_cancelled:  # what is cancelled was answered before
        return
    waiting = [each for each in own if each.state is EntryState.PENDING]
    posted = sum(len(each) for each in waiting)
    if posted > size:  # all of them the first batch, or parts of it
        history.world.violate(f"{process.name} begins {posted} messages before the first {size} are answered")


def check_ending(history: History, name: str, summary: Summary, ending: Ending) -> None:
    """Check that a try which passes a limit is no success, and that one which says so passes one."""
    outcomes, limits = summary.outcomes, history.plan.limits
    if ending is Ending.SUCCESS and (
        _is_too_much(limits.max_rejected, outcomes["rejected"], outcomes["accepted"] + outcomes["rejected"])
        or _is_too_much(limits.max_invalid, outcomes["invalid"], outcomes["invalid"] + summary.sendable)
    ):
        history.world.violate(f"{name} is green with {dict(outcomes)}")
    if summary.braked is None:
        return
    if not outcomes["not_sent"]:
        history.world.violate(f"{name} says that it has left somebody out, and does not count whom: {dict(outcomes)}")
    # What 8x8 has rejected may be cancelled since, and counts as unknown where the journal did not take it.
    if not (outcomes["rejected"] or outcomes["invalid"] or outcomes["unknown"] or history.plan.cancellers):
        history.world.violate(f"{name} was stopped by {summary.braked}, and counts {dict(outcomes)}")


def explains(history: History, summary: Summary) -> bool:
    """Tell whether a task ends for good since a limit was passed, or 8x8 has refused all of its first batch."""
    outcomes, limits = summary.outcomes, history.plan.limits
    if history.plan.first_batch_size is not None and "8x8 has taken no batch" in (summary.stop or ""):
        # Rows that an earlier try has sent alone may be rejected: 8x8 has taken nothing by that.
        return outcomes["not_sent"] > 0 and not outcomes["accepted"]
    return summary.braked is not None or (
        summary.stop is None
        and limits.passed(
            accepted=outcomes["accepted"],
            rejected=outcomes["rejected"],
            invalid=outcomes["invalid"],
            sendable=summary.sendable,
        )
        is not None
    )


def _is_too_much(limit: float | None, count: int, total: int, sample: int = 0) -> bool:
    if limit is None or (isinstance(limit, float) and total < sample):
        return False
    return count > (limit * total if isinstance(limit, float) else limit)
