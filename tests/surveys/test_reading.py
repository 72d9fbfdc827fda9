"""What becomes of rows that go into no batch: each has one fate, and what was sent is asked first."""

from __future__ import annotations

import json
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_8x8.surveys.messages.builder import MessageBuilder
from airflow_provider_8x8.surveys.messages.row_keys import RowKeys
from airflow_provider_8x8.surveys.messages.template import Template
from airflow_provider_8x8.surveys.outcomes.report import Report
from airflow_provider_8x8.surveys.outcomes.summary import Summary
from airflow_provider_8x8.surveys.sending.sender import SurveySender
from airflow_provider_8x8.surveys.settings import OnInvalid, Run, Settings
from tests.support.received import messages_of
from tests.surveys.test_sender import Client, HurriedClock, KeptJournal, outcomes, taken

NOW = datetime.now(UTC).timestamp()


def time(seconds: float) -> datetime:
    """A time so many seconds after the first try's beginning."""
    return datetime.fromtimestamp(round(NOW) + seconds, UTC)


class Given:
    """Rows that are others in each pass, if more than one list of them is given."""

    columns = None

    def __init__(self, *passes: list[dict[str, Any]]) -> None:
        self._passes = list(passes)

    def __iter__(self) -> Generator[dict[str, Any], None, None]:
        yield from self._passes.pop(0) if len(self._passes) > 1 else self._passes[0]


def person(number: int, **columns: Any) -> dict[str, Any]:
    return {"destination": f"+12025550{number:03d}", "name": f"Person {number}", **columns}


class Campaign:
    """One task instance, try after try; the clock of its rows is set by hand."""

    def __init__(self, report: Path | None = None, *, run: str = "c", journal: KeptJournal | None = None) -> None:
        self.journal = journal or KeptJournal(NOW)
        self.client = Client(taken)
        self._report = report
        self._run = run
        self._tries = 0

    def tried(
        self, *passes: list[dict[str, Any]], at: float = 0, unique_by: str | None = None, **settings: Any
    ) -> Summary:
        """Send, as the next try, so many seconds after the first one began."""
        self._tries += 1
        row_keys = RowKeys("c")
        summary = SurveySender(
            self.client,  # type: ignore[arg-type]  # it does what is needed
            MessageBuilder(
                row_keys=row_keys,
                template=Template.parse("{{name}} {{url}}"),
                unique_by=unique_by,
                now=lambda: NOW + at,
            ),
            row_keys,
            run=Run("c", self._run, self._tries),
            settings=Settings(survey_id="survey", **settings),
            journal=self.journal,
            report=None if self._report is None else Report(self._report, "c", self._run),
            clock=HurriedClock(),
        ).send(Given(*passes))
        outcomes(summary)  # they add up
        return summary

    @property
    def sent(self) -> list[str]:
        return [message.destination for batch in self.client.batches for message in messages_of(batch)]


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in sorted((folder / "c").iterdir()) for line in file.read_text().splitlines()]


@pytest.mark.parametrize(
    "now_invalid",
    [{"scheduled": time(60)}, {"expiry": time(60)}, {"name": None}, {"name": "x" * 5000}, {"source": "a" * 17}],
    ids=["scheduled", "expiry", "a value gone", "too long", "a field"],
)
def test_a_row_that_was_sent_keeps_its_fate_when_it_could_not_be_sent_any_more(
    tmp_path: Path, now_invalid: dict[str, Any]
) -> None:
    campaign = Campaign(tmp_path)
    is_time = {"scheduled", "expiry"} & now_invalid.keys()
    first = [person(number, **(now_invalid if is_time else {})) for number in range(15)]
    assert outcomes(campaign.tried(first, batch_size=5)) == {"accepted": 15}
    again = [person(number, **now_invalid) for number in range(20)]
    summary = campaign.tried(again, at=120)
    assert (summary.rows_read, outcomes(summary)) == (20, {"accepted": 15, "invalid": 5})
    assert summary.overdue == (5 if is_time else 0)
    assert len(campaign.sent) == 15
    assert sorted(line["outcome"] for line in lines(tmp_path)) == ["accepted"] * 15 + ["invalid"] * 5


