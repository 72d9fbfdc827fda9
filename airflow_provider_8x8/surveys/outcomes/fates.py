"""The rows in hand, and the one outcome that each of them gets: in the counts and in the report alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from types import TracebackType
from typing import Self

from airflow_provider_8x8.surveys.journal.entries import Entry
from airflow_provider_8x8.surveys.journal.errors import SupersededError
from airflow_provider_8x8.surveys.journal.ledger import Ledger
from airflow_provider_8x8.surveys.messages.row_message import InvalidRowError, RowMessage, RowMessages
from airflow_provider_8x8.surveys.outcomes.lines import ReportLine
from airflow_provider_8x8.surveys.outcomes.outcome import Outcome
from airflow_provider_8x8.surveys.outcomes.sinks import Sink
from airflow_provider_8x8.surveys.outcomes.summary import Tally, outcomes_for_another_run


class Fates:
    """
    What becomes of the rows of one reading of the source; a context manager, made anew for each reading.

    A row is in hand from when it is taken until it has its outcome, or until an entry of the journal has it: that says
    from then on what becomes of it. Whatever ends the reading, the rows that are then still in hand are not sent.

    What is noted is counted first and reported then: whatever fails, no row that was read is missing from the counts.
    Rows that another run's batch of unknown outcome has wait for :meth:`conclude`.

    :param ledger: knows the entries
    :param report: gets a line for each row that no batch of this task instance has
    """

    def __init__(self, ledger: Ledger, report: Sink | None) -> None:
        self._ledger = ledger
        self._report = report
        self._in_hand: set[int] = set()
        self._taken: list[RowMessages] = []  # have at least the rows in hand
        self._undecided: defaultdict[str, list[ReportLine]] = defaultdict(list)  # beside the tally's row keys
        self.tally = Tally()

    def __enter__(self) -> Self:
        if self._report:
            self._report.forget_rows()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        left = RowMessages()
        for rows in self._taken:
            left.extend(rows.picked([number in self._in_hand for number in rows.numbers]))
            self._in_hand.difference_update(rows.numbers)
        if isinstance(error, SupersededError):
            self._report = None  # what becomes of these rows is the newest try's to say
        self.report_not_sent(left)
        if self._report:
            self._report.end_reading()

    def take(self, rows: RowMessages) -> None:
        """Have rows in hand that are to be sent."""
        if not self._in_hand:
            self._taken = []
        self._in_hand.update(rows.numbers)
        self._taken.append(rows[:])  # whoever has a batch takes rows out of it

    def enter(self, entry: Entry, rows: RowMessages) -> None:
        """Leave rows to the entry that they have been written into."""
        self.tally.rows_by_entry[entry.client_batch_id] = len(entry)
        self._in_hand.difference_update(rows.numbers)

    def take_back(self, entry: Entry, rows: RowMessages) -> None:
        """Have rows in hand again, since their entry was not sent."""
        del self.tally.rows_by_entry[entry.client_batch_id]
        self.take(rows)

    def note_held(self, row: RowMessage | InvalidRowError, holder: str) -> None:
        """
        Note a row whose row key an entry of another reading, try or run holds.

        :param holder: the entry's client batch id
        """
        entry = self._ledger[holder]
        self.tally.hold(entry)
        self._in_hand.discard(row.number)
        if self._ledger.is_own(entry):
            if self._report:
                self._report.note_own(row, holder)
            return
        self.tally.of_others += 1
        if entry.is_open and row.row_key is not None:
            self.tally.undecided[holder].append(row.row_key)
            self._undecided[holder].append(ReportLine.of(row, Outcome.UNKNOWN))
        elif self._report:
            self._report.write_row(_held_by_another(ReportLine.of(row, Outcome.ALREADY_SENT), entry))

    def note_invalid(self, row: InvalidRowError, *, is_overdue: bool) -> None:
        """
        Note a row that cannot be sent.

        :param is_overdue: its own time was still to come when the task instance's first try began
        """
        self.tally.invalid += 1
        self.tally.overdue += is_overdue
        self.tally.sample(row.number, str(row))
        self._write(row, Outcome.INVALID, str(row))

    def note_duplicates(self, rows: Collection[RowMessage | InvalidRowError]) -> None:
        """Note rows whose row keys have come up in this reading before."""
        self.tally.duplicate += len(rows)
        for row in rows:
            self._write(row, Outcome.DUPLICATE, "an earlier row of this source has its row key")

    def report_not_sent(self, rows: RowMessages) -> None:
        """Let go of rows in hand that are not sent."""
        self.tally.not_sent += len(rows)
        self._in_hand.difference_update(rows.numbers)
        for row in rows:
            self._write(row, Outcome.NOT_SENT)

    def conclude(self) -> None:
        """Report the rows that other runs' batches of unknown outcome had, by what is known of these now."""
        if not self._report:
            return
        for holder, lines in self._undecided.items():
            entry = self._ledger[holder]
            outcomes = outcomes_for_another_run(entry, self.tally.undecided[holder])
            for line, outcome in zip(lines, outcomes, strict=True):
                line.outcome = outcome
                self._report.write_row(line if outcome is Outcome.NOT_SENT else _held_by_another(line, entry))

    def have_open_rows(self) -> bool:
        """Tell whether it is not known of some rows whether 8x8 has accepted them."""
        return any(
            entry.is_open and (self._ledger.is_own(entry) or self.tally.rows_by_entry[entry.client_batch_id] > 0)
            for entry in self._ledger.entries()
        )

    def _write(self, row: RowMessage | InvalidRowError, outcome: Outcome, description: str | None = None) -> None:
        if self._report:
            self._report.write_row(ReportLine.of(row, outcome, description=description))


def _held_by_another(line: ReportLine, entry: Entry) -> ReportLine:
    """Say in a row's line which batch of another run has it."""
    has = "may have" if line.outcome is Outcome.UNKNOWN else "has"
    line.batch_id = entry.batch_id
    line.description = f"batch {entry.client_batch_id} of another run of the campaign {has} it"
    return line
