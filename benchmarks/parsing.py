"""What importing the operator costs a DAG file that has imported Airflow's ``BaseOperator`` anyway."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec

from benchmarks.processes import airflow_environment


class Parsing(msgspec.Struct, frozen=True, array_like=True):
    """
    What two imports have cost in one process.

    :ivar base_seconds: importing ``BaseOperator``
    :ivar base_memory: bytes of the process's peak after it
    :ivar added_seconds: then importing the operator
    :ivar added_memory: bytes by which the peak rose
    """

    base_seconds: float
    base_memory: int
    added_seconds: float
    added_memory: int


def measure_parsing(samples: int, folder: Path) -> list[Parsing]:
    """Measure in as many processes, one after the other; one more goes first, so that all is in the page cache."""
    command = [sys.executable, "-m", "benchmarks.imports"]
    environment = airflow_environment(folder / "airflow")
    found = []
    for _ in range(samples + 1):
        process = subprocess.run(
            command, cwd=Path(__file__).parent.parent, env=environment, stdout=subprocess.PIPE, check=True
        )
        found.append(msgspec.json.decode(process.stdout.splitlines()[-1], type=Parsing))
    return found[1:]
