"""A shorter time for a request to go out, as no argument of the operator gives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_8x8.surveys.settings import Settings


def send_within(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Have the operator's settings say how long a request may take to go out."""
    from airflow_provider_8x8.operators import sending  # as a running task does: after Airflow has its configuration

    settings = sending._settings

    def shorter(task: Any) -> Settings:
        return replace(settings(task), send_within=seconds)

    monkeypatch.setattr(sending, "_settings", shorter)
