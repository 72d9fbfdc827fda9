"""The demo's own processes: started for a while, stopped whatever happens."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import requests

_GRACE_SECONDS = 5.0
_START_SECONDS = 30.0


class ProcessError(Exception):
    """
    A process failed.

    :ivar log: all that it printed
    """

    def __init__(self, message: str, log: str) -> None:
        super().__init__(message)
        self.log = log


class Sandbox(NamedTuple):
    """A sandbox in a process of its own."""

    host: str
    port: int
    api_key: str = "sandbox"
    subaccount: str = "sandbox_hq"

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def stats(self) -> dict[str, int]:
        """Give its counts."""
        stats: dict[str, int] = self._get("stats")
        return stats

    def messages(self, limit: int) -> list[dict[str, Any]]:
        """Give its newest messages."""
        messages: list[dict[str, Any]] = self._get("messages", limit=limit)
        return messages

    def _get(self, path: str, **query: int) -> Any:
        with requests.Session() as session:
            session.trust_env = False  # a proxy could not reach this machine's loopback
            response = session.get(f"{self.url}/sandbox/{path}", params=query, timeout=30)
        response.raise_for_status()
        return response.json()


@contextmanager
def sandbox(log: Path) -> Iterator[Sandbox]:
    """
    Run the sandbox on a free port.

    :param log: file for what it prints
    :raises ProcessError: it did not start
    """
    running = Sandbox("127.0.0.1", _free_port())
    command = [
        sys.executable,
        "-m",
        "airflow_provider_8x8.sandbox",
        "--host",
        running.host,
        "--port",
        str(running.port),
    ]
    command += ["--api-key", running.api_key, "--subaccount", running.subaccount]
    with log.open("wb") as output, _started(command, os.environ, output) as process:
        _wait_for(running, process, log)
        yield running


def run(command: Sequence[str], environment: Mapping[str, str], on_line: Callable[[str], None]) -> None:
    """
    Run a command to its end.

    :param on_line: gets each line that it prints, at once
    :raises ProcessError: it failed
    """
    lines: list[str] = []
    with _started(command, environment, subprocess.PIPE) as process:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        for line in process.stdout:
            lines.append(line)
            on_line(line.rstrip("\n"))
        code = process.wait()
    if code:
        raise ProcessError(
            f"{Path(command[0]).name} {' '.join(command[1:])} ended with exit code {code}", "".join(lines)
        )


@contextmanager
def _started(command: Sequence[str], environment: Mapping[str, str], output: Any) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        # Ctrl-C is for the demo, which then stops this process and those that it has started.
        start_new_session=True,
    )
    try:
        yield process
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[str]) -> None:
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    finally:  # also after a second Ctrl-C
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(running: Sandbox, process: subprocess.Popen[str], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            running.stats()
        except requests.ConnectionError:
            time.sleep(0.1)
        else:
            return
    raise ProcessError("The sandbox did not start", log.read_text(errors="replace"))
