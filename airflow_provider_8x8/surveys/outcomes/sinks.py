"""Where the outcome of each row goes: into the report's files, into a table of the warehouse, or into both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Protocol, Self, TypeVar

from airflow_provider_8x8.api.models import LogLine
from airflow_provider_8x8.surveys.journal.entries import Entry
from airflow_provider_8x8.surveys.messages.row_keys import RowKeys
from airflow_provider_8x8.surveys.messages.row_message import InvalidRowError, RowMessage
from airflow_provider_8x8.surveys.outcomes.lines import BatchLines, ReportLine

Result = TypeVar("Result")


class SinkError(Exception):
    """Outcomes could not be written or read; the text holds no row."""


class Sink(Protocol):
    """
    A place for the outcomes of one task instance's rows; a context manager, entered before anything is sent.

    A row that is in a batch belongs to it, over all tries; one that is in none belongs to one reading of the source.
    Of another run's batches it may be told as well, when 8x8's logs are found to have them.
    Every method may raise a :class:`SinkError`.
    """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...

    def compare(self, own: Sequence[Entry]) -> set[str]:
        """
        Hold what is there against the journal, and remove the batches that are not in effect.

        :param own: the task instance's entries
        :return: the client batch ids of sent batches that are not there as the journal has them
        """

    def forget_rows(self) -> None:
        """Begin anew with the rows that are in no batch: the source is read again, or was by an earlier try."""

    def write_row(self, line: ReportLine) -> None:
        """Add a row that is in no batch."""

    def note_own(self, row: RowMessage | InvalidRowError, client_batch_id: str) -> None:
        """Take note that the source gives a row that is in a batch of before."""

    def end_reading(self) -> None:
        """Have all there that came of the reading."""

    def write_answers(self, entry: Entry, lines: BatchLines) -> None:
        """Write what 8x8 has said of a batch, or that it has said nothing."""

    def has_as_settled(self, entry: Entry) -> bool:
        """Tell whether a sent batch is there with the outcomes that the journal has."""

    def write_batch_from_journal(self, entry: Entry, row_keys: RowKeys) -> None:
        """Write a batch as far as the journal knows it, unless it is there so; the next try may know more."""

    def write_batch_from_logs(self, entry: Entry, found: Mapping[bytes, LogLine], row_keys: RowKeys) -> None:
        """
        Write a batch whose answer was lost, or bring it up to date.

        :param found: 8x8's log lines of the batch, by row key
        """

    def take_back_batch(self, client_batch_id: str, *, with_rows: bool) -> None:
        """
        Remove a batch of the task instance that was not sent after all.

        :param with_rows: its rows are then in no batch
        """


class Sinks:
    """Several places at once, see :class:`Sink`: where one of them fails, the others have it all the same."""

    def __init__(self, *sinks: Sink) -> None:
        self._sinks = sinks
        self._entered = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as entered:
            for sink in self._sinks:
                entered.enter_context(sink)
            self._entered = entered.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._entered.__exit__(kind, error, traceback)

    def compare(self, own: Sequence[Entry]) -> set[str]:
        """See :meth:`Sink.compare`."""
        return set().union(*self._each(lambda sink: sink.compare(own)))

    def forget_rows(self) -> None:
        """See :meth:`Sink.forget_rows`."""
        self._each(lambda sink: sink.forget_rows())

    def write_row(self, line: ReportLine) -> None:
        """See :meth:`Sink.write_row`."""
        self._each(lambda sink: sink.write_row(line))

    def note_own(self, row: RowMessage | InvalidRowError, client_batch_id: str) -> None:
        """See :meth:`Sink.note_own`."""
        self._each(lambda sink: sink.note_own(row, client_batch_id))

    def end_reading(self) -> None:
        """See :meth:`Sink.end_reading`."""
        self._each(lambda sink: sink.end_reading())

    def write_answers(self, entry: Entry, lines: BatchLines) -> None:
        """See :meth:`Sink.write_answers`."""
        self._each(lambda sink: sink.write_answers(entry, lines))

    def has_as_settled(self, entry: Entry) -> bool:
        """See :meth:`Sink.has_as_settled`."""
        return all(self._each(lambda sink: sink.has_as_settled(entry)))

    def write_batch_from_journal(self, entry: Entry, row_keys: RowKeys) -> None:
        """See :meth:`Sink.write_batch_from_journal`."""
        self._each(lambda sink: sink.write_batch_from_journal(entry, row_keys))

    def write_batch_from_logs(self, entry: Entry, found: Mapping[bytes, LogLine], row_keys: RowKeys) -> None:
        """See :meth:`Sink.write_batch_from_logs`."""
        self._each(lambda sink: sink.write_batch_from_logs(entry, found, row_keys))

    def take_back_batch(self, client_batch_id: str, *, with_rows: bool) -> None:
        """See :meth:`Sink.take_back_batch`."""
        self._each(lambda sink: sink.take_back_batch(client_batch_id, with_rows=with_rows))

    def _each(self, work: Callable[[Sink], Result]) -> list[Result]:
        """Have each place do something, and raise the first failure after that."""
        results: list[Result] = []
        failures: list[SinkError] = []
        for sink in self._sinks:
            try:
                results.append(work(sink))
            except SinkError as failure:
                failures.append(failure)
        if failures:
            raise failures[0]
        return results


def both(one: Sink | None, other: Sink | None) -> Sink | None:
    """Return what writes into one place, into the other, or into both; None for neither."""
    if one is None or other is None:
        return one or other
    return Sinks(one, other)
