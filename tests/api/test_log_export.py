"""Log exports: what is asked for, whole files, and where links may lead."""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from airflow_provider_8x8.api import links, log_lines, transport
from airflow_provider_8x8.api.errors import EightByEightError, RateLimitedError, RefusedError, UnknownOutcomeError
from airflow_provider_8x8.api.log_lines import read_log_lines
from airflow_provider_8x8.api.models import LogExportRequest, LogLine
from airflow_provider_8x8.api.regions import REGIONS
from tests.api.servers import Serve, batch, client_of, copy_until_closed, make_certificate, read_head, serve_each
from tests.conftest import API_KEY

CSV = b"""umid,status_value,clientmessageid,clientbatchid,batchid,status_details,status_errorcode,status_errormessage
u-1,Delivered,m-1,q3-1,b-1,delivered_to_recipient,,
u-2,rejected,m-2,q3-1,b-1,,1002,Invalid MSISDN
"""
LINES = [
    LogLine("u-1", "m-1", "q3-1", "b-1", "delivered", None, "delivered_to_recipient"),
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
    assert left.wait(10)


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
        time.sleep(3)

    url = serve(behave)
    begun = time.monotonic()
    with pytest.raises(UnknownOutcomeError):
        list(client_of(url, timeout=0.5).read_log_export(f"{url}/file"))
    assert time.monotonic() - begun < 2


# Where links may lead


@pytest.mark.parametrize("region", REGIONS.values())
def test_the_key_goes_to_8x8s_own_hosts(region: str) -> None:
    own = ["http://127.0.0.1:8808", *REGIONS.values()]
    assert links.is_own_link(f"{region}/files/1?x=y", own)
    assert links.is_own_link(f"{region.upper()}:443/files/1", own)
    assert links.is_own_link("http://127.0.0.1:8808/files/1", own)


@pytest.mark.parametrize(
    "link",
    [
        "https://sms.8x8.com.example.com/",
        "https://sms.8x8.com:8443/",
        "https://files.example.com/?sms.8x8.com",
        "https://files.example.com/@sms.8x8.com/",
        "https://files.example.com#@sms.8x8.com/",
        "https://xsms.8x8.com/",
        "https://sms.8x8.com./",
        "https://8.8.8.8/",
        "https://[2606:4700::1111]/",
    ],
)
def test_the_key_goes_nowhere_else(link: str) -> None:
    assert not links.is_own_link(link, REGIONS.values())


@pytest.mark.parametrize(
    "link",
    [
        "http://sms.8x8.com/s3cret",
        "http://127.0.0.1:8809/s3cret",
        "ftp://files.example.com/s3cret",
        "file:///s3cret",
        "s3cret",
        "",
        "//files.example.com/s3cret",
        "https:///s3cret",
        "https://files.example.com:99999/s3cret",
        "https://files.example.com:0/s3cret",
        "https://user:s3cret@files.example.com/",
        "https://files.example.com\\@sms.8x8.com/s3cret",
        "https://files.example.com /s3cret",
        "https://files.example.com\r\n/s3cret",
        "https://sms.8x8.com\uff0fs3cret",
        "https://[/s3cret",
        "https://localhost/s3cret",
        "https://localhost./s3cret",
        "https://a.localhost/s3cret",
        "https://metadata.google.internal/s3cret",
        "https://printer.local/s3cret",
        "https://127.0.0.1:8808/s3cret",
        "https://10.1.2.3/s3cret",
        "https://169.254.169.254/s3cret",
        "https://127.1/s3cret",
        "https://2130706433/s3cret",
        "https://0x7f.0.0.0x1/s3cret",
        "https://0177.0.0.1/s3cret",
        "https://0X7F.1/s3cret",
        "https://127.0.0.1./s3cret",
        "https://%31%32%37.0.0.1/s3cret",
        "https://127.0.0.%31/s3cret",
        "https://files.example.com%00.10.0.0.1/s3cret",
        "https://100.64.0.1/s3cret",
        "https://203.0.113.7/s3cret",
        "https://198.18.0.1/s3cret",
        "https://224.0.0.1/s3cret",
        "https://0.0.0.0/s3cret",
        "https://metadata/s3cret",
        "https://kubernetes.default.svc/s3cret",
        "https://localhost.localdomain/s3cret",
        "https://router.home.arpa/s3cret",
        "https://./s3cret",
        "https://\uff11\uff12\uff17.0.0.1/s3cret",
        "https://127\u30020\u30020\u30021/s3cret",
        "https://[::1]/s3cret",
        "https://[::]/s3cret",
        "https://[::ffff:10.0.0.1]/s3cret",
        "https://[::ffff:a00:1]/s3cret",
        "https://[::10.0.0.1]/s3cret",
        "https://[2002:a00:1::]/s3cret",
        "https://[2001:0:808:808:0:f227:f5ff:fffe]/s3cret",
        "https://[64:ff9b::10.0.0.1]/s3cret",
        "https://[64:ff9b:1::8.8.8.8]/s3cret",
        "https://[2606:4700::5efe:10.0.0.1]/s3cret",
        "https://[fec0::1]/s3cret",
        "https://[fd00::1]/s3cret",
        "https://[fe80::1%25eth0]/s3cret",
        "https://[2606:4700::1111%25eth0]/s3cret",
        "https://[2001:db8::1]/s3cret",
        "https://[ff02::1]/s3cret",
    ],
)
def test_other_links_are_not_followed_and_never_shown(link: str) -> None:
    client = client_of("http://127.0.0.1:8808")
    with pytest.raises(UnknownOutcomeError, match="that is not followed") as caught:
        next(client.read_log_export(link))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        *("8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.1", "172.32.0.1", "192.0.1.1", "223.255.255.255"),
        *("2606:4700::1111", "2a00:1450::1", "2001:200::1", "2001:4860::8888"),
        *("::ffff:8.8.8.8", "64:ff9b::8.8.8.8"),
    ],
)
def test_an_address_of_the_public_internet_is_one(address: str) -> None:
    assert links.is_global(address)


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "168.63.129.16", "169.254.169.254"),  # noqa: S104
        *("172.16.0.1", "172.31.255.255", "192.0.0.170", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1"),
        *("198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "::8.8.8.8", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b::127.0.0.1"),
        *("64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "64:ff9b:1:a00::1", "100::1", "100:0:0:1::1"),
        *("2001::1", "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1", "2002:808:808::1", "2002:7f00:1::"),
        *("2606:4700::5efe:8.8.8.8", "2606:4700::200:5efe:10.0.0.1", "3fff::1", "4000::1", "5f00::1", "fc00::1"),
        *("fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fe80::5efe:10.0.0.1", "febf::1", "fec0::1", "feff::1"),
        *("ff02::1", "ff0e::1", "2606:4700::1111%1", "", "localhost", "8.8.8", "010.0.0.1", "8.8.8.8 ", "0x8.8.8.8"),
    ],
)
def test_an_address_that_leads_inside_or_nowhere_is_none(address: str) -> None:
    assert not links.is_global(address)