@pytest.mark.parametrize(("limit", "sent"), [(11, 10), (10, 0)])
def test_a_row_that_was_sent_and_could_not_be_sent_any_more_is_one_of_the_most_that_may_be(
    limit: int, sent: int
) -> None:
    campaign = Campaign()
    campaign.tried([person(0)])
    rows = [person(0, name=None), *(person(number) for number in range(1, 11))]
    summary = campaign.tried(rows, batch_size=5, max_messages=limit)
    assert len(campaign.sent) == 1 + sent
    assert (summary.stop is None) == (sent > 0)


@pytest.mark.parametrize("on_invalid", OnInvalid)
def test_the_id_of_a_duplicate_that_is_not_sent_is_free_for_another_row(on_invalid: OnInvalid) -> None:
    ids = {1: ["a", "b"], 2: ["c"], 3: ["b"]}
    rows = [person(number, client_message_id=an_id) for number, its in ids.items() for an_id in its]
    campaign = Campaign()
    summary = campaign.tried(rows, unique_by="destination", batch_size=3, on_invalid=on_invalid)
    assert outcomes(summary) == {"accepted": 3, "duplicate": 1}
    assert summary.stop is None


def test_only_a_time_that_passed_since_the_first_try_began_is_overdue() -> None:
    rows = [
        person(1, scheduled=time(-60)),
        person(2, scheduled=time(60)),
        person(3, expiry=time(60)),
        person(4, scheduled=time(600)),
        person(5, scheduled="2126-01-01T00:00:00Z"),
        person(6, scheduled=time(900), expiry=time(-60)),
    ]
    assert Campaign().tried(rows).overdue == 0
    summary = Campaign().tried(rows, at=120)
    assert (outcomes(summary), summary.overdue) == ({"accepted": 1, "invalid": 5}, 2)


def test_what_another_run_has_sent_it_has_sent(tmp_path: Path) -> None:
    first = Campaign(run="first")
    first.tried([person(1), person(2)])
    second = Campaign(tmp_path, run="second", journal=first.journal)
    summary = second.tried([person(1, name=None), person(2), person(3, name=None)])
    assert outcomes(summary) == {"already_sent": 2, "invalid": 1}
    (line,) = (line for line in lines(tmp_path) if line["outcome"] == "already_sent" and line["row_number"] == 1)
    assert line["destination"] == "+12025550001"


def test_a_valid_row_is_no_duplicate_of_an_invalid_one(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path)
    rows = [person(1, name=None), person(1), person(1), person(1, name=None)]
    assert outcomes(campaign.tried(rows)) == {"invalid": 1, "accepted": 1, "duplicate": 2}
    assert campaign.sent == ["+12025550001"]
    assert outcomes(campaign.tried(rows)) == {"accepted": 1, "duplicate": 3}
    assert len(campaign.sent) == 1


def test_a_valid_row_is_no_duplicate_of_one_that_cannot_be_told_apart() -> None:
    campaign = Campaign()
    rows = [
        person(1, client_message_id="a"),
        person(2, client_message_id="a"),
        person(2, client_message_id="b"),
    ]
    summary = campaign.tried(rows, unique_by="destination")
    assert outcomes(summary) == {"accepted": 2, "invalid": 1}
    assert summary.invalid_samples == ["Row 2: another row of its batch has its client_message_id, too"]
    assert campaign.sent == ["+12025550001", "+12025550002"]


def test_an_id_is_free_again_once_its_row_was_sent() -> None:
    campaign = Campaign()
    first = person(1, client_message_id="a")
    assert outcomes(campaign.tried([first], unique_by="destination")) == {"accepted": 1}
    summary = campaign.tried([first, person(2, client_message_id="a")], unique_by="destination")
    assert outcomes(summary) == {"accepted": 2}


def test_ids_with_blanks_around_are_one_row() -> None:
    campaign = Campaign()
    rows = [person(1, client_message_id="ord-1"), person(2, client_message_id="ord-1      ")]
    assert outcomes(campaign.tried(rows)) == {"accepted": 1, "duplicate": 1}
    assert outcomes(campaign.tried(rows[::-1])) == {"accepted": 1, "duplicate": 1}
    assert campaign.sent == ["+12025550001"]


