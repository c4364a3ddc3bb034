"""Help of every command comes at once, because it loads nothing that a command's work needs."""

import os
import re
import subprocess
import sys
from dataclasses import asdict
from typing import Any

import pytest
import yaml

from fitbot.__main__ import COMMANDS, main
from fitbot.base_model.settings import LoraSettings
from fitbot.commands import fit_help
from fitbot.commands.export import ENGINES, OLLAMA
from fitbot.commands.fit import FitbotCLI
from fitbot.export.vllm import TARGETS
from tests.conftest import ROOT

SECONDS = 1.0  # of CPU; half of it on idle cores
HEAVY = ("torch", "lightning", "transformers", "ray")
QUICK = [[], *([name] for name in COMMANDS), ["ray", "fit"]]

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


FIRST = f"""
import os, sys
from fitbot.__main__ import main
class Stderr:
    def write(self, text):
        print(text, [name for name in {HEAVY!r} if name in sys.modules], flush=True)
        os._exit(0)
sys.stderr = Stderr()
main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    "words",
    [
        "fit --config nowhere.yaml",
        "validate --config nowhere.yaml",
        "evaluate --pairs nowhere.json",
        "compare nowhere base",
        "audit nowhere.json",
        "export nowhere.ckpt",
        "chat --adapter nowhere",
        "serve --adapter nowhere",
        "doctor",
    ],
)
def test_something_is_said_before_anything_heavy_is_loaded(words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FIRST, *words.split()], capture_output=True, text=True, cwd=ROOT
    )

    assert re.fullmatch(rf"fitbot {words.split()[0]}: (loading|reading).* \[\]\n", done.stdout)


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = [sys.executable, "-m", "fitbot", "presets", "dpo"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


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


@pytest.fixture(scope="module")
def parser() -> Any:
    """The parser of `fitbot fit`."""
    kept: list[Any] = []

    def keep(cli: FitbotCLI, *_: Any) -> None:
        kept.append(cli._subcommand_parsers["fit"])
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FitbotCLI, "parse_arguments", keep)
        with pytest.raises(KeyboardInterrupt):
            FitbotCLI(["fit"])
    return kept[0]


def test_help_of_fit_is_short_and_begins_with_its_own_settings(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["fit", "--config", "nowhere.yaml", "--help"]) == 0

    lines = capsys.readouterr().out.rstrip().splitlines()
    assert len(lines) <= 124
    assert max(map(len, lines)) <= 80
    places = [
        next(place for place, line in enumerate(lines) if line.startswith(f"{section}: "))
        for section in ("data", "model", "model.lora", "run", "answers", "serve", "trainer")
    ]
    assert places == sorted(places)
    assert any("--help-all" in line for line in lines)


def test_help_of_fit_has_all_its_own_settings_with_their_defaults(parser: Any) -> None:
    defaults = {**vars(parser.get_defaults().as_flat()), **lora_defaults()}
    own = {
        name
        for name in defaults
        if name.split(".")[0] in ("data", "model", "run", "answers", "serve")
    } - {"model.lora", "data.base_model", "data.seed"}
    shown = {
        f"{section}.{name}": default
        for section in (*fit_help.SECTIONS, "trainer")
        for name, (default, _) in fit_help.settings_of(section).items()
    }

    assert {name for name in shown if not name.startswith("trainer.")} == own
    for name, default in shown.items():
        if name != "model.lora.target_modules":
            assert yaml.safe_load(default) == defaults[name] or float(default) == defaults[name]


def lora_defaults() -> dict[str, Any]:
    return {f"model.lora.{name}": value for name, value in asdict(LoraSettings()).items()}


def test_help_all_is_lightnings(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--help-all"])

    shown = capsys.readouterr().out
    assert stop.value.code == 0
    assert "--trainer.overfit_batches" in shown
    assert "--model.beta" in shown


def test_what_export_offers_is_what_can_be_written() -> None:
    assert set(ENGINES) == {*TARGETS, OLLAMA}
