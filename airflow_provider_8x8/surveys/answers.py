"""8x8's answer to a batch, row by row."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from airflow_provider_8x8.api.models import BatchResponse
from airflow_provider_8x8.surveys.messages import RowMessage
from airflow_provider_8x8.surveys.report import Outcome, ReportLine

log = logging.getLogger(__name__)


@dataclass(slots=True)
class BatchRow:
    """A row on its way through a batch."""

    number: int
    content: RowMessage
    outcome: Outcome = "not_sent"
    umid: str | None = None
    code: str | int | None = None
    description: str | None = None

    @property
    def client_message_id(self) -> str:
        """What 8x8 and the report know the row by."""
        return str(self.content.message.client_message_id)

    def line(self, batch_id: str | None = None) -> ReportLine:
        """Return the row's line of the report."""
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


def match(part: Sequence[BatchRow], response: BatchResponse) -> None:
    """Give each row what 8x8's answer says of it, found by client message id, and say what does not add up."""
    answers = {answer.client_message_id: answer for answer in response.messages or ()}
    listed: Counter[Outcome] = Counter()
    unlisted: list[BatchRow] = []
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
