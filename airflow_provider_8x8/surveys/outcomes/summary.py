"""What became of the rows: counts that add up, over all tries of a task instance."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_8x8.api.advice import with_advice
from airflow_provider_8x8.surveys.journal.entries import Entry, EntryState
from airflow_provider_8x8.surveys.messages.row_keys import unpack
from airflow_provider_8x8.surveys.outcomes.cause import Cause
from airflow_provider_8x8.surveys.outcomes.outcome import Outcome
from airflow_provider_8x8.surveys.settings import Run

MAX_INVALID_SAMPLES = 10

_REASONS_TOLD = 5
"""Reasons for one outcome that are told at the end: the report has all."""


@dataclass(slots=True)
class Reasons:
    """The first reasons why rows have an outcome, each with its first row and how many have it, too."""

    rows: dict[str, list[int]] = field(default_factory=dict)

    def note(self, number: int, reason: str) -> None:
        """
        Take note of one row.

        :param number: 1 for the first row of the source
        :param reason: phone numbers masked
        """
        if reason in self.rows:
            self.rows[reason][1] += 1
        elif len(self.rows) < _REASONS_TOLD:
            self.rows[reason] = [number, 1]

    def in_words(self, outcome: Outcome, count: int) -> str | None:
        """
        Say on some lines how many rows have the outcome, and why; None if there are none.

        :param count: of all that have it, also for reasons that are not known here
        """
        if not count:
            return None
        told = [
            f"  Row {first}{f' and {its - 1} more' if its > 1 else ''}: {reason}"
            for reason, (first, its) in self.rows.items()
        ]
        others = count - sum(its for _, its in self.rows.values())
        rest = f"  and {others} for other reasons" if told and others > 0 else None
        return with_advice(f"{_rows(count, 'is', 'are')} {outcome}{':' if told else ''}", *told, rest)


@dataclass(slots=True)
class Posted:
    """
    How many messages some tries of the task instance have sent.

    :ivar taken: 8x8 has said that it accepts or rejects them
    :ivar unanswered: 8x8 may have them, or not; some may have been sent once more since
    """

    taken: int = 0
    unanswered: int = 0

    def __bool__(self) -> bool:
        return self.taken + self.unanswered > 0


@dataclass(slots=True)
class Summary:
    """
    What became of the rows over all tries; the counts of outcomes add up to ``rows_read``.

    :ivar outcomes: how many rows have each :class:`~airflow_provider_8x8.surveys.outcomes.outcome.Outcome`
    :ivar client_batch_ids: of every batch of the task instance that 8x8 has or may have
    :ivar unknown_client_batch_ids: of those, and of other runs' batches with rows of this source, of which nobody knows
    :ivar overdue: of the invalid rows, those whose own time was still to come when the first try began
    :ivar sendable: of the rows that the source gave, those that were this task instance's to send, or sent by it
    :ivar report: where the report is
    :ivar is_source_read: whether the source was read to its end
    :ivar try_number: this try's
    :ivar by_this_try: what of it this very try has sent
    :ivar by_other_tries: likewise the other tries of the task instance
    :ivar other_tries: their numbers
    :ivar found_out: how many of their messages of unknown outcome this try has found out about
    :ivar invalid_reasons: why rows are invalid
    :ivar rejected_reasons: why 8x8 has rejected rows in this try
    :ivar stop: why sending ended before the source did, phone numbers masked
    :ivar is_final: whether another try could not mend that
    :ivar cause: what kind of reason that is
    :ivar braked: which limit was passed, if that is why
    :ivar was_begun: whether sending was begun; else ``stop`` says what was sent before
    :ivar logs_problem: why 8x8's logs could not be read when they were last needed
    :ivar outlook: what can tell of the unknown batches, and from when on; None if all was decided
    """

    campaign_id: str
    rows_read: int = 0
    batch_ids: list[str] = field(default_factory=list)
    client_batch_ids: list[str] = field(default_factory=list)
    unknown_client_batch_ids: list[str] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    invalid_samples: list[str] = field(default_factory=list)
    overdue: int = 0
    sendable: int = 0
    report: str | None = None
    is_source_read: bool = False
    try_number: int = 1
    by_this_try: Posted = field(default_factory=Posted)
    by_other_tries: Posted = field(default_factory=Posted)
    other_tries: set[int] = field(default_factory=set)
    found_out: int = 0
    invalid_reasons: Reasons = field(default_factory=Reasons)
    rejected_reasons: Reasons = field(default_factory=Reasons)
    stop: str | None = None
    is_final: bool = False
    cause: Cause = Cause.OTHER
    braked: str | None = None
    was_begun: bool = True
    logs_problem: str | None = None
    outlook: str | None = None

    @property
    def in_words(self) -> str:
        """On one line: what became of the rows, and what of it this try and those before it have done."""
        return f"{self._rows_in_words()}; {self._tries_in_words()}"

    @property
    def reasons_in_words(self) -> list[str]:
        """How many rows are invalid and how many rejected, and the first reasons of each, on some lines."""
        invalid = self.invalid_reasons.in_words(Outcome.INVALID, self.outcomes[Outcome.INVALID])
        rejected = self.rejected_reasons.in_words(Outcome.REJECTED, self.outcomes[Outcome.REJECTED])
        return [said for said in (invalid, rejected) if said is not None]

    def as_result(self) -> dict[str, Any]:
        """Return what the task pushes: the counts, what names its batches, and where the report is."""
        outcomes = self.outcomes
        stopped = {} if self.braked is None else {"stopped": self.braked}
        return {
            "campaign_id": self.campaign_id,
            "batch_id": self.batch_ids[0] if self.batch_ids else None,
            "batch_ids": self.batch_ids,
            "client_batch_ids": self.client_batch_ids,
            "rows_read": self.rows_read,
            "accepted_count": outcomes["accepted"],
            "rejected_count": outcomes["rejected"],
            "invalid_count": outcomes["invalid"],
            "duplicate_count": outcomes["duplicate"],
            "already_sent_count": outcomes["already_sent"],
            "not_sent_count": outcomes["not_sent"],
            "unknown_count": outcomes["unknown"],
            "invalid_samples": self.invalid_samples,
            "report": self.report,
            **stopped,
        }

    def _rows_in_words(self) -> str:
        outcomes = [f"{count} {outcome}" for outcome in Outcome if (count := self.outcomes[outcome])]
        counted = f": {', '.join(outcomes)}" if outcomes else ""
        if self.is_source_read:
            return f"{_rows(self.rows_read, 'was', 'were')} read{counted}"
        rows = f". At least {_rows(self.rows_read)}{counted}" if self.rows_read else ""
        return f"The source was not read{' to its end' if self.was_begun else ''}{rows}"

    def _tries_in_words(self) -> str:
        this_try, others = self.by_this_try, self.by_other_tries
        said = [f"sent {this_try.taken}"] if this_try.taken else []
        if this_try.unanswered:
            said.append(f"may have sent {this_try.unanswered}{' more' if this_try.taken else ''}")
        did = [f"this try {' and '.join(said) or 'sent nothing'}"]
        if others:
            found_out = f" (this one found out about {self.found_out} of them)" if self.found_out else ""
            are_earlier = max(self.other_tries) < self.try_number
            one, many = ("an earlier try", "earlier tries") if are_earlier else ("another try", "other tries")
            by = one if len(self.other_tries) == 1 else many
            said = [f"{others.taken} {'was' if others.taken == 1 else 'were'} sent"] if others.taken else []
            if others.unanswered:
                said.append(f"{others.unanswered} may have been{'' if others.taken else ' sent'}")
            did.append(f"{' and '.join(said)} by {by}{found_out}")
        if before := self.outcomes[Outcome.ALREADY_SENT]:
            did.append(f"{before} {'was' if before == 1 else 'were'} sent by another run of the campaign")
        return f"{did[0]}{', ' if this_try else ': '}{', '.join(did[1:])}" if did[1:] else did[0]


def _rows(count: int, verb: str = "", verb_of_many: str = "") -> str:
    return f"{count} row {verb}".rstrip() if count == 1 else f"{count} rows {verb_of_many}".rstrip()


@dataclass(slots=True)
class Tally:
    """
    What one reading of the source has seen.

    :ivar is_whole: whether it has come to the source's end
    :ivar overdue: of the invalid rows, those whose own time was still to come when the task instance's first try began
    :ivar distinct: how many row keys have come up in rows that can be sent, or were
    :ivar of_others: how many of these another run of the campaign has
    :ivar not_sent: how many rows went into no entry because sending ended
    :ivar rows_by_entry: how many of its rows each entry holds, by client batch id: begun in this reading or before
    :ivar seen_open: the entries among them that were open, as they were when the first of their rows came up
    :ivar undecided: the row keys of rows that other runs' open entries held when they came up, by client batch id
    """

    is_whole: bool = False
    invalid: int = 0
    overdue: int = 0
    duplicate: int = 0
    distinct: int = 0
    of_others: int = 0
    not_sent: int = 0
    rows_by_entry: Counter[str] = field(default_factory=Counter)
    seen_open: dict[str, Entry] = field(default_factory=dict)
    undecided: defaultdict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    invalid_samples: list[str] = field(default_factory=list)
    invalid_reasons: Reasons = field(default_factory=Reasons)

    @property
    def rows_read(self) -> int:
        """How many rows were read, each of which has come to one end or another."""
        return self.invalid + self.duplicate + self.not_sent + self.rows_by_entry.total()

    @property
    def sendable(self) -> int:
        """How many rows are this task instance's to send, or were sent by it."""
        return self.distinct - self.of_others

    def hold(self, entry: Entry) -> None:
        """Note that an entry of before holds a row."""
        self.rows_by_entry[entry.client_batch_id] += 1
        if entry.is_open:
            self.seen_open.setdefault(entry.client_batch_id, entry)

    def sample(self, number: int, reason: str) -> None:
        """Keep the reason why a row is invalid, if there are not enough yet."""
        self.invalid_reasons.note(number, reason)
        if len(self.invalid_samples) < MAX_INVALID_SAMPLES:
            self.invalid_samples.append(f"Row {number}: {reason}")


