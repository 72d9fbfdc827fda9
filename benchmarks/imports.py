"""
Import Airflow's ``BaseOperator``, then the operator, and print what each cost.

Nothing but the standard library is imported before, or it would cost nothing here.
"""

from __future__ import annotations

import json
import time

from benchmarks.measuring import peak


def main() -> None:
    """Print the figures of :class:`~benchmarks.parsing.Parsing`."""
    start = time.perf_counter()
    from airflow.providers.common.compat.sdk import BaseOperator  # noqa: F401

    base_seconds, base_memory = time.perf_counter() - start, peak()
    start = time.perf_counter()
    import airflow_provider_8x8.operators.survey_batch  # noqa: F401

    print(json.dumps([base_seconds, base_memory, time.perf_counter() - start, peak() - base_memory]))


if __name__ == "__main__":
    main()
