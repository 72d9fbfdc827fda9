"""The demo's own processes: started for a while, stopped whatever happens."""

from __future__ import annotations

import os
import re
import signal
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

_SANDBOX = ("-m", "airflow_provider_8x8.sandbox")
_SANDBOX_URL = re.compile(r" at (http://\S+):")


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

    url: str
    api_key: str = "sandbox"
    subaccount: str = "sandbox_hq"

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
    command = [sys.executable, *_SANDBOX, "--port", "0"]
    with log.open("wb") as output, _started(command, os.environ, output) as process:
        yield Sandbox(_announced_url(process, log))


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


def _announced_url(process: subprocess.Popen[str], log: Path) -> str:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if announced := _SANDBOX_URL.search(log.read_text(encoding="utf-8", errors="replace")):
            return announced[1]
        time.sleep(0.05)
    raise ProcessError("The sandbox did not start", log.read_text(encoding="utf-8", errors="replace"))
