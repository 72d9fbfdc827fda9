"""One campaign in shards that overlap: mapped tasks that really run at the same time, and one of them is killed."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from signal import SIGKILL

import pytest

from tests.support.databases import Database
from tests.support.deployment import ENDED, Deployment, TaskInstance
from tests.support.sandbox_process import SandboxProcess
from tests.system.people import ROWS, outcome

SHARDS = 8
DAG_ID = "sharded"
EXPECTED = outcome(ROWS)


@dataclass
class Shards:
    """The campaign's one run, after its end."""

    tasks: list[TaskInstance]
    results: list[dict[str, int]]
    killed: int
    at_a_time: int

    @property
    def counts(self) -> Counter[str]:
        """The counts of all shards, added up."""
        totals: Counter[str] = Counter()
        for result in self.results:
            totals.update({name: count for name, count in result.items() if name.endswith("_count")})
        return totals


@pytest.fixture(scope="module")
def shards(airflow: Deployment, sandboxes: dict[str, SandboxProcess], journal: Database) -> Shards:
    """Let it run; kill one shard that has sent something when ten batches have been made."""
    sandbox = sandboxes[DAG_ID]
    at_a_time = 0

    def running() -> list[TaskInstance]:
        nonlocal at_a_time
        found = [task for task in airflow.tasks(DAG_ID) if task.state == "running" and task.pid is not None]
        at_a_time = max(at_a_time, len(found))
        return found

    def victim() -> TaskInstance | None:
        candidates = running()
        if sandbox.requests_made() < 10:
            return None
        # After one that has not even left its mark, the next try would refuse to send.
        names = [name for (name,) in journal.execute("SELECT task_instance FROM eight_by_eight_batch")]
        have_sent = {int(name.rpartition("/")[2]) for name in names if name.startswith(f"{DAG_ID}/")}
        return next((task for task in candidates if task.map_index in have_sent), None)

    def has_ended() -> bool:
        running()
        tasks = airflow.tasks(DAG_ID)
        return len(tasks) == SHARDS and all(task.state in ENDED for task in tasks)

    airflow.start_run(DAG_ID)
    killed = airflow.wait_for("ten batches", DAG_ID, victim, pause=0.05)
    assert airflow.owns(killed.pid)
    os.kill(killed.pid, SIGKILL)
    airflow.wait_for("the end of all shards", DAG_ID, has_ended, pause=0.2)
    return Shards(airflow.tasks(DAG_ID), airflow.results(DAG_ID), killed.map_index, at_a_time)


def test_everybody_is_texted_by_one_of_the_shards(shards: Shards, sandboxes: dict[str, SandboxProcess]) -> None:
    stats = sandboxes[DAG_ID].stats()
    assert sandboxes[DAG_ID].times_texted() == dict.fromkeys(EXPECTED.accepted, 1), stats


def test_shards_ran_at_the_same_time(shards: Shards) -> None:
    assert shards.at_a_time > 1
    assert sum(result["accepted_count"] > 0 for result in shards.results) >= SHARDS // 2


def test_all_shards_end_well_and_add_up(shards: Shards, airflow: Deployment) -> None:
    assert {task.state for task in shards.tasks} == {"success"}, airflow.log_text(DAG_ID)[-4000:]
    tries = {task.map_index: task.try_number for task in shards.tasks}
    assert tries.pop(shards.killed) > 1
    assert len(shards.results) == SHARDS
    counts = shards.counts
    assert counts["accepted_count"] == len(EXPECTED.accepted)
    assert counts["already_sent_count"] == len(EXPECTED.accepted)  # each in two shards
    assert counts["invalid_count"] == 2 * EXPECTED.invalid_count
    assert counts["not_sent_count"] == counts["unknown_count"] == 0


def test_the_outcome_table_has_the_rows_of_all_shards(shards: Shards, outcomes: Database) -> None:
    statement = "SELECT map_index, outcome, count(*) FROM outcomes_of_shards GROUP BY map_index, outcome"
    counts: dict[int, dict[str, int]] = {}
    for shard, name, count in outcomes.execute(statement):
        counts.setdefault(shard, {})[f"{name}_count"] = count
    expected = [
        {name: count for name, count in result.items() if name.endswith("_count") and count}
        for result in shards.results
    ]
    assert sorted(map(sorted, map(dict.items, counts.values()))) == sorted(map(sorted, map(dict.items, expected)))
