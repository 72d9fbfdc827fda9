"""What a task makes of its rows' outcomes: a success or not, and whether another try could do better."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, StrEnum, auto

from airflow_provider_8x8.api.advice import with_advice
from airflow_provider_8x8.surveys.outcomes.cause import Cause
from airflow_provider_8x8.surveys.outcomes.summary import Summary
from airflow_provider_8x8.surveys.settings import Limits, OnUnknown


class OnEmpty(StrEnum):
    """What a source without any rows is."""

    SKIP = "skip"
    FAIL = "fail"
    SUCCEED = "succeed"


class Ending(Enum):
    """How a try ends."""

    SUCCESS = auto()
    SKIP = auto()
    FAIL = auto()
    """Another try may do better."""
    FAIL_FOR_GOOD = auto()


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    How a try ends, and why.

    :ivar reason: for people, phone numbers masked; what to do is on lines of its own. Empty for a success
    :ivar cause: by what a failure is told from others
    """

    ending: Ending
    reason: str = ""
    cause: Cause = Cause.OTHER

    @classmethod
    def success(cls) -> Verdict:
        """People were surveyed, or there was nothing to do, which is as it should be."""
        return cls(Ending.SUCCESS)

    @classmethod
    def skip(cls, reason: str) -> Verdict:
        """There was nothing to do."""
        return cls(Ending.SKIP, reason)

    @classmethod
    def fail(cls, reason: str, *more: str, cause: Cause = Cause.OTHER) -> Verdict:
        """
        Something has failed that another try may mend.

        :param more: what to do, and what else is to be known, each on lines of its own
        """
        return cls(Ending.FAIL, with_advice(reason, *more), cause)

    @classmethod
    def fail_for_good(cls, reason: str, *more: str, cause: Cause = Cause.OTHER) -> Verdict:
        """Something has failed that no other try can mend; see :meth:`fail`."""
        return cls(Ending.FAIL_FOR_GOOD, with_advice(reason, *more), cause)

    def if_no_other_try_can_know(self) -> Verdict:
        """Return the verdict where another try would not know what was sent: it must not follow."""
        return replace(self, ending=Ending.FAIL_FOR_GOOD) if self.ending is Ending.FAIL else self


def judge(
    summary: Summary,
    *,
    on_empty: OnEmpty,
    on_unknown: OnUnknown,
    limits: Limits | None = None,
    may_try_again: bool = True,
    what_is_unknown: str = "",
    problem: str | None = None,
) -> Verdict:
    """
    Judge what became of the rows: a try succeeds if people were surveyed.

    :param summary: any, also one that has only a ``stop``
    :param on_empty: what no rows at all are
    :param on_unknown: with ``assume_sent`` a task succeeds though some outcomes are unknown
    :param limits: how much may go wrong, none by default
    :param may_try_again: whether another try would know what was sent
    :param what_is_unknown: says so of batches of unknown outcome, if there are any; what to do is on lines of its own
    :param problem: what has failed beside the sending, phone numbers masked, so that there is no success
    """
    verdict = _judge_rows(summary, on_empty, on_unknown, limits or Limits(), what_is_unknown)
    if problem is not None and verdict.ending is Ending.SUCCESS:
        verdict = Verdict.fail(problem, summary.in_words)
    return verdict if may_try_again else verdict.if_no_other_try_can_know()


def _judge_rows(
    summary: Summary, on_empty: OnEmpty, on_unknown: OnUnknown, limits: Limits, what_is_unknown: str
) -> Verdict:
    outcomes = summary.outcomes
    if summary.stop is not None:
        stopped = f"Sending stopped: {summary.stop}" if summary.was_begun else summary.stop
        fail = Verdict.fail_for_good if summary.is_final else Verdict.fail
        is_unknown = summary.was_begun and summary.outlook is not None
        cause = Cause.UNKNOWN_OUTCOME if is_unknown else summary.cause
        return fail(stopped, summary.in_words, what_is_unknown, cause=cause)
    if not summary.rows_read:
        return _judge_nothing(summary, on_empty)
    if outcomes["unknown"] and on_unknown is not OnUnknown.ASSUME_SENT:
        reason, _, what_to_do = what_is_unknown.partition("\n")
        return Verdict.fail(reason, summary.in_words, what_to_do, cause=Cause.UNKNOWN_OUTCOME)
    if summary.overdue:
        return Verdict.fail_for_good(
            f"The time of {summary.overdue} rows passed before they could be sent: they are left out",
            summary.in_words,
            *summary.reasons_in_words,
        )
    if passed := limits.passed(
        accepted=outcomes["accepted"],
        rejected=outcomes["rejected"],
        invalid=outcomes["invalid"],
        sendable=summary.sendable,
    ):
        return Verdict.fail_for_good(passed, summary.in_words, cause=Cause.LIMIT)
    if not (outcomes["accepted"] or outcomes["unknown"] or outcomes["already_sent"]):
        cause = Cause.REFUSED if outcomes["rejected"] else Cause.OTHER
        return Verdict.fail_for_good("Nobody was surveyed", summary.in_words, *summary.reasons_in_words, cause=cause)
    return Verdict.success()


def _judge_nothing(summary: Summary, on_empty: OnEmpty) -> Verdict:
    match on_empty:
        case OnEmpty.SUCCEED:
            return Verdict.success()
        case OnEmpty.SKIP:
            return Verdict.skip("There are no rows")
        case OnEmpty.FAIL:
            return Verdict.fail("There are no rows", summary.in_words)


def may_go_better(error: Exception) -> bool:
    """
    Tell whether another try may do better than one that an error has ended.

    An error's class says so itself; of other people's errors those that are about what was given do not pass.
    """
    says_so: bool = getattr(error, "may_go_better", not isinstance(error, TypeError | ValueError))
    return says_so
