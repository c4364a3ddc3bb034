"""The command as a person types it: two real adapters, keys from a pipe, files that go on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fitbot.__main__ import main
from tests.conftest import ROOT
from tests.evaluation.exported import records, write_adapter

FEW = ("--max", "4", "--max_new_tokens", "6")


@pytest.fixture(scope="module")
def runs(base: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two adapters, and beside them questions."""
    root = tmp_path_factory.mktemp("runs")
    (root / "pairs.json").write_text(json.dumps(records()), encoding="utf-8")
    return [str(write_adapter(root / name, base, seed=i)) for i, name in enumerate(("one", "two"))]


def compare(
    runs: list[str], out: Path, keys: str, *more: str, code: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, with keys as lines."""
    questions = str(Path(runs[0]).parents[1] / "pairs.json")
    words = ["compare", *runs, "--questions", questions, "--out", str(out), *FEW, *more]
    done = subprocess.run(
        [sys.executable, "-m", "fitbot", *words],
        input="\n".join(keys) + "\n",
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "80", "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == code, done.stderr
    return done


def result_of(out: Path) -> Any:
    return json.loads((out / "comparison.json").read_text(encoding="utf-8"))


def choices_of(out: Path) -> list[Any]:
    lines = (out / "choices.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines[1:]]


@pytest.mark.slow
def test_a_comparison_is_left_gone_on_with_and_ends(runs: list[str], tmp_path: Path) -> None:
    first = compare(runs, tmp_path, "12q")

    assert "Comparison 3 of at most 4" in first.stdout
    assert "one" not in first.stdout.split("Not decided")[0]  # no name before the end
    assert result_of(tmp_path)["compared"] == 2
    kept = choices_of(tmp_path)
    assert {kept[0]["choice"], kept[0]["first"]} <= {"a", "b"}

    second = compare(runs, tmp_path, "==")
    assert "Comparison 3 of at most 4" in second.stdout
    assert "Not decided between one and two" in second.stdout
    assert choices_of(tmp_path)[:2] == kept
    found = result_of(tmp_path)
    assert (found["compared"], found["ties"], found["winner"]) == (4, 2, None)
    assert found["comparison"]["a"]["answers"]["max_new_tokens"] == 6

    third = compare(runs, tmp_path, "1")  # it is over; nothing is loaded
    assert "Comparison" not in third.stdout
    assert result_of(tmp_path) == found

    refused = compare(runs, tmp_path, "1", "--seed", "3", code=1)
    assert "of another comparison: seed is 42 there, 3 here" in refused.stderr


@pytest.mark.slow
def test_the_base_can_be_compared_with_an_adapter(runs: list[str], tmp_path: Path) -> None:
    compare(["base", runs[1]], tmp_path, "1111")

    found = result_of(tmp_path)
    assert found["names"] == {"a": "base", "b": "two"}
    assert found["comparison"]["a"]["sha256"] is None
    for choice in choices_of(tmp_path):
        better = choice["answers"][choice["first"]]
        assert choice["choice"] == choice["first"]
        assert better == better.strip()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
def test_ctrl_c_and_a_killed_command_lose_no_choice(runs: list[str], tmp_path: Path) -> None:
    questions = str(Path(runs[0]).parents[1] / "pairs.json")
    words = ["compare", *runs, "--questions", questions, "--out", str(tmp_path), *FEW]
    for count, ending in enumerate((signal.SIGINT, signal.SIGKILL), start=1):
        with subprocess.Popen(
            [sys.executable, "-m", "fitbot", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
        ) as process:
            assert process.stdin is not None
            process.stdin.write(b"=\n")
            process.stdin.flush()
            until = time.monotonic() + 120
            while not (tmp_path / "choices.jsonl").exists() or len(choices_of(tmp_path)) < count:
                assert time.monotonic() < until
                time.sleep(0.05)
            process.send_signal(ending)
            _, said = process.communicate()
        assert process.returncode == (130 if ending == signal.SIGINT else -ending)
        assert (b"every choice is kept" in said) == (ending == signal.SIGINT)

    assert len(choices_of(tmp_path)) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["base", "base"], "base is named twice"),
        (["nowhere", "base"], "nowhere: no such folder"),
        (["base", "nowhere"], "nowhere: no such folder"),
        (["a", "b", "--max", "0"], "--max must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_compared_is_said(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *words]) == 1
    assert f"fitbot: {said}" in capsys.readouterr().err


def test_the_same_weights_under_two_names_are_refused(
    runs: list[str], base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    twin = write_adapter(tmp_path / "twin", base, seed=0)

    assert main(["compare", runs[0], str(twin)]) == 1
    assert "hold the same weights; name two adapters that differ" in capsys.readouterr().err


def test_questions_that_are_not_there_or_do_not_fit_are_said(
    runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text("", encoding="utf-8")
    out = ["--out", str(tmp_path / "out")]

    assert main(["compare", *runs, *out, "--questions", str(empty)]) == 1
    assert "there are no questions in it" in capsys.readouterr().err
    pairs = str(Path(runs[0]).parents[1] / "pairs.json")
    few = ["--questions", pairs, "--max_prompt_length", "60"]
    assert main(["compare", *runs, *out, *few]) == 1
    assert "set --max_prompt_length" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
