"""8x8's answer to a batch, row by row."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from airflow_provider_8x8.api.models import BatchResponse, MessageResponse
from airflow_provider_8x8.surveys.messages.row_keys import fold_message_id
from airflow_provider_8x8.surveys.messages.row_message import RowMessage, RowMessages
from airflow_provider_8x8.surveys.outcomes.lines import BatchLines
from airflow_provider_8x8.surveys.outcomes.outcome import Outcome

log = logging.getLogger(__name__)

_ACCEPTED = "QUEUED"
_NOT_LISTED = "8x8's answer does not list the message"


@dataclass(frozen=True, slots=True)
class RowAnswers:
    """
    What 8x8 says of each row of a batch.

    :ivar rows: the batch
    :ivar outcomes: accepted, rejected or unknown, for each row
    :ivar answers: 8x8's words for each row, None where it has none
    """

    rows: RowMessages
    outcomes: list[Outcome]
    answers: Sequence[MessageResponse | None]

    def row_keys_of(self, outcome: Outcome) -> list[bytes]:
        """Return the row keys with one outcome."""
        if outcome not in self.outcomes:
            return []
        return [row_key for row_key, its in zip(self.rows.row_keys, self.outcomes, strict=True) if its is outcome]

    def reasons_to_reject(self) -> Iterator[tuple[RowMessage, str]]:
        """Yield each row that 8x8 rejects, and why."""
        for row, outcome, answer in zip(self.rows, self.outcomes, self.answers, strict=True):
            if outcome is Outcome.REJECTED:
                yield row, _NOT_LISTED if answer is None else answer.status.description or answer.status.code

    def lines(self, batch_id: str) -> BatchLines:
        """Return each row's line of the report."""
        answers = self.answers
        return BatchLines(
            self.rows,
            self.outcomes,
            batch_id=batch_id,
            umids=[None if answer is None else answer.umid for answer in answers],
            codes=[None if answer is None else answer.status.code for answer in answers],
            descriptions=[_NOT_LISTED if answer is None else answer.status.description for answer in answers],
        )


def match(rows: RowMessages, response: BatchResponse) -> RowAnswers:
    """Find what 8x8's answer says of each row, by client message id, and say what does not add up."""
    messages = response.messages or []
    answers: Sequence[MessageResponse | None] = messages
    strangers = 0
    if [answer.client_message_id for answer in messages] != rows.client_message_ids:
        # 8x8 promises no order, though it keeps that of the request.
        listed = _accepted_first((answer.client_message_id or "", answer) for answer in messages)
        answers = [listed.get(client_message_id) for client_message_id in rows.client_message_ids]
        if None in answers:
            answers = _found_alike(rows.client_message_ids, answers, listed)
        strangers = len(listed) - sum(answer is not None for answer in answers)
    accepted, rejected, unknown = (
        Outcome.ACCEPTED,
        Outcome.REJECTED,
        Outcome.UNKNOWN,
    )  # looked up once
    outcomes = [
        unknown if answer is None else accepted if answer.status.code == _ACCEPTED else rejected for answer in answers
    ]
    counted = _counted(outcomes)
    not_listed = counted[unknown]
    if not_listed:
        outcome = _outcome_of_unlisted(not_listed, counted, response)
        outcomes = [its if its is not unknown else outcome for its in outcomes]
        counted = _counted(outcomes)
    as_counted_by_8x8 = (counted[accepted], counted[rejected]) == (response.accepted_count, response.rejected_count)
    if not_listed or strangers or not as_counted_by_8x8:
        log.warning(
            "8x8's answer to batch %s does not add up: it counts %d accepted and %d rejected of %d messages, lists %d "
            "of them and %d others; by its list %d are accepted, %d rejected and %d unknown",
            response.batch_id,
            response.accepted_count,
            response.rejected_count,
            len(rows),
            len(rows) - not_listed,
            strangers,
            counted[accepted],
            counted[rejected],
            counted[unknown],
        )
    return RowAnswers(rows, outcomes, answers)


def _found_alike(
    sent: Sequence[str], answers: Sequence[MessageResponse | None], listed: Mapping[str, MessageResponse]
) -> list[MessageResponse | None]:
    """Find what is still missing of 8x8's answers under ids that were changed on their way, if they are one row's."""
    strangers = set(listed).difference(sent)
    alike = _accepted_first((fold_message_id(its), answer) for its, answer in listed.items() if its in strangers)
    folded = list(map(fold_message_id, sent))
    times = Counter(folded)
    return [
        alike.get(its) if answer is None and times[its] == 1 else answer
        for its, answer in zip(folded, answers, strict=True)
    ]


def _accepted_first(answers: Iterable[tuple[str, MessageResponse]]) -> dict[str, MessageResponse]:
    """Return the answer to each id; of several the one that accepts it: whoever may be texted is not texted again."""
    found: dict[str, MessageResponse] = {}
    for its, answer in answers:
        if its not in found or answer.status.code == _ACCEPTED:
            found[its] = answer
    return found


def _counted(outcomes: list[Outcome]) -> dict[Outcome, int]:
    return {outcome: outcomes.count(outcome) for outcome in (Outcome.ACCEPTED, Outcome.REJECTED, Outcome.UNKNOWN)}


def _outcome_of_unlisted(unlisted: int, listed: Mapping[Outcome, int], response: BatchResponse) -> Outcome:
    """Tell from 8x8's counts what became of the messages that its answer does not list."""
    missing = (response.accepted_count - listed[Outcome.ACCEPTED], response.rejected_count - listed[Outcome.REJECTED])
    if missing == (unlisted, 0):
        return Outcome.ACCEPTED
    if missing == (0, unlisted):
        return Outcome.REJECTED
    return Outcome.UNKNOWN
