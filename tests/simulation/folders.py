"""
The report's folder, in memory: what :class:`airflow_provider_8x8.surveys.outcomes.report.Report` needs of a path.

As in an object store, an object is there once it is whole. A file that is written line by line may also be as on a
disk: there at once, and cut off when its process dies.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.worlds import Process, World


@dataclass(slots=True)
class Disk:
    """
    What is stored.

    :ivar shows_open_files: as a disk does; an object store does not
    :ivar faults: how likely a call fails
    :ivar fails_at: touches, counted over the whole history, at which a call fails
    """

    world: World
    shows_open_files: bool = False
    faults: float = 0.0
    fails_at: frozenset[int] = frozenset()
    files: dict[str, bytes] = field(default_factory=dict)


class SimulatedPath:
    """A path on it, as one process has it."""

    protocol = "memory"

    def __init__(self, process: Process, disk: Disk, name: str = "") -> None:
        self._process = process
        self._disk = disk
        self._name = name

    def __str__(self) -> str:
        return f"memory://{self._name}"

    def __truediv__(self, name: str) -> SimulatedPath | _Trial:
        if name.endswith(".part"):
            return _Trial()
        return SimulatedPath(self._process, self._disk, f"{self._name}/{name}")

    def mkdir(self, *, parents: bool = False, exist_ok: bool = False) -> None:
        """Make the folder."""
        self._touch("mkdir")

    def exists(self) -> bool:
        """Tell whether it is there."""
        self._touch("exists")
        return self._name in self._disk.files

    def read_bytes(self) -> bytes:
        """Read it."""
        self._touch("read")
        return self._disk.files[self._name]

    def write_bytes(self, content: bytes) -> None:
        """Write it, whole."""
        self._touch("write")
        self._disk.files[self._name] = content
        self._touch("written")

    def unlink(self, *, missing_ok: bool = False) -> None:
        """Delete it."""
        self._touch("delete")
        self._disk.files.pop(self._name, None)

    def open(self, mode: str) -> _OpenFile:
        """Write it bit by bit."""
        self._touch("open")
        return _OpenFile(self._process, self._disk, self._name)

    def _touch(self, what: str) -> None:
        process = self._process
        process.touch(f"report: {what} {self._name}" if process.world.trace is not None else "")
        if process.world.touches in self._disk.fails_at or process.world.happens(self._disk.faults):
            raise OSError("the disk is full")


class _Trial:
    """What is written before anything else, and deleted: who dies of it dies as of making the folder."""

    def open(self, mode: str) -> io.BytesIO:
        """Write it."""
        return io.BytesIO()

    def unlink(self, *, missing_ok: bool = False) -> None:
        """Delete it."""


class _OpenFile:
    """A file that is being written."""

    def __init__(self, process: Process, disk: Disk, name: str) -> None:
        self._process = process
        self._disk = disk
        self._name = name
        self._content = b""
        self._is_open = True
        if disk.shows_open_files:
            disk.files[name] = b""

    def __enter__(self) -> _OpenFile:
        return self

    def __exit__(self, *details: Any) -> None:
        self.close()

    def write(self, content: bytes) -> None:
        """Add to what will be written; on a disk some of it may be there at once."""
        self._content += content
        if self._disk.shows_open_files and self._process.world.random.random() < 0.2:
            self._process.touch("report: flush")
            self._disk.files[self._name] = self._content[:-1]

    def close(self) -> None:
        """Have it all written."""
        if not self._is_open:
            return
        self._is_open = False
        self._process.touch("report: close")
        self._disk.files[self._name] = self._content
