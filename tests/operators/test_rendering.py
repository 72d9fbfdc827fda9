"""What Airflow renders: text stays text, and what Airflow then shows and stores holds no number and no secret."""

from __future__ import annotations

import copy
import json
import re
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.operators.test_survey_batch import BODY, START, person, result_of, survey_dag
from tests.operators.test_tries import sql_journal

NUMBER = "+12025550123"
SECRET = "s3cr3t-Tok3n"


def native_dag(dag_arguments: dict[str, Any] | None = None, **arguments: Any) -> Any:
    from airflow.providers.common.compat.sdk import DAG

    from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator

    options = {"render_template_as_native_obj": True, **(dag_arguments or {})}
    with DAG("survey", schedule=None, start_date=START, catchup=False, **options) as dag:
        EightByEightSurveyBatchOperator(
            task_id="send",
            **{
                "survey_id": "orders",
                "template_body": BODY,
                "rows": [person(1)],
                "retries": 0,
                "reconcile_timeout": timedelta(),
                **arguments,
            },
        )
    return dag


def surveys_of(sandbox: Any) -> set[str]:
    return {message["survey_id"] for message in sandbox.messages(100)}


def everything(run: Any) -> str:
    """All that a run leaves for others to see, without Airflow's lines on what its own masker is handed in a test."""
    log = re.sub(r"MaskSecret\(.*?\)|\S*et\(value='[^']*', name=None, type='MaskSecret'\)", "", run.log)
    return log + json.dumps(run.xcoms) + json.dumps(run.rendered)


def has_number(text: str, number: str = NUMBER) -> bool:
    return number.lstrip("+") in re.sub(r"[\s().+-]", "", text)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize(
    "survey",
    [
        "20260131",
        "007",
        "0",
        "000",
        "1_000",
        "1e5",
        "0x10",
        "-5",
        "1.50",
        "True",
        "None",
        "[1]",
        "{'a'}",
        "'quoted'",
        "5 ",
    ],
)
def test_an_id_stays_the_text_that_it_is(
    run_dag: Any, sandbox: Any, connection: str, native: bool, survey: str
) -> None:
    run = run_dag(native_dag({"render_template_as_native_obj": native}, survey_id=survey))
    assert run.task_states == {"send": "success"}
    assert surveys_of(sandbox) == {survey}
    assert run.rendered["send"]["survey_id"] == survey


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize(
    ("given", "survey"),
    [(20260131, "20260131"), ("20260131", "20260131"), ("007", "007"), ("1_000", "1_000"), ("1e5", "1e5"), (0, "0")],
)
def test_an_id_out_of_jinja_is_the_text_that_jinja_was_given(
    run_dag: Any, sandbox: Any, connection: str, native: bool, given: Any, survey: str
) -> None:
    dag = native_dag(
        {"render_template_as_native_obj": native, "params": {"survey": given}}, survey_id="{{ params.survey }}"
    )
    run = run_dag(dag)
    assert run.task_states == {"send": "success"}
    assert surveys_of(sandbox) == {survey}


@pytest.mark.parametrize("given", [20260131.0, True, [20260131], {"a": 1}, None])
def test_what_cannot_be_an_id_is_an_error_that_names_it(
    run_dag: Any, sandbox: Any, connection: str, given: Any
) -> None:
    run = run_dag(native_dag({"params": {"survey": given}}, survey_id="{{ params.survey }}"))
    assert run.task_states == {"send": "failed"}
    assert "survey_id " in run.log
    assert "expected" in run.log
    assert sandbox.stats()["requests"] == 0


@pytest.mark.parametrize(("given", "survey"), [(20260131, "20260131"), ("007", "007")])
def test_an_id_of_an_upstream_task_is_text(
    run_dag: Any, sandbox: Any, connection: str, given: Any, survey: str
) -> None:
    from airflow.providers.common.compat.sdk import DAG, task

    from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator

    with DAG("survey", schedule=None, start_date=START, catchup=False) as dag:

        @task
        def choose() -> Any:
            return given

        EightByEightSurveyBatchOperator(
            task_id="send",
            survey_id=choose(),  # type: ignore[arg-type]  # Airflow hands on the result
            template_body=BODY,
            rows=[person(1)],
            retries=0,
        )
    run = run_dag(dag)
    assert run.task_states == {"choose": "success", "send": "success"}
    assert surveys_of(sandbox) == {survey}


