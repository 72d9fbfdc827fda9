"""
A simulated 8x8, and the client that a process has of it.

It deduplicates nothing. What it has taken in is taken when the last piece of a request is handed over; all that comes
after may be lost. The client honours ``send_by`` as :mod:`airflow_provider_8x8.api.transport` does: the clock is read
and the last piece handed over in one step.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from airflow_provider_8x8.api.client import DEFAULT_TIMEOUT
from airflow_provider_8x8.api.errors import (
    EightByEightError,
    NeverSentError,
    RateLimitedError,
    RefusedError,
    UnknownOutcomeError,
)
from airflow_provider_8x8.api.models import (
    BatchResponse,
    CancelResponse,
    LogExport,
    LogExportJob,
    LogExportRequest,
    LogLine,
    MessageResponse,
    MessageStatus,
    SurveyBatch,
    SurveyMessage,
)
from tests.simulation.message_logs import Lag, Logged
from tests.simulation.worlds import Process, World
from tests.support.received import messages_of

SUBACCOUNT = "simulated_hq"

_LONGEST_WAY = 2.0
"""Seconds from the last piece's handing over until 8x8 has it, at most."""


@dataclass(slots=True)
class Habits:
    """
    What this 8x8 does.

    :ivar faults: how likely each is, by name
    :ivar refuses_bad_rows: one bad row is a 400 for the whole batch, else a REJECTED row
    :ivar bad: which row keys are bad, with 8x8's code
    :ivar refuses_all: until all is calm every batch is refused by this code, whatever rows are in it
    :ivar logs_rejected: rejected messages show in the logs
    :ivar logs_scheduled_late: a scheduled message shows in the logs only when it goes out
    :ivar clock: how far its clock is ahead
    :ivar script: what becomes of each POST in turn, instead of chance
    :ivar honours_send_by: off, the client hands over a last piece that comes too late
    :ivar cancels_again: a call counts what was cancelled before, too
    :ivar tells_cut_files: off, a file of a log export that was cut off reads as a whole one
    """

    lag: Lag
    faults: dict[str, float] = field(default_factory=dict)
    refuses_bad_rows: bool = False
    bad: dict[str, int] = field(default_factory=dict)
    refuses_all: int | None = None
    logs_rejected: bool = True
    logs_scheduled_late: bool = False
    clock: float = 0.0
    script: list[str] = field(default_factory=list)
    honours_send_by: bool = True
    tells_cut_files: bool = True
    cancels_again: bool = False


class Taken(NamedTuple):
    """
    A batch that 8x8 has accepted.

    :ivar keys: the row keys of its messages that are, or will be, texted
    :ivar cancelled: those of its messages that were cancelled
    :ivar gone: those that cannot be cancelled any more
    """

    client_batch_id: str
    batch_id: str
    run: str
    keys: list[str]
    cancelled: list[str]
    gone: list[str]


