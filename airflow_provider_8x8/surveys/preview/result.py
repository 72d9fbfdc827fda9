"""A preview as the task pushes it."""

from __future__ import annotations

from typing import Any

from airflow_provider_8x8.surveys.outcomes.outcome import Outcome
from airflow_provider_8x8.surveys.preview.page import describe_character, to_markdown
from airflow_provider_8x8.surveys.preview.preview import MAX_REASONS, Preview


def as_result(preview: Preview) -> dict[str, Any]:
    """Return what a preview says as JSON can hold it, without phone numbers but for masked ones."""
    texts, outcomes = preview.texts, preview.summary.outcomes
    histogram = texts.histogram
    cost, balance = preview.cost, preview.balance
    return {
        "survey_id": preview.survey_id,
        "campaign_id": preview.campaign_id,
        "rows_read": preview.summary.rows_read,
        "would_be_sent_count": preview.would_be_sent,
        "sendable_count": preview.sendable,
        "invalid_count": outcomes[Outcome.INVALID],
        "duplicate_count": outcomes[Outcome.DUPLICATE],
        "already_sent_count": preview.already_sent,
        "unknown_count": preview.unknown,
        "already_sent_note": preview.why_unknown,
        "invalid_reasons": [
            {"reason": kind.reason, "first_row": kind.first_row, "rows": kind.rows} for kind in preview.invalid
        ],
        "too_long_count": preview.too_long,
        "lost_link_count": preview.without_link,
        "parts": {
            "total": preview.total_parts,
            "longest": max(histogram, default=0),
            "histogram": {str(parts): count for parts, count in histogram.items()},
        },
        "ucs2_count": texts.ucs2,
        "ucs2_by_one_character": [
            {
                "character": character,
                "name": describe_character(character),
                "texts": pushed.texts,
                "extra_parts": pushed.extra_parts,
            }
            for character, pushed in list(texts.pushed.items())[:MAX_REASONS]
        ],
        "recipients": [
            {
                "country": each.name,
                "countries": list(each.countries),
                "calling_code": each.calling_code,
                "texts": each.texts,
                "parts": each.parts,
            }
            for each in preview.recipients
        ],
        "cost": None if cost is None else {"currency": cost.currency, "lowest": cost.lowest, "highest": cost.highest},
        "cost_note": preview.cost_note,
        "balance": None if balance is None else {"amount": balance.balance, "currency": balance.currency},
        "balance_note": preview.balance_note,
        "samples": [
            {"destination": sample.destination, "parts": sample.parts, "text": sample.text} for sample in texts.samples
        ],
        "markdown": to_markdown(preview),
    }
