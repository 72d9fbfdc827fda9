"""What is built of the repository: the sdist, and the wheel in an environment with nothing but what it asks for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path
from posixpath import join, normpath

import pytest

from tests.conftest import ROOT
from tests.support.airflow_version import AIRFLOW, HAS_TASK_STATE_STORE

if not HAS_TASK_STATE_STORE:
    pytest.skip("what is built is the same for every Airflow; the newest looks at it", allow_module_level=True)

UV = Path(sys.prefix, "bin", "uv")
INSTALLED_AS = {"docs": "airflow_provider_8x8/docs", "example_dags": "airflow_provider_8x8/example_dags"}


def run_uv(*arguments: str | Path) -> None:
    """Run uv, which takes from its cache what ``make`` has installed, and else from a package index."""
    if UV.exists():
        done = subprocess.run([UV, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        if not done.returncode:
            return
        reason = done.stderr
    else:
        reason = f"there is no {UV}; make installs it"
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run_uv("build", "--out-dir", folder)  # the wheel from the sdist
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (path,) = dist.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def wheel_files(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def metadata(wheel_files: dict[str, bytes]) -> Message:
    (text,) = (content for name, content in wheel_files.items() if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(text.decode())


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with Airflow and the wheel."""
    environment = tmp_path_factory.mktemp("installed")
    python = environment / "bin" / "python"
    run_uv("venv", "--clear", "--python", sys.executable, environment)
    constraint = ROOT / "constraints" / f"airflow-{AIRFLOW}.txt"
    run_uv("pip", "install", "--python", python, "--constraint", constraint, f"apache-airflow=={AIRFLOW}", wheel)
    return python


def repository_files(folder: str) -> set[str]:
    return {str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*.*") if path.suffix != ".pyc"}


def test_the_wheel_has_the_package_with_its_docs_and_examples_and_no_more(wheel_files: dict[str, bytes]) -> None:
    expected = repository_files("airflow_provider_8x8")
    for folder, place in INSTALLED_AS.items():
        expected |= {name.replace(folder, place, 1) for name in repository_files(folder)}
    assert {name for name in wheel_files if ".dist-info/" not in name} == expected
    assert "airflow_provider_8x8/py.typed" in expected


def test_the_sdist_has_what_the_wheel_is_built_of(dist: Path) -> None:
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    expected = {"README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml"}
    for folder in ("airflow_provider_8x8", *INSTALLED_AS):
        expected |= repository_files(folder)
    assert names - {"PKG-INFO", ".gitignore"} == expected


def test_the_readme_of_the_wheel_names_what_is_installed_with_it(
    metadata: Message, wheel_files: dict[str, bytes]
) -> None:
    readme = str(metadata.get_payload())
    assert readme.startswith("# airflow-provider-8x8\n")
    assert not re.findall(r"\]\((?!https://|#)[^)]*\)", readme), "links that lead nowhere outside the repository"
    named = re.findall(r"\(`(airflow_provider_8x8/[^`]*)`\)", readme)
    assert "airflow_provider_8x8/docs/guarantees.md" in named
    for path in named:
        assert any(name == path or name.startswith(f"{path}/") for name in wheel_files), path


def test_links_between_installed_pages_lead_to_installed_files(wheel_files: dict[str, bytes]) -> None:
    for page in (name for name in wheel_files if name.startswith("airflow_provider_8x8/docs/")):
        for link in re.findall(r"\]\((?!https?://|#)([^)#]+)", wheel_files[page].decode()):
            assert normpath(join(page, "..", link)) in wheel_files, f"{page}: {link}"


def test_the_addresses_in_the_metadata_are_8x8s(metadata: Message) -> None:
    assert metadata.get_all("Project-URL") == ["8x8's API, https://developer.8x8.com/connect/docs"]


def test_the_wheel_is_importable_where_nothing_else_is_installed(installed: Path, tmp_path: Path) -> None:
    code = (
        "import airflow_provider_8x8; print(airflow_provider_8x8.__file__);"
        "from airflow_provider_8x8.hooks.eight_by_eight import EightByEightHook;"
        "from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator;"
        "import airflow_provider_8x8.sandbox.server, airflow_provider_8x8.surveys.journal.sql"
    )
    assert str(installed.parent.parent) in output_of(installed, tmp_path, "-c", code)


def test_airflow_lists_the_provider_of_the_wheel(installed: Path, tmp_path: Path) -> None:
    assert "airflow-provider-8x8" in output_of(installed, tmp_path, "-m", "airflow", "providers", "list")


def output_of(python: Path, home: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    environment = {name: value for name, value in environment.items() if not name.startswith("AIRFLOW")}
    done = subprocess.run(
        [python, *arguments],
        cwd=home,
        env={**environment, "AIRFLOW_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout
