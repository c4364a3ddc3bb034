"""Apple's GPU is taken where a training step shows that it can be, and the log says why not."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.accelerators import MPSAccelerator

from fitbot.base_model.loading import load_base
from fitbot.base_model.settings import BaseSettings
from fitbot.dpo import accelerator
from fitbot.dpo.accelerator import choose_accelerator, training_step, why_not_mps
from fitbot.errors import ConfigError
from tests.imitation import run

CPU, MPS = torch.device("cpu"), torch.device("mps", 0)
TRAINER = {"accelerator": "auto", "devices": 1, "strategy": "auto", "precision": "bf16-mixed"}
MODEL = {
    "backend": "transformers",
    "load_in_4bit": True,
    "expand_4bit": None,
    "optimizer": "adamw",
}
INSTEAD = "device: cpu, because Apple's GPU (MPS) cannot be used: "


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(MPSAccelerator, "is_available", lambda: True)
    monkeypatch.setattr("fitbot.platforms.logger.parent.propagate", True)
    caplog.set_level("INFO", "fitbot.platforms")


def steps_on_mps(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """Let a step there be one on the CPU, with something changed."""

    def step(device: torch.device, *settings: Any) -> dict[str, torch.Tensor]:
        found = step_on_cpu(*settings)
        return found if device == CPU else change(found)

    monkeypatch.setattr(accelerator, "training_step", step)


@cache
def step_on_cpu(dtype: torch.dtype, optimizer: str) -> dict[str, torch.Tensor]:
    return training_step(CPU, dtype, optimizer)


@pytest.mark.parametrize(
    ("dtype", "optimizer"),
    [(torch.float32, "adamw"), (torch.bfloat16, "adamw_8bit"), (torch.float16, "adamw")],
    ids=str,
)
def test_a_step_of_the_tiny_network_repeats_itself(dtype: torch.dtype, optimizer: str) -> None:
    assert why_not_mps(CPU, compute_dtype=dtype, optimizer=optimizer) is None


def test_rounding_is_no_reason_against_it() -> None:
    exact, rounded = (step_on_cpu(t, "adamw") for t in (torch.float32, torch.bfloat16))

    assert not torch.equal(exact["log-probs"], rounded["log-probs"])
    for name, values in exact.items():
        difference = (rounded[name] - values).abs().sum() / values.abs().sum()
        assert difference < 0.5 * accelerator._SAME_WITHIN[torch.bfloat16]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"updates": 0.0}, "updates are 100% away"),  # a step that changes nothing
        ({"gradients": 1.5}, "gradients are 50% away"),
        ({"log-probs": 0.7}, "log-probs are 30% away"),
        ({"means": float("nan")}, "means are nan% away"),
    ],
    ids=lambda wrong: str(wrong)[:10],
)
def test_a_gpu_that_computes_wrongly_is_not_taken(
    wrong: dict[str, float], reason: str, mac: None, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    steps_on_mps(monkeypatch, lambda d: {n: v * wrong.get(n, 1.0) for n, v in d.items()})

    assert choose_accelerator(TRAINER, MODEL) == "cpu"
    assert caplog.messages == [f"{INSTEAD}in a step of a tiny network, {reason} from the CPU's"]


def test_a_gpu_that_lacks_an_operation_is_not_taken(
    mac: None, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def lack(_: Any) -> Any:
        raise NotImplementedError("The operator 'aten::one' is not implemented for MPS.\nLater")

    steps_on_mps(monkeypatch, lack)

    assert choose_accelerator(TRAINER, MODEL) == "cpu"
    assert choose_accelerator(TRAINER, {**MODEL, "optimizer": "adamw_8bit"}) == "cpu"
    why = "NotImplementedError: The operator 'aten::one' is not implemented for MPS."
    hint = "; it might be with --model.optimizer adamw"
    assert caplog.messages == [INSTEAD + why, INSTEAD + why + hint]


def test_a_gpu_that_computes_as_the_cpu_does_is_taken(
    mac: None, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    steps_on_mps(monkeypatch, lambda found: found)

    assert choose_accelerator(TRAINER, MODEL) == "mps"
    assert caplog.messages == ["device: mps, where a trial gave what it gives on the CPU"]


@pytest.mark.parametrize(
    ("trainer", "model", "reason"),
    [
        ({"devices": 2}, {}, "it is one device, and several"),
        ({"strategy": "ddp"}, {}, "it is one device, and several"),
        ({}, {"backend": "unsloth"}, "model.backend unsloth does not know it"),
        ({}, {"expand_4bit": False}, "it keeps no weights in 4 bits"),
    ],
)
def test_settings_that_it_cannot_follow_need_no_trial(
    trainer: dict[str, Any], model: dict[str, Any], reason: str, mac: None, caplog: Any
) -> None:
    assert choose_accelerator({**TRAINER, **trainer}, {**MODEL, **model}) == "cpu"
    assert caplog.messages[0].startswith(INSTEAD + reason)


def test_elsewhere_and_by_name_lightning_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_accelerator(TRAINER, MODEL) == "auto"
    monkeypatch.setattr(MPSAccelerator, "is_available", lambda: True)
    for name in ("cpu", "mps"):
        assert choose_accelerator({**TRAINER, "accelerator": name}, MODEL) == name


def test_it_keeps_no_weights_in_4_bits(base: str) -> None:
    settings = BaseSettings(base, load_in_4bit=True, expand_4bit=False)

    with pytest.raises(ConfigError, match="keeps no weights in 4 bits; set it to null"):
        load_base(settings, device=MPS, compute_dtype=torch.float32)


# -- a device without float64, see tests/apple_gpu.py ----------------------------------------------

TRIALS = """
import torch
from fitbot import platforms
from fitbot.dpo.accelerator import why_not_mps
from tests import apple_gpu

