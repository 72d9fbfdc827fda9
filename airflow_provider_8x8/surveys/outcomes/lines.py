"""What became of each row, as the report and the outcome table have it: one line for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, repeat
from typing import Any, Self

import msgspec

from airflow_provider_8x8.api.models import LogLine
from airflow_provider_8x8.surveys.journal.entries import Entry, EntryState
from airflow_provider_8x8.surveys.messages.row_keys import unpack
from airflow_provider_8x8.surveys.messages.row_message import InvalidRowError, RowMessage, RowMessages
from airflow_provider_8x8.surveys.outcomes.outcome import Outcome

_LINES_AT_A_TIME = 1_000


class ReportLine(msgspec.Struct, gc=False):
    """What became of one row."""

    row_number: int | None
    """1 for the first row of the source; None where the line was made from 8x8's logs."""
    outcome: Outcome
    row_key: str | None = None
    """The value that made the row unique in its campaign."""
    client_message_id: str | None = None
    destination: str | None = None
    umid: str | None = None
    batch_id: str | None = None
    code: str | int | None = None
    """8x8's status code of the message, or its error code if the batch was refused."""
    description: str | None = None
    """8x8's words, or the reason why the row was not sent."""

    @classmethod
    def of(
        cls,
        row: RowMessage | InvalidRowError,
        outcome: Outcome,
        *,
        batch_id: str | None = None,
        umid: str | None = None,
        code: str | int | None = None,
        description: str | None = None,
    ) -> Self:
        """Return a row's line; an invalid row is found by what stands in it, usable or not."""
        client_message_id, destination = row.client_message_id, row.destination
        if not isinstance(row, RowMessage):
            client_message_id = client_message_id or row.given_message_id
            destination = destination or row.given_destination
        return cls(
            row_number=row.number,
            outcome=outcome,
            row_key=row.unique_value,
            client_message_id=client_message_id,
            destination=destination,
            umid=umid,
            batch_id=batch_id,
            code=code,
            description=description,
        )

    def __repr__(self) -> str:
        return f"<ReportLine {self.row_number} {self.outcome}>"


# The same line, with words that are encoded already.
_LineOfWords = msgspec.defstruct(
    "_LineOfWords", [(field.name, Any) for field in msgspec.structs.fields(ReportLine)], gc=False
)


@dataclass(frozen=True, slots=True, repr=False)  # descriptions may quote phone numbers
class BatchLines:
    """
    The lines of a batch's rows, in its order: each attribute is a column of :class:`ReportLine`.

    :ivar rows: the batch
    :ivar batch_id: 8x8's, None if it has given none
    """

    rows: RowMessages
    outcomes: Sequence[Outcome]
    batch_id: str | None
    umids: Sequence[str | None]
    codes: Sequence[str | int | None]
    descriptions: Sequence[str | None]

    @classmethod
    def alike(
        cls, rows: RowMessages, outcome: Outcome, *, code: str | int | None = None, description: str | None = None
    ) -> Self:
        """Return the lines of rows that all have become of the same."""
        count = len(rows)
        return cls(rows, [outcome] * count, None, [None] * count, [code] * count, [description] * count)

    def __iter__(self) -> Iterator[ReportLine]:
        return map(ReportLine, *self._columns(self.outcomes, self.batch_id, self.codes, self.descriptions))

    def encoded(self) -> Iterator[bytes]:
        """
        Yield the lines as JSON Lines, some at a time.

        Of the words that many rows share each is encoded once, which takes half of the time.
        """
        encode_lines, encoded = msgspec.json.Encoder().encode_lines, _EncodedWords().__getitem__
        outcomes, codes, descriptions = (map(encoded, each) for each in (self.outcomes, self.codes, self.descriptions))
        lines = map(_LineOfWords, *self._columns(outcomes, encoded(self.batch_id), codes, descriptions))
        while piece := list(islice(lines, _LINES_AT_A_TIME)):
            yield encode_lines(piece)

    def _columns(
        self, outcomes: Iterable[Any], batch_id: Any, codes: Iterable[Any], descriptions: Iterable[Any]
    ) -> tuple[Iterable[Any], ...]:
        """Return the columns in the order of a line's fields."""
        rows = self.rows
        return (
            rows.numbers,
            outcomes,
            rows.unique_values,
            rows.client_message_ids,
            rows.destinations,
            self.umids,
            repeat(batch_id),
            codes,
            descriptions,
        )


class _EncodedWords(dict[Any, msgspec.Raw]):
    """Words as JSON, each by itself."""

    def __missing__(self, word: Any) -> msgspec.Raw:
        self[word] = encoded = msgspec.Raw(msgspec.json.encode(word))
        return encoded


def outcomes_of(entry: Entry) -> Counter[str]:
    """Return how many rows of a batch have each outcome, as the journal has it."""
    counts = {
        Outcome.ACCEPTED: entry.accepted_count,
        Outcome.REJECTED: entry.rejected_count,
        Outcome.UNKNOWN: entry.unknown_count,
    }
    return Counter({outcome.value: count for outcome, count in counts.items() if count})


def lines_of_journal(entry: Entry, found: Mapping[bytes, LogLine]) -> dict[bytes, ReportLine]:
    """Return a batch's lines by row key, as far as the journal and 8x8's logs know its rows; of none what became."""
    return {
        row_key: ReportLine(
            None,
            Outcome.UNKNOWN,
            client_message_id=found[row_key].client_message_id if row_key in found else entry.derived_id(row_key),
        )
        for row_key in unpack(entry.row_keys)
    }


def settled_lines(
    entry: Entry, found: Mapping[bytes, LogLine], lines: dict[bytes, ReportLine]
) -> dict[bytes, ReportLine]:
    """
    Say in a batch's lines what became of its rows, and leave those out that go into another batch.

    :param found: 8x8's log lines of the batch, by row key
    :param lines: by row key; are changed
    """
    for row_key in unpack(entry.resent_keys):
        del lines[row_key]
    rejected = set(unpack(entry.rejected_keys))
    is_sent = entry.state is EntryState.SENT
    unknown = set(unpack(entry.unknown_keys + entry.assumed_keys if is_sent else entry.row_keys))
    for row_key, line in lines.items():
        line.outcome = (
            Outcome.REJECTED if row_key in rejected else Outcome.UNKNOWN if row_key in unknown else Outcome.ACCEPTED
        )
        line.batch_id = entry.batch_id
        if log_line := found.get(row_key):
            line.umid, line.code = log_line.umid, log_line.code or log_line.status
            line.description = log_line.description
        elif line.outcome is not Outcome.ACCEPTED:
            line.description = "not in 8x8's logs"
    return lines
