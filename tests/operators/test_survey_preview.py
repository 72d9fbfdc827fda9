"""What the preview says beforehand, held against what the send then does."""

from __future__ import annotations

import inspect
import json
import os
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_8x8.api.client import EightByEightClient
from airflow_provider_8x8.operators.delivery_report import EightByEightDeliveryReportOperator
from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator
from airflow_provider_8x8.operators.survey_preview import EightByEightSurveyPreviewOperator
from tests.conftest import API_KEY, ROOT, SUBACCOUNT
from tests.operators.test_survey_batch import BODY, person

START = datetime(2026, 1, 1, tzinfo=UTC)
ACCOUNT = "0fca2a1b-5c4d-4a1e-9a53-0f4d1f2f7a10"


@pytest.fixture
def account(sandbox: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default connection, to the sandbox, with an account id."""
    fields = {"conn_type": "eight_by_eight", "host": sandbox.url, "login": SUBACCOUNT, "password": API_KEY}
    connection = json.dumps({**fields, "extra": {"account_id": ACCOUNT}})
    monkeypatch.setenv("AIRFLOW_CONN_EIGHT_BY_EIGHT_DEFAULT", connection)


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "journal.sqlite"
    monkeypatch.setenv("AIRFLOW_CONN_JOURNAL", json.dumps({"conn_type": "sqlite", "host": str(path)}))
    return path


def preview_dag(kind: Any = EightByEightSurveyPreviewOperator, **arguments: Any) -> Any:
    from airflow.providers.common.compat.sdk import DAG

    with DAG(f"preview_{kind.__name__}", schedule=None, start_date=START, catchup=False) as dag:
        kind(task_id="task", **{"survey_id": "orders", "template_body": BODY, "retries": 0, **arguments})
    return dag


def delivery_dag(sent: dict[str, Any]) -> Any:
    from airflow.providers.common.compat.sdk import DAG

    with DAG("deliveries", schedule=None, start_date=START, catchup=False) as dag:
        EightByEightDeliveryReportOperator(
            task_id="task", batch_ids=sent, sent_after=START, retries=0, poll_interval=timedelta(seconds=1)
        )
    return dag


def result_of(run: Any) -> dict[str, Any]:
    assert run.task_states == {"task": "success"}, run.log[-3000:]
    result: dict[str, Any] = run.xcoms["task"]["return_value"]
    return result


def test_its_arguments_are_the_batch_operators() -> None:
    shared = inspect.signature(EightByEightSurveyPreviewOperator.__init__).parameters
    batch = inspect.signature(EightByEightSurveyBatchOperator.__init__).parameters
    for name, parameter in shared.items():
        if name not in ("self", "kwargs", "survey_id"):
            assert batch[name] == parameter
    assert set(EightByEightSurveyPreviewOperator.template_fields) <= set(
        EightByEightSurveyBatchOperator.template_fields
    )


def test_airflow_is_told_of_it() -> None:
    from airflow_provider_8x8 import get_provider_info

    modules = [module for each in get_provider_info()["operators"] for module in each["python-modules"]]
    assert "airflow_provider_8x8.operators.survey_preview" in modules


def test_what_it_says_of_the_demos_rows_is_what_the_send_does(
    run_dag: Any, sandbox: Any, account: None, journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "demo"))
    from seed import CUSTOMERS, seed

    demo = seed(tmp_path / "warehouse.duckdb", date(2026, 2, 1))
    monkeypatch.setenv(
        "AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "duckdb", "host": str(tmp_path / "warehouse.duckdb")})
    )
    survey = {
        "sql": """
            SELECT phone AS destination, first_name AS "firstName", order_nr
              FROM orders JOIN customers USING (customer_id)
             WHERE status = 'completed' AND month(completed_at) = 2 ORDER BY completed_at DESC
        """,
        "sql_conn_id": "warehouse",
        "campaign_id": "february",
        "journal_conn_id": "journal",
    }
    preview = result_of(run_dag(preview_dag(**survey)))
    assert sandbox.stats()["requests"] == 0
    sent = result_of(run_dag(preview_dag(EightByEightSurveyBatchOperator, report_path=str(tmp_path), **survey)))
    again = result_of(run_dag(preview_dag(**survey)))
    in_fact = Counter(rows_read=sent["rows_read"], would_be_sent_count=sent["accepted_count"] + sent["rejected_count"])
    for count in ("invalid_count", "duplicate_count", "already_sent_count", "unknown_count"):
        in_fact[count] = sent[count]
    assert {count: preview[count] for count in in_fact} == in_fact
    assert (preview["rows_read"], preview["would_be_sent_count"]) == (CUSTOMERS, demo.accepted + demo.rejected)
    assert (preview["invalid_count"], preview["duplicate_count"]) == (demo.invalid, demo.duplicate)
    assert preview["sendable_count"] == preview["would_be_sent_count"]

    # why rows are invalid
    report = Path(sent["report"].removeprefix("file://"))
    (file,) = report.glob("*invalid.jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    reason_of = {line["row_number"]: line["description"] for line in lines}
    assert len(reason_of) == preview["invalid_count"]
    assert {kind["reason"] for kind in preview["invalid_reasons"]} == {
        reason_of[kind["first_row"]] for kind in preview["invalid_reasons"]
    }
    for words, troubles in {
        "is not a phone number": ("letters", "too_short", "too_long", "two_numbers", "email"),
        "there is no value for {{firstName}}": ("no_name",),
        "is NULL or empty": ("null", "blank"),
        "has a trunk '(0)'": ("trunk_zero",),
        "has a leading 0": ("national",),
        "begins with 00": ("double_zero",),
    }.items():
        (kind,) = [kind for kind in preview["invalid_reasons"] if words in kind["reason"]]
        rows = [number for number, reason in reason_of.items() if words in reason]
        assert (
            kind["rows"] == len(rows) == sum(demo.troubles[trouble] for trouble in demo.troubles if trouble in troubles)
        )
        assert kind["first_row"] == min(rows)
    assert sum(kind["rows"] for kind in preview["invalid_reasons"]) == preview["invalid_count"]

    # parts and cost: the sandbox's own
    messages = sandbox.messages(CUSTOMERS)
    (no_country,) = [each for each in preview["recipients"] if not each["countries"]]
    assert no_country["texts"] == sent["rejected_count"] == demo.rejected
    parts = Counter(str(message["parts"]) for message in messages)
    assert preview["parts"]["total"] == sum(int(each) * texts for each, texts in parts.items())
    assert preview["parts"]["histogram"] == parts
    assert preview["parts"]["longest"] == max(map(int, parts))
    assert preview["ucs2_count"] == sum(message["encoding"] == "UCS2" for message in messages)
    delivered = result_of(run_dag(delivery_dag(sent)))
    assert preview["cost"] == {
        "currency": "USD",
        "lowest": pytest.approx(delivered["cost"]["USD"]),
        "highest": pytest.approx(delivered["cost"]["USD"]),
    }
    assert preview["balance"] == {"amount": 1000.0, "currency": "USD"}
    assert "<" not in preview["markdown"]

    # once it is sent: what 8x8 has refused is free to be sent again
    assert again["would_be_sent_count"] == sent["rejected_count"]
    assert again["already_sent_count"] == sent["accepted_count"]
    same = ("rows_read", "invalid_count", "invalid_reasons", "duplicate_count", "unknown_count", "sendable_count")
    assert [again[name] for name in same] == [preview[name] for name in same]


def test_no_phone_number_is_in_what_it_gives(run_dag: Any, sandbox: Any, account: None) -> None:
    rows = [
        person(1, firstName="call +1 202 555 0123 | now\n<b>"),
        person(2, destination="0498765432"),
        person(1),
        person(3, firstName="Łukasz"),
        person(4, firstName="don\u2019t " * 12),
        person(5, firstName="x" * 2_000),
    ]
    run = run_dag(preview_dag(rows=rows))
    result = result_of(run)
    assert [result[name] for name in ("rows_read", "would_be_sent_count", "invalid_count", "duplicate_count")] == [
        6,
        3,
        2,
        1,
    ]
    assert result["already_sent_count"] is result["unknown_count"] is None
    assert "campaign_id" in result["already_sent_note"]
    assert (result["too_long_count"], result["lost_link_count"]) == (1, 1)
    assert result["parts"] == {"total": 4, "longest": 2, "histogram": {"1": 2, "2": 1}}
    assert [(each["character"], each["texts"], each["extra_parts"]) for each in result["ucs2_by_one_character"]] == [
        ("\u2019", 1, 1),
        ("Ł", 1, 0),
    ]
    assert result["recipients"] == [
        {"country": "US or Canada (NANP)", "countries": ["US", "CA"], "calling_code": "1", "texts": 3, "parts": 4}
    ]
    assert result["samples"][0] == {
        "destination": "+12*******01",
        "parts": 1,
        "text": "Hi call +12*******23 | now\n<b>, how was order 1? [link to the survey]",
    }
    assert "call +12\\*\\*\\*\\*\\*\\*\\*23 \\| now ⏎ &lt;b&gt;, how" in result["markdown"]
    written = json.dumps(run.xcoms["task"])
    for secret in ("5550101", "5550123", "98765432", "2025550123"):
        assert secret not in written
        assert secret not in run.log.replace(" ", "")
    assert run.rendered["task"]["rows"] == "<6 rows>"
    assert sandbox.stats()["requests"] == 0


@pytest.mark.parametrize("on", ["prices", "balance"])
def test_money_that_cannot_be_told_fails_nothing(run_dag: Any, sandbox: Any, account: None, on: str) -> None:
    sandbox.faults([{"on": on, "kind": "not_json", "times": 100}])
    result = result_of(run_dag(preview_dag(rows=[person(1)])))
    what, other = ("cost", "balance") if on == "prices" else ("balance", "cost")
    assert result[what] is None
    assert "could not be had" in result[f"{what}_note"]
    assert result[other] is not None


def test_what_no_price_is_known_for_is_said_beside_several_currencies(
    run_dag: Any, account: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def country(code: str, amount: float, currency: str) -> dict[str, Any]:
        return {"alpha2Code": code, "operators": [{"price": {"amount": amount, "currency": currency}}]}

    prices = [country("US", 0.004, "USD"), country("SG", 0.03, "SGD")]
    price_list = {"subAccounts": [{"subAccountId": SUBACCOUNT, "outbound": {"countries": prices}}]}
    monkeypatch.setattr(EightByEightClient, "get_prices", lambda client: price_list)
    rows = [person(1), person(2, destination="+6591234567"), person(3, destination="+447700900123")]
    result = result_of(run_dag(preview_dag(rows=rows)))
    assert result["cost"] is None
    assert "it is in several currencies: 0.03 to 0.03 SGD and 0.004 to 0.004 USD" in result["cost_note"]
    assert "without 1 part to numbers for which 8x8's price list has no price" in result["cost_note"]
    # Less than a cent is not nothing.
    cheap = result_of(run_dag(preview_dag(rows=[person(1)])))
    assert (cheap["cost"], cheap["cost_note"]) == ({"currency": "USD", "lowest": 0.004, "highest": 0.004}, None)
    assert "Cost: 0.0040 USD" in cheap["markdown"]


def test_without_an_account_id_there_is_no_cost_and_a_reason(run_dag: Any, sandbox: Any, connection: str) -> None:
    result = result_of(run_dag(preview_dag(rows=[person(1)])))
    assert result["cost"] is result["balance"] is None
    assert "account_id" in result["cost_note"]


def test_without_a_connection_there_is_still_a_preview(run_dag: Any) -> None:
    result = result_of(run_dag(preview_dag(rows=[person(1)], eight_by_eight_conn_id="nowhere")))
    assert result["would_be_sent_count"] == 1
    assert "there is no such connection" in result["cost_note"]


def test_what_the_campaign_has_sent_is_read_and_nothing_is_written(
    run_dag: Any, sandbox: Any, connection: str, journal: Path
) -> None:
    campaign = {"campaign_id": "c {{ dag.timezone }}", "journal_conn_id": "journal"}
    rows = [person(number) for number in range(10)]
    first = result_of(run_dag(preview_dag(rows=rows, **campaign)))
    assert (first["already_sent_count"], first["would_be_sent_count"], first["campaign_id"]) == (0, 10, "c UTC")
    assert not journal.exists()
    result_of(run_dag(preview_dag(EightByEightSurveyBatchOperator, rows=rows[:4], **campaign)))
    before = journal.read_bytes()
    if os.getuid():
        journal.chmod(0o400)
    second = result_of(run_dag(preview_dag(rows=rows, **campaign)))
    assert (second["already_sent_count"], second["unknown_count"], second["would_be_sent_count"]) == (4, 0, 6)
    assert second["sendable_count"] == 10
    assert journal.read_bytes() == before
    other = run_dag(preview_dag(rows=rows, **campaign, survey_id="another"))
    assert other.task_states == {"task": "failed"}
    assert "was written for survey_id 'orders'" in other.log


def test_every_kind_of_journal_is_read(run_dag: Any, sandbox: Any, connection: str, journal_database: Any) -> None:
    campaign = {"campaign_id": "c", "journal_conn_id": "journal"}
    rows = [person(number) for number in range(5)]
    assert result_of(run_dag(preview_dag(rows=rows, **campaign)))["already_sent_count"] == 0
    result_of(run_dag(preview_dag(EightByEightSurveyBatchOperator, rows=rows[:2], **campaign)))
    assert result_of(run_dag(preview_dag(rows=rows, **campaign)))["already_sent_count"] == 2


def test_no_rows_are_a_preview_of_nothing(run_dag: Any, sandbox: Any, account: None) -> None:
    result = result_of(run_dag(preview_dag(rows=[])))
    assert (result["rows_read"], result["would_be_sent_count"], result["samples"]) == (0, 0, [])
    assert result["cost_note"] == "there is nothing to be sent"


def test_a_source_that_could_not_be_sent_fails(run_dag: Any, sandbox: Any, connection: str, journal: Path) -> None:
    run = run_dag(preview_dag(sql="SELECT 1 AS destination", sql_conn_id="journal"))
    assert run.task_states == {"task": "failed"}
    assert "the source lacks the columns" in run.log
