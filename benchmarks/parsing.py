"""What importing the operator adds to importing Airflow's BaseOperator: every DAG file that uses it pays for it."""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks.processes import airflow_environment

_BASE = "from airflow.providers.common.compat.sdk import BaseOperator"
_OPERATOR = "from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator"
_PROGRAM = """
import time
{before}
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * 4096
memory, start = resident(), time.perf_counter()
{measured}
print(time.perf_counter() - start, resident() - memory)
"""


class Import(NamedTuple):
    """What one import adds: seconds, and bytes of memory."""

    seconds: float
    memory: float


def added_by_the_operator(folder: Path, times: int) -> Import:
    """Return the median over fresh processes, the first of which is not counted: it may compile."""
    program = _PROGRAM.format(before=_BASE, measured=_OPERATOR)
    runs = [_run(program, folder) for _ in range(times + 1)][1:]
    return Import(statistics.median(run.seconds for run in runs), statistics.median(run.memory for run in runs))


def _run(program: str, folder: Path) -> Import:
    environment = airflow_environment(folder / "airflow")
    command = [sys.executable, "-c", program]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    seconds, memory = printed.split()[-2:]
    return Import(float(seconds), float(memory))