class EightByEight:
    """The other side of the wire."""

    def __init__(self, world: World, habits: Habits) -> None:
        self.world = world
        self.habits = habits
        self.accepted: Counter[str] = Counter()
        """How often each row key was accepted."""
        self.accepted_by_run: dict[str, Counter[str]] = {}
        self.rejected: set[str] = set()
        self.on_accept: Callable[[str, str], None] = lambda key, client_batch_id: None
        """Called when a row key is accepted a second time, with the batch that it was in."""
        self.on_count: Callable[[str, str], None] = lambda key, client_batch_id: None
        """Likewise each time."""
        self.taken: list[Taken] = []
        self.posts = self.canaries = 0
        self.in_flight: dict[str, Process] = {}
        """By client batch id, whose call has not ended."""
        self._logged: list[Logged] = []
        self._exports: dict[str, tuple[float, LogExportRequest, float]] = {}
        self._files: dict[str, list[LogLine]] = {}
        self._numbers = 0
        self._cancelled_before: dict[str, int] = {}

    def happens(self, fault: str) -> bool:
        """Throw the dice for a fault."""
        return self.world.happens(self.habits.faults.get(fault, 0.0))

    # sending

    def take(self, run: str, batch: SurveyBatch) -> BatchResponse | EightByEightError:
        """Take in a whole request; return what it answers, if that is not lost."""
        fate = self._fate()
        self.posts += 1
        messages = messages_of(batch)
        self.world.note("8x8 has all of %s, %s: %s", batch.client_batch_id, [_key(m) for m in messages], fate)
        if fate == "429":
            return RateLimitedError(429, 1, "too many requests")
        if fate == "401":
            return RefusedError(401, 1200, "unauthorized")
        if fate in ("lost_before", "500_before"):
            return UnknownOutcomeError(fate)
        if self.habits.refuses_all is not None and not self.world.is_calm:
            return RefusedError(400, self.habits.refuses_all, "something that all have in common")
        bad = next((code for m in messages if (code := self.habits.bad.get(_key(m)))), None)
        if bad is not None and self.habits.refuses_bad_rows:
            self.rejected.update(_key(m) for m in messages if _key(m) in self.habits.bad)
            return RefusedError(400, bad, "a bad row")
        answer = self._accept(run, batch, messages)
        if fate in ("lost_after", "500_after"):
            return UnknownOutcomeError(fate)
        return self._odd(answer) if self.happens("odd") else answer

    def _fate(self) -> str:
        if self.habits.script:
            return self.habits.script.pop(0)
        for fate in ("429", "401", "lost_before", "500_before", "lost_after", "500_after"):
            if self.happens(fate):
                return fate
        return "taken"

    def _accept(self, run: str, batch: SurveyBatch, messages: list[SurveyMessage]) -> BatchResponse:
        accepted_at = self.world.now
        batch_id = f"batch-{self._next()}"
        taken = Taken(batch.client_batch_id or "", batch_id, run, [], [], [])
        self.taken.append(taken)
        answers = []
        for message in messages:
            key = _key(message)
            is_bad = key in self.habits.bad or self.happens("rejected_row")
            if is_bad:
                self.rejected.add(key)
            else:
                self._count(run, key, taken.client_batch_id)
                taken.keys.append(key)
            umid = f"umid-{self._next()}"
            self._log(accepted_at, message, batch.client_batch_id or "", batch_id, umid, is_rejected=is_bad, of=batch)
            status = MessageStatus(code="REJECTED" if is_bad else "QUEUED", description="bad" if is_bad else "")
            answers.append(MessageResponse(umid=umid, status=status, client_message_id=message.client_message_id))
        self.world.random.shuffle(answers)
        rejected = sum(answer.status.code == "REJECTED" for answer in answers)
        return BatchResponse(
            batch_id=batch_id,
            accepted_count=len(answers) - rejected,
            rejected_count=rejected,
            client_batch_id=batch.client_batch_id,
            messages=answers,
        )

    def _count(self, run: str, key: str, client_batch_id: str) -> None:
        self.accepted[key] += 1
        self.accepted_by_run.setdefault(run, Counter())[key] += 1
        self.on_count(key, client_batch_id)
        if self.accepted[key] > 1:
            self.on_accept(key, client_batch_id)

    def cancel(self, batch_id: str) -> int:
        """Cancel what has not gone out of a batch; return how many messages that says it was."""
        taken = next(each for each in self.taken if each.batch_id == batch_id)
        for key in list(taken.keys):
            if key in taken.gone or self.happens("gone"):
                taken.gone.append(key)
                continue
            taken.keys.remove(key)
            taken.cancelled.append(key)
            self.accepted[key] -= 1
            self.accepted_by_run[taken.run][key] -= 1
        before = 0 if self.habits.cancels_again else self._cancelled_before.get(batch_id, 0)
        self._cancelled_before[batch_id] = len(taken.cancelled)
        return len(taken.cancelled) - before

    def _odd(self, answer: BatchResponse) -> BatchResponse:
        """Make an answer that does not add up, but says of no message what is not so."""
        chance = self.world.random
        messages = list(answer.messages or ())
        kind = chance.choice(("no list", "short list", "short list and counts", "wrong counts", "stranger"))
        self.world.note("its answer is odd: %s", kind)
        if kind == "no list":
            return BatchResponse(
                batch_id=answer.batch_id, accepted_count=answer.accepted_count, rejected_count=answer.rejected_count
            )
        if kind == "stranger":
            messages.append(
                MessageResponse(umid="u", status=MessageStatus(code="QUEUED"), client_message_id="not ours")
            )
        if kind.startswith("short"):
            messages = messages[: chance.randrange(len(messages))]
        accepted, rejected = answer.accepted_count, answer.rejected_count
        if kind == "short list and counts":
            accepted = sum(message.status.code == "QUEUED" for message in messages)
            rejected = len(messages) - accepted
        if kind == "wrong counts":
            accepted, rejected = chance.randrange(5), chance.randrange(5)
        return BatchResponse(
            batch_id=answer.batch_id, accepted_count=accepted, rejected_count=rejected, messages=messages
        )

    def take_canary(self, message: SurveyMessage) -> MessageResponse | EightByEightError:
        """Take in a survey of its own."""
        self.canaries += 1
        fate = self._fate() if not self.habits.script else "taken"
        if fate in ("429", "401"):
            return RefusedError(429, 1, "too many requests")
        if fate in ("lost_before", "500_before"):
            return UnknownOutcomeError(fate)
        umid = f"umid-{self._next()}"
        self._log(self.world.now, message, "", f"batch-{self._next()}", umid, is_rejected=False)
        if fate in ("lost_after", "500_after"):
            return UnknownOutcomeError(fate)
        return MessageResponse(umid=umid, status=MessageStatus(code="QUEUED"))

    # logs

    def _log(
        self,
        accepted_at: float,
        message: SurveyMessage,
        client_batch_id: str,
        batch_id: str,
        umid: str,
        *,
        is_rejected: bool,
        of: SurveyBatch | None = None,
    ) -> None:
        if is_rejected and not self.habits.logs_rejected:
            return
        line = LogLine(
            umid=umid,
            client_message_id=message.client_message_id or "",
            client_batch_id=client_batch_id,
            batch_id=batch_id,
            status="rejected" if is_rejected else "queued",
            code="1" if is_rejected else None,
            description=None,
        )
        logged_at = accepted_at
        if self.habits.logs_scheduled_late and of is not None and of.template is not None and of.template.scheduled:
            logged_at = max(accepted_at, of.template.scheduled.timestamp())
        appears = self.habits.lag.appearance(logged_at, self.world.random)
        self._logged.append(Logged(accepted_at + self.habits.clock, appears, line))

    def begin_export(self, request: LogExportRequest) -> str:
        """Take an order."""
        job_id = f"job-{self._next()}"
        polls: float = 0 if self.world.is_calm else self.world.random.choice((0, 0, 1, 2))
        if self.happens("export_endless"):
            polls = math.inf
        self._exports[job_id] = (self.world.now, request, polls)
        return job_id

    def export(self, job_id: str) -> LogExport:
        """Tell how far it is; when it is ready its files are."""
        asked_at, request, polls = self._exports[job_id]
        if polls:
            self._exports[job_id] = (asked_at, request, polls - 1)
            return LogExport(status=self.world.random.choice(("queued", "running")))
        if self.happens("export_failed"):
            return LogExport(status=self.world.random.choice(("failed", "cancelled", "error")))
        lines = list(self._seen(asked_at, request))
        if not lines and self.world.random.random() < 0.5:
            return LogExport(status="empty")
        self.world.random.shuffle(lines)
        middle = self.world.random.randrange(len(lines) + 1)
        links = [f"{job_id}/1", f"{job_id}/2"]
        self._files.update(zip(links, (lines[:middle], lines[middle:]), strict=True))
        return LogExport(status="succeeded", data=links)

    def _seen(self, asked_at: float, request: LogExportRequest) -> Iterator[LogLine]:
        """Yield what shows: each line is looked for at some moment between the asking and now."""
        chance = self.world.random
        is_snapshot = chance.random() < 0.5
        first, last = request.from_.timestamp(), request.to.timestamp()
        for logged in self._logged:
            looked_at = asked_at if is_snapshot else chance.uniform(asked_at, self.world.now)
            if logged.appears <= looked_at and first <= logged.created <= last:
                yield logged.line

    def file(self, link: str) -> list[LogLine]:
        """Return an export's file."""
        return self._files[link]

    def _next(self) -> int:
        self._numbers += 1
        return self._numbers


