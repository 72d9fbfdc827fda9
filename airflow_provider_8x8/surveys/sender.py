"""
The loop: rows -> messages -> batches -> 8x8 -> report -> summary.

Every row read ends in exactly one outcome, whatever happens, and nothing is posted twice: a batch whose outcome is
unknown stays unknown, unless the caller chose to resend it.
"""

from __future__ import annotations

import logging
import secrets
import string
import time
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from airflow_provider_8x8.api.client import EightByEightClient
from airflow_provider_8x8.api.errors import (
    EightByEightError,
    RefusedError,
    UnknownOutcomeError,
)
from airflow_provider_8x8.api.masking import mask_phone_numbers
from airflow_provider_8x8.api.models import (
    MAX_BATCH_SIZE,
    MAX_CLIENT_BATCH_ID_LENGTH,
    BatchResponse,
    SurveyBatch,
)
from airflow_provider_8x8.surveys.messages import (
    ColumnsError,
    InvalidRowError,
    MessageBuilder,
    RowMessage,
    Rows,
)
from airflow_provider_8x8.surveys.report import Outcome, Report, ReportLine

log = logging.getLogger(__name__)

MAX_CLIENT_BATCH_ID_PREFIX_LENGTH = 8
MAX_INVALID_SAMPLES = 10

MAX_REFUSALS = 200
"""Refusals of one batch's halves, after which the batch as a whole must be wrong."""

MAX_UNKNOWN_IN_A_ROW = 3
"""Batches of unknown outcome, one after the other, after which 8x8 is not well and sending stops."""

_ID_ALPHABET = string.ascii_lowercase + string.digits

# Refusals that one bad row can cause (8x8's page "API error codes").
_ROW_LEVEL_CODES = frozenset({1000, 1002, 1004, 1009, 3009, 3011, 3018})
_ROW_LEVEL_IF_OWN = {
    1003: "encoding",
    1005: "source",
    1006: "expiry",
    1007: "template_body",
    1011: "scheduled",
    3020: "dlr_callback_url",
}


class OnUnknown(StrEnum):
    """What to do about a batch that 8x8 may have accepted, or not."""

    FAIL = "fail"
    ASSUME_SENT = "assume_sent"
    RESEND = "resend"


class OnInvalid(StrEnum):
    """What to do about rows that cannot be sent."""

    SKIP = "skip"
    FAIL = "fail"


@dataclass(slots=True)
class Summary:
    """
    What became of the rows; the counts of outcomes add up to ``rows_read``.

    :ivar client_batch_ids: of every batch that 8x8 has or may have
    :ivar unknown_client_batch_ids: those among them of which nobody knows
    :ivar report: where the report is
    :ivar stop: why sending ended before the source did, phone numbers masked
    """

    campaign_id: str
    rows_read: int = 0
    batch_ids: list[str] = field(default_factory=list)
    client_batch_ids: list[str] = field(default_factory=list)
    unknown_client_batch_ids: list[str] = field(default_factory=list)
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    invalid_samples: list[str] = field(default_factory=list)
    report: str | None = None
    stop: str | None = None


class _Duplicate(NamedTuple):
    """A row whose row key came earlier in the source."""

    content: RowMessage


class _Stopped(Exception):  # noqa: N818  # not an error in itself: the reason to end the loop from wherever it is
    """Sending must not go on."""


@dataclass(slots=True)
class _Row:
    """A row on its way through a batch."""

    number: int
    content: RowMessage
    outcome: Outcome = "not_sent"
    umid: str | None = None
    code: str | int | None = None
    description: str | None = None

    @property
    def client_message_id(self) -> str:
        return str(self.content.message.client_message_id)

    def line(self, batch_id: str | None) -> ReportLine:
        return ReportLine(
            row_number=self.number,
            outcome=self.outcome,
            row_key=self.content.unique_value,
            client_message_id=self.client_message_id,
            destination=self.content.message.destination,
            umid=self.umid,
            batch_id=batch_id,
            code=self.code,
            description=self.description,
        )


