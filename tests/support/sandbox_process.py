"""The sandbox as a process of its own, whose memory survives it and can be looked into from here."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import requests

_START_SECONDS = 300
_ADDRESS = re.compile(r" at (http://\S+): ")


class SandboxProcess:
    """
    A sandbox that keeps its data in a folder.

    :param folder: for its data and its log
    :param api_key: that it takes
    :param batch_seconds: how long each batch takes
    """

    def __init__(self, folder: Path, *, api_key: str, batch_seconds: float = 0.0) -> None:
        self.batch_seconds = batch_seconds
        self.api_key = api_key
        self.url = ""
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True)
        log = self._folder / "log"
        command = [sys.executable, "-u", "-m", "airflow_provider_8x8.sandbox", "--port", "0", "--api-key", self.api_key]
        options = ["--data", str(self._folder), "--batch-seconds", str(self.batch_seconds)]
        with log.open("wb") as output:
            self._process = subprocess.Popen([*command, *options], stdout=output, stderr=output)
        self.url = self._wait_for_address(log)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def connection(self, *, url: str | None = None, timeout: float = 60.0) -> dict[str, Any]:
        """Return the fields of an Airflow connection to it, or to a proxy in front of it."""
        return {
            "conn_type": "eight_by_eight",
            "host": url or self.url,
            "login": "sandbox_hq",
            "password": self.api_key,
            "extra": {"timeout": timeout},
        }

    def stats(self) -> dict[str, int]:
        """Ask it for its counts."""
        counts: dict[str, int] = requests.get(f"{self.url}/sandbox/stats", timeout=30).json()
        return counts

    def arm(self, faults: Sequence[dict[str, Any]]) -> None:
        """Put these faults in place of those that are left."""
        requests.put(f"{self.url}/sandbox/faults", json=list(faults), timeout=30).raise_for_status()

    def requests_made(self) -> int:
        """How many batch requests came in whole."""
        return int(self._select("SELECT coalesce(sum(count), 0) FROM request")[0][0])

    def accepted(self) -> int:
        """How many messages of batches were accepted."""
        return int(self._select("SELECT coalesce(sum(accepted), 0) FROM batch")[0][0])

    def newest_texted(self) -> str:
        """Return the highest number that got a survey of the newest messages, be it its second; empty if none did."""
        newest = "SELECT * FROM message WHERE batch_id IS NOT NULL ORDER BY rowid DESC LIMIT 1000"
        return self._select(f"SELECT max(destination) FROM ({newest}) WHERE rejection IS NULL")[0][0] or ""

    def log_exports(self) -> int:
        """How often it was asked for an export of its logs."""
        return int(self._select("SELECT count(*) FROM log_export")[0][0])

    def messages(self) -> list[tuple[str, str, str, str, bool]]:
        """Return of each message of a batch both ids of this, its own, its umid, and whether it was accepted."""
        which = "client_batch_id, batch_id, client_message_id, umid, rejection IS NULL"
        found = self._select(f"SELECT {which} FROM message WHERE batch_id IS NOT NULL")
        return [(*ids, bool(is_accepted)) for *ids, is_accepted in found]

    def times_texted(self) -> dict[str, int]:
        """How many surveys of batches each phone got."""
        return dict(
            self._select(
                "SELECT destination, count(*) FROM message WHERE batch_id IS NOT NULL AND rejection IS NULL GROUP BY 1"
            )
        )

    def _select(self, sql: str) -> list[Any]:
        """Read its file: that neither waits for it nor keeps it from its work, however often it is done."""
        with contextlib.closing(sqlite3.connect(f"file:{self._folder}/sandbox.sqlite3?mode=ro", uri=True)) as file:
            return file.execute(sql).fetchall()

    def _wait_for_address(self, log: Path) -> str:
        ends_at = time.monotonic() + _START_SECONDS
        while time.monotonic() < ends_at:
            if found := _ADDRESS.search(log.read_text()):
                return found[1]
            time.sleep(0.05)
        raise RuntimeError(f"the sandbox did not start:\n{log.read_text()}")