def summarize(run: Run, entries: Iterable[Entry], tally: Tally, *, open_before: Collection[str] = ()) -> Summary:
    """
    Count the outcomes of a task instance over all its tries.

    What earlier tries sent counts once, whether or not the source still gives the row; what another run of the
    campaign sent counts only where this source has the row.

    :param run: the try that asks
    :param entries: all of the campaign
    :param tally: of the last reading of the source
    :param open_before: the client batch ids of the entries that were open when this try began
    """
    summary = Summary(
        run.campaign_id,
        rows_read=tally.rows_read,
        invalid_samples=tally.invalid_samples,
        invalid_reasons=tally.invalid_reasons,
        overdue=tally.overdue,
        sendable=tally.sendable,
        is_source_read=tally.is_whole,
        try_number=run.try_number,
    )
    outcomes = summary.outcomes
    outcomes.update(
        {Outcome.INVALID: tally.invalid, Outcome.DUPLICATE: tally.duplicate, Outcome.NOT_SENT: tally.not_sent}
    )
    for entry in entries:
        rows = tally.rows_by_entry[entry.client_batch_id]
        if not entry.is_batch:
            continue
        if entry.task_instance == run.task_instance:
            _count_posted(summary, entry, run.try_number, was_open=entry.client_batch_id in open_before)
        if not entry.is_in_effect:
            outcomes[Outcome.NOT_SENT] += rows
            if (
                entry.task_instance == run.task_instance and entry.state is EntryState.RESENT
            ):  # 8x8 may have it all the same
                summary.client_batch_ids.append(entry.client_batch_id)
        elif entry.task_instance == run.task_instance:
            counted = len(entry) - entry.resent_count
            outcomes[Outcome.NOT_SENT] += max(0, rows - counted)  # set free, and the source was not read since
            summary.rows_read += counted - min(rows, counted)
            _count_own(summary, entry)
        elif rows:
            _count_anothers(summary, entry, rows, tally.undecided.get(entry.client_batch_id, []))
    return summary


