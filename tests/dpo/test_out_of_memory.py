"""Where memory runs out, a fit says where, how much there is, what needs less, what is saved."""

import traceback
from pathlib import Path
from typing import Any

import pytest
import torch

import fitbot
from fitbot.__main__ import main
from fitbot.base_model.gpu import is_out_of_memory
from fitbot.base_model.settings import BaseSettings
from fitbot.dpo import module as dpo_module
from fitbot.dpo.out_of_memory import no_memory, what_was_chosen
from fitbot.errors import NoMemoryError
from fitbot.policy import reference
from fitbot.policy.eager import EagerPasses
from tests.conftest import ROOT, make_data, make_policy

QUICKSTART = ROOT / "configs" / "quickstart.yaml"


def run_out(*_: Any, **__: Any) -> Any:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def settings(base: str, pairs_file: str, folder: Path, **more: Any) -> dict[str, Any]:
    """Overrides of a run of the quickstart: two steps of a pair, saved after each."""
    return {
        "run.root": folder,
        "run.save_every_n_steps": 1,
        "run.sample_every_n_steps": None,
        "model.base_model": base,
        "model.reference": "online",
        "model.reference_cache": folder / "reference",
        "data.train_path": pairs_file,
        "data.val_path": None,
        "data.train_limit": 2,
        "data.batch_size": 1,
        "data.accumulate_batches": 1,
        "trainer.enable_progress_bar": False,
        **more,
    }


def test_what_means_that_memory_ran_out() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("x"))
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"))
    assert is_out_of_memory(
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
    )
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: not enough memory: you tried"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_while_the_base_is_loaded(
    base: str,
    pairs_file: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(dpo_module, "load_policy_network", run_out)
    words = [f"--{n}={v}" for n, v in settings(base, pairs_file, tmp_path).items() if v is not None]

    assert main(["fit", "--config", str(QUICKSTART), *words]) == 1

    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said == (
        "fitbot: out of memory while the base was loaded. Less is needed with any of these: "
        "model.gradient_checkpointing: true, model.expand_4bit: false, data.max_length: 512, "
        f"trainer.strategy: sharded on several GPUs, a smaller model.base_model than {base}"
    )


def test_in_the_reference(
    base: str, pairs_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "_groups_of", lambda indices, *_: [indices])
    monkeypatch.setattr(dpo_module, "fitting_layout", lambda _, layout, *__: layout)
    monkeypatch.setattr(EagerPasses, "token_logps", run_out)
    monkeypatch.setattr("fitbot.dpo.memory.activation_bytes", lambda *_: 1)

    with pytest.raises(NoMemoryError, match=r"in a forward pass of .* tokens\. Less is needed"):
        fitbot.fit(
            QUICKSTART, settings(base, pairs_file, tmp_path, **{"model.reference": "cached"})
        )


def test_in_a_step_and_the_last_checkpoint_is_named(
    base: str, pairs_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = torch.optim.AdamW.step
    done: list[int] = []

    def second(*args: Any, **kwargs: Any) -> Any:
        done.append(1)
        return run_out() if len(done) == 2 else step(*args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", second)
    last = tmp_path / "quickstart" / "last.ckpt"

    with pytest.raises(NoMemoryError) as raised:
        fitbot.fit(QUICKSTART, settings(base, pairs_file, tmp_path))

    assert str(raised.value).startswith("out of memory after step 1. Less is needed ")
    assert str(raised.value).endswith(
        f". Nothing saved is lost: the same command with --ckpt_path last goes on from {last}"
    )
    # A notebook goes on: what the failed step held must not be held by the error's frames.
    assert raised.value.__context__ is None
    assert [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)][-2:] == [
        "fit_from_python",
        "run_command",
    ]


def test_in_validation(
    base: str, pairs_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dpo_module.DPOModule, "validation_step", run_out)
    overrides = settings(base, pairs_file, tmp_path, **{"data.val_path": pairs_file})

    # A checkpoint of that step would be resumed behind the validation, so there is none of it yet.
    nothing = (
        r"^out of memory after step 1\. .*\. Nothing was saved yet: the same command starts anew"
    )
    with pytest.raises(NoMemoryError, match=nothing):
        fitbot.fit(QUICKSTART, overrides)
    assert not list(tmp_path.rglob("*.ckpt"))

    overrides["trainer.val_check_interval"] = 2
    goes_on = (
        r"^out of memory after step 2\. .* the same command with --ckpt_path last goes on from "
    )
    with pytest.raises(NoMemoryError, match=goes_on):
        fitbot.fit(QUICKSTART, overrides)
    (last,) = tmp_path.rglob("last.ckpt")
    assert torch.load(last, weights_only=True)["global_step"] == 1


def test_a_gpu_is_named_with_what_is_in_use_and_what_was_chosen_for_it(
    base: str, pairs_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gib = 2**30
    for name, value in {
        "get_device_name": "NVIDIA T4",
        "mem_get_info": (int(0.5 * gib), int(14.6 * gib)),
        "memory_reserved": 13 * gib,
    }.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    monkeypatch.setattr(
        torch.cuda,
        "get_device_properties",
        lambda device: type("Properties", (), {"total_memory": int(14.6 * gib)}),
    )
    policy = make_policy(base, load_in_4bit=True, expand_4bit=True)
    data, held = make_data(base, pairs_file), BaseSettings(base)
    monkeypatch.setattr(type(policy), "device", torch.device("cuda"))

    error = no_memory("in step 3", held, data, policy, smaller_pass=3000)

    assert str(error) == (
        "out of memory in step 3: of NVIDIA T4 (14.6 GiB) 14.1 GiB are in use, 13.0 of them by "
        "this fit. Less is needed with any of these: data.max_tokens_per_pass: 1500, "
        "model.gradient_checkpointing: true, model.expand_4bit: false, data.max_length: 350, "
        f"trainer.strategy: sharded on several GPUs, a smaller model.base_model than {base}"
    )
    assert what_was_chosen(policy, 3072) == (
        "device: NVIDIA T4 (14.6 GiB): float32, 4-bit base expanded, activations kept, passes of "
        "at most 3,072 tokens"
    )
    policy.recompute()
    least = BaseSettings(base, load_in_4bit=True, expand_4bit=False)
    assert "gradient_checkpointing" not in str(no_memory("now", least, data, policy))
    assert "expand_4bit" not in str(no_memory("now", least, data, policy))