class Client:
    """What a process has of 8x8: the methods of :class:`~airflow_provider_8x8.api.client.EightByEightClient`."""

    subaccount_id = SUBACCOUNT
    timeout = DEFAULT_TIMEOUT
    address = "simulated"

    def __init__(self, process: Process, server: EightByEight, run: str) -> None:
        self._process = process
        self._server = server
        self._run = run
        self.canaries = 0
        self.on_post: Callable[[], None] = lambda: None

    def send_survey_batch(
        self, survey_id: str, batch: SurveyBatch, *, send_by: float, on_sent: Callable[[], None]
    ) -> BatchResponse:
        """POST a batch, once."""
        self.on_post()
        self._server.in_flight[str(batch.client_batch_id)] = self._process
        try:
            return self._post(batch, send_by, on_sent)
        finally:
            del self._server.in_flight[str(batch.client_batch_id)]

    def _post(self, batch: SurveyBatch, send_by: float, on_sent: Callable[[], None]) -> BatchResponse:
        process, server = self._process, self._server
        process.touch("POST: connect")
        ends_at = process.world.now + DEFAULT_TIMEOUT
        if server.happens("never_sent"):
            raise NeverSentError("connection refused")
        self._check_time(send_by, ends_at)
        process.touch("POST: body")
        self._check_time(send_by, ends_at)
        if server.happens("never_complete"):
            raise NeverSentError("connection lost, the last piece was withheld")
        process.touch("POST: last piece")
        self._check_time(send_by, ends_at)
        answer = server.take(self._run, batch)
        on_sent()
        if server.happens("slow_answer"):
            process.world.wait(process.world.random.uniform(0.0, 1.1 * DEFAULT_TIMEOUT))
        process.touch("POST: answer")
        if process.world.now > ends_at:
            raise UnknownOutcomeError("timeout")
        if isinstance(answer, EightByEightError):
            raise answer
        process.touch("POST: answered")
        return answer

    def cancel_batch(self, batch_id: str, *, max_tries: int) -> CancelResponse:
        """Cancel a batch, once."""
        process, server = self._process, self._server
        process.touch("DELETE: send")
        if server.happens("429"):
            raise RateLimitedError(429, 1, "too many requests")
        if server.happens("lost_before"):
            raise UnknownOutcomeError("lost_before")
        count = server.cancel(batch_id)
        process.world.note("8x8 cancels %d of %s", count, batch_id)
        process.touch("DELETE: answer")
        if server.happens("lost_after"):
            raise UnknownOutcomeError("lost_after")
        return CancelResponse(cancelled_count=count)

    def _check_time(self, send_by: float, ends_at: float) -> None:
        if self._process.world.now >= ends_at:
            raise NeverSentError("the time was over")
        if self._server.habits.honours_send_by and self._process.clock() >= send_by:
            raise NeverSentError("the time was over, the last piece was withheld")

    def send_survey(self, survey_id: str, message: SurveyMessage, *, send_by: float) -> MessageResponse:
        """POST the canary."""
        self.canaries += 1
        if self.canaries > 1:
            self._server.world.violate("a try sent a second canary")
        ends_at = self._process.world.now + DEFAULT_TIMEOUT
        self._process.touch("canary: last piece")
        self._check_time(send_by, ends_at)
        answer = self._server.take_canary(message)
        self._process.touch("canary: answer")
        if isinstance(answer, EightByEightError):
            raise answer
        return answer

    def start_log_export(self, request: LogExportRequest, *, max_tries: int, timeout: float) -> LogExportJob:
        """Order an export."""
        self._process.touch("export: order")
        self._fail_at_times()
        job_id = self._server.begin_export(request)
        self._process.touch("export: ordered")
        return LogExportJob(job_id=job_id)

    def get_log_export(self, job_id: str, *, max_tries: int, timeout: float) -> LogExport:
        """Ask how an export stands."""
        self._process.touch("export: ask")
        self._fail_at_times()
        return self._server.export(job_id)

    def read_log_export(self, link: str, *, seconds: float) -> Generator[LogLine, None, None]:
        """Read a file, perhaps not to its end."""
        self._process.touch("export: read")
        self._fail_at_times()
        lines = self._server.file(link)
        is_cut = self._server.happens("export_cut")
        yield from lines[: self._server.world.random.randrange(len(lines) + 1)] if is_cut else lines
        if is_cut and self._server.habits.tells_cut_files:
            raise UnknownOutcomeError("the file was cut off")

    def _fail_at_times(self) -> None:
        if self._server.happens("export_429"):
            limited = RateLimitedError(429, 1, "too many requests")
            limited.retry_after = self._server.world.random.choice((None, 0.0, 3.0, 40.0))
            raise limited
        if self._server.happens("export_gone"):
            raise RefusedError(404, 1300, "no such job")
        if self._server.happens("export_unreachable"):
            raise UnknownOutcomeError("no answer")
        if self._server.happens("export_refused"):
            raise RefusedError(403, 1201, "no exports here")


def _key(message: SurveyMessage) -> str:
    return str((message.template_variables or {})["k"])
