"""
Time, CPU and peak memory of a piece of work in this process. Linux only: nothing else tells peaks in between.

It imports the standard library alone, since what was imported before is not in what an import costs.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_OWN = Path("/proc/self")


@dataclass(frozen=True)
class Measurement:
    """
    What a piece of work took.

    :ivar cpu_seconds: of this process, all threads
    :ivar memory: bytes by which the process's peak in it was above what there was before
    """

    seconds: float
    cpu_seconds: float
    memory: int


def measure(work: Callable[[], None]) -> Measurement:
    """Do the work and say what it took."""
    gc.collect()
    before = resident()
    forget_peak()
    cpu, start = time.process_time(), time.perf_counter()
    work()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return Measurement(seconds, cpu, peak() - before)


def resident() -> int:
    """Return the bytes of memory that the process has now."""
    return _status("VmRSS")


def peak() -> int:
    """Return the bytes of memory that the process had at most, since :func:`forget_peak`."""
    return _status("VmHWM")


def forget_peak() -> None:
    """Let the peak be what there is now."""
    (_OWN / "clear_refs").write_text("5", encoding="ascii")


def _status(name: str) -> int:
    for line in (_OWN / "status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status lacks {name}")
