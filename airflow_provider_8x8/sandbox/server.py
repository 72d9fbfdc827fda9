"""The sandbox as an HTTP server."""

from __future__ import annotations

import contextlib
import logging
import socket
import socketserver
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, quote, urlsplit

from airflow_provider_8x8 import __version__
from airflow_provider_8x8.sandbox import limits
from airflow_provider_8x8.sandbox.api import Account, Api, StoppedError
from airflow_provider_8x8.sandbox.control import PREFIX, Control
from airflow_provider_8x8.sandbox.errors import ApiError, bad_request, internal_error
from airflow_provider_8x8.sandbox.faults import Faults
from airflow_provider_8x8.sandbox.http_messages import (
    Answer,
    Ending,
    IncompleteBodyError,
    Request,
    error_answer,
    read_body,
)
from airflow_provider_8x8.sandbox.limits import Code
from airflow_provider_8x8.sandbox.recorder import RecordedRequest, Recorder
from airflow_provider_8x8.sandbox.store import Store

SERVER = f"8x8-sandbox/{__version__} (not 8x8; no SMS is sent)"

logger = logging.getLogger("airflow_provider_8x8.sandbox")

_LAST_CHUNK = b"0\r\n\r\n"


class Sandbox:
    """
    A local 8x8, served from a background thread. Nothing is sent to anyone.

    .. code-block:: python

        with Sandbox(data=tmp_path) as sandbox:
            requests.get(f"{sandbox.url}/sandbox/stats")

    It takes plain http, one API key and one sub-account; any survey id and any account id are good.

    :param port: 0 takes a free one.
    :param api_key: the key that requests must bear.
    :param subaccount: the sub-account that requests must name.
    :param data: a folder where everything is kept across restarts; without it all is forgotten at the end.
    :param batch_seconds: seconds that each batch takes before it is accepted.
    :param host: the address to listen on.
    :raises OSError: the port is taken, the host is not here, or the folder cannot be made.
    :raises sqlite3.Error: the folder holds something else.
    :raises ValueError: the sub-account, or the API key, is none that 8x8 could have.
    """

    def __init__(
        self,
        port: int = 0,
        api_key: str = "sandbox",
        subaccount: str = "sandbox_hq",
        data: Path | str | None = None,
        batch_seconds: float = 0.0,
        host: str = "127.0.0.1",
    ) -> None:
        if not limits.SUBACCOUNT_ID.fullmatch(subaccount):
            raise ValueError(f"Sub-account {subaccount!r} is not 3 to 50 characters of A-Z a-z 0-9 - . _ &")
        if not api_key or not api_key.isascii() or not api_key.isprintable() or " " in api_key:
            raise ValueError("The API key must be printable ASCII without spaces")
        self._stopping = threading.Event()
        self._faults = Faults()
        self._recorder = Recorder()
        self._server = _Server((host, port), _Handler)
        address = f"[{host}]" if ":" in host else host
        self.url = f"http://{address}:{self._server.server_port}"
        self.connection_uri = (
            f"eight-by-eight://http://{quote(subaccount, safe='')}:{quote(api_key, safe='')}"
            f"@{address}:{self._server.server_port}"
        )
        try:
            self._store = Store(Path(data) if data is not None else None)
        except BaseException:
            self._server.server_close()
            raise
        account = Account(api_key, subaccount, batch_seconds)
        self._server.api = Api(account, self._store, self._faults, self._recorder, self.url, self._stopping)
        self._control = Control(self._store, self._faults, self._recorder, self.url, self.connection_uri)
        self._server.control = self._control
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="8x8-sandbox", daemon=True
        )

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving and close all connections; what was not accepted by now never is."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.close_connections()
        self._server.server_close()
        self._store.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stats(self) -> dict[str, int]:
        """Give what ``GET /sandbox/stats`` gives."""
        return self._store.stats()

    def messages(self, limit: int = 100) -> list[dict[str, object]]:
        """Give what ``GET /sandbox/messages`` gives: the newest messages, newest first."""
        return self._control.messages(limit)

    def requests(self) -> list[RecordedRequest]:
        """Give the newest requests that were to send something, oldest first, refused ones too."""
        return self._recorder.requests()

    def faults(self, faults: list[dict[str, Any]]) -> None:
        """
        Do what ``PUT /sandbox/faults`` does: these faults, and no others, are to come.

        :raises ApiError: there is no such fault; the message says which there are.
        """
        self._faults.replace(faults)

    def forget(self) -> None:
        """Do what ``DELETE /sandbox`` does: forget everything."""
        self._control.forget()


class _Server(ThreadingHTTPServer):
    api: Api
    control: Control
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._connections: set[Any] = set()
        self._changed = threading.Condition()
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def server_bind(self) -> None:
        # HTTPServer would look up the host's full name, which may take a name server, and seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            self._connections.add(request)
        super().process_request(request, client_address)

    def close_request(self, request: Any) -> None:
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
        if not isinstance(sys.exception(), ConnectionError):  # A client may leave whenever it likes.
            logger.exception("A request could not be served")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def version_string(self) -> str:
        return SERVER

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name it has there
        logger.debug("%a", format % args)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        # What the standard library refuses by itself: a request line or header that is no HTTP, a method nobody knows.
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
            self._write(self._answer())
        except (IncompleteBodyError, StoppedError, ConnectionError):
            self.close_connection = True

    def _answer(self) -> Answer:
        try:
            request = self._read_request()
            if request.path == PREFIX or request.path.startswith(f"{PREFIX}/"):
                return self.server.control.answer(request)
            answer = self.server.api.answer(request)
        except ApiError as error:
            logger.info("%s %a: %s", self.command, self.path, error)
            return error_answer(error)
        except (IncompleteBodyError, StoppedError):
            raise
        except Exception:
            logger.exception("%s %a failed", self.command, self.path)
            return error_answer(internal_error())
        logger.info("%s %a: %d", self.command, self.path, answer.status)
        return answer

    def _read_request(self) -> Request:
        try:
            body = read_body(self.headers, self.rfile)
        except ApiError:
            self.close_connection = True  # Where the next request begins is not known.
            raise
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
        if answer.status != HTTPStatus.NO_CONTENT:
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