there = torch.device(apple_gpu.NAME, 0)
with apple_gpu.Device():
    print(why_not_mps(there, compute_dtype=torch.float32))
    platforms.APPLE = apple_gpu.NAME
    for dtype in (torch.float32, torch.bfloat16):
        print(why_not_mps(there, compute_dtype=dtype))
    print(why_not_mps(there, compute_dtype=torch.float32, optimizer="adamw_8bit"))
"""

FIT = """
import sys
import lightning.pytorch.trainer.connectors.accelerator_connector as connector
import torch
from lightning.pytorch.accelerators import MPSAccelerator
from fitbot import platforms
from fitbot.dpo import accelerator
from tests import apple_gpu

there = torch.device(apple_gpu.NAME, 0)
platforms.APPLE = apple_gpu.NAME
torch.backends.mps.is_available = MPSAccelerator.is_available = lambda: True
MPSAccelerator.parse_devices = lambda devices: [0]
MPSAccelerator.get_parallel_devices = lambda devices: [there]
MPSAccelerator.setup_device = lambda self, device: None
connector._determine_root_gpu_device = lambda devices: there
torch.mps.get_rng_state, torch.mps.set_rng_state = lambda: torch.get_rng_state(), lambda state: None
trial = accelerator.why_not_mps
accelerator.why_not_mps = lambda device, **settings: trial(there, **settings)

from fitbot.__main__ import main

with apple_gpu.Device():
    sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_trial_on_a_device_without_float64(tmp_path: Path) -> None:
    (tmp_path / "trials.py").write_text(TRIALS, encoding="utf-8")

    said = run("darwin", tmp_path, "trials.py").splitlines()

    assert [line for line in said if "float64" in line or "None" in line] == [
        "TypeError: Cannot convert a MPS Tensor to float64 dtype",  # fitbot does not know it yet
        "None",
        "None",
    ]
    assert [line for line in said if line.startswith("NotImplementedError: The operator 'bits")]


@pytest.mark.slow
def test_a_fit_on_a_device_without_float64(base: str, pairs_file: str, tmp_path: Path) -> None:
    (tmp_path / "fit.py").write_text(FIT, encoding="utf-8")
    settings = {
        "model.base_model": base,
        "model.optimizer": "adamw",
        "model.reference_cache": "reference",
        "data.train_path": pairs_file,
        "data.val_path": pairs_file,
        "run.root": "runs",
        "run.sample_every_n_steps": 1,
        "trainer.max_steps": 2,
        "trainer.inference_mode": "false",  # which tensors that stand for others do not know
    }
    options = [f"--{name}={value}" for name, value in settings.items()]

    said = run("darwin", tmp_path, "fit.py", "fit", *options)
    again = run("darwin", tmp_path, "fit.py", "fit", *options, "--ckpt_path=last")

    assert "device: mps, where a trial gave" in said
    assert "expanded once to the compute dtype" in said
    assert "computing in float32 on apple:0" in said
    assert "first loss 0.693147" in said
    assert "from checkpoint" in again
