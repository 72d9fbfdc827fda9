"""The report's files: where they lie, and what becomes of them when a storage fails."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path
from typing import Any, Self

import pytest

from airflow_provider_8x8.surveys.journal.entries import Entry, EntryState
from airflow_provider_8x8.surveys.journal.memory import MemoryJournal
from airflow_provider_8x8.surveys.messages.builder import MessageBuilder
from airflow_provider_8x8.surveys.messages.row_keys import RowKeys
from airflow_provider_8x8.surveys.messages.row_message import PlainMessage, RowMessage, RowMessages
from airflow_provider_8x8.surveys.messages.template import Template
from airflow_provider_8x8.surveys.outcomes.lines import BatchLines, ReportLine
from airflow_provider_8x8.surveys.outcomes.outcome import Outcome
from airflow_provider_8x8.surveys.outcomes.report import Report, ReportError
from airflow_provider_8x8.surveys.outcomes.summary import Summary
from airflow_provider_8x8.surveys.sending.sender import SurveySender
from airflow_provider_8x8.surveys.settings import Run, Settings
from tests.journals.entries import entry_of, keys
from tests.surveys.test_sender import Client, SomeRows, rows, taken

FULL_DISK = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def batch(client_batch_id: str) -> Entry:
    return entry_of(client_batch_id, keys(1), state=EntryState.SENT)


def lines_of(*outcomes: Outcome) -> BatchLines:
    """Lines of rows with these outcomes."""
    phone, nothing = "+12025550123", [None] * len(outcomes)
    rows = RowMessages.of(
        RowMessage(number, number.to_bytes(10), phone, phone, f"id-{number}", PlainMessage(phone))
        for number in range(1, len(outcomes) + 1)
    )
    return BatchLines(rows, outcomes, batch_id=None, umids=nothing, codes=nothing, descriptions=nothing)


ODD_NAMES = [
    "",
    ".",
    "..",
    "...",
    "../..",
    "../../etc",
    "/",
    "/absolute",
    "a/b",
    "a\\b",
    "C:\\b",
    "~",
    "~root",
    "_",
    "%",
    "%2E",
    "%2E%2E",
    "CON",
    "con",
    "nul.txt",
    "COM1",
    "march",
    "March",
    "MARCH",
    "march.",
    "march ",
    " march",
    ".march",
    "märz",
    "MÄRZ",
    "ma\u0308rz",
    "one\ntwo",
    "x" * 250,
    "x" * 251,
    "X" * 250,
    "😀" * 250,
    "😀" * 249,
    "'\"`$(id)*?<>|",
]


def name_of(campaign: str) -> str:
    report = Report(Path("/reports"), campaign, campaign)
    assert report.folder.parent == Path("/reports")
    return str(report.folder.name)


@pytest.mark.parametrize("campaign", ODD_NAMES)
def test_a_campaign_of_any_name_stays_in_its_own_folder(campaign: str, tmp_path: Path) -> None:
    with Report(tmp_path, campaign, "a/run") as report:
        report.write_row(ReportLine(row_number=1, outcome=Outcome.INVALID))
        report.write_answers(batch("0123456789abcdefghij"), lines_of(Outcome.ACCEPTED))
    folders = list(tmp_path.iterdir())
    assert folders == [report.folder]
    assert {file.name for file in report.folder.iterdir()} == {"a%2Frun.invalid.jsonl", "0123456789abcdefghij.jsonl"}
    assert not folders[0].name.startswith(".")
    assert not folders[0].name.endswith((".", " "))


def test_two_campaigns_never_share_a_folder_whatever_the_file_system() -> None:
    names = [name_of(campaign) for campaign in ODD_NAMES]
    assert len({name.lower() for name in names}) == len(ODD_NAMES)
    assert max(len(name.encode()) for name in names) <= 255 - len(".already_sent.jsonl")


def test_a_hashed_name_is_nobody_elses() -> None:
    assert name_of("March") != name_of(name_of("March"))


def test_a_plain_name_stays_readable() -> None:
    assert name_of("2026-03/orders") == "2026-03%2Forders"


@pytest.mark.parametrize("client_batch_id", ["q4/2026-abcdef", "../../abcdef", "/abcdef", "..", 'a"b c', "märz-abc"])
def test_a_batch_of_any_name_stays_in_its_campaigns_folder(client_batch_id: str, tmp_path: Path) -> None:
    with Report(tmp_path, "march", "march") as report:
        report.write_answers(batch(client_batch_id), lines_of(Outcome.ACCEPTED))
        assert report.has_batch(client_batch_id)
    assert len(list((tmp_path / "march").iterdir())) == 1
    report.take_back_batch(client_batch_id, with_rows=False)
    assert list(tmp_path.rglob("*")) == [tmp_path / "march"]


class FailingFile:
    """A file that fails at one of its calls, as a full disk or an object store does."""

    def __init__(self, fails_at: str) -> None:
        self._fails_at = fails_at

    def __enter__(self) -> FailingFile:
        return self

    def __exit__(self, *details: Any) -> None:
        if self._fails_at == "close":
            raise FULL_DISK

    def write(self, content: bytes) -> None:
        if self._fails_at == "write":
            raise FULL_DISK


class FailingPath:
    """A path of a storage on which one kind of call fails; the trial is over by then."""

    protocol = "memory"
    fails_at_trial = False

    def __init__(self, fails_at: str, name: str = "memory://reports") -> None:
        self._fails_at = fails_at if self.fails_at_trial or not name.endswith(".part") else "nothing"
        self._name = name

    def __truediv__(self, name: str) -> Self:
        return type(self)(self._fails_at, f"{self._name}/{name}")

    def __str__(self) -> str:
        return self._name

    def mkdir(self, **options: bool) -> None:
        self._do("mkdir")

    def exists(self) -> bool:
        self._do("exists")
        return False

    def unlink(self, *, missing_ok: bool) -> None:
        self._do("unlink")

    def open(self, mode: str) -> FailingFile:
        self._do("open")
        return FailingFile(self._fails_at)

    def write_bytes(self, content: bytes) -> None:
        self._do("write_bytes")

    def _do(self, what: str) -> None:
        if what == self._fails_at:
            raise FULL_DISK


class UnwritablePath(FailingPath):
    """One on which it fails from the beginning."""

    fails_at_trial = True


def send(report: Report, source: SomeRows | None = None, client: Client | None = None) -> Summary:
    row_keys = RowKeys("campaign")
    sender = SurveySender(
        client or Client(taken),  # type: ignore[arg-type]  # it does what is needed
        MessageBuilder(row_keys=row_keys, template=Template.parse("{{url}}")),
        row_keys,
        run=Run("campaign", "run"),
        settings=Settings(survey_id="orders", batch_size=2),
        journal=MemoryJournal(),
        report=report,
    )
    return sender.send(source or rows(5))


@pytest.mark.parametrize("fails_at", ["unlink", "open", "write", "close"])
def test_nobody_is_texted_where_the_folder_cannot_be_written(fails_at: str) -> None:
    """Making an object store's folder proves nothing, nor does one on a disk that is there."""
    client = Client(taken)
    summary = send(Report(UnwritablePath(fails_at), "campaign", "run"), client=client)
    assert summary.stop == "the report in memory://reports/campaign failed: OSError: No space left on device"
    assert not summary.is_final
    assert not client.batches


