"""What a run came to, checked from three sides: the task's result, the sandbox's counts, and what was seeded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from seed import Warehouse


class MismatchError(Exception):
    """Two sides that must agree do not."""


class Outcome(NamedTuple):
    """The rows read, and what became of them."""

    rows: int
    accepted: int
    rejected: int
    invalid: int
    duplicate: int

    @classmethod
    def of_result(cls, result: Mapping[str, Any]) -> Self:
        """Take the counts from the survey task's result."""
        return cls(
            rows=result["rows_read"],
            accepted=result["accepted_count"],
            rejected=result["rejected_count"],
            invalid=result["invalid_count"],
            duplicate=result["duplicate_count"],
        )

    def __str__(self) -> str:
        return "demo: " + " ".join(f"{name}={count}" for name, count in self._asdict().items())


def check(result: Mapping[str, Any], stats: Mapping[str, int], warehouse: Warehouse) -> Outcome:
    """
    Give the outcome of a run that all three sides tell alike.

    :param result: the survey task's result
    :param stats: the sandbox's ``/sandbox/stats``
    :param warehouse: what was seeded
    :raises MismatchError: they do not; the text says where
    """
    outcome = Outcome.of_result(result)
    _agree("the rows", rows_read=outcome.rows, outcomes_together=sum(outcome[1:]))
    _agree("rows", task=outcome.rows, seeded=warehouse.customers)
    _agree("accepted", task=outcome.accepted, sandbox=stats["accepted"], seeded=warehouse.accepted)
    _agree("rejected", task=outcome.rejected, sandbox=stats["rejected"], seeded=warehouse.rejected)
    _agree("invalid", task=outcome.invalid, seeded=warehouse.invalid)
    _agree("duplicate", task=outcome.duplicate, seeded=warehouse.duplicate)
    _agree("batches", task=len(result["batch_ids"]), sandbox=stats["batches"])
    _agree("people surveyed", task=outcome.accepted, sandbox=stats["distinct_keys"])
    if missing := [name for name, count in outcome._asdict().items() if count <= 0]:
        raise MismatchError(f"The demo should show every outcome, but there is none of: {', '.join(missing)}")
    return outcome


def _agree(what: str, **counts: int) -> None:
    if len(set(counts.values())) > 1:
        sides = ", ".join(f"{side.replace('_', ' ')}: {count}" for side, count in counts.items())
        raise MismatchError(f"The counts of {what} differ: {sides}")
