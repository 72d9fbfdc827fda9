"""What a client was given, as 8x8 gets to see it."""

from __future__ import annotations

import msgspec

from airflow_provider_8x8.api.models import SurveyBatch, SurveyMessage


def messages_of(batch: SurveyBatch) -> list[SurveyMessage]:
    """Return the messages of a batch that the sender has made."""
    assert isinstance(batch.messages, msgspec.Raw)
    return msgspec.json.decode(batch.messages, type=list[SurveyMessage])
