"""What must hold of every history."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from airflow_provider_8x8.surveys.journal.entries import EntryState
from airflow_provider_8x8.surveys.outcomes.verdict import Ending
from airflow_provider_8x8.surveys.sending.stopped import UNEXPECTED
from airflow_provider_8x8.surveys.settings import OnUnknown
from tests.simulation import braking
from tests.simulation.plans import Where
from tests.simulation.sources import expiry, key_of_invalid

if TYPE_CHECKING:
    from tests.simulation.histories import History, TaskInstance, Try
    from tests.simulation.worlds import Process


_ROW_FILES = ("invalid", "duplicate", "already_sent", "not_sent", "unknown")


MAX_PASSES_IN_VAIN = 4 * 8
"""
How often a try may read its source one time after the other with nothing gained: twice for each reading, if it looks
before it sends, and what was gained by another try of its task instance it may only know later.
"""


def check_passes(history: History, process: Process, in_vain: int) -> None:
    """Check that a try does not read its source again and again, with nothing accepted or rejected in between."""
    if in_vain == MAX_PASSES_IN_VAIN + 1:
        history.world.violate(f"{process.name} has read its source {in_vain} times in vain")


def check_try(history: History, task: TaskInstance, done: Try, ending: Ending) -> None:
    """Check what one try says of itself, when it ends."""
    summary = done.summary
    if (summary.stop or "").startswith(UNEXPECTED) and "Terminated" not in (summary.stop or ""):
        history.world.violate(f"{done.process.name}: {summary.stop}")
    outcomes = summary.outcomes
    who = done.process.name
    if sum(outcomes.values()) != summary.rows_read or min(outcomes.values(), default=0) < 0:
        history.world.violate(f"{who}: {dict(outcomes)} does not add up to {summary.rows_read}")
    braking.check_ending(history, who, summary, ending)
    if ending is not Ending.SUCCESS or task.processes[-1] is not done.process:
        return  # what an overtaken try says, Airflow does not take
    if history.plan.on_unknown is not OnUnknown.ASSUME_SENT and (
        outcomes["unknown"] or summary.unknown_client_batch_ids
    ):
        history.world.violate(f"{who} is green, and does not know all")
    if outcomes["not_sent"] and history.plan.on_unknown is OnUnknown.FAIL:
        history.world.violate(f"{who} is green, and has not sent all")
    _check_invalid(history, done)
    _check_truth(history, task, done)


def _check_invalid(history: History, done: Try) -> None:
    """Check that all invalid rows count as such, but those that have the row key of one that was sent."""
    keys = [key_of_invalid(history.plan.kind, row) for row in done.source.last_pass if row["k"] == "invalid"]
    sent = history.server.accepted.keys() | history.server.rejected
    may_be_held = history.plan.on_unknown is not OnUnknown.FAIL
    surely = sum(key is None or not (key in sent or may_be_held) for key in keys)
    valid = [row for row in done.source.last_pass if row["k"] != "invalid"]
    at_most = len(keys) + (sum(_is_past(history, row) for row in valid) if history.plan.has_times else 0)
    if not surely <= done.summary.outcomes["invalid"] <= at_most:
        history.world.violate(
            f"{done.process.name} counts {done.summary.outcomes['invalid']} invalid rows of {surely} to {at_most}"
        )


def _is_past(history: History, row: dict[str, Any]) -> bool:
    return expiry(row) < history.world.now + history.plan.skew


def _check_truth(history: History, task: TaskInstance, done: Try) -> None:
    """Check a green try's count against what 8x8 has."""
    if history.plan.on_unknown is not OnUnknown.FAIL or history.plan.cancellers:
        return  # the journal has some as accepted that were cancelled since
    accepted = len(history.server.accepted_by_run.get(task.name, ()))
    if done.summary.outcomes["accepted"] != accepted:
        history.world.violate(
            f"{done.process.name} is green with {done.summary.outcomes['accepted']} accepted, and 8x8 has {accepted}"
        )


def check_end(history: History) -> None:
    """Check what is left when all is calm, and each task instance was tried until it had ended."""
    for task in history.tasks:
        _check_ended(history, task)
        _check_report(history, task)
    history.cancellers.check_end()
    for client_batch_id in history.campaign.answered:
        stored = history.campaign.batches.get(client_batch_id)
        if stored is not None and stored.entry.state not in (EntryState.SENT, EntryState.CANCELLED):
            history.world.violate(f"8x8 has said that it has {client_batch_id}, and the journal {stored.entry}")


