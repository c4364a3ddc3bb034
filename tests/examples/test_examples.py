"""Every example runs from an empty folder, on few pairs, and prints what it promises."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PRINTS = {
    "own_data.py": r"^question: .+\nbefore: +\S.*\n(.*\n)*after: +\S",
    "own_loss.py": r"^sigmoid: margin -?\d\.\d+.*\n(.*\n)*own_loss\.hinge: margin -?\d\.\d+",
    "sweep.py": r"^(?P<first>\d\.\d+)  \{'model\.beta': 0\.\d.*\n(\d\.\d+  .*\n){3}",
}


def test_each_example_has_a_test_and_a_line_in_their_list() -> None:
    listed = (ROOT / "examples" / "README.md").read_text()

    assert {path.name for path in EXAMPLES} == set(PRINTS)
    assert all(f"[{name}]({name})" in listed for name in PRINTS)


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=[path.name for path in EXAMPLES])
def test_an_example_runs(example: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(example), "--pairs", "16"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )

    assert done.returncode == 0, done.stderr[-2000:]
    assert re.search(PRINTS[example.name], done.stdout, re.M), done.stdout
