"""Where the links of a log export may lead, and what is shown of them."""

from __future__ import annotations

import logging
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_8x8.api import links, transport
from airflow_provider_8x8.api.errors import UnknownOutcomeError
from airflow_provider_8x8.api.models import LogLine
from airflow_provider_8x8.api.regions import REGIONS
from tests.api.servers import Serve, client_of, copy_until_closed, make_certificate, read_head, serve_each
from tests.api.test_log_export import CSV, LINES, ok, serve_file


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
        for _ in range(1200):
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
        _fail(partial(client_of(url).read_log_export, f"{url}/s3cret"), caplog, traceback.format_exc)
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
