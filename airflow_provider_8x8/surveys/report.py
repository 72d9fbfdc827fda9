"""
The report: one line for every row, what became of it.

JSON Lines in a folder of the campaign: a file for each batch, named after its client batch id, and one file each for
the rows that were invalid or duplicate. The umid in it is the only link between a survey answer, which comes by
webhook and holds no client message id, and the row that the survey was sent for.

The report holds whole phone numbers, since that is what it is for: keep the folder as you keep the source's data.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from types import TracebackType
from typing import IO, Any, Literal, Protocol, Self
from urllib.parse import quote

import msgspec

Outcome = Literal["accepted", "rejected", "invalid", "duplicate", "already_sent", "not_sent", "unknown"]


class ReportLine(msgspec.Struct, kw_only=True):
    """What became of one row."""

    row_number: int
    """1 for the first row of the source."""
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

    def __repr__(self) -> str:
        return f"<ReportLine {self.row_number} {self.outcome}>"


class Folder(Protocol):
    """A :class:`pathlib.Path`, an Airflow ``ObjectStoragePath``, or what behaves like them."""

    def __truediv__(self, name: str, /) -> Any: ...


class Report:
    """
    Writes the report of one campaign; a context manager.

    :param folder: where reports are kept
    :param campaign_id: names this one's folder, quoted so that it is one path segment
    """

    def __init__(self, folder: Folder, campaign_id: str) -> None:
        self.folder = folder / (quote(campaign_id, safe="") or "_")
        self._encoder = msgspec.json.Encoder()
        self._row_files: dict[Outcome, IO[bytes]] = {}
        self._open_files = ExitStack()

    def __enter__(self) -> Self:
        # Made before anything is sent: a folder that cannot be written shows now.
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open_files.close()

    def write_batch(self, client_batch_id: str, lines: Iterable[ReportLine]) -> None:
        """Write one batch's file, whole."""
        (self.folder / f"{client_batch_id}.jsonl").write_bytes(self._encoder.encode_lines(list(lines)))

    def write_row(self, line: ReportLine) -> None:
        """Add a row that is in no batch to the file of its outcome."""
        if line.outcome not in self._row_files:
            path = self.folder / f"{line.outcome}.jsonl"
            self._row_files[line.outcome] = self._open_files.enter_context(path.open("wb"))
        self._row_files[line.outcome].write(self._encoder.encode(line) + b"\n")
