"""The HTTP server: connections, requests as they come, answers as they go."""

from __future__ import annotations

import contextlib
import logging
import socket
import socketserver
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from airflow_provider_8x8 import __version__
from airflow_provider_8x8.sandbox.wire.errors import ApiError, Code, bad_request, internal_error
from airflow_provider_8x8.sandbox.wire.http_messages import (
    MAX_BODY,
    Answer,
    Ending,
    IncompleteBodyError,
    Request,
    StoppedError,
    error_answer,
    read_body,
)

SERVER = f"8x8-sandbox/{__version__} (not 8x8; no SMS is sent)"

log = logging.getLogger("airflow_provider_8x8.sandbox")

_LAST_CHUNK = b"0\r\n\r\n"
_WITHOUT_BODY = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})
_SECONDS_OF_SILENCE = 1.0


class HttpServer(ThreadingHTTPServer):
    """
    Serves each connection in a thread of its own.

    :param address: host and port to listen on; port 0 takes a free one
    :param respond: gives the answer to a request that has arrived completely
    :raises OSError: the port is taken, or the host is not here
    """

    request_queue_size = 128

    def __init__(self, address: tuple[str, int], respond: Callable[[Request], Answer]) -> None:
        self.respond = respond
        self._connections: set[Any] = set()
        self._changed = threading.Condition()
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind, but do not look up the host's full name, as HTTPServer would: that can take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]  # a str, for IP

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin to serve a connection."""
        with self._changed:
            self._connections.add(request)
        super().process_request(request, client_address)

    def close_request(self, request: Any) -> None:
        """End a connection."""
        super().close_request(request)
        with self._changed:
            self._connections.discard(request)
            self._changed.notify_all()

    def close_connections(self) -> None:
        """Close what clients keep open, and wait until nobody is being served."""
        with self._changed:
            for connection in self._connections:
                with contextlib.suppress(OSError):  # The client may have been faster.
                    connection.shutdown(socket.SHUT_RDWR)
            self._changed.wait_for(lambda: not self._connections)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what went wrong with a connection, unless its client has left: it may do so at any time."""
        if not isinstance(sys.exception(), ConnectionError):
            log.exception("A request could not be served")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: HttpServer

    def version_string(self) -> str:
        return SERVER

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass  # It would log the query, in which there may be a phone number.

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name it has there
        log.debug("%a", format % args)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        # The standard library calls it for what is no HTTP: an odd request line or header, an unknown method.
        self.close_connection = True
        status = HTTPStatus(code)
        self._write(error_answer(ApiError(status, Code.INVALID_PARAMETER, message or status.phrase)))

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        try:
            try:
                body = read_body(self.headers, self.rfile)
            except ApiError as error:
                self._refuse_body(error)
            else:
                self._write(self._answer(body))
        except (IncompleteBodyError, StoppedError, ConnectionError):
            self.close_connection = True

    def _refuse_body(self, error: ApiError) -> None:
        """Refuse a body that cannot be read, and close: nobody knows where the next request begins."""
        self.close_connection = True
        log.info("%s: %s", self.command, error)
        self._write(error_answer(error))
        # A connection that is closed while its client still writes is reset, and then the client may lose the answer.
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(_SECONDS_OF_SILENCE)
            left = MAX_BODY
            while left > 0 and (piece := self.connection.recv(65_536)):
                left -= len(piece)

    def _answer(self, body: bytes) -> Answer:
        where = self.path.partition("?")[0]  # What is asked for may be a phone number.
        try:
            return self.server.respond(self._request(body))
        except ApiError as error:
            log.info("%s %a: %s", self.command, where, error)
            return error_answer(error)
        except StoppedError:
            raise
        except Exception:
            log.exception("%s %a failed", self.command, where)
            return error_answer(internal_error())

    def _request(self, body: bytes) -> Request:
        try:
            parts = urlsplit(self.path)
            query = dict(parse_qsl(parts.query, keep_blank_values=True))
        except ValueError:
            raise bad_request(Code.INVALID_PARAMETER, "The path is none") from None
        headers = {name.lower(): value for name, value in self.headers.items()}
        return Request(self.command, parts.path, query, headers, body)

    def _write(self, answer: Answer) -> None:
        match answer.ending:
            case Ending.CLOSED:
                self.close_connection = True
            case Ending.SILENT:
                self.close_connection = True
                while self.connection.recv(4096):
                    pass  # Until the client leaves, or the sandbox closes all connections.
            case Ending.CUT:
                self.close_connection = True
                self._write_head(answer)
                if answer.stream is None:
                    self.wfile.write(_half(answer.body))
                else:
                    piece = next(answer.stream)
                    for following in answer.stream:
                        self.wfile.write(_chunk(piece))
                        piece = following
                    self.wfile.write(_chunk(_half(piece)))
            case Ending.WITHOUT_LENGTH:
                self.close_connection = True
                self._write_head(answer)
                self.wfile.write(answer.body)
            case Ending.WHOLE:
                self._write_head(answer)
                self.wfile.write(answer.body)
                if answer.stream is not None:
                    for piece in answer.stream:
                        self.wfile.write(_chunk(piece))
                    self.wfile.write(_LAST_CHUNK)

    def _write_head(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status not in _WITHOUT_BODY:
            self.send_header("Content-Type", answer.content_type)
            if answer.ending is Ending.WITHOUT_LENGTH:
                pass
            elif answer.stream is None:
                self.send_header("Content-Length", str(len(answer.body)))
            else:
                self.send_header("Transfer-Encoding", "chunked")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def _half(body: bytes) -> bytes:
    return body[: len(body) // 2]
