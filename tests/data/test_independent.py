"""The independent questions are what their code writes, by formulas that are published."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "data" / "independent"
sys.path.insert(0, str(BUILD))

import formulas  # noqa: E402


def test_the_file_is_what_the_code_writes() -> None:
    code = f"""
import json, runpy, sys
sys.path.insert(0, {str(BUILD)!r})
print(json.dumps(runpy.run_path({str(BUILD / "__main__.py")!r})["records"]()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)

    assert done.returncode == 0, done.stderr[-2000:]
    shipped = (ROOT / "fitbot" / "evaluation" / "independent.json").read_text(encoding="utf-8")
    assert json.loads(done.stdout) == json.loads(shipped)


def test_formulas_give_what_their_authors_publish() -> None:
    # Two formulas for one-rep maxima agree at ten repetitions.
    assert formulas.epley(100, 10) == pytest.approx(133.33, abs=0.01)
    assert formulas.brzycki(100, 10) == pytest.approx(133.33, abs=0.01)
    assert formulas.lombardi(100, 1) == 100
    # Riegel 1981: 1.06 means that twice the distance takes 2.085 times as long.
    assert formulas.riegel(100, 1, 2) == pytest.approx(208.5, abs=0.05)
    assert formulas.tanaka(40) == 180
    assert formulas.karvonen(60, 180, 0.5) == 120
    assert formulas.mifflin(70, 175, 30, male=True) == 1648.75
    assert formulas.naismith(5, 600) == 2
    assert formulas.clock(3665) == "1:01:05"


def test_a_bar_is_loaded_with_what_there_is() -> None:
    weights = formulas.loadable(20, (20, 10, 5), pairs=1)
    assert weights == [20, 30, 40, 50, 60, 70, 80, 90]
    assert formulas.below(84, weights) == 80
    assert formulas.above(81, weights) == 90
    assert formulas.nearest(83, weights) == 80
    with pytest.raises(ValueError, match="85 lies between"):
        formulas.nearest(85, weights)
    assert formulas.on_bar(20, 25, 20, 2.5) == 115
