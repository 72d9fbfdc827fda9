"""What becomes of a finding about a batch: it is reported, and settled in the journal."""

from __future__ import annotations

import logging

from airflow_provider_8x8.surveys.journal.entries import Entry, EntryState
from airflow_provider_8x8.surveys.journal.ledger import Ledger
from airflow_provider_8x8.surveys.messages.row_keys import RowKeys
from airflow_provider_8x8.surveys.outcomes.sinks import Sink
from airflow_provider_8x8.surveys.outcomes.summary import Tally
from airflow_provider_8x8.surveys.sending.reconcile import Finding

log = logging.getLogger(__name__)


class Findings:
    """
    Applies what was found out about batches, for one try.

    :param ledger: what the journal says
    :param row_keys: the campaign's
    :param report: where the outcome of each row is written
    :ivar unreported: batches that the report lacks; one that is applied is no longer among them
    """

    def __init__(self, ledger: Ledger, row_keys: RowKeys, report: Sink | None) -> None:
        self._ledger = ledger
        self._row_keys = row_keys
        self._report = report
        self.unreported: set[str] = set()

    def apply(self, finding: Finding, tally: Tally) -> None:
        """
        Report and settle what is known of a batch.

        :param tally: of the last reading of the source
        """
        entry = finding.entry
        is_settled = entry.state is not EntryState.PENDING  # else only something was seen of the logs
        if is_settled:
            log.info("Batch %s of %d messages is %s", entry.client_batch_id, len(entry), entry.state)
            # The report first: if the worker dies in between, the next try finds the batch open, and does both again.
            # But what the journal has as not sent is taken back in any case, and what is taken back cannot be had back.
            if entry.is_in_effect:
                self._write(entry, finding, tally)
            self.unreported.discard(entry.client_batch_id)
        settled = entry if entry == self._ledger[entry.client_batch_id] else self._ledger.settle(entry)
        if is_settled and (settled != entry or not settled.is_in_effect):  # somebody was faster, and knew better
            self._write(settled, finding, tally)

    def report_change(self, entry: Entry, tally: Tally) -> None:
        """
        Report a batch of the task instance that others have settled since it was last reported.

        :param tally: of the last reading of the source
        """
        if self._report is None or entry.state is EntryState.PENDING:
            return
        if not entry.is_in_effect:
            self._take_back(self._report, entry, tally)
        elif entry.batch_id is None:  # a person or on_unknown has said so: the logs may never have it
            self._report.write_batch_from_logs(entry, {}, self._row_keys)
        elif not self._report.has_as_settled(entry):
            self.unreported.add(entry.client_batch_id)

    def catch_up(self) -> None:
        """Hold what is reported of the task instance's batches against the journal, and report what it lacks."""
        if self._report is None:
            return
        own = self._ledger.own_batches()
        lacking = self._report.compare(own)
        for entry in own:
            if entry.client_batch_id in lacking:
                self.report_change(entry, Tally())

    def report_as_known(self, entry: Entry) -> None:
        """Report a batch by the journal alone, unless it is reported so already."""
        if self._report:
            self._report.write_batch_from_journal(entry, self._row_keys)

    def _write(self, entry: Entry, finding: Finding, tally: Tally) -> None:
        if self._report and entry.is_in_effect:
            self._report.write_batch_from_logs(entry, finding.lines, self._row_keys)
        elif self._report and self._ledger.is_own(entry):
            self._take_back(self._report, entry, tally)  # what another run's rows are then, that run reports

    def _take_back(self, report: Sink, entry: Entry, tally: Tally) -> None:
        is_of_this_reading = tally.rows_by_entry[entry.client_batch_id] > 0
        report.take_back_batch(entry.client_batch_id, with_rows=is_of_this_reading)
