"""What a traceback or a log may show of an object: no phone number, and nothing that lets one in somewhere."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_8x8.api.models import SurveyBatch, SurveyMessage, SurveyTemplate
from airflow_provider_8x8.api.transport import Answer
from airflow_provider_8x8.surveys.messages.template import Template
from airflow_provider_8x8.surveys.outcomes.deliveries import Fate, Message
from airflow_provider_8x8.surveys.outcomes.table import _Known
from airflow_provider_8x8.surveys.settings import Settings

NUMBER = "12025550123"
SECRET = "s3cr3t-Tok3n"
COMMON = SurveyTemplate(
    template_body=f"Call {NUMBER}: {{{{url}}}}", source=NUMBER, dlr_callback_url=f"https://example.com/?token={SECRET}"
)


@pytest.mark.parametrize(
    "shown",
    [
        COMMON,
        SurveyBatch(messages=[SurveyMessage(destination=NUMBER)], template=COMMON),
        Answer(400, {}, f"{NUMBER} is no number".encode()),
        Template.parse(f"Call {NUMBER}: {{{{url}}}}"),
        Fate("b", "rejected", None, "1002", f"{NUMBER} is no number", None, None),
        Message("u", "b", f"q/{NUMBER}"),
        _Known(1, NUMBER, NUMBER, 1),
        Settings(survey_id="orders", canary_destination=NUMBER),
    ],
    ids=lambda shown: type(shown).__name__,
)
def test_no_repr_shows_a_number_or_a_secret(shown: Any) -> None:
    assert NUMBER not in repr(shown)
    assert SECRET not in repr(shown)
