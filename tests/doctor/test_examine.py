"""The whole block: all sections, decisions that are the engines' own, failures in their places."""

import logging
import sys
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import fitbot.doctor.trial as trial_module
from fitbot.__main__ import main
from fitbot.base_model.gpu import why_no_kernels
from fitbot.base_model.provenance import provenance_of
from fitbot.doctor import machine
from fitbot.doctor.trial import TimedFit, Trial
from fitbot.generation.engine import Engine
from fitbot.policy import engine_choice
from fitbot.policy.engine_choice import COMPILED_FROM_STEPS, use_engine
from fitbot.serving.engines import describe, open_local
from tests.conftest import make_policy

SECTIONS = ["software", "machine", "hub", "training", "answers", "engines"]


def sections_of(block: str) -> dict[str, str]:
    """Take a block apart: by heading, what stands below it."""
    found: dict[str, str] = {}
    name = ""
    for line in block.splitlines():
        if line.startswith(" "):
            found[name] += " " + " ".join(line.split())
        else:
            name = line
            found[name] = ""
    return found


@dataclass
class Examined:
    """What the command printed, and the adapter that it answered with."""

    status: int = -1
    shown: list[str] = field(default_factory=list)
    opened: list[tuple[str, Any]] = field(default_factory=list)  # backend, and adapter's base

    @property
    def block(self) -> str:
        return "\n".join(self.shown)


@pytest.fixture(scope="module")
def examined(base: str) -> Examined:
    """What the command makes of the tests' own small base."""
    it = Examined()

    def opening(backend: str, adapter: Path, options: dict[str, Any]) -> Engine:
        it.opened.append((backend, provenance_of(adapter)["base_model"]))
        return open_local(backend, adapter, options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fitbot.commands.doctor.say", it.shown.append)
        patch.setattr(trial_module, "open_local", opening)
        patch.setenv("HF_TOKEN", "hf_abcdefGHIJKL0123")
        it.status = main(["doctor", "--base_model", base])
    return it


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_module, "STEPS", 7)


def test_the_block_has_every_section_and_can_be_pasted(examined: Examined) -> None:
    *names, verdict = sections_of(examined.block)

    assert names == SECTIONS
    assert verdict.startswith("all works, ")
    assert examined.status == 0
    assert max(map(len, examined.block.splitlines())) <= 80
    assert examined.block.isascii()
    assert "hf_abc" not in examined.block


def test_ten_steps_are_done_and_what_they_trained_answers(base: str, examined: Examined) -> None:
    found = sections_of(examined.block)

    assert "steps 10, each of 8 pairs of " in found["training"]
    assert "s expected from then on" in found["training"]
    assert "loss 0.693147 in the first step, 0.5" in found["training"]
    assert examined.opened == [("auto", base)]
    assert " tokens to a prompt of " in found["answers"]


def test_each_decision_is_the_engines_own(
    base: str,
    examined: Examined,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logging.getLogger("fitbot"), "propagate", True)
    engines = sections_of(examined.block)["engines"]
    policy = make_policy(base)

    with caplog.at_level("INFO"):
        use_engine(policy, "auto", layout="shared", num_steps=COMPILED_FROM_STEPS)
    reason = caplog.messages[-1].removeprefix(f"engine: {policy.engine_name}").strip(" ()")
    with closing(open_local("auto", None, {"slots": 2, "quantize": "q8_0"})) as engine:
        described, device = describe(engine), engine.decoder.device

    assert policy.engine_name == "eager"
    assert f"fit eager; compiled: {reason} evaluate" in engines
    assert f"chat {described}; CUDA graphs: {why_no_kernels(device)}" in engines


def fail(*_: object, **__: object) -> Any:
    raise RuntimeError("boom\nand more")


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ((machine, "machine"), "machine"),
        ((machine, "hub"), "hub"),
        ((Trial, "train"), "training"),
        ((Trial, "answer"), "answers"),
        ((Trial, "engines"), "engines"),
    ],
    ids=SECTIONS[1:],
)
def test_what_fails_stops_nothing_else(
    part: tuple[Any, str],
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for method in ("train", "answer"):  # seconds each
        monkeypatch.setattr(Trial, method, lambda _: [("did", "something")])
    monkeypatch.setattr(*part, fail)

    assert main(["doctor"]) == 1

    *names, verdict = found = sections_of(capsys.readouterr().out)
    assert names == SECTIONS
    assert verdict.startswith(f"FAILED in: {name}, ")
    assert found[name] == " FAILED: RuntimeError: boom"
    assert [one for one in names if "FAILED" in found[one]] == [name]


def test_a_broken_library_breaks_only_what_needs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "fitbot.doctor.trial", None)

    assert main(["doctor"]) == 1

    found = sections_of(capsys.readouterr().out)
    assert "FAILED in: training, answers, engines, " in list(found)[-1]
    assert found["engines"].startswith(" FAILED: ModuleNotFoundError: import of fitbot.doctor")


def test_a_base_that_is_not_there_is_said_once_and_nothing_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--base_model", "./nowhere"]) == 1

    found = sections_of(capsys.readouterr().out)
    assert "FAILED: base_model './nowhere': no config.json there" in found["training"]
    assert found["answers"] == " FAILED: training left no adapter to answer with"
    assert "chat not known, as it failed above" in found["engines"]
    assert "FAILED in: training, answers, " in list(found)[-1]


def test_where_the_compiled_engine_fails_the_other_one_is_timed(
    base: str, tmp_path: Path, few_steps: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_compiler(*_: object, **__: object) -> None:
        raise ValueError("its kernels do not run here: RuntimeError: Failed to find C compiler")

    monkeypatch.setattr(trial_module, "why_no_kernels", lambda _: None)
    for place in (engine_choice, trial_module):
        monkeypatch.setattr(place, "why_not_compiled", lambda *_: None)
    monkeypatch.setattr(engine_choice, "accelerate", no_compiler)
    trial = Trial(base, tmp_path)

    found = dict(trial.train())

    assert found["compiled"].startswith("FAILED: model.engine compiled cannot run here: its ")
    assert found["engine"] == "eager"
    assert "s expected" in found["a step"]
    assert dict(trial.engines())["fit"].startswith("eager; compiled: model.engine compiled cannot")


def test_a_loss_that_does_not_fall_is_a_failure(base: str, tmp_path: Path, few_steps: None) -> None:
    trial_module.write_pairs(tmp_path / "pairs.json")
    fit = TimedFit(base, tmp_path, may_compile=True)
    fit.module.hparams["learning_rate"] = 0.0

    fit.run()

    assert dict(fit.facts())["loss"].startswith("FAILED: it did not fall: 0.693147 in the first")


@pytest.mark.gpu
def test_on_a_gpu_kernels_are_compiled_and_timed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0

    found = sections_of(capsys.readouterr().out)
    assert "engine compiled" in found["training"]
    assert "; kernels: " in found["training"]
    assert "engine CUDA graphs, in " in found["answers"]
    assert f"fit compiled in a run of {COMPILED_FROM_STEPS} steps or more" in found["engines"]