def test_a_whole_number_in_the_dag_file_is_the_text_of_its_digits(run_dag: Any, sandbox: Any, connection: str) -> None:
    run = run_dag(survey_dag(survey_id=20260131, source=12345, rows=[person(1)], client_batch_id_prefix=2026))
    assert run.task_states == {"send": "success"}
    assert surveys_of(sandbox) == {"20260131"}
    assert sandbox.messages(1)[0]["source"] == "12345"
    assert result_of(run)["client_batch_ids"][0].startswith("2026")


def test_a_native_campaign_is_the_one_that_a_dag_of_text_has(
    run_dag: Any, sandbox: Any, connection: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = sql_journal(tmp_path, monkeypatch)
    day = datetime(2026, 1, 31, tzinfo=UTC)
    for native in (True, False):
        dag = native_dag({"render_template_as_native_obj": native}, campaign_id="{{ ds_nodash }}", **journal)
        run = run_dag(dag, logical_date=day + timedelta(hours=native))
        assert run.task_states == {"send": "success"}
        assert result_of(run)["campaign_id"] == "20260131"
    assert sandbox.stats() | {"accepted": 1, "max_per_key": 1} == sandbox.stats()


@pytest.mark.parametrize("native", [True, False])
def test_a_campaign_that_jinja_has_no_value_for_is_not_another_one(
    run_dag: Any, sandbox: Any, connection: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, native: bool
) -> None:
    dag = native_dag(
        {"render_template_as_native_obj": native, "params": {"campaign": None}},
        campaign_id="{{ params.campaign }}",
        **sql_journal(tmp_path, monkeypatch),
    )
    run = run_dag(dag)
    assert run.task_states == {"send": "failed"}
    assert "campaign_id was rendered to None" in run.log
    assert sandbox.stats()["requests"] == 0


@pytest.mark.parametrize("name", ["parameters", "sql_hook_params", "template_variables"])
def test_a_mapping_that_jinja_has_no_value_for_is_not_an_absent_one(
    run_dag: Any, sandbox: Any, connection: str, warehouse: dict[str, Any], name: str
) -> None:
    run = run_dag(native_dag({"params": {"given": None}}, **warehouse, rows=None, **{name: "{{ params.given }}"}))
    assert run.task_states == {"send": "failed"}
    assert f"{name} was rendered to None" in run.log
    assert sandbox.stats()["requests"] == 0


def test_a_sender_that_native_jinja_has_no_value_for_is_left_out(run_dag: Any, sandbox: Any, connection: str) -> None:
    run = run_dag(native_dag({"params": {"source": None}}, source="{{ params.source }}"))
    assert run.task_states == {"send": "success"}
    assert sandbox.messages(1)[0]["source"] != "None"


def test_a_sender_called_none_is_refused(run_dag: Any, sandbox: Any, connection: str) -> None:
    run = run_dag(survey_dag(rows=[person(1)], source="{{ none }}"))
    assert run.task_states == {"send": "failed"}
    assert "source was rendered to None" in run.log
    assert sandbox.stats()["requests"] == 0


def test_all_that_is_text_is_text_in_a_native_dag(
    run_dag: Any, sandbox: Any, connection: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = sqlite3.connect(tmp_path / "warehouse.sqlite")
    database.execute("CREATE TABLE orders AS SELECT '+12025550101' AS destination, 'Zoë' AS firstName, 7 AS order_nr")
    database.commit()
    database.close()
    warehouse = {"conn_type": "sqlite", "host": str(tmp_path / "warehouse.sqlite")}
    monkeypatch.setenv("AIRFLOW_CONN_20260131", json.dumps(warehouse))
    dag = native_dag(
        {"params": {"sender": 12025550100}},
        rows=None,
        sql="SELECT * FROM orders WHERE order_nr = ?",
        sql_conn_id="20260131",
        parameters=["{{ 3 + 4 }}"],
        source="{{ params.sender }}",
        encoding="{{ 'GSM7' }}",
        scheduled="{{ macros.datetime.now(macros.dateutil.tz.UTC) + macros.timedelta(hours=1) }}",
        dlr_callback_url="https://example.com/{{ ds_nodash }}",
        report_path=f"{tmp_path}/{{{{ ds_nodash }}}}",
        template_body="{{price}}, {{month}}, {{flag}}: {{url}}",
        template_variables={"price": "{{ '1.50' }}", "month": "{{ '007' }}", "flag": "{{ 1 == 1 }}"},
        canary_destination="{{ '+12025550199' }}",
    )
    # A run that is younger than the other tests': Airflow 2 keeps what it has rendered for some of the youngest.
    run = run_dag(dag, logical_date=datetime(2031, 1, 31, tzinfo=UTC))
    assert run.task_states == {"send": "success"}
    message = sandbox.messages(1)[0]
    assert message["source"] == "12025550100"
    assert message["text"].startswith("1.50, 007, true: ")
    assert Path(result_of(run)["report"].removeprefix("file://")).parent == tmp_path / "20310131"
    assert run.rendered["send"]["canary_destination"] == "+12*******99"
    assert not has_number(everything(run), "12025550199")


@pytest.mark.parametrize("given", [12025550199, "+12025550199", "+1 202 555 0199"])
def test_a_canary_of_any_kind_is_masked(run_dag: Any, sandbox: Any, connection: str, given: Any) -> None:
    run = run_dag(native_dag({"params": {"canary": given}}, canary_destination="{{ params.canary }}"))
    assert run.task_states == {"send": "success"}
    assert "12*******99" in run.rendered["send"]["canary_destination"]
    assert not has_number(json.dumps(run.rendered), "12025550199")


@pytest.mark.parametrize(
    "given",
    [
        12025550199.5,
        ["+12025550199"],
        {"number": "+12025550199"},
        "12025550199 12025550188 12025550177",
        "{{+12025550199",
    ],
)
def test_a_canary_that_is_none_is_refused_without_being_shown(
    run_dag: Any, sandbox: Any, connection: str, given: Any
) -> None:
    run = run_dag(native_dag({"params": {"canary": given}}, canary_destination="{{ params.canary }}"))
    assert run.task_states == {"send": "failed"}
    assert re.search(r"canary_destination is .*; expected", run.log)
    assert sandbox.stats()["requests"] == 0
    assert not has_number(json.dumps(run.rendered) + json.dumps(run.xcoms), "12025550199")


@pytest.fixture
def warehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The arguments for a query of a warehouse with ten orders."""
    database = sqlite3.connect(tmp_path / "warehouse.sqlite")
    database.execute("CREATE TABLE orders (destination TEXT, firstName TEXT, order_nr INTEGER, day TEXT)")
    for number in range(10):
        row = (person(number)["destination"], f"Person {number}", number, "2026-01-31")
        database.execute("INSERT INTO orders VALUES (?, ?, ?, ?)", row)
    database.commit()
    database.close()
    connection = {"conn_type": "sqlite", "host": str(tmp_path / "warehouse.sqlite")}
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(connection))
    return {"sql": "SELECT destination, firstName, order_nr FROM orders", "sql_conn_id": "warehouse"}


@pytest.mark.parametrize("native", [True, False])
def test_parameters_are_bound_whole_and_shown_masked(
    run_dag: Any, sandbox: Any, connection: str, warehouse: dict[str, Any], native: bool
) -> None:
    first = person(0)["destination"]
    dag = native_dag(
        {"render_template_as_native_obj": native, "params": {"number": person(1)["destination"]}},
        **{**warehouse, "sql": f"{warehouse['sql']} WHERE destination IN (:first, :second, :none) AND day = :day"},
        rows=None,
        parameters={
            "first": first,
            "second": "{{ params.number }}",
            "none": 12025550123,
            "day": "{{ '2026-01-31' }}",
            "password": SECRET,
        },
    )
    run = run_dag(dag)
    assert run.task_states == {"send": "success"}
    assert result_of(run)["accepted_count"] == 2
    shown = run.rendered["send"]["parameters"]
    shown = json.loads(shown) if isinstance(shown, str) else shown
    assert shown == {
        "first": "+12*******00",
        "second": "+12*******01",
        "none": "12*******23",
        "day": "2026-01-31",
        "password": "***",
    }
    assert not [n for n in (first, person(1)["destination"], NUMBER) if has_number(everything(run), n)]
    assert SECRET not in everything(run)


@pytest.mark.parametrize("parameters", [["2026-01-31", NUMBER], ("2026-01-31", NUMBER)])
def test_parameters_in_order_are_shown_masked_too(
    run_dag: Any, sandbox: Any, connection: str, warehouse: dict[str, Any], parameters: Any
) -> None:
    sql = f"{warehouse['sql']} WHERE day = ? AND destination <> ?"
    run = run_dag(survey_dag(**{**warehouse, "sql": sql}, parameters=parameters))
    assert result_of(run)["accepted_count"] == 10
    assert not has_number(everything(run))
    assert "2026-01-31" in str(run.rendered["send"]["parameters"])


@pytest.mark.parametrize("native", [True, False])
def test_numbers_in_sql_are_executed_whole_and_shown_masked(
    run_dag: Any, sandbox: Any, connection: str, warehouse: dict[str, Any], native: bool
) -> None:
    number = person(3)["destination"]
    sql = f"{warehouse['sql']} WHERE destination <> '{number}' AND day = "
    sql += "'{{ '2026-01-31' }}' -- {% raw %}{{ x }}{% endraw %}"
    run = run_dag(native_dag({"render_template_as_native_obj": native}, **{**warehouse, "sql": sql}, rows=None))
    assert run.task_states == {"send": "success"}
    assert result_of(run)["accepted_count"] == 9
    assert run.rendered["send"]["sql"].endswith("WHERE destination <> '+12*******03' AND day = '2026-01-31' -- {{ x }}")
    assert not has_number(everything(run), number)


def test_sql_from_a_file_is_rendered_and_shown_masked(
    run_dag: Any, sandbox: Any, connection: str, warehouse: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "orders.sql").write_text(
        f"{warehouse['sql']} WHERE destination <> '{NUMBER}' AND order_nr < {{{{ 5 }}}}"
    )
    dag = native_dag({"template_searchpath": [str(tmp_path)]}, **{**warehouse, "sql": "orders.sql"}, rows=None)
    dag.resolve_template_files()
    run = run_dag(dag)
    assert run.task_states == {"send": "success"}
    assert result_of(run)["accepted_count"] == 5
    assert run.rendered["send"]["sql"].endswith("<> '+12*******23' AND order_nr < 5")


def test_mapped_tasks_show_their_arguments_masked(
    run_dag: Any, sandbox: Any, connection: str, warehouse: dict[str, Any]
) -> None:
    from airflow.providers.common.compat.sdk import DAG, task

    from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator

    with DAG("survey", schedule=None, start_date=START, catchup=False, render_template_as_native_obj=True) as dag:

        @task
        def choose() -> list[dict[str, Any]]:
            return [{"destination": person(number)["destination"]} for number in (4, 5)]

        EightByEightSurveyBatchOperator.partial(
            task_id="send",
            template_body=BODY,
            survey_id=20260131,
            source="{{ 12025550100 }}",
            sql=f"{warehouse['sql']} WHERE destination = :destination AND destination <> '{NUMBER}'",
            sql_conn_id="warehouse",
            retries=0,
        ).expand(parameters=choose())
    run = run_dag(dag)
    assert run.task_states == {"choose": "success", "send[0]": "success", "send[1]": "success"}
    assert surveys_of(sandbox) == {"20260131"}
    assert {message["source"] for message in sandbox.messages(10)} == {"12025550100"}
    for index, number in enumerate((4, 5)):
        rendered = json.dumps(run.rendered[f"send[{index}]"])
        assert f"+12*******0{number}" in rendered
        assert not has_number(rendered, person(number)["destination"])
        assert not has_number(rendered)


def test_what_lets_one_in_somewhere_is_not_shown(
    run_dag: Any, sandbox: Any, connection: str, warehouse: dict[str, Any]
) -> None:
    run = run_dag(
        survey_dag(
            **warehouse,
            sql_hook_params={"init_sql": f"SET password = '{SECRET}'"},
            dlr_callback_url=f"https://user:{SECRET}@example.com:8443/{SECRET}?token={SECRET}#{SECRET}",
        )
    )
    assert SECRET not in everything(run)
    assert run.rendered["send"]["dlr_callback_url"] == "https://***@example.com:8443/***"


@pytest.mark.parametrize(
    "address", [f"example.com/{SECRET}", f"ftp://user:{SECRET}@example.com", f"htp://example.com?token={SECRET}"]
)
def test_what_lets_one_in_is_not_shown_of_a_rows_own_address(
    run_dag: Any, sandbox: Any, connection: str, address: str
) -> None:
    run = run_dag(survey_dag(rows=[person(1), person(2, dlr_callback_url=address)]))
    assert result_of(run)["invalid_count"] == 1
    assert "expected an address that begins with" in result_of(run)["invalid_samples"][0]
    assert SECRET not in everything(run)


def test_the_options_of_a_reports_folder_are_not_shown(
    run_dag: Any, sandbox: Any, connection: str, tmp_path: Path
) -> None:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    folder = ObjectStoragePath(f"file://{tmp_path}", account_key=SECRET)
    run = run_dag(survey_dag(rows=[person(1)], report_path=folder))
    assert result_of(run)["report"].startswith(f"file://{tmp_path}/")
    assert run.rendered["send"]["report_path"] == f"file://{tmp_path}"
    assert SECRET not in everything(run)


def test_a_rows_huge_time_is_quoted_shortly(run_dag: Any, sandbox: Any, connection: str) -> None:
    run = run_dag(survey_dag(rows=[person(1), person(2, scheduled="soon " * 100_000)]))
    assert result_of(run)["invalid_count"] == 1
    assert len(result_of(run)["invalid_samples"][0]) < 500


def test_a_number_that_all_messages_show_is_sent_and_not_shown(run_dag: Any, sandbox: Any, connection: str) -> None:
    run = run_dag(
        survey_dag(
            rows=[person(1)],
            template_body="Call {{hotline}}: {{url}}",
            template_variables={"hotline": "{{ '+1 202 555 0123' }}"},
            source="12025550123",
        )
    )
    assert run.task_states == {"send": "success"}
    message = sandbox.messages(1)[0]
    assert message["text"].startswith("Call +1 202 555 0123: ")
    assert message["source"] == "12025550123"
    assert not has_number(everything(run))


@pytest.mark.parametrize(
    "arguments",
    [
        {"parameters": {"number": NUMBER, "day": "{{ nothing.at.all }}"}},
        {"sql": f"SELECT '{NUMBER}' AS destination, {{{{ nothing.at.all }}}}"},
        {"template_variables": {"firstName": NUMBER, "order_nr": "{{ nothing.at.all }}"}},
        {"dlr_callback_url": f"https://user:{SECRET}@example.com/{{{{ nothing.at.all }}}}"},
    ],
)
def test_a_template_that_cannot_be_rendered_is_not_logged(
    run_dag: Any, sandbox: Any, connection: str, warehouse: dict[str, Any], arguments: dict[str, Any]
) -> None:
    run = run_dag(survey_dag(**{**warehouse, **arguments}))
    assert run.task_states == {"send": "failed"}
    assert f"{next(iter(arguments))} could not be rendered: UndefinedError" in run.log
    assert not has_number(everything(run))
    assert SECRET not in everything(run)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"parameters": "{{ params.x }}"}, "parameters is of type str; expected a mapping, a list or a tuple"),
        ({"template_variables": "{{ params.x }}"}, "template_variables is of type str; expected a mapping"),
        ({"source": "{{ 'x' * 17 }}"}, "source is 'xxxxxxxxxxxxxxxxx'; expected at most 16 characters"),
        ({"dlr_callback_url": "{{ 'ftp://user:pw@example.com' }}"}, "dlr_callback_url is ftp://\\*\\*\\*@example.com;"),
        ({"report_path": "{{ 'reports' }}"}, "report_path is 'reports'; expected an absolute path"),
        ({"survey_id": "{{ ' ' }}"}, "survey_id is empty; expected the id that 8x8 gave the survey"),
        ({"scheduled": "{{ params.x }}"}, "scheduled is 'https://example.com/12\\*+23'; expected"),
        ({"template_variables": {"firstName": "{{ 5 }}", "order_nr": [1]}}, "template_variables\\['order_nr'\\] is of"),
    ],
)
def test_what_was_rendered_is_checked_as_in_the_dag_file(
    run_dag: Any, sandbox: Any, connection: str, warehouse: dict[str, Any], arguments: dict[str, Any], message: str
) -> None:
    if "order_nr" in arguments.get("template_variables", {}):
        with pytest.raises(ValueError, match=message):
            survey_dag(**warehouse, **arguments)
        return
    dag = native_dag(
        {"render_template_as_native_obj": False, "params": {"x": "https://example.com/12025550123"}},
        **warehouse,
        rows=None,
        **arguments,
    )
    run = run_dag(dag)
    assert run.task_states == {"send": "failed"}
    assert re.search(message, run.log)
    assert not has_number(run.log)
    assert sandbox.stats()["requests"] == 0


def test_a_masked_argument_can_be_copied(run_dag: Any) -> None:
    from airflow_provider_8x8.operators.masked import CanaryNumber, MaskedMapping, unmasked

    for masked in (CanaryNumber(NUMBER), MaskedMapping({"hotline": NUMBER}, {"hotline": "+12*******23"})):
        for copied in (copy.copy(masked), copy.deepcopy(masked)):
            assert unmasked(copied) == unmasked(masked)
            assert not has_number(f"{copied} {copied!r}")
    (task,) = copy.deepcopy(survey_dag(rows=[person(1)], canary_destination=NUMBER)).tasks
    assert task.canary_destination.checked() == NUMBER
