"""What a task says: at its start, at its end, and when something is wrong."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_8x8.api.client import EightByEightClient
from tests.conftest import API_KEY
from tests.operators.send_within import send_within
from tests.operators.test_survey_batch import person, result_of, survey_dag
from tests.operators.test_tries import (
    Die,
    die,  # noqa: F401  # a fixture
    journal,  # noqa: F401  # likewise
    quick,  # noqa: F401  # likewise
    report_lines,
    sql_journal,
    tried_again,
)

# As Airflow 3 writes a line, and as Airflow 2 does.
_LAST_LINE = re.compile(r"(?:\[info *\]|^INFO \S+:) (.*; this try .*?)(?: \[airflow\..*)?$", re.MULTILINE)


def last_lines(run: Any) -> list[str]:
    """What each try logs as its last line."""
    return [line for line in _LAST_LINE.findall(run.log) if "messages, " not in line]


# what this try did


def test_a_first_try_has_sent_all_of_it(run_dag: Any, sandbox: Any, connection: str) -> None:
    assert last_lines(run_dag(survey_dag(rows=[person(1)]))) == ["1 row was read: 1 accepted; this try sent 1"]


def test_a_cleared_task_says_that_it_sent_nothing(
    run_dag: Any, clear_and_run: Any, sandbox: Any, connection: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dag = survey_dag(rows=[person(number) for number in range(25)], **sql_journal(tmp_path, monkeypatch))
    first = run_dag(dag)
    again = clear_and_run(dag, first.run_id)
    assert last_lines(first) == ["25 rows were read: 25 accepted; this try sent 25"]
    assert last_lines(again) == [
        "25 rows were read: 25 accepted; this try sent nothing: 25 were sent by an earlier try"
    ]
    assert result_of(again) == result_of(first)
    third = clear_and_run(dag, first.run_id)
    assert last_lines(third) == last_lines(again)


def test_a_try_after_a_kill_tells_what_it_sent_from_what_it_found(
    run_dag: Any,
    sandbox: Any,
    connection: str,
    journal: dict[str, Any],  # noqa: F811
    die: Die,  # noqa: F811
) -> None:
    die(at=2, before_8x8=False)
    first, second = last_lines(run_dag(tried_again(**journal)))
    assert first.startswith("The source was not read to its end. At least 1")
    assert second == (
        "20 rows were read: 20 accepted; this try sent 10, 10 were sent by an earlier try (this one found out about 5 "
        "of them)"
    )


def test_a_batch_that_8x8_never_got_is_sent_by_the_try_that_sends_it(
    run_dag: Any,
    sandbox: Any,
    connection: str,
    journal: dict[str, Any],  # noqa: F811
    quick: dict[str, Any],  # noqa: F811
    die: Die,  # noqa: F811
) -> None:
    die(at=4, before_8x8=True)
    *_, last = last_lines(run_dag(tried_again(**journal, **quick)))
    assert last == "20 rows were read: 20 accepted; this try sent 5, 15 were sent by an earlier try"


def test_what_is_not_known_to_be_sent_may_have_been(
    run_dag: Any,
    sandbox: Any,
    connection: str,
    journal: dict[str, Any],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    send_within(monkeypatch, 5.0)  # so long the second try waits
    sandbox.faults([{"on": "survey_batch", "kind": "close_before_accept", "times": 1}])
    first, second = last_lines(run_dag(tried_again(**journal)))
    assert first == "20 rows were read: 15 accepted, 5 unknown; this try sent 15 and may have sent 5 more"
    assert second == (
        "20 rows were read: 15 accepted, 5 unknown; this try sent nothing: 15 were sent and 5 may have been by an "
        "earlier try"
    )


def test_what_is_sent_again_by_choice_may_have_been_sent_before(run_dag: Any, sandbox: Any, connection: str) -> None:
    sandbox.faults([{"on": "survey_batch", "kind": "500", "times": 1}])
    run = run_dag(survey_dag(rows=[person(1), person(2)], on_unknown="resend"))
    assert last_lines(run) == ["2 rows were read: 2 accepted; this try sent 2 and may have sent 2 more"]


def test_another_run_of_the_campaign_says_who_sent(
    run_dag: Any, sandbox: Any, connection: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = {**sql_journal(tmp_path, monkeypatch), "campaign_id": "march"}
    rows = [person(number) for number in range(4)]
    run_dag(survey_dag(rows=rows[:3], **campaign))
    assert last_lines(run_dag(survey_dag(rows=rows, **campaign))) == [
        "4 rows were read: 1 accepted, 3 already_sent; this try sent 1, 3 were sent by another run of the campaign"
    ]
    assert last_lines(run_dag(survey_dag(rows=rows, **campaign))) == [
        "4 rows were read: 4 already_sent; this try sent nothing: 4 were sent by another run of the campaign"
    ]


def test_a_source_that_fails_was_not_read_to_its_end(
    run_dag: Any, sandbox: Any, connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_provider_8x8.rows import GivenRows

    monkeypatch.setattr("airflow_provider_8x8.surveys.sending.reading._ROWS_AT_A_TIME", 5)
    send, read = EightByEightClient.send_survey_batch, GivenRows.__iter__
    sent: list[Any] = []

    def remember(*arguments: Any, **options: Any) -> Any:
        sent.append(arguments)
        return send(*arguments, **options)

    def failing(self: GivenRows) -> Iterator[Any]:
        for number, row in enumerate(read(self)):
            if sent and number == 7:
                raise OSError("the network is gone")
            yield row

    monkeypatch.setattr(EightByEightClient, "send_survey_batch", remember)
    monkeypatch.setattr(GivenRows, "__iter__", failing)
    run = run_dag(survey_dag(rows=[person(number) for number in range(20)], batch_size=5))
    assert last_lines(run) == [
        "The source was not read to its end. At least 7 rows: 5 accepted, 2 not_sent; this try sent 5"
    ]


def test_a_task_that_was_stopped_was_not_read_to_its_end(run_dag: Any, sandbox: Any, connection: str) -> None:
    sandbox.faults([{"on": "survey_batch", "kind": "500", "times": 3}])
    (line,) = last_lines(run_dag(survey_dag(rows=[person(number) for number in range(20)], batch_size=2)))
    assert re.fullmatch(
        r"The source was not read to its end\. At least \d+ rows: \d+ not_sent, 6 unknown; this try may have sent 6",
        line,
    )


def test_a_try_that_cannot_begin_says_what_earlier_ones_sent(
    run_dag: Any, clear_and_run: Any, sandbox: Any, connection: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = sql_journal(tmp_path, monkeypatch)
    first = run_dag(survey_dag(rows=[person(1), person(2)], **kept))
    again = clear_and_run(survey_dag(rows=[person(1)], eight_by_eight_conn_id="gone", **kept), first.run_id)
    assert last_lines(again) == [
        "The source was not read. At least 2 rows: 2 accepted; this try sent nothing: 2 were sent by an earlier try"
    ]


# why


def test_the_log_says_why_rows_were_left_out(run_dag: Any, sandbox: Any, connection: str) -> None:
    rows = [
        person(1),
        person(2, destination="+21055501234"),
        person(3, destination="0412345678"),
        *(person(number, order_nr=None) for number in range(4, 12)),
        *(person(number, destination=f"+2105550{number}99") for number in range(12, 19)),
    ]
    run = run_dag(survey_dag(rows=rows))
    assert run.task_states == {"send": "success"}
    invalid = (
        "9 rows are invalid:\n"
        "  Row 3: destination '04******78' has a leading 0; give an international number, or country='AU' with "
        "412345678\n"
        "  Row 4 and 7 more: there is no value for {{order_nr}}"
    )
    assert run.log.count(invalid) == 1
    assert re.search(r"8 rows are rejected:\n  Row 2 and 7 more: \S", run.log)
    assert "2105550" not in run.log


def test_only_the_first_reasons_are_told(run_dag: Any, sandbox: Any, connection: str) -> None:
    rows = [person(0), *(person(number, destination=f"number {number}") for number in range(1, 10))]
    run = run_dag(survey_dag(rows=rows))
    told = run.log.partition("9 rows are invalid:\n")[2].partition("rows were read")[0]
    assert [line.split(":")[0] for line in told.splitlines()[:5]] == [f"  Row {number}" for number in range(2, 7)]
    assert "  and 4 for other reasons" in told


def test_rows_that_are_rejected_alone_have_8x8s_reason(run_dag: Any, sandbox: Any, connection: str) -> None:
    rows = [person(number, **({"country": "ZZ"} if number == 17 else {})) for number in range(40)]
    run = run_dag(survey_dag(rows=rows))
    assert re.search(r"1 row is rejected:\n  Row 18: .* \(code 3018\)", run.log)


def test_nothing_is_said_where_all_went_well(run_dag: Any, sandbox: Any, connection: str) -> None:
    log = run_dag(survey_dag(rows=[person(1)])).log
    assert "invalid:" not in log.replace("invalid_", "")
    assert "are rejected" not in log


@pytest.mark.parametrize("campaign", [{}, {"campaign_id": "march"}])
def test_the_log_begins_with_what_is_sent_from_where(
    run_dag: Any,
    sandbox: Any,
    connection: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    campaign: dict[str, Any],
) -> None:
    run = run_dag(survey_dag(rows=[person(1)], **sql_journal(tmp_path, monkeypatch), **campaign))
    named = campaign.get("campaign_id", f"survey/{run.run_id}/send")
    begins = (
        f"Survey 'orders' by connection 'eight_by_eight_default' (sub-account sandbox_hq at {sandbox.url}), campaign "
        f"'{named}', journal: SQL, connection 'journal'"
    )
    assert run.log.count(begins) == 1


# what is wrong with the connection


@pytest.fixture
def wrong_connection(sandbox: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(**wrong: Any) -> None:
        fields = {"conn_type": "eight_by_eight", "host": sandbox.url, "login": "sandbox_hq", "password": API_KEY}
        monkeypatch.setenv("AIRFLOW_CONN_EIGHT_BY_EIGHT_DEFAULT", json.dumps({**fields, **wrong}))

    return make


@pytest.mark.parametrize("wrong", [{"password": "wrong-key"}, {"login": "another_hq"}])
def test_a_refused_key_names_the_connection_and_what_to_check(
    run_dag: Any, sandbox: Any, wrong_connection: Any, wrong: dict[str, str]
) -> None:
    wrong_connection(**wrong)
    run = run_dag(survey_dag(rows=[person(1)]))
    subaccount = wrong.get("login", "sandbox_hq")
    assert (
        "Check the API key, the sub-account id and the region of connection 'eight_by_eight_default' (sub-account "
        f"{subaccount} at {sandbox.url})"
    ) in run.log
    assert [line for line in run.log.splitlines() if line.startswith("Check the API key")]
    assert "wrong-key" not in run.log.replace("MaskSecret(value='wrong-key'", "").replace("et(value='wrong-key'", "")


# what is wrong in the DAG file


@pytest.mark.parametrize(
    "wrong",
    [
        {"template_body": "Hi {{firstName} {{url}}"},
        {"source": "a" * 17},
        {"rows": {"destination": "x"}},
        {"batch_size": 0},
        {"sql": "SELECT 1"},
        {"campaign_id": "march"},
    ],
)
def test_an_error_at_parse_names_the_task(wrong: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^Task 'send': ") as refused:
        survey_dag(**{"rows": [], **wrong})
    assert refused.value.__cause__ is None


def test_an_error_at_parse_names_the_task_with_its_group() -> None:
    from airflow.providers.common.compat.sdk import DAG, TaskGroup

    from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator

    with DAG("survey", schedule=None), TaskGroup("spring"), pytest.raises(ValueError, match=r"^Task 'spring\.send': "):
        EightByEightSurveyBatchOperator(task_id="send", survey_id="orders", rows=[], template_body="no link")


def test_a_template_with_jinja_shows_the_place_and_where_it_goes() -> None:
    with pytest.raises(ValueError, match="Jinja is not rendered in template_body") as refused:
        survey_dag(rows=[], template_body="Hi {{firstName}}, on {{ ds | upper }}: {{url}}")
    _, line, mark, advice = str(refused.value).splitlines()
    assert line[mark.index("^") :].startswith("{{ ds | upper }}")
    assert advice.endswith("write {{ds}} here, and there {'ds': '{{ ds | upper }}'}")


def test_ds_that_nothing_fills_says_where_jinja_goes(
    run_dag: Any, sandbox: Any, connection: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = "Hi {{firstName}}, on {{ ds }}: {{url}}"
    said = "Jinja is not rendered in template_body, but in template_variables: write {{ds}} here"
    assert said in run_dag(survey_dag(rows=[person(1)], template_body=body)).log
    with sqlite3.connect(tmp_path / "warehouse.sqlite") as database:
        database.execute("CREATE TABLE people (destination TEXT, firstName TEXT)")
    monkeypatch.setenv(
        "AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "sqlite", "host": str(tmp_path / "warehouse.sqlite")})
    )
    with sqlite3.connect(tmp_path / "warehouse.sqlite") as database:
        database.execute("INSERT INTO people VALUES ('+12025550101', 'Zoë')")
    query = {"sql": "SELECT * FROM people", "sql_conn_id": "warehouse"}
    assert said in run_dag(survey_dag(**query, template_body=body)).log
    filled = run_dag(survey_dag(**query, template_body=body, template_variables={"ds": "{{ dag.dag_id }}"}))
    assert filled.task_states == {"send": "success"}
    assert sandbox.messages(1)[0]["text"].startswith("Hi Zoë, on survey: ")


# the report


def test_invalid_rows_are_reported_with_what_stands_in_them(
    run_dag: Any, sandbox: Any, connection: str, tmp_path: Path
) -> None:
    rows = [
        person(1, client_message_id="ord-1"),
        person(2, client_message_id="ord-2", destination="0412345678"),
        person(3, client_message_id='ord"3'),
        person(4, client_message_id="ord-4", order_nr=None),
    ]
    result = result_of(run_dag(survey_dag(rows=rows, report_path=str(tmp_path))))
    invalid = {line["row_number"]: line for line in report_lines(result) if line["outcome"] == "invalid"}
    shown = {
        number: (line["row_key"], line["client_message_id"], line["destination"]) for number, line in invalid.items()
    }
    assert shown == {
        2: ("ord-2", "ord-2", "0412345678"),
        3: (None, 'ord"3', person(3)["destination"]),
        4: ("ord-4", "ord-4", person(4)["destination"]),
    }


def test_airflows_variables_are_known() -> None:
    from airflow_provider_8x8.surveys.messages.template import hint_at_jinja

    try:
        from airflow.sdk.definitions.context import Context

        names = set(Context.__annotations__)
    except ImportError:
        from airflow.utils import context

        names = set(context.KNOWN_CONTEXT_KEYS)  # type: ignore[attr-defined]  # Airflow 2 has it
    assert not [name for name in names if hint_at_jinja(name) is None]
    assert hint_at_jinja("firstName") is None
