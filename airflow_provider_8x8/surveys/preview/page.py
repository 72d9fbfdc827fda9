"""A preview as a page in Markdown, for an approval task and for a chat message."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from airflow_provider_8x8.surveys.outcomes.outcome import Outcome
from airflow_provider_8x8.surveys.preview.preview import Preview

_MAX_LINES = 8
"""Lines of a table: a page that somebody is to approve is short."""

_MARKS = re.compile(r"[\\`*_\[\]|~#]")
_BREAKS = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def to_markdown(preview: Preview) -> str:
    """Return the page: no HTML, short tables, and whatever comes from rows escaped."""
    parts = [
        _headline(preview),
        _table(("Rows", ""), _row_lines(preview)),
        _money(preview),
        _problems(preview),
        _table(("Parts per text", "Texts"), [(str(parts), _n(n)) for parts, n in preview.texts.histogram.items()]),
        _characters(preview),
        _recipients(preview),
        _samples(preview),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def describe_character(character: str) -> str:
    """Return what Unicode calls a character, with its number: it may be one that nobody sees."""
    return f"U+{ord(character):04X} {unicodedata.name(character, 'without a name')}"


def _shown(character: str) -> str:
    described = describe_character(character)
    return f"{escape(character)} {described}" if character.isprintable() else described


def escape(text: str) -> str:
    """Return a text so that Markdown shows it as it is, on one line, in a table too."""
    on_one_line = _BREAKS.sub(" ⏎ ", text)
    visible = "".join(" " if unicodedata.category(character) == "Cc" else character for character in on_one_line)
    return _MARKS.sub(r"\\\g<0>", visible).translate(_HTML)


def _headline(preview: Preview) -> str:
    survey = f"Survey {escape(preview.survey_id)}: " if preview.survey_id else ""
    campaign = f" Campaign: {escape(preview.campaign_id)}." if preview.campaign_id else ""
    texts = "1 text" if preview.would_be_sent == 1 else f"{_n(preview.would_be_sent)} texts"
    longest = max(preview.texts.histogram, default=0)
    total = preview.total_parts
    paid = f" They take {_n(total)} SMS part{_s(total)}, the longest {longest}." if total else ""
    return f"**{survey}{texts} would be sent.**{campaign}{paid}"


def _row_lines(preview: Preview) -> Iterable[tuple[str, str]]:
    outcomes = preview.summary.outcomes
    yield "read", _n(preview.summary.rows_read)
    yield "would be sent", _n(preview.would_be_sent)
    yield "invalid", _n(outcomes[Outcome.INVALID])
    yield "duplicate", _n(outcomes[Outcome.DUPLICATE])
    if preview.already_sent is None:
        yield "already sent in this campaign", "not known"
    else:
        yield "already sent in this campaign", _n(preview.already_sent)
    if preview.unknown:
        yield "may have been sent in this campaign", _n(preview.unknown)


def _money(preview: Preview) -> str:
    lines = []
    if preview.why_unknown:
        lines.append(f"- What was already sent is not known: {escape(preview.why_unknown)}")
    cost, balance = preview.cost, preview.balance
    if cost is not None:
        lowest, highest = _amount(cost.lowest), _amount(cost.highest)
        amounts = lowest if lowest == highest else f"{lowest} to {highest}"
        lines.append(f"- Cost: {amounts} {escape(cost.currency)}")
    if preview.cost_note:
        lines.append(f"- {'Cost' if cost is None else 'Not in it'}: {escape(preview.cost_note)}")
    if balance is not None:
        lacking = cost is not None and cost.currency == balance.currency and balance.balance < cost.highest
        warning = ", **which is less than it may cost**" if lacking else ""
        lines.append(f"- Balance: {_amount(balance.balance)} {escape(balance.currency)}{warning}")
    elif preview.balance_note:
        lines.append(f"- Balance: {escape(preview.balance_note)}")
    return "\n".join(lines)


def _problems(preview: Preview) -> str:
    if not preview.invalid:
        return ""
    lines = [
        f"- {_n(kind.rows)} row{_s(kind.rows)}, the first is row {kind.first_row}: {escape(kind.reason)}"
        for kind in preview.invalid[:_MAX_LINES]
    ]
    others = preview.summary.outcomes[Outcome.INVALID] - sum(kind.rows for kind in preview.invalid[:_MAX_LINES])
    if others:
        lines.append(f"- {_n(others)} row{_s(others)} for other reasons")
    if preview.without_link:
        lines.append(
            f"- {_n(preview.without_link)} of the too long texts would lose the link to the survey, which stands "
            "behind the 10th part"
        )
    return "**Invalid rows**\n\n" + "\n".join(lines)


def _characters(preview: Preview) -> str:
    pushed = preview.texts.pushed
    if not pushed:
        return ""
    lines = [(_shown(character), _n(texts), _n(extra_parts)) for character, (texts, extra_parts) in pushed.items()]
    return "**Texts that one character makes UCS2, of 70 places instead of 160**\n\n" + _table(
        ("Character", "Texts", "Parts more"), lines
    )


def _recipients(preview: Preview) -> str:
    lines = [
        (f"{each.name}{f' (+{each.calling_code})' if each.calling_code else ''}", _n(each.texts), _n(each.parts))
        for each in preview.recipients
    ]
    return _table(("To", "Texts", "Parts"), lines)


def _samples(preview: Preview) -> str:
    if not preview.texts.samples:
        return ""
    lines = [
        f"- `{sample.destination}`, {sample.parts} part{_s(sample.parts)}: {escape(sample.text)}"
        for sample in preview.texts.samples
    ]
    return "**Sample texts**\n\n" + "\n".join(lines)


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a table whose cells are escaped, without what would make it long."""
    lines = list(lines)
    if not lines:
        return ""
    rest = len(lines) - _MAX_LINES
    if rest > 0:
        lines = [*lines[:_MAX_LINES], (f"and {rest} more", *[""] * (len(head) - 1))]
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *lines))


def _n(count: int) -> str:
    return f"{count:,}"


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _amount(amount: float) -> str:
    """Return an amount; one that is less than a unit has four places, since a text costs some cents or less."""
    return f"{amount:,.2f}" if amount == 0 or abs(amount) >= 1 else f"{amount:.4f}"
