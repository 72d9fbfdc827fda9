"""The CSV of a log export, in whatever pieces it comes and wherever it is cut off."""

from __future__ import annotations

import csv
import io
import socket
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_8x8.api.errors import UnknownOutcomeError
from airflow_provider_8x8.api.log_lines import read_log_lines
from airflow_provider_8x8.api.models import LogLine
from tests.api.servers import Serve, client_of, read_head

COLUMNS = (
    "umid",
    "clientmessageid",
    "clientbatchid",
    "batchid",
    "status_value",
    "status_errorcode",
    "status_errormessage",
    "status_details",
    "price_currency",
    "price_total",
    "msisdn",
)
FIELDS = st.lists(st.sampled_from([*"ab1 ,;\"\n'é€😀", "\r\n", "\u2028", "\x00"]), max_size=4).map("".join)
BYTE_ORDER_MARK = "\ufeff".encode()


@st.composite
def files(draw: st.DrawFn) -> tuple[bytes, list[LogLine]]:
    """Draw a CSV file, and what it says."""
    columns = draw(st.permutations(COLUMNS))
    rows = draw(st.lists(st.fixed_dictionaries(dict.fromkeys(COLUMNS, FIELDS)), max_size=5))
    written = io.StringIO()
    writer = csv.writer(
        written,
        lineterminator=draw(st.sampled_from(["\n", "\r\n"])),
        quoting=draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])),
    )
    writer.writerows([columns, *([row[column] for column in columns] for row in rows)])
    lines = [
        LogLine(
            row["umid"],
            row["clientmessageid"],
            row["clientbatchid"],
            row["batchid"],
            row["status_value"].lower(),
            row["status_errorcode"] or None,
            row["status_errormessage"] or row["status_details"] or None,
            row["status_details"] or None,
            row["price_currency"] or None,
            row["price_total"] or None,
        )
        for row in rows
    ]
    return draw(st.sampled_from([b"", BYTE_ORDER_MARK])) + written.getvalue().encode(), lines


def cut(text: bytes, places: Iterable[int]) -> list[bytes]:
    """Cut a text at some places, of which some may be the same: then a piece between them is empty."""
    ends = sorted(place % (len(text) + 1) for place in places)
    return [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]


@given(files(), st.lists(st.integers(0), max_size=20))
def test_a_file_says_the_same_in_whatever_pieces_it_comes(file: tuple[bytes, list[LogLine]], places: list[int]) -> None:
    text, lines = file
    assert list(read_log_lines(cut(text, places))) == lines
    assert list(read_log_lines([bytes([byte]) for byte in text])) == lines


def read_until_error(text: bytes) -> tuple[Sequence[LogLine], bool]:
    """Read a file; return its lines, and whether it had an end."""
    lines = list[LogLine]()
    try:
        lines.extend(read_log_lines([text]))
    except UnknownOutcomeError:
        return lines, False
    return lines, True


@given(files(), st.integers(0))
def test_a_file_that_is_cut_off_anywhere_has_no_other_lines(file: tuple[bytes, list[LogLine]], place: int) -> None:
    text, lines = file
    kept = text[: place % len(text)]
    read, _ = read_until_error(kept)
    # What was cut within its last field cannot be told from a file that has no newline at its end.
    whole = read if kept.endswith(b"\n") else read[:-1]
    assert whole == lines[: len(whole)]


def test_a_file_that_is_cut_off_at_any_byte_is_never_a_whole_one_off_the_wire(serve: Serve) -> None:
    text = b'clientbatchid,status_value,umid,clientmessageid\nq3-1,SENT,u-1,m-1\n"q3,1",rejected,u-2,"\xc3\xa9 ""2"""\n'
    places = iter(range(len(text)))

    def behave(connection: socket.socket) -> None:
        read_head(connection)
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text)
        connection.sendall(head + text[: next(places, len(text))])

    client, link = client_of(url := serve(behave)), f"{url}/file"
    for _ in range(len(text)):
        with pytest.raises(UnknownOutcomeError):
            list(client.read_log_export(link))
    assert [line.client_message_id for line in client.read_log_export(link)] == ["m-1", 'é "2"']
