"""Two runs of one campaign over the same rows, started together, on every database."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from airflow_provider_8x8.api.client import EightByEightClient
from airflow_provider_8x8.surveys.journal.task_memory import TaskMemory
from airflow_provider_8x8.surveys.messages.builder import MessageBuilder
from airflow_provider_8x8.surveys.messages.row_keys import RowKeys
from airflow_provider_8x8.surveys.messages.template import Template
from airflow_provider_8x8.surveys.outcomes.summary import Summary
from airflow_provider_8x8.surveys.sending.sender import SurveySender
from airflow_provider_8x8.surveys.settings import Run, Settings
from tests.conftest import API_KEY, SUBACCOUNT

ROWS = 20_000
BATCH = 1_000


class People:
    """The same rows for both runs, which wait for each other before each batch."""

    columns = ("destination",)

    def __init__(self, together: threading.Barrier) -> None:
        self._together = together

    def __iter__(self) -> Generator[tuple[str], None, None]:
        for number in range(ROWS):
            if number % BATCH == 0:
                self._together.wait(timeout=120)
            yield (f"+1202{5550000 + number}",)


def test_every_row_key_is_sent_once(new_memory: Callable[..., TaskMemory], sandbox: Any) -> None:
    together = threading.Barrier(2)

    def send(run: str) -> Summary:
        row_keys = RowKeys("campaign")
        sender = SurveySender(
            EightByEightClient(API_KEY, subaccount_id=SUBACCOUNT, base_url=sandbox.url),
            MessageBuilder(row_keys=row_keys, template=Template.parse("Hi {{url}}")),
            row_keys,
            run=Run("campaign", run),
            settings=Settings(survey_id="orders", batch_size=BATCH),
            journal=new_memory(run).journal("campaign"),
        )
        return sender.send(People(together))

    with ThreadPoolExecutor(2) as runs:
        summaries = list(runs.map(send, ("one", "other")))
    stats = sandbox.stats()
    assert (stats["accepted"], stats["distinct_keys"], stats["max_per_key"]) == (ROWS, ROWS, 1)
    for summary in summaries:
        assert summary.stop is None
        outcomes = summary.outcomes
        assert outcomes["accepted"] + outcomes["already_sent"] == summary.rows_read == ROWS
    assert sum(summary.outcomes["accepted"] for summary in summaries) == ROWS
