"""
The other side of the wire: accepts every survey at once, and answers with all of them.

It is there to cost as little as a full answer can, in a process of its own: of a request it reads what the answer
needs, and it checks nothing. ``python -m benchmarks.server`` prints its URL.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

_STATUS = msgspec.Raw(b'{"code":"QUEUED","description":"SMS is accepted and queued for processing"}')


class _Message(msgspec.Struct, rename="camel", gc=False):
    client_message_id: str
    destination: str | None = None


class _Batch(msgspec.Struct, rename="camel"):
    messages: list[_Message]
    client_batch_id: str | None = None
    include_messages_in_response: bool = False


class _Accepted(msgspec.Struct, rename="camel", gc=False):
    umid: str
    client_message_id: str
    destination: str | None
    encoding: str = "GSM7"
    status: msgspec.Raw = _STATUS


class _Answer(msgspec.Struct, rename="camel", omit_defaults=True):
    batch_id: str
    client_batch_id: str | None
    accepted_count: int
    rejected_count: int
    messages: Sequence[_Accepted] | None = None


class Stats(msgspec.Struct):
    """
    What the server has seen.

    :ivar seconds: between the last byte of each request and the first of its answer, added up
    :ivar destinations: of all messages, if it was told to remember them
    """

    requests: int = 0
    messages: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    destinations: list[str | None] = []


class Server(ThreadingHTTPServer):
    """
    Accepts surveys.

    :param latency: seconds that each batch takes; if the work takes longer, as long as that
    :param remember: keep the destinations
    """

    daemon_threads = True

    def __init__(self, *, latency: float = 0.0, remember: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._latency = latency
        self._remember = remember
        self._lock = threading.Lock()
        self._stats = Stats()
        self._decoder = msgspec.json.Decoder(_Batch)
        self._encoder = msgspec.json.Encoder()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def stats(self) -> bytes:
        """Return what was seen until now, as JSON."""
        with self._lock:
            return self._encoder.encode(msgspec.structs.replace(self._stats, cpu_seconds=time.process_time()))

    def answer(self, request: bytes) -> bytes:
        """Accept a batch."""
        began = time.perf_counter()
        batch = self._decoder.decode(request)
        first = self._count(batch)
        response = _Answer(f"batch-{first}", batch.client_batch_id, len(batch.messages), 0)
        if batch.include_messages_in_response:
            response.messages = [
                _Accepted(f"00000000-0000-4000-8000-{number:012x}", message.client_message_id, message.destination)
                for number, message in enumerate(batch.messages, first)
            ]
        body = self._encoder.encode(response)
        time.sleep(max(0.0, began + self._latency - time.perf_counter()))
        with self._lock:
            self._stats.seconds += time.perf_counter() - began
        return body

    def _count(self, batch: _Batch) -> int:
        """Return the number of the batch's first message."""
        with self._lock:
            first = self._stats.messages
            self._stats.requests += 1
            self._stats.messages += len(batch.messages)
            if self._remember:
                self._stats.destinations += [message.destination for message in batch.messages]
        return first


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or headers and body, two writes, would wait for each other
    server: Server

    def do_GET(self) -> None:
        self._send(self.server.stats())

    def do_POST(self) -> None:
        self._send(self.server.answer(self.rfile.read(int(self.headers["Content-Length"]))))

    def _send(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class names it so
        pass


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that each batch takes")
    parser.add_argument("--remember", action="store_true", help="keep the destinations")
    options = parser.parse_args()
    with Server(latency=options.latency, remember=options.remember) as server:
        print(server.url, flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
