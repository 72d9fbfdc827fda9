"""An Airflow of the tests' own: a home folder that is made before Airflow is imported, and removed at the end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


class AirflowHome:
    """
    A temporary ``AIRFLOW_HOME`` with an empty DAGs folder.

    Airflow reads its settings when it is first imported, so this must be made before. Settings and connections of the
    developer's own Airflow, and proxies, are taken out of the environment: tests must not depend on them.

    :raises RuntimeError: Airflow has been imported already.
    """

    def __init__(self) -> None:
        if "airflow" in sys.modules:
            raise RuntimeError("Airflow was imported before the tests could give it a home of its own")
        for name in list(os.environ):
            if name.startswith("AIRFLOW_") or name.lower() in _PROXIES:
                del os.environ[name]
        self.path = Path(tempfile.mkdtemp(prefix="airflow-provider-8x8-tests-"))
        self.dags_folder = self.path / "dags"
        self.dags_folder.mkdir()
        os.environ |= {
            "AIRFLOW_HOME": str(self.path),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags_folder),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            # A DAG that a test has changed is another one at once, not after half a minute.
            "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "0",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.path / 'airflow.db'}",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",  # Airflow 2 would tell an address in the internet
        }

    def migrate_database(self) -> None:
        """
        Make the metadata database, in a process of its own: the migration reconfigures logging for its whole process.

        :raises RuntimeError: the migration failed; the message has its output.
        """
        migration = subprocess.run(
            [sys.executable, "-m", "airflow", "db", "migrate"], capture_output=True, text=True, check=False
        )
        if migration.returncode:
            raise RuntimeError(f"airflow db migrate failed:\n{migration.stdout}\n{migration.stderr}")

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
