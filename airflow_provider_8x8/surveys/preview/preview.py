"""One reading of the source that sends nothing: rows -> messages -> texts -> counts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field

from airflow_provider_8x8.api.models import Balance
from airflow_provider_8x8.surveys.clock import Clock
from airflow_provider_8x8.surveys.journal.entries import Entry
from airflow_provider_8x8.surveys.journal.ledger import Ledger
from airflow_provider_8x8.surveys.journal.looking import JournalSeen
from airflow_provider_8x8.surveys.messages.builder import MessageBuilder, Rows
from airflow_provider_8x8.surveys.messages.row_message import InvalidRowError, RowMessages, TextTooLongError
from airflow_provider_8x8.surveys.outcomes.fates import Fates
from airflow_provider_8x8.surveys.outcomes.outcome import Outcome
from airflow_provider_8x8.surveys.outcomes.summary import Summary, summarize
from airflow_provider_8x8.surveys.preview.costs import Cost, Recipients, recipients_of
from airflow_provider_8x8.surveys.preview.texts import TextCounts
from airflow_provider_8x8.surveys.sending.brake import Brake
from airflow_provider_8x8.surveys.sending.reading import Reading
from airflow_provider_8x8.surveys.sending.stopped import SendingStopped
from airflow_provider_8x8.surveys.settings import Run, Settings

MAX_REASONS = 10
"""Kinds of reasons why rows are invalid that are told apart, those that come up first."""

_VALUES = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[0-9]+")


@dataclass(slots=True)
class InvalidRows:
    """Rows that are invalid for one kind of reason, and the first of them."""

    reason: str
    first_row: int
    rows: int = 1


class PreviewFates(Fates):
    """
    What becomes of the rows of a reading that sends none of them.

    :param ledger: knows what was sent before
    """

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger, None)
        self.invalid: dict[str, InvalidRows] = {}
        """By reason, without the values that it quotes."""
        self.too_long = 0
        self.without_link = 0

    def note_invalid(self, row: InvalidRowError, *, is_overdue: bool) -> None:
        """See :class:`~airflow_provider_8x8.surveys.outcomes.fates.Fates`."""
        super().note_invalid(row, is_overdue=is_overdue)
        if isinstance(row, TextTooLongError):
            self.too_long += 1
            self.without_link += not row.keeps_link
        kind = _VALUES.sub("", str(row))
        if kind in self.invalid:
            self.invalid[kind].rows += 1
        elif len(self.invalid) < MAX_REASONS:
            self.invalid[kind] = InvalidRows(str(row), row.number)

    def note_sendable(self, rows: RowMessages) -> None:
        """Let go of rows in hand that would be sent."""
        self.tally.not_sent += len(rows)
        self._in_hand.difference_update(rows.numbers)


@dataclass(slots=True, kw_only=True)
class Preview:
    """
    What a campaign would send.

    :ivar survey_id: None where nobody has said which survey
    :ivar summary: how many rows have which outcome, as far as that is known before; those to be sent are ``not_sent``
    :ivar why_unknown: why it is not known what the campaign has sent before; None if it is
    :ivar invalid: the kinds of reasons that came up first, what concerns most rows first
    :ivar too_long: of the invalid rows, those whose text 8x8 would cut off
    :ivar without_link: of those, the ones that would lose their link
    :ivar texts: those that would be sent
    :ivar cost: None if it is not known, and ``cost_note`` says why; else the note says what it leaves out, if anything
    :ivar balance: likewise
    """

    survey_id: str | None
    campaign_id: str | None
    summary: Summary
    why_unknown: str | None
    invalid: list[InvalidRows]
    too_long: int
    without_link: int
    texts: TextCounts
    recipients: list[Recipients] = field(default_factory=list)
    cost: Cost | None = None
    cost_note: str | None = None
    balance: Balance | None = None
    balance_note: str | None = None

    @property
    def would_be_sent(self) -> int:
        """How many texts would go out."""
        return self.summary.outcomes[Outcome.NOT_SENT]

    @property
    def already_sent(self) -> int | None:
        """How many rows the campaign has sent before, None if that is not known."""
        return self.summary.outcomes[Outcome.ALREADY_SENT] if self.why_unknown is None else None

    @property
    def unknown(self) -> int | None:
        """How many rows the campaign may have sent before, or not; None if that is not known."""
        return self.summary.outcomes[Outcome.UNKNOWN] if self.why_unknown is None else None

    @property
    def sendable(self) -> int:
        """How many rows could be sent if none had been before: what ``max_messages`` is compared with."""
        return self.would_be_sent + (self.already_sent or 0) + (self.unknown or 0)

    @property
    def total_parts(self) -> int:
        """How many SMS parts all texts take."""
        return sum(parts * texts for parts, texts in self.texts.histogram.items())


def read_for_preview(
    rows: Rows,
    builder: MessageBuilder,
    texts: TextCounts,
    *,
    settings: Settings,
    campaign_id: str | None,
    entries: Sequence[Entry] | None,
    why_unknown: str | None,
    clock: Clock,
) -> Preview:
    """
    Read the source once, as sending it would, and send nothing.

    :param texts: counts the texts
    :param entries: what the campaign has sent before, None if that is not known
    :param why_unknown: why it is not
    :raises SendingStopped: the source failed, or cannot be used; or the common times would let no batch be begun
    :raises JournalError: the campaign's row keys are made of another column
    """
    run = Run(campaign_id or "", "preview")
    ledger = Ledger(JournalSeen(entries or ()), run)
    ledger.refresh()
    fates = PreviewFates(ledger)
    reading = Reading(builder, settings, ledger, fates, Brake(ledger, settings), began=clock.now())
    with fates, closing(reading.batches(rows)) as batches:
        for batch in batches:
            if problem := builder.problem_with_common_times():
                raise SendingStopped(problem, is_final=True)
            texts.add(batch)
            fates.note_sendable(batch)
    return Preview(
        survey_id=settings.survey_id or None,
        campaign_id=campaign_id,
        summary=summarize(run, ledger.entries(), fates.tally),
        why_unknown=why_unknown,
        invalid=sorted(fates.invalid.values(), key=lambda kind: (-kind.rows, kind.first_row)),
        too_long=fates.too_long,
        without_link=fates.without_link,
        texts=texts,
        recipients=recipients_of(texts.by_destination),
    )
