"""Log exports: what is asked for, whole files, and where links may lead."""

from __future__ import annotations

import datetime as dt
import json
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from airflow_provider_8x8.api import log_lines
from airflow_provider_8x8.api.errors import EightByEightError, RateLimitedError, RefusedError, UnknownOutcomeError
from airflow_provider_8x8.api.log_lines import read_log_lines
from airflow_provider_8x8.api.models import LogExportRequest, LogLine
from tests.api.servers import Serve, batch, client_of, read_head
from tests.conftest import API_KEY

CSV = b"""umid,status_value,clientmessageid,clientbatchid,batchid,status_details,status_errorcode,status_errormessage
u-1,Delivered,m-1,q3-1,b-1,delivered_to_recipient,,
u-2,rejected,m-2,q3-1,b-1,,1002,Invalid MSISDN
"""
LINES = [
    LogLine("u-1", "m-1", "q3-1", "b-1", "delivered", None, "delivered_to_recipient", "delivered_to_recipient"),
    LogLine("u-2", "m-2", "q3-1", "b-1", "rejected", "1002", "Invalid MSISDN"),
]


def pieces(text: bytes, size: int = 7) -> list[bytes]:
    return [text[start : start + size] for start in range(0, len(text), size)]


def ok(body: bytes, *headers: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", *(headers or (f"Content-Length: {len(body)}",)), "", ""]
    return "\r\n".join(lines).encode() + body


# What is asked for


def test_a_request_says_its_times_with_an_offset_and_that_there_is_no_limit() -> None:
    singapore = dt.timezone(dt.timedelta(hours=8))
    request = LogExportRequest(
        from_=dt.datetime(2026, 10, 1, 8, tzinfo=dt.UTC), to=dt.datetime(2026, 10, 1, 18, tzinfo=singapore), limit=0
    )
    assert json.loads(msgspec.json.encode(request)) == {
        "from": "2026-10-01T08:00:00Z",
        "to": "2026-10-01T18:00:00+08:00",
        "limit": 0,
    }


def test_an_export_of_the_sandbox_is_read(sandbox: Any) -> None:
    client = client_of(sandbox.url)
    sent = batch(3)
    assert isinstance(sent.messages, list)
    sent.client_batch_id = "q3-1"
    sent.messages[2].destination = "+2101234567"  # a number that cannot exist
    answer = client.send_survey_batch("orders", sent)
    now = dt.datetime.now(dt.UTC)
    hour = dt.timedelta(hours=1)
    job_id = client.start_log_export(LogExportRequest(from_=now - hour, to=now + hour, limit=0)).job_id
    while (export := client.get_log_export(job_id)).status in {"queued", "running"}:
        pass
    (link,) = export.data
    lines = {line.client_message_id: line for line in client.read_log_export(link)}
    assert answer.messages is not None
    assert {key: line.umid for key, line in lines.items()} == {
        message.client_message_id: message.umid for message in answer.messages
    }
    assert {line.client_batch_id for line in lines.values()} == {"q3-1"}
    assert {line.batch_id for line in lines.values()} == {answer.batch_id}
    assert [lines[key].status for key in "012"] == ["delivered", "delivered", "rejected"]
    assert lines["2"].code == "1002"
    assert "E.164" in str(lines["2"].description)


# Files


@pytest.mark.parametrize(
    "text",
    [
        CSV,
        b"\xef\xbb\xbf" + CSV,
        CSV.replace(b"\n", b"\r\n"),
        CSV.rstrip(b"\n"),
        CSV + b"\n\r\n",
        CSV.replace(b"umid,status_value", b" UMID,Status_Value"),
        CSV.replace(b"m-1", b'"m-1"'),
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_a_file_is_read_by_its_columns_names(text: bytes, size: int) -> None:
    assert list(read_log_lines(pieces(text, size))) == LINES


def test_a_field_may_hold_what_separates() -> None:
    text = b'clientbatchid,umid,status_value,clientmessageid,extra\n"a,b",u,SENT,"c\n""d""",\xe2\x82\xac\n'
    assert list(read_log_lines(pieces(text))) == [LogLine("u", 'c\n"d"', "a,b", "", "sent", None, None)]


@pytest.mark.parametrize("column", ["umid", "clientmessageid", "clientbatchid", "status_value"])
def test_a_column_that_is_needed_is_named(column: str) -> None:
    with pytest.raises(UnknownOutcomeError, match=f"no column '{column}'"):
        list(read_log_lines([CSV.replace(column.encode(), b"another")]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "no column 'umid'"),
        (CSV + b"u-3,delivered", r"2 fields in row 4, expected 8"),
        (CSV + b"u-3,delivered,m,c,b,d,,,,,\n", r"11 fields in row 4, expected 8"),
        (CSV + b'u-3,delivered,m,c,b,d,,"Inva', "no CSV"),
        (CSV + b"u-3,delivered,m,c,b,d,,\xe2\x82", "no CSV"),
        (CSV + b"\0" * 3, "1 fields in row 4"),
        (CSV + b"x" * 200_000, "no CSV"),
        (b"<!doctype html>", "no column"),
        (b"PK\x03\x04\xff\xfe\xff", "no CSV"),
    ],
)
def test_a_file_that_is_cut_or_no_csv_is_none(text: bytes, message: str) -> None:
    with pytest.raises(UnknownOutcomeError, match=message):
        list(read_log_lines([text]))


def test_a_line_without_an_end_is_not_read_into_memory() -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 65536
            yield b"x" * 65536

    with pytest.raises(UnknownOutcomeError, match="a line of more than"):
        list(read_log_lines(endless()))
    assert taken < 2 * log_lines.MAX_LINE_BYTES


def test_a_line_shows_no_phone_number() -> None:
    line = LogLine("u", "q3-1/12025550123", "q3-1", "b", "rejected", "1002", "+12025550123")
    assert repr(line) == "<LogLine u rejected>"


# Off the wire


def serve_file(serve: Serve, answer: bytes) -> tuple[str, list[bytes]]:
    """Serve one answer to everything; the heads of the requests."""
    heads: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        heads.append(read_head(connection)[0])
        connection.sendall(answer)

    return serve(behave), heads


def chunked(body: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces(body, 100))


@pytest.mark.parametrize(
    "answer",
    [
        ok(CSV),
        ok(CSV, f"content-length: {len(CSV)}", "Content-Encoding: identity"),
        ok(CSV, f"Content-Length: {len(CSV)}").replace(b"HTTP/1.1", b"HTTP/1.0"),
        ok(chunked(CSV) + b"0\r\n\r\n", "Transfer-Encoding: chunked"),
        ok(chunked(CSV) + b"0;last\r\nA-Trailer: x\r\n\r\n", "Transfer-Encoding: Chunked"),
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n" + ok(CSV),
    ],
    ids=["length", "encoded as it is", "HTTP 1.0", "chunked", "chunked with a trailer", "after others"],
)
def test_a_whole_file_is_read(serve: Serve, answer: bytes) -> None:
    url, heads = serve_file(serve, answer)
    assert list(client_of(url).read_log_export(f"{url}/file?signature=s")) == LINES
    assert heads[0].startswith(b"GET /file?signature=s HTTP/1.1\r\n")
    assert f"Authorization: Bearer {API_KEY}".encode() in heads[0]


def compressed(body: bytes, *, whole: bool) -> bytes:
    compressor = zlib.compressobj(wbits=31)  # gzip
    return compressor.compress(body) + compressor.flush(zlib.Z_FINISH if whole else zlib.Z_SYNC_FLUSH)


HALF = CSV[: CSV.index(b"u-2")]  # whole lines, but not all
CHUNKED = "Transfer-Encoding: chunked"
MAY_BE_CUT = {
    "one byte short": ok(CSV, f"Content-Length: {len(CSV) + 1}"),
    "no length": ok(CSV, "Content-Type: text/csv"),
    "no length, HTTP 1.0": ok(HALF, "Content-Type: text/csv").replace(b"HTTP/1.1", b"HTTP/1.0"),
    "chunked, HTTP 1.0": ok(chunked(CSV) + b"0\r\n\r\n", CHUNKED).replace(b"HTTP/1.1", b"HTTP/1.0"),
    "length is no number": ok(CSV, "Content-Length: many"),
    "negative length": ok(HALF, "Content-Length: -1"),
    "length with a sign": ok(HALF, f"Content-Length: +{len(HALF)}"),
    "empty length": ok(HALF, "Content-Length: "),
    "two lengths": ok(HALF, f"Content-Length: {len(HALF)}", f"Content-Length: {len(CSV)}"),
    "one length twice": ok(HALF, f"Content-Length: {len(HALF)}", f"Content-Length: {len(HALF)}"),
    "two lengths in one": ok(HALF, f"Content-Length: {len(HALF)}, {len(HALF)}"),
    "length and chunks": ok(chunked(HALF) + b"0\r\n\r\n", f"Content-Length: {len(HALF)}", CHUNKED),
    "no last chunk": ok(chunked(CSV), CHUNKED),
    "half a chunk": ok(chunked(CSV)[:-5], CHUNKED),
    "half the length of a chunk": ok(chunked(CSV) + b"0", CHUNKED),  # of 0a30, say
    "last chunk without its end": ok(chunked(CSV) + b"0\r\n", CHUNKED),
    "compressed chunks": ok(chunked(HALF) + b"0\r\n\r\n", "Transfer-Encoding: gzip, chunked"),
    "other chunks": ok(HALF, "Transfer-Encoding: identity"),
    "chunked twice": ok(chunked(HALF) + b"0\r\n\r\n", CHUNKED, CHUNKED),
    "head is cut in its length": b"HTTP/1.1 200 OK\r\nContent-Length: 0",
    "head is cut": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n",
    "odd header before the chunks": ok(HALF, f"Content-Length: {len(HALF)}", "no header", CHUNKED),
    **{
        f"{encoding or 'gzip'}, whole: {whole}": ok(
            body, f"Content-Encoding: {encoding or 'gzip'}", f"Content-Length: {len(body)}"
        )
        for encoding in ("", "x-gzip", "GZIP", "gzip, gzip", "deflate", "br", "zstd", "unheard-of")
        for whole in (False, True)
        for body in [compressed(HALF, whole=whole)]
    },
    "compressed in chunks": ok(
        chunked(compressed(HALF, whole=False)) + b"0\r\n\r\n", CHUNKED, "Content-Encoding: gzip"
    ),
    "compressed, says not at first": ok(
        compressed(HALF, whole=False), "Content-Encoding: identity", "Content-Encoding: gzip", "Content-Length: 9"
    ),
    "empty": ok(b""),
    "empty chunks": ok(b"0\r\n\r\n", CHUNKED),
    "a blank line": ok(b"\r\n"),
    "a page": ok(b"<!doctype html><title>Sorry</title><p>Come again later, please"),
    "a page of a quoted kind": ok(b'"umid"<p>'),
    "an error as JSON": ok(b'{"code":2000,"message":"","errorId":"e","timestamp":""}'),
    "a quote is open at the end": ok(CSV + b'u-3,sent,m-3,q3-1,b-1,,,"Inva'),
    "fields are missing at the end": ok(CSV + b"u-3,sent,m-3,q3"),
    "a needed column twice": ok(CSV.replace(b"status_details", b"clientbatchid")),
    "closed": b"",
    "redirect": b"HTTP/1.1 302 Found\r\nLocation: /file\r\nContent-Length: 0\r\n\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "partial": b"HTTP/1.1 206 Partial Content\r\nContent-Length: %d\r\n\r\n%s" % (len(CSV), CSV),
    "of another's": b"HTTP/1.1 203 Hm\r\nContent-Length: %d\r\n\r\n%s" % (len(CSV), CSV),
    "no envelope": b"HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\n\r\n<xml/>",
    "server error": b"HTTP/1.1 503 Sorry\r\nContent-Length: %d\r\n\r\n%s" % (len(CSV), CSV),
}


@pytest.mark.parametrize("answer", MAY_BE_CUT.values(), ids=MAY_BE_CUT)
def test_a_file_that_may_be_cut_is_never_a_whole_one(serve: Serve, answer: bytes) -> None:
    url, heads = serve_file(serve, answer)
    with pytest.raises(UnknownOutcomeError):
        list(client_of(url).read_log_export(f"{url}/file"))
    assert len(heads) == 1


def test_a_file_that_is_not_there_yet_is_rate_limited(serve: Serve) -> None:
    url, _ = serve_file(serve, b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 99\r\n\r\n<")
    with pytest.raises(RateLimitedError) as caught:
        list(client_of(url).read_log_export(f"{url}/file"))
    assert caught.value.retry_after == 7


def test_a_file_whose_time_is_over_is_not_asked_for(serve: Serve) -> None:
    url, heads = serve_file(serve, ok(CSV))
    with pytest.raises(UnknownOutcomeError, match="time was over"):
        list(client_of(url).read_log_export(f"{url}/file", seconds=0.0))
    assert heads == []


@pytest.mark.parametrize("kind", ["truncate", "gzip_truncate", "no_length_truncate", "not_json", "404", "429", "500"])
def test_a_file_of_the_sandbox_that_is_spoiled_is_none(sandbox: Any, kind: str) -> None:
    client = client_of(sandbox.url)
    client.send_survey_batch("orders", batch(3))
    now = dt.datetime.now(dt.UTC)
    hour = dt.timedelta(hours=1)
    job_id = client.start_log_export(LogExportRequest(from_=now - hour, to=now + hour, limit=0)).job_id
    while not (links := client.get_log_export(job_id).data):
        pass
    sandbox.faults([{"on": "log_export_download", "kind": kind}])
    with pytest.raises(EightByEightError):
        list(client.read_log_export(links[0]))
    assert len(list(client.read_log_export(links[0]))) == 3


def test_a_link_that_8x8_does_not_know_is_refused(sandbox: Any) -> None:
    client = client_of(sandbox.url)
    with pytest.raises(RefusedError, match="code 1300"):
        list(client.read_log_export(f"{sandbox.url}/api/v1/subaccounts/sandbox_hq/messages/download/guessed"))


def test_a_file_is_read_while_it_comes_and_a_reader_that_leaves_closes_the_connection(serve: Serve) -> None:
    left = threading.Event()

    def behave(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(ok(CSV, "Content-Length: 999999999"))
        line = b"u-3,sent,m,c,b,,,\n" * 100
        try:
            while True:
                connection.sendall(line)
        except OSError:
            left.set()

    url = serve(behave)
    lines = client_of(url).read_log_export(f"{url}/file")
    assert next(lines) == LINES[0]
    lines.close()
    assert left.wait(60)


def test_a_file_that_drips_does_not_escape_the_deadline(serve: Serve) -> None:
    def behave(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(ok(b"", "Transfer-Encoding: chunked"))
        while True:
            connection.sendall(b"1\r\na\r\n")
            time.sleep(0.05)

    url = serve(behave)
    with pytest.raises(UnknownOutcomeError, match=r"within 0\.5 s"):
        list(client_of(url).read_log_export(f"{url}/file", seconds=0.5))


def test_a_silence_is_bounded_by_the_clients_timeout(serve: Serve) -> None:
    def behave(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(ok(CSV, "Content-Length: 9999"))
        connection.recv(1)  # nothing, until the client leaves

    url = serve(behave)
    with pytest.raises(UnknownOutcomeError, match="timed out"):
        list(client_of(url, timeout=0.5).read_log_export(f"{url}/file"))
