"""The words for what became of a row."""

from __future__ import annotations

import msgspec
import pytest

from airflow_provider_8x8.surveys.outcomes.lines import ReportLine
from airflow_provider_8x8.surveys.outcomes.outcome import Outcome
from tests.conftest import ROOT


@pytest.mark.parametrize("outcome", Outcome)
def test_the_readme_says_of_a_count_what_the_outcome_means(outcome: Outcome) -> None:
    assert f"\n| `{outcome}_count` | {outcome.sentence} |\n" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("outcome", Outcome)
def test_the_report_has_an_outcome_as_its_name(outcome: Outcome) -> None:
    encoded = msgspec.json.encode(ReportLine(1, outcome))
    assert f'"outcome":"{outcome.value}"' in encoded.decode()
    assert msgspec.json.decode(encoded, type=ReportLine).outcome is outcome