@pytest.fixture
def files_host(monkeypatch: pytest.MonkeyPatch) -> str:
    """A public name that leads to this machine."""
    look_up = socket.getaddrinfo

    def look_up_here(host: Any, *args: Any, **kwargs: Any) -> Any:
        return look_up("127.0.0.1" if host == "files.example.com" else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", look_up_here)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    return "files.example.com"


@pytest.fixture
def tls_files(tmp_path: Path, files_host: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[bytes]]]:
    """An https server that gives the file to all who ask; its address, and the heads of the requests."""
    certificate = make_certificate(files_host, tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    heads: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            heads.append(read_head(secure)[0])
            secure.sendall(ok(CSV))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serve_each(listener, behave)
        yield f"https://{files_host}:{listener.getsockname()[1]}", heads


def test_a_public_name_that_leads_inside_gets_not_a_byte(files_host: str) -> None:
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serve_each(listener, lambda connection: received.append(connection.recv(1)))
        link = f"https://{files_host}:{listener.getsockname()[1]}/s3cret"
        with pytest.raises(UnknownOutcomeError, match=r"files\.example\.com.* not of the public internet") as caught:
            next(client_of("http://127.0.0.1:8808").read_log_export(link))
        for _ in range(100):
            if received:
                break
            time.sleep(0.05)
    assert received == [b""]
    assert "s3cret" not in str(caught.value)


def test_a_public_host_gets_no_key_of_any_kind(
    tls_files: tuple[str, list[bytes]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login me password mine\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setattr(transport, "is_global", lambda address: True)
    url, heads = tls_files
    assert list(client_of("http://127.0.0.1:8808").read_log_export(f"{url}/f?X-Amz-Signature=a%2Fb")) == LINES
    assert heads[0].startswith(b"GET /f?X-Amz-Signature=a%2Fb HTTP/1.1\r\n")
    assert b"authorization" not in heads[0].lower()


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """A proxy that the environment names, on this machine; whom it was asked for."""
    asked: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        target = read_head(connection)[0].split()[1]
        asked.append(target)
        with socket.create_connection(("127.0.0.1", int(target.rpartition(b":")[2]))) as onward:
            connection.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            threading.Thread(target=copy_until_closed, args=(onward, connection), daemon=True).start()
            copy_until_closed(connection, onward)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serve_each(listener, behave)
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{listener.getsockname()[1]}")
        monkeypatch.setenv("https_proxy", os.environ["HTTPS_PROXY"])
        monkeypatch.setenv("NO_PROXY", "")
        monkeypatch.setenv("no_proxy", "")
        yield asked


def test_a_proxy_of_the_environment_may_be_an_inside_one(
    tls_files: tuple[str, list[bytes]], proxy: list[bytes]
) -> None:
    url, heads = tls_files
    assert list(client_of("http://127.0.0.1:8808").read_log_export(f"{url}/f")) == LINES
    assert proxy == [url.removeprefix("https://").encode()]
    assert b"Bearer" not in heads[0]


@pytest.mark.parametrize("host", ["10.0.0.1", "localhost", "a.internal", "[::1]", "127.1"])
def test_a_proxy_is_not_asked_for_an_inside_host(proxy: list[bytes], host: str) -> None:
    with pytest.raises(UnknownOutcomeError, match="no public host"):
        next(client_of("http://127.0.0.1:8808").read_log_export(f"https://{host}/f"))
    assert proxy == []


def test_no_log_and_no_error_shows_a_link(
    serve: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import traceback

    caplog.set_level(logging.DEBUG)
    url, heads = serve_file(serve, ok(CSV))
    list(client_of(url).read_log_export(f"{url}/s3cret?token=s3cret"))
    assert b"s3cret" in heads[0]
    assert "/(hidden)" in caplog.text
    for answer in (b"", b"no http\r\n\r\n", ok(CSV, "Content-Length: 9999")):
        url, _ = serve_file(serve, answer)
        _fail(lambda url=url: client_of(url).read_log_export(f"{url}/s3cret"), caplog, traceback.format_exc)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        gone = f"http://127.0.0.1:{taken.getsockname()[1]}"
    _fail(lambda: client_of(gone).read_log_export(f"{gone}/s3cret"), caplog, traceback.format_exc)


def _fail(read: Callable[[], Iterable[LogLine]], caplog: pytest.LogCaptureFixture, text: Callable[[], str]) -> None:
    try:
        list(read())
    except UnknownOutcomeError:
        shown = "".join(line for line in text().splitlines(keepends=True) if not line.startswith("    "))
    else:
        pytest.fail("it was read")
    assert "s3cret" not in shown + caplog.text