def _count_posted(summary: Summary, entry: Entry, this_try: int, *, was_open: bool) -> None:
    """Count what a try of the task instance has sent, whatever was decided about it."""
    if entry.state is EntryState.CANCELLED:
        return  # as if it had never been sent
    taken = entry.accepted_count + entry.rejected_count
    unanswered = 0 if entry.state is EntryState.NOT_SENT else len(entry) - taken
    if entry.try_number == this_try:
        posted = summary.by_this_try
    else:
        posted = summary.by_other_tries
        summary.found_out += taken if was_open else 0
        if taken or unanswered:
            summary.other_tries.add(entry.try_number)
    posted.taken += taken
    posted.unanswered += unanswered


def outcomes_for_another_run(entry: Entry, row_keys: Collection[bytes]) -> list[Outcome]:
    """Return what has become of rows that an entry has or had, for a run that did not make it but has them, too."""
    if not entry.is_in_effect:
        return [Outcome.NOT_SENT] * len(row_keys)
    if entry.state is EntryState.PENDING:
        return [Outcome.UNKNOWN] * len(row_keys)
    unknown, free = set(unpack(entry.unknown_keys)), set(unpack(entry.rejected_keys + entry.resent_keys))
    return [
        Outcome.UNKNOWN if row_key in unknown else Outcome.NOT_SENT if row_key in free else Outcome.ALREADY_SENT
        for row_key in row_keys
    ]


def _count_anothers(summary: Summary, entry: Entry, rows: int, undecided: Collection[bytes]) -> None:
    """Count rows that another run of the campaign has in one of its batches."""
    outcomes = Counter(outcomes_for_another_run(entry, undecided))
    if outcomes[Outcome.UNKNOWN]:
        summary.unknown_client_batch_ids.append(entry.client_batch_id)
    outcomes[Outcome.ALREADY_SENT] += rows - len(undecided)
    summary.outcomes.update(outcomes)


def _count_own(summary: Summary, entry: Entry) -> None:
    summary.outcomes.update(
        {
            Outcome.ACCEPTED: entry.accepted_count,
            Outcome.REJECTED: entry.rejected_count,
            Outcome.UNKNOWN: entry.unknown_count,
        }
    )
    if entry.unknown_count:
        summary.unknown_client_batch_ids.append(entry.client_batch_id)
    if entry.batch_id is not None:
        summary.batch_ids.append(entry.batch_id)
    # A batch that a person knows to be accepted has no id of 8x8's, and neither has a single row that 8x8 refused.
    if entry.batch_id is not None or entry.accepted_count or entry.unknown_count:
        summary.client_batch_ids.append(entry.client_batch_id)