class SurveySender:
    """
    Sends the surveys of one campaign.

    :param client: the sub-account to send from
    :param survey_id: which survey
    :param builder: makes messages of rows
    :param campaign_id: see :class:`~airflow_provider_8x8.surveys.messages.MessageBuilder`
    :param batch_size: messages in one batch, 1 to 10,000
    :param client_batch_id_prefix: at most 8 characters in front of every client batch id
    :param max_messages: more sendable rows than this, and nothing is sent at all
    :param on_invalid: ``fail``: one invalid row, and nothing is sent at all
    :param on_unknown: what to do about a batch of unknown outcome
    :param report: where each row's outcome is written
    """

    def __init__(
        self,
        client: EightByEightClient,
        survey_id: str,
        builder: MessageBuilder,
        *,
        campaign_id: str,
        batch_size: int = MAX_BATCH_SIZE,
        client_batch_id_prefix: str = "",
        max_messages: int | None = None,
        on_invalid: OnInvalid = OnInvalid.SKIP,
        on_unknown: OnUnknown = OnUnknown.FAIL,
        report: Report | None = None,
    ) -> None:
        self._client = client
        self._survey_id = survey_id
        self._builder = builder
        self._batch_size = batch_size
        self._client_batch_id_prefix = client_batch_id_prefix
        self._max_messages = max_messages
        self._on_invalid = on_invalid
        self._on_unknown = on_unknown
        self._report = report
        self._unknown_in_a_row = 0
        self._began = 0.0
        self.summary = Summary(campaign_id, report=None if report is None else str(report.folder))

    def send(self, rows: Rows) -> Summary:
        """
        Read the rows once (twice if something has to be known before the first is sent), and send them.

        What goes wrong on the way is in the summary's ``stop``, beside the outcomes of all rows read until then.

        :raises ColumnsError: the source as a whole lacks a column; nothing was sent
        """
        with self._report or nullcontext():
            try:
                if self._max_messages is not None or self._on_invalid is OnInvalid.FAIL:
                    self._inspect(rows)
                self._began = time.monotonic()
                with closing(self._batches(rows)) as batches:
                    for batch in batches:
                        self._send_batch(batch)
            except _Stopped as stopped:
                self.summary.stop = str(stopped)
        return self.summary

    # rows -> messages -> batches

    def _inspect(self, rows: Rows) -> None:
        """Read the source once without sending, for what forbids to send any of it."""
        sendable = 0
        with closing(self._read(rows)) as numbered:
            for number, found in numbered:
                if isinstance(found, InvalidRowError) and self._on_invalid is OnInvalid.FAIL:
                    self._take_sample(number, found)
                    sample = self.summary.invalid_samples[0]
                    raise _Stopped(f"nothing was sent, because on_invalid is 'fail': {sample}")
                sendable += isinstance(found, RowMessage)
                self._check_max_messages(sendable, "nothing was sent")

    def _check_max_messages(self, sendable: int, consequence: str) -> None:
        if self._max_messages is not None and sendable > self._max_messages:
            raise _Stopped(
                f"the source has more than max_messages={self._max_messages} rows to send; {consequence}",
            )

    def _batches(self, rows: Rows) -> Generator[list[_Row], None, None]:
        """Gather messages into batches; a row that goes into none gets its outcome here."""
        batch: list[_Row] = []
        ids: set[str] = set()
        sendable = 0
        try:
            with closing(self._read(rows)) as numbered:
                for number, found in numbered:
                    self.summary.rows_read = number
                    row = self._row_to_send(number, found, ids)
                    if row is None:
                        continue
                    batch.append(row)
                    sendable += 1
                    self._check_max_messages(sendable, "the rest was not sent")
                    if len(batch) == self._batch_size:
                        full, batch, ids = batch, [], set()
                        yield full
            if batch:
                full, batch = batch, []
                yield full
        finally:
            if batch:  # the source failed, or the campaign must not go on
                self._settle(self._new_client_batch_id(), batch, batch_id=None)

    def _row_to_send(self, number: int, found: RowMessage | InvalidRowError | _Duplicate, ids: set[str]) -> _Row | None:
        """Return what goes into the batch with these client message ids; note the outcome of what does not."""
        if isinstance(found, _Duplicate):
            self._note_duplicate(number, found.content)
            return None
        if isinstance(found, InvalidRowError):
            self._note_invalid(number, found)
            return None
        row = _Row(number, found)
        if row.client_message_id in ids:
            # 8x8's answer could not be told apart.
            self._note_invalid(number, InvalidRowError("another row has its client_message_id, too"))
            return None
        ids.add(row.client_message_id)
        return row

    def _read(self, rows: Rows) -> Generator[tuple[int, RowMessage | InvalidRowError | _Duplicate], None, None]:
        """Yield every row's number with its message, the reason why it has none, or that it came before."""
        seen: set[bytes] = set()
        with closing(iter(rows)) as source:  # a query's connection must not outlive a stop
            for number, row in enumerate(_guarded(source), 1):
                if number == 1:
                    columns = rows.columns if rows.columns is not None else getattr(row, "keys", tuple)()
                    self._builder.use_columns(columns, complete=rows.columns is not None)
                try:
                    content = self._builder.build(row)
                except InvalidRowError as error:
                    yield number, error
                    continue
                if content.row_key in seen:
                    yield number, _Duplicate(content)
                else:
                    seen.add(content.row_key)
                    yield number, content

    def _note_invalid(self, number: int, error: InvalidRowError) -> None:
        self.summary.outcomes["invalid"] += 1
        self._take_sample(number, error)
        with self._reporting() as report:
            if report:
                report.write_row(ReportLine(row_number=number, outcome="invalid", description=str(error)))

    def _take_sample(self, number: int, error: InvalidRowError) -> None:
        if len(self.summary.invalid_samples) < MAX_INVALID_SAMPLES:
            self.summary.invalid_samples.append(f"Row {number}: {error}")

    def _note_duplicate(self, number: int, content: RowMessage) -> None:
        self.summary.outcomes["duplicate"] += 1
        with self._reporting() as report:
            if report:
                line = _Row(number, content, outcome="duplicate").line(batch_id=None)
                line.description = "an earlier row of this source has its row key"
                report.write_row(line)

    # batches -> 8x8 -> report -> summary

    def _send_batch(self, batch: list[_Row]) -> None:
        """Send a batch, halving what 8x8 refuses for a row's sake until the bad rows are alone."""
        waiting = deque([batch])
        refusals = 0
        first_single: RefusedError | None = None
        anything_accepted = False
        while waiting:
            part = waiting.popleft()
            try:
                anything_accepted |= self._post(part)
            except RefusedError as refused:
                refusals += 1
                as_a_whole = not self._may_be_a_row(refused) or refusals >= MAX_REFUSALS
                if len(part) == 1 and not as_a_whole:
                    alike = first_single is not None and first_single.code == refused.code
                    as_a_whole = alike and not anything_accepted
                    first_single = first_single or refused
                if as_a_whole:
                    self._leave_unsent([part, *waiting])
                    raise _Stopped(str(refused)) from None
                if len(part) == 1:
                    self._reject(part, refused)
                else:
                    log.info("8x8 refused %d messages, sending them as two halves: %s", len(part), refused)
                    middle = len(part) // 2
                    waiting.extendleft((part[middle:], part[:middle]))
            except EightByEightError as error:
                self._leave_unsent([part, *waiting])
                raise _Stopped(str(error)) from None
            except _Stopped:
                self._leave_unsent(waiting)
                raise

    def _post(self, part: list[_Row]) -> bool:
        """
        Post one batch and settle its rows; tell whether 8x8 accepted any.

        :raises EightByEightError: 8x8 has nothing of it: the rows are not settled
        :raises _Stopped: sending must not go on: the rows are settled
        """
        while True:
            client_batch_id = self._new_client_batch_id()
            log.debug("Sending a batch of %d messages, client batch id %s", len(part), client_batch_id)
            try:
                response = self._client.send_survey_batch(self._survey_id, self._request(client_batch_id, part))
            except UnknownOutcomeError as unknown:
                self._unknown_in_a_row += 1
                self.summary.client_batch_ids.append(client_batch_id)
                log.warning("Batch %s of %d messages: outcome unknown: %s", client_batch_id, len(part), unknown)
                if self._on_unknown is OnUnknown.RESEND and self._unknown_in_a_row < MAX_UNKNOWN_IN_A_ROW:
                    continue
                self._leave_unknown(client_batch_id, part, unknown)
                return False
            self._unknown_in_a_row = 0
            _match(part, response)
            self.summary.client_batch_ids.append(client_batch_id)
            self.summary.batch_ids.append(response.batch_id)
            self._settle(client_batch_id, part, response.batch_id)
            self._log_progress(response)
            return response.accepted_count > 0

    def _request(self, client_batch_id: str, part: list[_Row]) -> SurveyBatch:
        return SurveyBatch(
            messages=[row.content.message for row in part],
            template=self._builder.batch_template,
            client_batch_id=client_batch_id,
            include_messages_in_response=True,
        )

    def _leave_unknown(self, client_batch_id: str, part: list[_Row], unknown: UnknownOutcomeError) -> None:
        for row in part:
            row.outcome, row.description = "unknown", str(unknown)
        self._settle(client_batch_id, part, batch_id=None)
        if self._unknown_in_a_row >= MAX_UNKNOWN_IN_A_ROW:
            raise _Stopped(f"{MAX_UNKNOWN_IN_A_ROW} batches in a row have an unknown outcome: {unknown}")

    def _may_be_a_row(self, refused: RefusedError) -> bool:
        """Tell whether one bad row can be why 8x8 refused a batch."""
        if refused.http_status != 400 or refused.code is None:
            return False
        return refused.code in _ROW_LEVEL_CODES or _ROW_LEVEL_IF_OWN.get(refused.code) in self._builder.own_fields

    def _reject(self, part: list[_Row], refused: RefusedError) -> None:
        for row in part:
            row.outcome, row.code, row.description = "rejected", refused.code, refused.description
        self._settle(self._new_client_batch_id(), part, batch_id=None)

    def _leave_unsent(self, parts: Iterable[list[_Row]]) -> None:
        for part in parts:
            self._settle(self._new_client_batch_id(), part, batch_id=None)

    def _settle(self, client_batch_id: str, part: list[_Row], batch_id: str | None) -> None:
        """Count the rows' outcomes and report them."""
        outcomes = Counter(row.outcome for row in part)
        self.summary.outcomes.update(outcomes)
        if outcomes["unknown"]:
            self.summary.unknown_client_batch_ids.append(client_batch_id)
        with self._reporting() as report:
            if report:
                report.write_batch(client_batch_id, [row.line(batch_id) for row in part])

    @contextmanager
    def _reporting(self) -> Iterator[Report | None]:
        """Give the report; one that cannot be written stops the sending, since umids would be lost."""
        try:
            yield self._report
        except Exception as error:  # each storage has errors of its own
            self._report = None
            raise _Stopped(f"the report could not be written: {type(error).__name__}: {error}") from error

    def _new_client_batch_id(self) -> str:
        length = MAX_CLIENT_BATCH_ID_LENGTH - len(self._client_batch_id_prefix)
        return self._client_batch_id_prefix + "".join(secrets.choice(_ID_ALPHABET) for _ in range(length))

    def _log_progress(self, response: BatchResponse) -> None:
        outcomes = self.summary.outcomes
        done = outcomes["accepted"] + outcomes["rejected"]
        log.info(
            "Batch %d: %d accepted, %d rejected; %d accepted in all, %.0f messages/s",
            len(self.summary.batch_ids),
            response.accepted_count,
            response.rejected_count,
            outcomes["accepted"],
            done / max(time.monotonic() - self._began, 1e-9),
        )


