"""Workflows, hooks, issue forms and the citation say what the project says."""

import os
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def jobs() -> dict[str, dict[str, Any]]:
    """Return all jobs, by file and name; those that call another workflow are left out."""
    return {
        f"{path.stem}/{name}": job
        for path in WORKFLOWS
        for name, job in read(path)["jobs"].items()
        if "uses" not in job
    }


def scripts() -> list[str]:
    return [step["run"] for job in jobs().values() for step in job["steps"] if "run" in step]


def test_a_change_runs_what_ci_runs_on_every_python_that_it_names() -> None:
    linux = jobs()["tests/linux"]
    found = linux["strategy"]["matrix"]["python"]

    assert linux["steps"][-1]["run"] == ".ci/run"
    assert found == ["3.11", "3.12", "3.13"]
    assert PROJECT["requires-python"].startswith(f">={found[0]},")
    assert read(WORKFLOWS[0])["jobs"]["tests"]["uses"] == "./.github/workflows/tests.yml"


def test_the_image_is_started_as_its_dockerfile_says_and_audited() -> None:
    script = (ROOT / ".ci" / "image").read_text(encoding="utf-8")
    dockerfile = (ROOT / "serve" / "Dockerfile").read_text(encoding="utf-8")
    safe = re.search(r"docker run (--read-only .*) \\$", dockerfile, re.M)

    assert jobs()["tests/image"]["steps"][-1]["run"] == ".ci/image"
    assert os.access(ROOT / ".ci" / "image", os.X_OK)
    assert safe is not None
    assert f"docker run --detach {safe[1]} " in script
    audits = [text for text in (script, *scripts()) if "pip-audit" in text]
    assert len(audits) == 2  # what is in the image, and all of constraints.txt
    assert len({version for text in audits for version in re.findall(r"pip-audit==\S+", text)}) == 1


def test_make_targets_files_and_commands_of_workflows_exist() -> None:
    text = "\n".join(scripts())
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    words = shlex.split(text.replace("\n", " "), comments=False)

    assert set(re.findall(r"\bmake ([\w-]+)", text)) == {"test", "test-all"} <= set(targets)
    assert [word for word in words if word.startswith("tests/")]
    assert [x for x in words if x.startswith("tests/") and not (ROOT / x).exists()] == []


def test_no_job_runs_forever_or_may_write_without_need() -> None:
    assert [name for name, job in jobs().items() if "timeout-minutes" not in job] == []
    assert {path.stem for path in WORKFLOWS} == {"release", "tests", "weekly"}
    assert [path for path in WORKFLOWS if read(path)["permissions"] != {"contents": "read"}] == []
    writing = [name for name, job in jobs().items() if "permissions" in job]
    assert writing == ["release/release"]


def test_actions_are_named_by_commit() -> None:
    used = [step["uses"] for job in jobs().values() for step in job["steps"] if "uses" in step]

    assert used
    assert [
        action for action in used if not re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", action)
    ] == []


def test_hooks_are_pinned_and_of_the_versions_that_make_lint_uses() -> None:
    hooks = [
        hook for repo in read(ROOT / ".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]
    ]
    pins = {pin for hook in hooks for pin in hook["additional_dependencies"]}
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()

    assert {hook["id"] for hook in hooks} >= {"ruff-check", "ruff-format", "actionlint"}
    assert [pin for pin in pins if not re.fullmatch(r"[\w-]+==[\d.]+", pin)] == []
    assert [pin for pin in pins if pin.startswith("ruff==")] == [
        line for line in constraints if line.startswith("ruff==")
    ]


@pytest.mark.parametrize(("form", "required"), [("bug", True), ("idea", False)])
def test_issue_forms_ask_for_the_block_of_doctor(form: str, required: bool) -> None:
    fields = {
        field["id"]: field for field in read(GITHUB / "ISSUE_TEMPLATE" / f"{form}.yml")["body"]
    }
    doctor = fields["doctor"]

    assert "`fitbot doctor`" in doctor["attributes"]["label"]
    assert doctor["attributes"]["render"] == "text"
    assert doctor.get("validations", {}).get("required", False) is required


def test_the_citation_is_of_this_version() -> None:
    citation = read(ROOT / "CITATION.cff")

    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