def _check_ended(history: History, task: TaskInstance) -> None:
    if task.is_lost or not history.plan.final_canary or _may_refuse(history):
        return
    if task.ending is Ending.FAIL_FOR_GOOD and task.last is not None and _may_be_final(history, task, task.last):
        pass
    elif task.ending is not Ending.SUCCESS and not _waits_for_another_run(history, task):
        last = task.last.summary if task.last else None
        history.world.violate(f"{task.name} does not end: {last}")
        return
    if history.plan.on_unknown is not OnUnknown.FAIL or _says_that_it_is_too_late(history, task):
        return
    if task.last is not None and braking.explains(history, task.last.summary):
        return
    late = _late_keys(history, task)
    for key in sorted(task.table.valid_keys - late - history.cancellers.held_keys()):
        if not history.server.accepted[key] and key not in history.server.rejected:
            history.world.violate(f"{key} was lost")


def _late_keys(history: History, task: TaskInstance) -> set[str]:
    """Return the rows whose own time had passed when the first try began, or of which the task says that it has."""
    if not history.plan.has_times:
        return set()
    began = history.first_begun(task)
    says_so = task.ending is Ending.FAIL_FOR_GOOD and task.last is not None and task.last.summary.overdue > 0
    return {str(row["k"]) for row in task.table.rows if expiry(row) < began or (says_so and _is_past(history, row))}


def _says_that_it_is_too_late(history: History, task: TaskInstance) -> bool:
    """Tell whether a task says that it leaves rows out since the time of its messages has passed."""
    last, times = task.last, (history.plan.scheduled, history.plan.not_after)
    is_past = any(time is not None and time < history.world.now + history.plan.skew for time in times)
    return (
        is_past and task.ending is Ending.FAIL_FOR_GOOD and last is not None and last.summary.outcomes["not_sent"] > 0
    )


def _may_refuse(history: History) -> bool:
    """Tell whether what a task instance has sent cannot be known for sure, so that it sends nothing."""
    configured = history.plan.at_hand
    return history.plan.journal is Where.CHANGING and any(not at_hand.has_store for at_hand in configured)


def _may_be_final(history: History, task: TaskInstance, last: Try) -> bool:
    """Tell whether nobody was or could be surveyed, or 8x8 has refused every batch, all of whose rows are bad."""
    habits = history.plan.habits
    if _says_that_it_is_too_late(history, task):
        return True
    if braking.explains(history, last.summary):
        return True
    if last.summary.overdue:
        return True
    if last.summary.stop is None or not habits.refuses_bad_rows:
        return last.summary.stop is None
    # A good one may be in no batch because it was decided about by on_unknown.
    return history.plan.on_unknown is not OnUnknown.FAIL or task.table.valid_keys <= habits.bad.keys()


def _waits_for_another_run(history: History, task: TaskInstance) -> bool:
    """Tell whether 8x8 refuses all that a task has, which it may not take for the whole's fault before others end."""
    last, habits = task.last, history.plan.habits
    is_refused = last is not None and last.summary.stop is not None and habits.refuses_bad_rows
    if last is None or not is_refused or len(history.tasks) == 1:
        return False
    return task.table.valid_keys <= habits.bad.keys() or braking.explains(history, last.summary)


def _check_report(history: History, task: TaskInstance) -> None:
    """Check that each row that the last try has read is in the report, once."""
    done = task.last
    if done is None or done.disk is None or task.ending is not Ending.SUCCESS or not is_alone(task, done):
        return
    batches, rows = _lines(history, task, done)
    for client_batch_id in done.summary.client_batch_ids:
        if client_batch_id not in batches and history.plan.on_unknown is not OnUnknown.RESEND:
            history.world.violate(f"{done.process.name}: the report lacks batch {client_batch_id}")
    lines = [line for batch in batches.values() for line in batch] + rows
    found = Counter(line["outcome"] for line in lines)
    expected = Counter({outcome: count for outcome, count in done.summary.outcomes.items() if count})
    if found != expected:
        history.world.violate(f"{done.process.name}: the report has {dict(found)}, the summary {dict(expected)}")


def is_alone(task: TaskInstance, done: Try) -> bool:
    """Tell whether no other try of a task instance has been alive beside or after this one: else it may know more."""
    processes = sorted(task.processes, key=lambda process: process.began)
    return processes[-1] is done.process and all(
        one.ended <= other.began for one, other in itertools.pairwise(processes)
    )


def _lines(history: History, task: TaskInstance, done: Try) -> tuple[dict[str, list[Any]], list[Any]]:
    """Return the report's lines: those of each of the task instance's batches, and those of its rows in none."""
    batches: dict[str, list[Any]] = {}
    rows: list[Any] = []
    prefix = "" if task.name == "campaign" else f"{task.name}."
    own = {f"{prefix}{outcome}" for outcome in _ROW_FILES}
    batch_ids = history.batch_ids(task)
    for path, content in history.disk.files.items():
        name = path.rsplit("/", 1)[-1].removesuffix(".jsonl")
        lines = [json.loads(line) for line in content.splitlines()]
        if name in own:
            rows += lines
        elif name not in _ROW_FILES and (batch_ids is None or name in batch_ids):
            batches[name] = lines
    return batches, rows