def _guarded(source: Iterator[Any]) -> Iterator[Any]:
    """Yield a source's rows; one that fails midway stops the sending."""
    read = 0
    try:
        for row in source:
            read += 1
            yield row
    except ColumnsError:
        raise
    except Exception as error:  # noqa: BLE001  # every driver has errors of its own
        raise _Stopped(
            f"the source failed after {read} rows and was not read to its end: "
            f"{type(error).__name__}: {mask_phone_numbers(str(error))}",
        ) from None  # the driver's own text may hold rows


def _match(part: Sequence[_Row], response: BatchResponse) -> None:
    """Give each row what 8x8's answer says of it, found by client message id, and say what does not add up."""
    answers = {answer.client_message_id: answer for answer in response.messages or ()}
    listed: Counter[Outcome] = Counter()
    unlisted: list[_Row] = []
    for row in part:
        answer = answers.pop(row.client_message_id, None)
        if answer is None:
            unlisted.append(row)
            continue
        row.outcome = "accepted" if answer.status.code == "QUEUED" else "rejected"
        row.umid, row.code, row.description = answer.umid, answer.status.code, answer.status.description
        listed[row.outcome] += 1
    outcome = _outcome_of_unlisted(len(unlisted), listed, response)
    for row in unlisted:
        row.outcome, row.description = outcome, "8x8's answer does not list the message"
        listed[outcome] += 1
    if (
        unlisted
        or answers
        or (listed["accepted"], listed["rejected"])
        != (
            response.accepted_count,
            response.rejected_count,
        )
    ):
        log.warning(
            "8x8's answer to batch %s does not add up: it counts %d accepted and %d rejected of %d messages, lists %d "
            "of them and %d others; by its list %d are accepted, %d rejected and %d unknown",
            response.batch_id,
            response.accepted_count,
            response.rejected_count,
            len(part),
            len(part) - len(unlisted),
            len(answers),
            listed["accepted"],
            listed["rejected"],
            listed["unknown"],
        )


def _outcome_of_unlisted(unlisted: int, listed: Counter[Outcome], response: BatchResponse) -> Outcome:
    """Tell from 8x8's counts what became of the messages that its answer does not list."""
    missing = (response.accepted_count - listed["accepted"], response.rejected_count - listed["rejected"])
    if missing == (unlisted, 0):
        return "accepted"
    if missing == (0, unlisted):
        return "rejected"
    return "unknown"
