"""
Reads the CSV of a log export as it comes in, a line at a time.

A file that is cut off must never look like a whole one: whoever misses a message in it would send it again.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

from airflow_provider_8x8.api.errors import UnknownOutcomeError
from airflow_provider_8x8.api.models import LogLine

MAX_LINE_BYTES = 1024 * 1024
"""A line of 8x8's has about 400."""

_BUFFER_BYTES = 128 * 1024

_NOT_NEEDED = ("batchid", "status_errorcode", "status_errormessage", "status_details", "price_currency", "price_total")


def read_log_lines(pieces: Iterable[bytes]) -> Iterator[LogLine]:
    """
    Yield what a CSV file, given in pieces, says of each message.

    The columns are found by their names, in any order, whether in capitals or not. Empty lines say nothing.

    That a file was cut off within its last field, or between two lines, cannot be seen here: the transport has to know.

    :raises UnknownOutcomeError: a column that is needed is absent, a line has more or fewer fields than there are
        columns, or it is no CSV in UTF-8
    """
    with io.TextIOWrapper(io.BufferedReader(_Pieces(pieces), _BUFFER_BYTES), encoding="utf-8-sig", newline="") as lines:
        try:
            yield from _parse(csv.reader(lines, strict=True))
        except (csv.Error, UnicodeDecodeError) as error:
            # Not the error's own text, which may quote the file.
            raise UnknownOutcomeError(f"8x8's log export is no CSV file in UTF-8 ({type(error).__name__})") from None


def _parse(rows: Iterator[list[str]]) -> Iterator[LogLine]:
    header = next(rows, [])
    width = len(header)
    names = [name.strip().lower() for name in header]
    umid, message_id, client_batch_id, status = (
        _needed(names, name) for name in ("umid", "clientmessageid", "clientbatchid", "status_value")
    )
    # A column that is absent is read from an empty field behind the last one.
    names.append("")
    batch_id, code, error, details, currency, price = (
        names.index(name) if name in names else width for name in _NOT_NEEDED
    )
    for number, row in enumerate(rows, 2):
        if len(row) != width:
            if not row:
                continue
            raise UnknownOutcomeError(
                f"8x8's log export has {len(row)} fields in row {number}, expected {width} as in its header"
            )
        row.append("")
        yield LogLine(
            row[umid],
            row[message_id],
            row[client_batch_id],
            row[batch_id],
            row[status].lower(),
            row[code] or None,
            row[error] or row[details] or None,
            row[details] or None,
            row[currency] or None,
            row[price] or None,
        )


def _needed(names: Sequence[str], name: str) -> int:
    if names.count(name) > 1:
        raise UnknownOutcomeError(f"8x8's log export has the column {name!r} more than once")
    try:
        return names.index(name)
    except ValueError:
        raise UnknownOutcomeError(f"8x8's log export has no column {name!r}") from None


class _Pieces(io.RawIOBase):
    """Pieces as a file, so that the standard library's decoding and reading of lines can be used."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = memoryview(b"")
        self._bytes_without_newline = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # all that ever comes here
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._check_line(piece)
            self._rest = memoryview(piece)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size

    def _check_line(self, piece: bytes) -> None:
        has_newline = b"\n" in piece or b"\r" in piece
        self._bytes_without_newline = 0 if has_newline else self._bytes_without_newline + len(piece)
        if self._bytes_without_newline > MAX_LINE_BYTES:
            raise UnknownOutcomeError(f"8x8's log export has a line of more than {MAX_LINE_BYTES} bytes")
