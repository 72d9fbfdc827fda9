"""What became of the rows: counts that add up, over all tries of a task instance."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from airflow_provider_8x8.surveys.journal.entries import Entry, EntryState
from airflow_provider_8x8.surveys.messages.row_keys import unpack
from airflow_provider_8x8.surveys.outcomes.report import Outcome

MAX_INVALID_SAMPLES = 10


@dataclass(slots=True)
class Summary:
    """
    What became of the rows; the counts of outcomes add up to ``rows_read``.

    :ivar client_batch_ids: of every batch of the task instance that 8x8 has or may have
    :ivar unknown_client_batch_ids: of those, and of other runs' batches with rows of this source, of which nobody knows
    :ivar overdue: of the invalid rows, those whose own time was still to come when the first try began
    :ivar report: where the report is
    :ivar stop: why sending ended before the source did, phone numbers masked
    :ivar is_final: whether another try could not mend that
    :ivar was_begun: whether sending was begun; else ``stop`` says what was sent before
    :ivar logs_problem: why 8x8's logs could not be read when they were last needed
    :ivar outlook: what can tell of the unknown batches, and from when on; None if all was decided
    """

    campaign_id: str
    rows_read: int = 0
    batch_ids: list[str] = field(default_factory=list)
    client_batch_ids: list[str] = field(default_factory=list)
    unknown_client_batch_ids: list[str] = field(default_factory=list)
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    invalid_samples: list[str] = field(default_factory=list)
    overdue: int = 0
    report: str | None = None
    stop: str | None = None
    is_final: bool = False
    was_begun: bool = True
    logs_problem: str | None = None
    outlook: str | None = None


@dataclass(slots=True)
class Tally:
    """
    What one reading of the source has seen.

    :ivar overdue: of the invalid rows, those whose own time was still to come when the task instance's first try began
    :ivar held: how many of its rows each entry holds, by client batch id: begun in this reading or before
    :ivar met_open: the entries among them that were open, as they were when the first of their rows came up
    :ivar met_unknown: the row keys of those rows, where a sent batch left some unknown, by client batch id
    """

    rows_read: int = 0
    invalid: int = 0
    overdue: int = 0
    duplicate: int = 0
    held: Counter[str] = field(default_factory=Counter)
    met_open: dict[str, Entry] = field(default_factory=dict)
    met_unknown: defaultdict[str, set[bytes]] = field(default_factory=lambda: defaultdict(set))
    invalid_samples: list[str] = field(default_factory=list)

    def hold(self, entry: Entry, row_key: bytes | None) -> None:
        """Note that an entry of before holds a row."""
        self.held[entry.client_batch_id] += 1
        if entry.is_open:
            self.met_open.setdefault(entry.client_batch_id, entry)
            if entry.unknown_keys and row_key is not None:
                self.met_unknown[entry.client_batch_id].add(row_key)

    @property
    def not_sent(self) -> int:
        """
        How many rows went into no entry because sending ended.

        All that are left: whatever fails, and wherever, no row that was read is missing from the counts.
        """
        return self.rows_read - self.invalid - self.duplicate - self.held.total()

    def sample(self, text: str) -> None:
        """Keep a reason why a row is invalid, if there are not enough yet."""
        if len(self.invalid_samples) < MAX_INVALID_SAMPLES:
            self.invalid_samples.append(text)


def summarize(campaign_id: str, run: str, entries: Iterable[Entry], tally: Tally) -> Summary:
    """
    Count the outcomes of a task instance over all its tries.

    What earlier tries sent counts once, whether or not the source still gives the row; what another run of the
    campaign sent counts only where this source has the row.

    :param entries: all of the campaign
    :param tally: of the last reading of the source
    """
    summary = Summary(
        campaign_id, rows_read=tally.rows_read, invalid_samples=tally.invalid_samples, overdue=tally.overdue
    )
    outcomes = summary.outcomes
    outcomes.update({"invalid": tally.invalid, "duplicate": tally.duplicate, "not_sent": tally.not_sent})
    for entry in entries:
        rows = tally.held[entry.client_batch_id]
        if not entry.is_batch:
            continue
        if not entry.is_in_effect:
            outcomes["not_sent"] += rows
            if entry.run == run and entry.state is EntryState.RESENT:  # 8x8 may have it all the same
                summary.client_batch_ids.append(entry.client_batch_id)
        elif entry.run == run:
            counted = len(entry) - entry.resent_count
            outcomes["not_sent"] += max(0, rows - counted)  # set free, and the source was not read since
            summary.rows_read += counted - min(rows, counted)
            _count_own(summary, entry)
        elif rows:
            _count_anothers(summary, entry, rows, tally.met_unknown.get(entry.client_batch_id, set()))
    return summary


def _count_anothers(summary: Summary, entry: Entry, rows: int, met_unknown: set[bytes]) -> None:
    """Count rows that another run of the campaign has in one of its batches."""
    still_unknown = met_unknown.intersection(unpack(entry.unknown_keys))
    unknown = rows if entry.state is EntryState.PENDING else len(still_unknown)
    if unknown:
        summary.unknown_client_batch_ids.append(entry.client_batch_id)
    summary.outcomes.update({"unknown": unknown, "already_sent": rows - unknown})


def _count_own(summary: Summary, entry: Entry) -> None:
    counts: dict[Outcome, int] = {
        "accepted": entry.accepted_count,
        "rejected": entry.rejected_count,
        "unknown": entry.unknown_count,
    }
    summary.outcomes.update(counts)
    if entry.unknown_count:
        summary.unknown_client_batch_ids.append(entry.client_batch_id)
    if entry.batch_id is not None:
        summary.batch_ids.append(entry.batch_id)
    if entry.batch_id is not None or entry.unknown_count:
        summary.client_batch_ids.append(entry.client_batch_id)
