"""A campaign in a SQLite file, an 8x8 that logs what it takes after a while, and a clock between them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa

from airflow_provider_8x8.api.errors import EightByEightError, UnknownOutcomeError
from airflow_provider_8x8.api.models import (
    BatchResponse,
    LogExportRequest,
    LogLine,
    MessageResponse,
    MessageStatus,
    SurveyBatch,
    SurveyMessage,
)
from airflow_provider_8x8.surveys.journal.database import JournalDatabase
from airflow_provider_8x8.surveys.journal.sql_memory import SqlMemory
from airflow_provider_8x8.surveys.journal.task_memory import TaskMemory
from airflow_provider_8x8.surveys.messages.builder import MessageBuilder
from airflow_provider_8x8.surveys.messages.row_keys import RowKeys
from airflow_provider_8x8.surveys.messages.template import Template
from airflow_provider_8x8.surveys.outcomes.summary import Summary
from airflow_provider_8x8.surveys.sending.sender import SurveySender
from airflow_provider_8x8.surveys.settings import Run, Said, Settings
from tests.support.received import messages_of

START = 1_800_000_000.0
MINUTE = 60.0
CANARY = "+12025550199"
NUMBERS = tuple(f"+12025550{number:03d}" for number in range(6))


class FakeClock:
    """Time passes by sleeping, and a little by asking."""

    def __init__(self) -> None:
        self.time = START

    def now(self) -> float:
        self.time += 0.001
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


Fate = Callable[[SurveyBatch, BatchResponse], BatchResponse]


def taken(batch: SurveyBatch, answer: BatchResponse) -> BatchResponse:
    return answer


def answer_lost(batch: SurveyBatch, answer: BatchResponse) -> BatchResponse:
    raise UnknownOutcomeError("no answer")


class EightByEight:
    """
    An 8x8 that takes batches, and logs them after a while.

    :ivar fates: what becomes of each POST in turn; ``None`` for one that it never gets
    :ivar trouble: called before each call about the logs, with what it is for
    """

    subaccount_id, address, timeout = "sandbox_hq", "https://sms.example.com", 60.0

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.lag = 0.0
        self.fates: list[Fate | None] = []
        self.trouble: Callable[[str], None] = lambda what: None
        self.shown: Callable[[LogLine], LogLine] = lambda line: line
        self.canary_status = "QUEUED"
        self.canary_trouble: EightByEightError | None = None
        self.exports: list[LogExportRequest] = []
        self.canaries: list[float] = []
        self.canaries_are_sent_by: list[float] = []
        self.accepted: list[str] = []
        self._lines: list[tuple[float, LogLine]] = []

    def send_survey_batch(
        self, survey_id: str, batch: SurveyBatch, *, send_by: float, on_sent: Callable[[], None]
    ) -> BatchResponse:
        fate = self.fates.pop(0) if self.fates else taken
        on_sent()
        if fate is None:
            raise UnknownOutcomeError("no answer")
        listed = []
        for message in messages_of(batch):
            self.accepted.append(message.destination)
            self._log(str(message.client_message_id), str(batch.client_batch_id))
            listed.append(
                MessageResponse(
                    umid=f"umid-{message.client_message_id}",
                    client_message_id=message.client_message_id,
                    status=MessageStatus(code="QUEUED"),
                )
            )
        answer = BatchResponse(
            batch_id=f"8x8-{batch.client_batch_id}", accepted_count=len(listed), rejected_count=0, messages=listed
        )
        return fate(batch, answer)

    def send_survey(self, survey_id: str, message: SurveyMessage, *, send_by: float) -> Any:
        self.canaries.append(self.clock.time)
        self.canaries_are_sent_by.append(send_by)
        if self.canary_trouble is not None:
            raise self.canary_trouble
        if self.canary_status == "QUEUED":
            self._log(str(message.client_message_id), "")
        said = f"{message.destination} is not a number of yours"
        return SimpleNamespace(status=SimpleNamespace(code=self.canary_status, description=said))

    def start_log_export(self, request: LogExportRequest, *, max_tries: int, timeout: float) -> Any:
        self.trouble("start")
        self.exports.append(request)
        return SimpleNamespace(job_id=str(len(self.exports) - 1))

    def get_log_export(self, job_id: str, *, max_tries: int, timeout: float) -> Any:
        self.trouble("poll")
        return SimpleNamespace(status="succeeded", data=[job_id])

    def read_log_export(self, link: str, *, seconds: float) -> Iterator[LogLine]:
        self.trouble("read")
        request = self.exports[int(link)]
        for accepted, line in list(self._lines):
            is_asked_for = request.from_.timestamp() <= accepted <= request.to.timestamp()
            if is_asked_for and accepted + self.lag <= self.clock.time:
                yield self.shown(line)

    def _log(self, client_message_id: str, client_batch_id: str) -> None:
        line = LogLine(f"umid-{client_message_id}", client_message_id, client_batch_id, "8x8s", "queued", None, None)
        self._lines.append((self.clock.time, line))


class Rows:
    """Numbers as rows."""

    columns = ("destination",)

    def __init__(self, numbers: Sequence[str], read: Callable[[], None]) -> None:
        self._numbers = numbers
        self._read = read

    def __iter__(self) -> Generator[tuple[str], None, None]:
        yield from ((number,) for number in self._numbers)
        self._read()


class Campaign:
    """A campaign in a SQLite file, and the tries of its task instances."""

    def __init__(self, path: Path) -> None:
        self.clock = FakeClock()
        self.eight_by_eight = EightByEight(self.clock)
        self.stop = threading.Event()
        self._path = path
        self._tries: dict[str, int] = {}

    def run(
        self,
        numbers: Sequence[str] = NUMBERS,
        *,
        task: str = "task",
        said: dict[str, Said] | None = None,
        read: Callable[[], None] = lambda: None,
        **settings: Any,
    ) -> Summary:
        """
        Run one try, and return its summary.

        :param read: called each time that the source was read to its end, before what was read last is sent
        """
        number = self._tries[task] = self._tries.get(task, 0) + 1
        engine = sa.create_engine(f"sqlite:///{self._path}", future=True)
        memory = SqlMemory(JournalDatabase(engine, "journal"), task)
        row_keys = RowKeys("campaign")
        try:
            return SurveySender(
                self.eight_by_eight,  # type: ignore[arg-type]  # it does what is needed
                MessageBuilder(row_keys=row_keys, template=Template.parse("{{url}}"), now=self.clock.now),
                row_keys,
                run=Run("campaign", task, number),
                settings=Settings(survey_id="survey", settled_batches=said or {}, **{"batch_size": 2, **settings}),
                journal=TaskMemory(task, number, [memory], connect=_nowhere, clock=self.clock).journal("campaign"),
                stop=self.stop,
                clock=self.clock,
            ).send(Rows(numbers, read))
        finally:
            memory.close()

    def forget_tries(self) -> None:
        """Have the next try of each task be its first, as after its run was deleted and made again."""
        self._tries.clear()


def _nowhere(name: Any) -> Any:
    raise ValueError("there is one journal only")


def outcomes(summary: Summary) -> dict[str, int]:
    assert sum(summary.outcomes.values()) == summary.rows_read
    return {outcome: count for outcome, count in summary.outcomes.items() if count}
