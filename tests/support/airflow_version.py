"""Which Airflow the tests run on. To ask for it imports nothing of Airflow's."""

from __future__ import annotations

from importlib.metadata import version

from packaging.version import Version

AIRFLOW = Version(version("apache-airflow"))
IS_AIRFLOW_3 = AIRFLOW.major == 3
HAS_TASK_STATE_STORE = Version("3.3") <= AIRFLOW