def test_the_trial_leaves_nothing_in_the_folder(tmp_path: Path) -> None:
    with Report(tmp_path, "campaign", "run") as report:
        assert list(report.folder.iterdir()) == []


@pytest.mark.parametrize("fails_at", ["mkdir", "unlink", "open", "write", "close", "write_bytes"])
def test_whichever_call_fails_there_is_a_summary_that_says_so(fails_at: str) -> None:
    client = Client(taken)
    source = SomeRows({}, {}, {"destination": "none"}, {}, {})
    summary = send(Report(FailingPath(fails_at), "campaign", "run"), source, client)
    assert summary.stop is not None
    assert "the report in memory://reports/campaign failed: OSError: No space left on device" in summary.stop
    assert not summary.is_final
    assert sum(summary.outcomes.values()) == summary.rows_read
    assert summary.outcomes["accepted"] == sum(1 for batch in client.batches for _ in taken(batch).messages or ())


def test_what_ends_a_task_is_not_hidden_by_a_report_that_cannot_be_closed(caplog: pytest.LogCaptureFixture) -> None:
    class TaskTimeout(BaseException):
        pass

    def run_into_the_timeout() -> None:
        with Report(FailingPath("close"), "campaign", "run") as report:
            report.write_row(ReportLine(row_number=1, outcome=Outcome.INVALID))
            raise TaskTimeout

    with caplog.at_level(logging.WARNING), pytest.raises(TaskTimeout):
        run_into_the_timeout()
    assert "No space left on device" in caplog.text


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "campaign").write_text("")
    summary = send(Report(tmp_path, "campaign", "run"))
    assert summary.stop == f"the report in {tmp_path / 'campaign'} failed: FileExistsError: File exists"


def test_a_file_that_cannot_be_put_in_its_place_leaves_nothing_behind(tmp_path: Path) -> None:
    with Report(tmp_path, "campaign", "run") as report:
        (report.folder / "0123456789abcdefghij.jsonl").mkdir()
        with pytest.raises(ReportError, match="IsADirectoryError"):
            report.write_answers(batch("0123456789abcdefghij"), lines_of(Outcome.ACCEPTED))
    assert [path.name for path in report.folder.iterdir()] == ["0123456789abcdefghij.jsonl"]


def test_a_damaged_file_of_an_earlier_try_does_not_stop_a_later_one(tmp_path: Path) -> None:
    with Report(tmp_path, "campaign", "run") as report:
        (report.folder / "0123456789abcdefghij.jsonl").write_bytes(b'{"outcome": "acce')
        report.take_back_batch("0123456789abcdefghij", with_rows=True)
    assert list(report.folder.iterdir()) == []


def test_an_error_of_a_storage_shows_no_number() -> None:
    class Telling(FailingPath):
        def __truediv__(self, name: str) -> Telling:
            return self

        def mkdir(self, **options: bool) -> None:
            raise ValueError("cannot store +1 202 555 0123")

    summary = send(Report(Telling("nothing"), "campaign", "run"))
    assert summary.stop == "the report in memory://reports failed: ValueError: cannot store +12*******23"


@pytest.mark.parametrize(
    ("outcomes", "is_lacking"),
    [
        ([Outcome.ACCEPTED] * 3, False),
        ([], True),
        ([Outcome.ACCEPTED] * 2, True),
        ([Outcome.UNKNOWN] * 3, True),  # by a process that stood still, over what was found out meanwhile
        ([Outcome.ACCEPTED, Outcome.UNKNOWN, Outcome.ACCEPTED], True),
    ],
)
def test_a_sent_batch_is_lacking_unless_its_file_says_what_the_journal_does(
    tmp_path: Path, outcomes: list[Outcome], *, is_lacking: bool
) -> None:
    sent = entry_of("batch-1", keys(1, 2, 3), state=EntryState.SENT)
    with Report(tmp_path, "campaign", "campaign") as report:
        if outcomes:
            report.write_answers(sent, lines_of(*outcomes))
        assert report.compare([sent]) == ({"batch-1"} if is_lacking else set())
