"""Every row that was read has one outcome, the same in the counts and in the report, whatever ends the reading."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from airflow_provider_8x8.api.models import SurveyMessage
from airflow_provider_8x8.surveys.journal.entries import Entry
from airflow_provider_8x8.surveys.journal.ledger import Ledger
from airflow_provider_8x8.surveys.journal.memory import MemoryJournal
from airflow_provider_8x8.surveys.messages.row_keys import ROW_KEY_BYTES, pack
from airflow_provider_8x8.surveys.messages.row_message import InvalidRowError, RowMessage, RowMessages
from airflow_provider_8x8.surveys.outcomes.fates import Fates
from airflow_provider_8x8.surveys.outcomes.report import Report
from airflow_provider_8x8.surveys.settings import Run
from tests.surveys.test_reading import Campaign, person


def row(number: int) -> RowMessage:
    key = number.to_bytes(ROW_KEY_BYTES, "big")
    return RowMessage(
        number, key, str(number), f"+12025550{number:03d}", f"id-{number}", SurveyMessage(destination="+12025550123")
    )


def rows(*numbers: int) -> RowMessages:
    return RowMessages.of(row(number) for number in numbers)


class Reading:
    """A reading of the source that ends by what happens in it."""

    def __init__(self, folder: Path) -> None:
        run = Run("c", "c")
        self._journal = MemoryJournal(0.0)
        self.ledger = Ledger(self._journal, run)
        self._report = Report(folder, "c", "c")
        self.fates = Fates(self.ledger, self._report)
        self.reported: dict[str, list[int]] = {}

    def entry(self, *numbers: int) -> Entry:
        entry = Entry(
            task_instance="c",
            try_number=1,
            client_batch_id=f"batch-{numbers[0]}",
            row_keys=pack(rows(*numbers).row_keys),
            begun=0.0,
            send_by=1.0,
            answer_by=2.0,
            unique_by="destination",
        )
        self.ledger.begin(lambda: entry)
        return entry

    def __enter__(self) -> Fates:
        self._report.__enter__()
        return self.fates.__enter__()

    def __exit__(self, *details: Any) -> None:
        self.fates.__exit__(*details)
        self._report.__exit__(None, None, None)
        for file in self._report.folder.iterdir():
            self.reported[file.stem] = [json.loads(line)["row_number"] for line in file.read_text().splitlines()]


def entered(reading: Reading, fates: Fates, *numbers: int) -> Entry:
    entry = reading.entry(*numbers)
    fates.enter(entry, rows(*numbers))
    return entry


def test_what_is_in_hand_at_the_end_is_not_sent(tmp_path: Path) -> None:
    reading = Reading(tmp_path)
    with suppress(KeyboardInterrupt), reading as fates:
        fates.take(rows(1, 2, 3))
        entered(reading, fates, 1, 3)
        raise KeyboardInterrupt
    assert reading.reported == {"not_sent": [2]}
    assert (fates.tally.not_sent, fates.tally.rows_by_entry, fates.tally.rows_read) == (1, {"batch-1": 2}, 3)


def test_what_is_taken_back_is_in_hand_again(tmp_path: Path) -> None:
    reading = Reading(tmp_path)
    with reading as fates:
        fates.take(rows(1, 2))
        fates.take_back(entered(reading, fates, 1, 2), rows(1, 2))
        entered(reading, fates, 2)
    assert reading.reported == {"not_sent": [1]}
    assert (fates.tally.not_sent, fates.tally.rows_by_entry, fates.tally.rows_read) == (1, {"batch-2": 1}, 2)


def test_a_row_has_one_outcome(tmp_path: Path) -> None:
    reading = Reading(tmp_path)
    with reading as fates:
        fates.take(rows(1, 2, 3))
        fates.report_not_sent(rows(1))
        fates.note_held(row(2), reading.entry(2).client_batch_id)
        fates.note_duplicates([row(4)])
        fates.note_invalid(InvalidRowError.of(row(5), "no"), is_overdue=False)
    assert reading.reported == {"not_sent": [1, 3], "duplicate": [4], "invalid": [5]}
    assert (fates.tally.not_sent, fates.tally.duplicate, fates.tally.invalid, fates.tally.rows_read) == (2, 1, 1, 5)


def test_the_row_that_is_one_too_many_is_reported_like_those_before_it(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path)
    few = [person(number) for number in range(2)]
    summary = campaign.tried(few, [*few, person(3)], max_messages=2)  # more rows when it is read a second time
    reported = Counter(json.loads(line)["outcome"] for file in (tmp_path / "c").iterdir() for line in file.open())
    assert reported == {outcome: count for outcome, count in summary.outcomes.items() if count}
    assert reported == {"not_sent": 3}
