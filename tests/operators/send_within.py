"""A shorter time for a request to go out, as no argument of the operator gives."""

from __future__ import annotations

from dataclasses import replace

import pytest

from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator
from airflow_provider_8x8.surveys.settings import Settings


def send_within(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Have the operator's settings say how long a request may take to go out."""
    settings = EightByEightSurveyBatchOperator._settings

    def shorter(operator: EightByEightSurveyBatchOperator) -> Settings:
        return replace(settings(operator), send_within=seconds)

    monkeypatch.setattr(EightByEightSurveyBatchOperator, "_settings", shorter)
