"""The package as a whole: what imports what, what is installed, what Airflow is told."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "airflow_provider_8x8"
# What each part may import of the package: arrows point down only.
MAY_IMPORT = {
    "api": {"api", "retrying", "__init__"},
    "surveys": {"surveys", "api", "retrying"},
    "hooks": {"hooks", "api", "get_provider_info"},
    "retrying": set(),
    "databases": {"duckdb_dialect"},
    "duckdb_dialect": set(),
    "rows": {"databases", "surveys", "api"},
    "journals": {"databases", "journals", "surveys"},
    "triggers": {"hooks", "surveys"},
    "operators": {
        *{"operators", "triggers", "hooks", "databases", "rows", "journals", "surveys", "api", "get_provider_info"},
        "exceptions",
    },
    "decorators": {"operators", "rows"},
    "exceptions": set(),
    "retry_policy": {"exceptions", "surveys", "api"},
    "sandbox": {"sandbox", "__init__"},
    "get_provider_info": set(),
    "__init__": {"get_provider_info"},
}


def part_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("airflow_provider_8x8"):
            found.add((node.module or "").partition(".")[2].partition(".")[0] or "__init__")
    return found


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_arrows_point_down_only(file: Path) -> None:
    assert imports_of(file) <= MAY_IMPORT[part_of(file)]


# The wings of a part, each of which may import what stands before it; and what all of them may import beside that.
WINGS = {
    "sandbox": (("wire", "platform", "desk"), set()),
    "surveys": (("messages", "journal", "outcomes", "sending", "preview"), {"settings", "clock", "chance"}),
}


@pytest.mark.parametrize(("part", "wing"), [(part, wing) for part, (wings, _) in WINGS.items() for wing in wings])
def test_arrows_between_the_wings_of_a_part_point_one_way(part: str, wing: str) -> None:
    wings, of_all = WINGS[part]
    may_import = of_all.union(wings[: wings.index(wing) + 1])
    for file in (PACKAGE / part / wing).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"airflow_provider_8x8.{part}."):
                assert (node.module or "").split(".")[2] in may_import, file


@pytest.mark.parametrize("part", WINGS)
def test_every_folder_of_a_part_with_wings_is_one(part: str) -> None:
    assert {folder.name for folder in (PACKAGE / part).iterdir() if any(folder.glob("*.py"))} == {*WINGS[part][0]}


@pytest.mark.parametrize(
    "module",
    ["api.client", "surveys.sending.sender", "surveys.preview.result", "surveys.journal.sql", "sandbox.server"],
)
def test_airflow_is_not_imported_for(module: str) -> None:
    code = f"import sys, airflow_provider_8x8.{module}; sys.exit('airflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("folder", ["api", "surveys", "sandbox"])
def test_what_needs_no_airflow_is_tested_without_it(folder: str) -> None:
    for file in (ROOT / "tests" / folder).rglob("*.py"):
        source = file.read_text()
        found = re.findall(r"^\s*(?:from|import) airflow\b.*", source, re.MULTILINE)
        assert not found or 'pytest.importorskip("airflow")' in source, f"{file}: {found}"


@pytest.mark.parametrize("operator", ["survey_batch", "survey_preview", "delivery_report", "cancel_batch"])
def test_what_only_a_running_task_needs_is_not_imported_when_a_dag_is_parsed(operator: str) -> None:
    code = (
        f"import sys, airflow_provider_8x8.operators.{operator}; "
        "sys.exit(', '.join({f'airflow_provider_8x8.{name}' for name in "
        "('api.client', 'hooks.eight_by_eight', 'surveys.sending.sender', 'surveys.sending.following', "
        "'surveys.sending.cancelling', 'surveys.journal.sql')} "
        "& set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_airflow_finds_the_provider() -> None:
    import airflow_provider_8x8

    (entry_point,) = entry_points(group="apache_airflow_provider").select(
        value=("airflow_provider_8x8.get_provider_info:get_provider_info")
    )
    info = entry_point.load()()
    assert info["package-name"] == "airflow-provider-8x8"
    assert version("airflow-provider-8x8") == airflow_provider_8x8.__version__


def test_provider_info_is_valid_for_airflow() -> None:
    import importlib.resources
    import json

    import jsonschema

    from airflow_provider_8x8 import get_provider_info

    schema = json.loads((importlib.resources.files("airflow") / "provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


def test_the_form_offers_the_regions_that_the_client_knows() -> None:
    from airflow_provider_8x8.api.client import DEFAULT_TIMEOUT
    from airflow_provider_8x8.api.regions import DEFAULT_REGION, REGIONS
    from airflow_provider_8x8.get_provider_info import CONN_FIELDS

    assert CONN_FIELDS["region"]["schema"]["enum"] == list(REGIONS)
    assert CONN_FIELDS["region"]["schema"]["default"] == DEFAULT_REGION
    assert CONN_FIELDS["timeout"]["schema"]["default"] == DEFAULT_TIMEOUT


def test_a_warning_from_our_own_modules_is_an_error() -> None:
    code = compile("import warnings; warnings.warn('old')", "made up", "exec")
    with pytest.raises(UserWarning, match="old"):
        exec(code, {"__name__": "airflow_provider_8x8.made_up"})  # noqa: S102  # the module that warns has to be ours
