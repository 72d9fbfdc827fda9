"""Where the outcome of each row goes: into the report's files, into a table of the warehouse, or into both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from airflow_provider_8x8.api.models import LogLine
from airflow_provider_8x8.surveys.journal.entries import Entry
from airflow_provider_8x8.surveys.messages.row_keys import RowKeys
from airflow_provider_8x8.surveys.messages.row_message import InvalidRowError, RowMessage, RowMessages

if TYPE_CHECKING:
    from airflow_provider_8x8.surveys.outcomes.report import ReportLine


class SinkError(Exception):
    """Outcomes could not be written or read; the text holds no row."""


class Sink(Protocol):
    """
    A place for the outcomes of one task instance's rows; a context manager, entered before anything is sent.

    A row that is in a batch belongs to it, over all tries; one that is in none belongs to one reading of the source.
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

    def write_answers(self, entry: Entry, rows: RowMessages, lines: Iterable[ReportLine]) -> None:
        """
        Write what 8x8 has said of a batch, or that it has said nothing.

        :param rows: the batch
        :param lines: of each of its rows
        """

    def has_batch(self, client_batch_id: str) -> bool:
        """Tell whether something of a batch is there."""

    def write_batch_from_logs(self, entry: Entry, found: Mapping[bytes, LogLine], row_keys: RowKeys) -> None:
        """
        Write a batch whose answer was lost, or bring it up to date.

        :param found: 8x8's log lines of the batch, by row key
        """

    def take_back_batch(self, client_batch_id: str, *, with_rows: bool) -> None:
        """
        Remove a batch that was not sent after all.

        :param with_rows: its rows are then in no batch
        """


class Sinks:
    """Several places at once; see :class:`Sink`."""

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
        return set().union(*(sink.compare(own) for sink in self._sinks))

    def forget_rows(self) -> None:
        """See :meth:`Sink.forget_rows`."""
        for sink in self._sinks:
            sink.forget_rows()

    def write_row(self, line: ReportLine) -> None:
        """See :meth:`Sink.write_row`."""
        for sink in self._sinks:
            sink.write_row(line)

    def note_own(self, row: RowMessage | InvalidRowError, client_batch_id: str) -> None:
        """See :meth:`Sink.note_own`."""
        for sink in self._sinks:
            sink.note_own(row, client_batch_id)

    def end_reading(self) -> None:
        """See :meth:`Sink.end_reading`."""
        for sink in self._sinks:
            sink.end_reading()

    def write_answers(self, entry: Entry, rows: RowMessages, lines: Iterable[ReportLine]) -> None:
        """See :meth:`Sink.write_answers`."""
        lines = list(lines)
        for sink in self._sinks:
            sink.write_answers(entry, rows, lines)

    def has_batch(self, client_batch_id: str) -> bool:
        """See :meth:`Sink.has_batch`."""
        return all(sink.has_batch(client_batch_id) for sink in self._sinks)

    def write_batch_from_logs(self, entry: Entry, found: Mapping[bytes, LogLine], row_keys: RowKeys) -> None:
        """See :meth:`Sink.write_batch_from_logs`."""
        for sink in self._sinks:
            sink.write_batch_from_logs(entry, found, row_keys)

    def take_back_batch(self, client_batch_id: str, *, with_rows: bool) -> None:
        """See :meth:`Sink.take_back_batch`."""
        for sink in self._sinks:
            sink.take_back_batch(client_batch_id, with_rows=with_rows)


def both(one: Sink | None, other: Sink | None) -> Sink | None:
    """Return what writes into one place, into the other, or into both; None for neither."""
    if one is None or other is None:
        return one or other
    return Sinks(one, other)
