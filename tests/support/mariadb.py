"""A MariaDB server for the tests: a process of this one, on a Unix socket, in a folder that ends with it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pymysql

if TYPE_CHECKING:
    from pymysql.connections import Connection

_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
_PROGRAMS = ("mariadbd", "mariadb-install-db", "my_print_defaults")
_START_SECONDS = 60


def missing_programs() -> list[str]:
    """Tell which of MariaDB's programs are not on this machine."""
    return [name for name in _PROGRAMS if shutil.which(name, path=_PATH) is None]


class MariaDbServer:
    """
    A running server. ``root`` has no password; the system's own configuration is not read.

    :raises RuntimeError: it could not be started; the message has its log
    """

    def __init__(self) -> None:
        # Not below pytest's own temporary folder: the path of a socket may have no more than 107 characters.
        self._folder = Path(tempfile.mkdtemp(prefix="airflow-provider-8x8-mariadb-"))
        self.socket = self._folder / "socket"
        self._log = self._folder / "log"
        self._user = ["--user=root"] if os.geteuid() == 0 else []
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._make_data()
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
        shutil.rmtree(self._folder)

    def connect(self) -> contextlib.closing[Connection]:
        """Connect as ``root``, outside any transaction."""
        return contextlib.closing(pymysql.connect(unix_socket=str(self.socket), user="root", autocommit=True))

    def execute(self, *statements: str) -> None:
        """Execute statements as ``root``."""
        with self.connect() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def _make_data(self) -> None:
        options = ["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal", *self._user]
        made = subprocess.run(
            [str(shutil.which("mariadb-install-db", path=_PATH)), *options, f"--datadir={self._folder / 'data'}"],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise RuntimeError(f"mariadb-install-db failed:\n{made.stdout}\n{made.stderr}")

    def _start(self) -> None:
        options = ["--no-defaults", "--skip-networking", "--skip-log-bin", *self._user]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    str(shutil.which("mariadbd", path=_PATH)),
                    *options,
                    f"--datadir={self._folder / 'data'}",
                    f"--socket={self.socket}",
                ],
                stdout=log,
                stderr=log,
            )
        self._wait_until_ready(self._process)

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + _START_SECONDS
        while process.poll() is None and time.monotonic() < end:
            with contextlib.suppress(pymysql.err.OperationalError):
                self.execute("SELECT 1")
                return
            time.sleep(0.05)
        raise RuntimeError(f"mariadbd did not start:\n{self._log.read_text()}")
