"""Help of every command comes at once, because it loads nothing that a command's work needs."""

import os
import subprocess
import sys

import pytest

from fitbot.__main__ import COMMANDS, main
from fitbot.base_model.gguf_file import FILE_TYPES
from fitbot.commands.export import KINDS
from tests.conftest import ROOT

SECONDS = 1.0  # of CPU; half of it on idle cores
HEAVY = ("torch", "lightning", "transformers", "ray")
# fit's options are those of its classes, so that one loads them
QUICK = [[], *([name] for name in COMMANDS if name != "fit"), ["ray", "fit"]]

CODE = f"""
import sys
from fitbot.__main__ import main
try:
    status = main(sys.argv[1:])
except SystemExit as stop:
    status = stop.code
sys.stderr.write(" ".join(name for name in {HEAVY!r} if name in sys.modules))
sys.exit(status)
"""


def help_of(words: list[str]) -> tuple[str, str, float]:
    """Return what it printed, which heavy modules it loaded, and seconds of its CPU."""
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-c", CODE, *words, "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    after = os.times()
    spent = after.children_user + after.children_system
    return done.stdout, done.stderr, spent - before.children_user - before.children_system


@pytest.mark.parametrize("words", QUICK, ids=" ".join)
def test_help_is_there_at_once(words: list[str]) -> None:
    tries = [help_of(words) for _ in range(2)]

    text, heavy, _ = tries[0]
    assert text.startswith(f"usage: {' '.join(['fitbot', *words[:1]])}")
    assert heavy == ""
    assert min(seconds for _, _, seconds in tries) < SECONDS


def test_help_names_every_command_and_loads_none() -> None:
    code = (
        "import sys; from fitbot.__main__ import main; main(['--help']); "
        "print([name for name in ('argparse', 'jsonargparse') if name in sys.modules])"
    )

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert out.stdout.splitlines()[-1] == "[]"
    assert all(f"\n  {name} " in out.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", ["validate", "test", "predict"])
def test_help_of_what_measures_a_checkpoint_is_short_and_leads_to_fits(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--config", "nowhere.yaml", "--help"]) == 0

    shown = capsys.readouterr().out
    assert len(shown.splitlines()) < 30
    assert max(map(len, shown.splitlines())) <= 100
    for words in ("--config", "--ckpt_path", "example:", "other options are fit's: `fitbot fit"):
        assert words in shown


def test_exports_precisions_are_those_that_can_be_written() -> None:
    assert set(KINDS) == set(FILE_TYPES)