def test_what_is_known_of_an_invalid_row_is_in_the_report(tmp_path: Path) -> None:
    Campaign(tmp_path).tried([person(1, name=None), person(2, destination="none"), person(3)])
    invalid = [line for line in lines(tmp_path) if line["outcome"] == "invalid"]
    assert invalid == [
        {
            "row_number": 1,
            "outcome": "invalid",
            "row_key": "12025550001",
            "client_message_id": RowKeys("c").of("12025550001").hex(),
            "destination": "+12025550001",
            "umid": None,
            "batch_id": None,
            "code": None,
            "description": "there is no value for {{name}}",
        },
        {
            "row_number": 2,
            "outcome": "invalid",
            "row_key": None,
            "client_message_id": None,
            "destination": "none",
            "umid": None,
            "batch_id": None,
            "code": None,
            "description": "destination 'none' is not a phone number; expected one number, and nothing else, of 7 to "
            "15 digits with the country code",
        },
    ]


# on_invalid="fail"


def test_an_invalid_row_forbids_all_that_was_not_sent(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path)
    summary = campaign.tried([*map(person, range(7)), person(7, name=None)], on_invalid=OnInvalid.FAIL, batch_size=3)
    assert (campaign.sent, summary.is_final) == ([], True)
    assert "no batch was begun, because on_invalid is 'fail': Row 8: there is no value" in str(summary.stop)


def test_ids_that_cannot_be_told_apart_are_found_before_anything_is_sent() -> None:
    campaign = Campaign()
    rows = [person(number, client_message_id=f"m{number % 7}") for number in range(9)]
    summary = campaign.tried(rows, unique_by="destination", on_invalid=OnInvalid.FAIL, batch_size=8)
    assert (campaign.sent, summary.is_final) == ([], True)
    assert "Row 8: another row of its batch has its client_message_id" in str(summary.stop)
    summary = campaign.tried(rows, unique_by="destination", on_invalid=OnInvalid.FAIL, batch_size=7)
    assert (summary.stop, outcomes(summary)) == (None, {"accepted": 9})


def test_a_row_that_is_invalid_only_in_the_second_pass_stops_it(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path)
    fine = [person(number) for number in range(10)]
    worse = [*fine[:7], person(7, name=None), *fine[8:]]
    summary = campaign.tried(fine, worse, on_invalid=OnInvalid.FAIL, batch_size=3)
    assert (summary.rows_read, outcomes(summary)) == (8, {"accepted": 6, "not_sent": 1, "invalid": 1})
    assert summary.is_final
    assert "Row 8: there is no value" in str(summary.stop)
    assert len(campaign.sent) == 6
    assert len(lines(tmp_path)) == 8


def test_a_row_that_was_sent_before_forbids_nothing() -> None:
    campaign = Campaign()
    campaign.tried([person(1), person(2)], on_invalid=OnInvalid.FAIL)
    summary = campaign.tried([person(1, name=None), person(2), person(3)], on_invalid=OnInvalid.FAIL)
    assert (summary.stop, outcomes(summary)) == (None, {"accepted": 3})


def test_a_second_row_of_somebody_who_is_sent_one_forbids_nothing() -> None:
    summary = Campaign().tried([person(1), person(1, name=None)], on_invalid=OnInvalid.FAIL)
    assert (summary.stop, outcomes(summary)) == (None, {"accepted": 1, "duplicate": 1})


@pytest.mark.parametrize("order", [1, -1])
def test_message_ids_tell_rows_apart_only_if_all_of_the_first_rows_have_one(order: int) -> None:
    rows = [person(1), person(2, client_message_id="a"), person(3, clientMessageId="b")]
    campaign = Campaign()
    assert outcomes(campaign.tried(rows[::order])) == {"accepted": 3}
    assert outcomes(campaign.tried(rows[::-order])) == {"accepted": 3}, "whichever comes first"
    own = [person(1, client_message_id="a"), person(1, **{"Client Message ID": "b"})]
    assert outcomes(Campaign().tried(own[::order])) == {"accepted": 2}
