"""
The report: one line for every row, what became of it.

JSON Lines in a folder of the campaign: a file for each batch, named after its client batch id, and for each task
instance a file of the rows that went into no batch, by outcome. The umid in it is the only link between a survey
answer, which comes by webhook and holds no client message id, and the row that the survey was sent for.

Names are quoted as in URLs; one with capital letters, or too long for a file system, ends with a hash. A file whose
name ends with ``.part`` was left by a process that died, and can be deleted.

The report holds whole phone numbers, since that is what it is for: keep the folder as you keep the source's data.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, Self
from urllib.parse import quote

import msgspec

from airflow_provider_8x8.api.masking import mask_phone_numbers
from airflow_provider_8x8.api.models import LogLine
from airflow_provider_8x8.surveys.journal.entries import Entry, EntryState
from airflow_provider_8x8.surveys.messages.row_keys import RowKeys
from airflow_provider_8x8.surveys.messages.row_message import InvalidRowError, RowMessage
from airflow_provider_8x8.surveys.outcomes.lines import (
    BatchLines,
    ReportLine,
    lines_of_journal,
    outcomes_of,
    settled_lines,
)
from airflow_provider_8x8.surveys.outcomes.outcome import Outcome
from airflow_provider_8x8.surveys.outcomes.sinks import SinkError

log = logging.getLogger(__name__)

# Of rows that are in no batch.
_ROW_OUTCOMES = (Outcome.INVALID, Outcome.DUPLICATE, Outcome.ALREADY_SENT, Outcome.NOT_SENT, Outcome.UNKNOWN)

# With its hash, an outcome and an ending, a name still fits into the 255 bytes that file systems give it.
_MAX_NAME_LENGTH = 200

# Windows takes these for devices, whatever follows after a dot.
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?\Z", re.IGNORECASE | re.DOTALL)

_LINES_AT_A_TIME = 1_000

_MISTAKABLE = re.compile(r"[A-Z~]")  # the tilde, since a hash stands behind one
_EMPTY = "%"  # which no quoted text is


class ReportError(SinkError):
    """The report could not be written or read; the text holds no row."""


class Folder(Protocol):
    """A :class:`pathlib.Path`, an Airflow ``ObjectStoragePath``, or what behaves like them."""

    def __truediv__(self, name: str, /) -> Any: ...


class Report:
    """
    Writes the report of one task instance; a context manager.

    :param folder: where reports are kept
    :param campaign_id: names this one's folder, quoted so that it is one path segment, and no other campaign's
    :param run: the task instance; its rows that are in no batch have files of their own in a campaign of several
    """

    def __init__(self, folder: Folder, campaign_id: str, run: str) -> None:
        self.folder = folder / _segment(campaign_id)
        self._row_file_prefix = "" if run == campaign_id else f"{_segment(run)}."
        self._encoder = msgspec.json.Encoder()
        self._row_lines: defaultdict[Outcome, list[ReportLine]] = defaultdict(list)
        self._row_files: dict[Outcome, IO[bytes]] = {}
        self._open_files = ExitStack()

    def __enter__(self) -> Self:
        # Before anything is sent: a folder that cannot be written shows now. Object stores make none, and always can.
        with self._naming_failures():
            self.folder.mkdir(parents=True, exist_ok=True)
            trial = self.folder / f"{secrets.token_hex(4)}.part"
            with trial.open("wb") as file:
                file.write(b"\n")
            trial.unlink(missing_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # A full disk or an object store may refuse only here.
        try:
            with self._naming_failures(), self._open_files:
                for outcome in list(self._row_lines):
                    self._write_row_lines(outcome)
        except ReportError as failure:
            if error is None:
                raise
            log.warning("%s", failure)  # what ends the task matters more

    def compare(self, own: Sequence[Entry]) -> set[str]:
        """Hold the files against the journal; see :class:`~airflow_provider_8x8.surveys.outcomes.sinks.Sink`."""
        lacking = set()
        for entry in own:
            if not entry.is_in_effect:
                self.take_back_batch(entry.client_batch_id, with_rows=False)  # an overtaken try may have written it
            elif entry.state is EntryState.SENT and not self.has_as_settled(entry):
                lacking.add(entry.client_batch_id)  # or a process that stood still has written over what was found out
        return lacking

    def forget_rows(self) -> None:
        """Begin anew with the rows that are in no batch: the source is read again, or was by an earlier try."""
        self._row_lines.clear()
        with self._naming_failures():
            self._open_files.close()
            self._row_files.clear()
            for outcome in _ROW_OUTCOMES:
                self._row_file(outcome).unlink(missing_ok=True)

    def write_row(self, line: ReportLine) -> None:
        """Add a row that is in no batch to the file of its outcome, with others."""
        lines = self._row_lines[line.outcome]
        lines.append(line)
        if len(lines) >= _LINES_AT_A_TIME:
            with self._naming_failures():
                self._write_row_lines(line.outcome)

    def note_own(self, row: RowMessage | InvalidRowError, client_batch_id: str) -> None:
        """Do nothing: its batch's file has it."""

    def end_reading(self) -> None:
        """Do nothing: what was written is there, or will be when the files are closed."""

    def write_answers(self, entry: Entry, lines: BatchLines) -> None:
        """Write a batch's file, whole, over the one that may be there."""
        self._write_batch(entry, lines.encoded())

    def has_batch(self, client_batch_id: str) -> bool:
        """Tell whether a batch's file is there."""
        with self._naming_failures():
            return bool(self._batch_file(client_batch_id).exists())

    def has_as_settled(self, entry: Entry) -> bool:
        """Tell whether a sent batch's file has the outcomes that the journal has."""
        with self._naming_failures():
            written = self._written(self._batch_file(entry.client_batch_id))
        return Counter(line.outcome.value for line in written) == outcomes_of(entry)

    def write_batch_from_journal(self, entry: Entry, row_keys: RowKeys) -> None:
        """
        Write the file of a batch of unknown outcome, unless it is there.

        A sent one would never get its umids: if its file says something else, it is removed, for the next try to miss.
        """
        if not entry.is_open:
            if not self.has_as_settled(entry):
                self.take_back_batch(entry.client_batch_id, with_rows=False)
        elif not self.has_batch(entry.client_batch_id):
            self.write_batch_from_logs(entry, {}, row_keys)

    def write_batch_from_logs(self, entry: Entry, found: Mapping[bytes, LogLine], row_keys: RowKeys) -> None:
        """
        Write the file of a batch whose answer was lost, or bring it up to date.

        Row number, row key and destination stand only in a file that was there before: 8x8's logs lack them. Another
        run's batch is written, too: the folder is the campaign's, and that run may have no other try.

        :param found: 8x8's log lines of the batch, by row key
        """
        lines = settled_lines(entry, found, self._lines_of(entry, found, row_keys))
        self._write_batch(entry, [self._encoder.encode_lines(lines.values())])

    def take_back_batch(self, client_batch_id: str, *, with_rows: bool) -> None:
        """
        Remove the file of a batch that was not sent after all.

        :param with_rows: move its lines to those of the rows that are in no batch
        """
        file = self._batch_file(client_batch_id)
        with self._naming_failures():
            lines = self._written(file) if with_rows else []
        for line in lines:
            line.outcome, line.description = Outcome.NOT_SENT, None
            self.write_row(line)
        with self._naming_failures():
            file.unlink(missing_ok=True)

    def _write_batch(self, entry: Entry, pieces: Iterable[bytes]) -> None:
        with self._naming_failures():
            _write_whole(self._batch_file(entry.client_batch_id), pieces)

    def _write_row_lines(self, outcome: Outcome) -> None:
        lines = self._row_lines.pop(outcome)
        if outcome not in self._row_files:
            file = self._row_file(outcome).open("wb")
            self._row_files[outcome] = self._open_files.enter_context(file)
        self._row_files[outcome].write(self._encoder.encode_lines(lines))

    def _lines_of(self, entry: Entry, found: Mapping[bytes, LogLine], row_keys: RowKeys) -> dict[bytes, ReportLine]:
        """Return a batch's lines by row key: as they were written, else as far as journal and logs know them."""
        lines = lines_of_journal(entry, found)
        row_key_of = entry.row_keys_by_message(row_keys)
        with self._naming_failures():
            written = self._written(self._batch_file(entry.client_batch_id))
        for line in written:
            if line.client_message_id is not None and (row_key := row_key_of(line.client_message_id)) is not None:
                lines[row_key] = line
        return lines

    def _written(self, file: Any) -> list[ReportLine]:
        if not file.exists():
            return []
        try:
            return msgspec.json.Decoder(ReportLine).decode_lines(file.read_bytes())
        except msgspec.DecodeError:
            log.warning("%s is damaged: it is written anew, as far as the journal and 8x8's logs know its rows", file)
            return []

    @contextmanager
    def _naming_failures(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # each storage has errors of its own
            said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise ReportError(
                f"the report in {self.folder} failed: {type(error).__name__}: {mask_phone_numbers(said)}"
            ) from error

    def _batch_file(self, client_batch_id: str) -> Any:
        return self.folder / f"{_segment(client_batch_id)}.jsonl"

    def _row_file(self, outcome: Outcome) -> Any:
        return self.folder / f"{self._row_file_prefix}{outcome}.jsonl"


def _segment(text: str) -> str:
    """
    Quote a text as one path segment that every file system takes, and that no other text is quoted as.

    A name that a file system could take for another one, for its length or because it does not tell capitals from
    small letters, ends with a hash of the text.
    """
    quoted = quote(text, safe="")
    if quoted.startswith(".") or _DEVICE.match(quoted):
        quoted = f"%{ord(quoted[0]):02X}{quoted[1:]}"
    if quoted.endswith("."):
        quoted = f"{quoted[:-1]}%2E"
    if len(quoted) <= _MAX_NAME_LENGTH and not _MISTAKABLE.search(text):
        return quoted or _EMPTY
    return f"{quoted[:_MAX_NAME_LENGTH]}~{blake2b(text.encode(), digest_size=8).hexdigest()}"


def _write_whole(path: Any, pieces: Iterable[bytes]) -> None:
    if getattr(path, "protocol", "file") not in ("file", "local", ""):
        path.write_bytes(b"".join(pieces))  # an object store shows an object only once it is whole
        return
    local = Path(getattr(path, "path", path))
    # A name of its own: two tries may look up the same lost batch at the same moment.
    part = local.with_name(f"{local.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("wb") as file:
            file.writelines(pieces)
        os.replace(part, local)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
