"""A sandbox for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_8x8.sandbox.server import Sandbox
from tests.sandbox.caller import API_KEY, Caller


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(api_key=API_KEY) as running:
        yield running


@pytest.fixture
def caller(sandbox: Sandbox) -> Caller:
    return Caller(sandbox.url)
