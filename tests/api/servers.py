"""Servers that misbehave as told, and what is sent to them."""

from __future__ import annotations

import datetime as dt
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airflow_provider_8x8.api.client import EightByEightClient
from airflow_provider_8x8.api.models import SurveyBatch, SurveyMessage
from tests.conftest import API_KEY

Serve = Callable[[Callable[[socket.socket], None]], str]


def serve_each(listener: socket.socket, behave: Callable[[socket.socket], None]) -> None:
    """Serve each connection with a function, one after the other, until the listener is closed."""
    listener.settimeout(0.2)  # to close it wakes nobody up, and as long as somebody accepts its port is open

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            with connection:
                try:
                    behave(connection)
                except OSError:
                    continue

    threading.Thread(target=accept, daemon=True).start()


def client_of(url: str, **arguments: Any) -> EightByEightClient:
    return EightByEightClient(API_KEY, subaccount_id="sandbox_hq", base_url=url, **arguments)


def batch(size: int = 1) -> SurveyBatch:
    return SurveyBatch(
        messages=[message(number) for number in range(size)],
        include_messages_in_response=True,
    )


def message(number: int = 0) -> SurveyMessage:
    return SurveyMessage(destination="+12025550123", template_body="{{url}}", client_message_id=str(number))


def read_head(connection: socket.socket) -> tuple[bytes, bytes]:
    """Read a request's head; return it, and what has come of the body."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionError("the client left before the end of the head")
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    return head, body


def content_length(head: bytes) -> int:
    return int(next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")).split(b":")[1])


def read_request(connection: socket.socket) -> bytes:
    """Read a request to its end; return its head."""
    head, body = read_head(connection)
    length = content_length(head)
    while len(body) < length:
        body += connection.recv(65536)
    return head


def copy_until_closed(source: socket.socket, target: socket.socket) -> None:
    """Pass on what comes until it ends."""
    try:
        while piece := source.recv(65536):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


def make_certificate(host: str, folder: Path) -> Path:
    """Make a certificate of a host, with its key, that it has signed itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "certificate.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return file
