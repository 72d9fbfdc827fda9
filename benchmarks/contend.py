"""One contender's run, in a process of its own so that its peak memory is its own."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import requests

from benchmarks.contenders import CONTENDERS, Task
from benchmarks.measuring import Measurement, measure
from benchmarks.server import Stats

_WARM_UP_ROWS = 1_000  # among them invalid ones and duplicates, which have code of their own


class Job(msgspec.Struct, frozen=True):
    """
    A contender's run.

    :ivar outcome: the file for its :class:`Outcome`; what is printed is Airflow's log
    """

    contender: str
    task: Task
    outcome: str


class Outcome(msgspec.Struct, frozen=True):
    """
    What a contender's run took, and what the other side has seen of it.

    :ivar report_lines: of the operator's report; 0 where there is none
    """

    contender: str
    measurement: Measurement
    requests: int
    messages: int
    server_seconds: float
    server_cpu_seconds: float
    report_lines: int

    @property
    def speed(self) -> float:
        """Messages a second."""
        return self.messages / self.measurement.seconds


def run(job: Job) -> Outcome:
    """Run a contender twice: over a few rows, so that all is imported that is imported late, then over all."""
    prepare, task = CONTENDERS[job.contender], job.task
    warm_up = msgspec.structs.replace(
        task,
        run_id=f"{task.run_id}-warm-up",
        select=f"{task.select} LIMIT {_WARM_UP_ROWS}",
        report_path=f"{task.report_path}-warm-up",
        others=0,
    )
    prepare(warm_up)()
    work = prepare(task)
    before = stats(task.url)
    measurement = measure(work)
    after = stats(task.url)
    return Outcome(
        job.contender,
        measurement,
        after.requests - before.requests,
        after.messages - before.messages,
        after.seconds - before.seconds,
        after.cpu_seconds - before.cpu_seconds,
        _lines_below(Path(task.report_path)),
    )


def stats(url: str) -> Stats:
    """Ask the server what it has seen."""
    return msgspec.json.decode(requests.get(f"{url}/stats", timeout=60).content, type=Stats)


def _lines_below(folder: Path) -> int:
    return sum(file.read_bytes().count(b"\n") for file in folder.rglob("*.jsonl"))


if __name__ == "__main__":
    given = msgspec.json.decode(sys.argv[1], type=Job)
    Path(given.outcome).write_bytes(msgspec.json.encode(run(given)))
