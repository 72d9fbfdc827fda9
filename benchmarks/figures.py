"""Figures as people read them: a table of text, a median with its spread."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median

import msgspec

_PACKAGES = ("apache-airflow", "msgspec", "requests", "psycopg2-binary", "SQLAlchemy", "duckdb")
MEBIBYTE = 1024 * 1024


class Spread(msgspec.Struct, frozen=True):
    """Several measurements of one thing."""

    median: float
    min: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(median(values), min(values), max(values))

    def shown(self, show: Callable[[float], str]) -> str:
        """Return the median, and the rest in brackets where there is any."""
        if self.min == self.max:
            return show(self.median)
        return f"{show(self.median)} ({show(self.min)}-{show(self.max)})"


class Machine(msgspec.Struct, frozen=True):
    """Where figures come from: they mean nothing without it."""

    processor: str
    cores: int
    memory_gib: float
    load_average: float
    system: str
    python: str
    packages: dict[str, str]

    @classmethod
    def here(cls) -> Machine:
        return cls(
            processor=_line_of("/proc/cpuinfo", "model name") or platform.machine(),
            cores=len(os.sched_getaffinity(0)),
            memory_gib=round(int(_line_of("/proc/meminfo", "MemTotal").split()[0]) / 1024**2, 1),
            load_average=round(os.getloadavg()[0], 2),
            system=f"{platform.system()} {platform.release()}",
            python=platform.python_version(),
            packages={name: version(name) for name in _PACKAGES},
        )

    def __str__(self) -> str:
        packages = ", ".join(f"{name} {its}" for name, its in self.packages.items())
        return (
            f"{self.cores} cores ({self.processor}), {self.memory_gib} GiB, load {self.load_average} before; "
            f"{self.system}, Python {self.python}, {packages}"
        )


def table(*rows: Sequence[str]) -> str:
    """Return rows of cells, the first of them the heads, as aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    first, *others = widths
    return "\n".join(
        "  ".join([f"  {row[0]:<{first}}", *(f"{cell:>{width}}" for cell, width in zip(row[1:], others, strict=True))])
        for row in rows
    )


def whole(value: float) -> str:
    """Return a number with its thousands apart."""
    return f"{value:,.0f}"


def mebibytes(value: float) -> str:
    """Return bytes in MiB."""
    return f"{value / MEBIBYTE:,.1f}" if value < 10 * MEBIBYTE else f"{value / MEBIBYTE:,.0f}"


def decimals(places: int) -> Callable[[float], str]:
    """Return what shows a number with so many decimals."""
    return lambda value: f"{value:.{places}f}"


def _line_of(file: str, name: str) -> str:
    for line in Path(file).read_text(encoding="utf-8").splitlines():
        if line.startswith(name):
            return line.partition(":")[2].strip()
    return ""
