"""A fit whose base is spread over two processes is the fit of one that holds all of it."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from fitbot.base_model.loading import load_policy_network
from fitbot.base_model.settings import BaseSettings, LoraSettings
from fitbot.dpo import memory
from fitbot.dpo import module as dpo_module
from fitbot.errors import ConfigError, NoMemoryError
from fitbot.pairs.batch import PairBatch, collate_pairs
from fitbot.pairs.chat import Chat
from fitbot.pairs.preferences import load_pairs
from fitbot.policy.eager import EagerPasses
from tests.cluster.test_processes import PYTHON, TORCHRUN, fit, last, options, run, summary
from tests.conftest import LIMITS, ROOT, SYSTEM, make_data, make_module, make_trainer
from tests.families import write_family

# Of the seventeen pairs a last step has one. So few tokens a pass that even a whole step's two
# pairs a process are now one pass, now two.
UNEVEN = {
    "model.lora.dropout": 0,
    "data.max_tokens_per_pass": 500,
    "run.sample_every_n_steps": 5,
}


@pytest.fixture(scope="module")
def sharded(base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings: dict[str, Any] = {"trainer.strategy": "sharded", **UNEVEN}
    return fit(base, tmp_path_factory.mktemp("sharded"), processes=2, **settings)


@pytest.mark.slow
def test_a_shared_base_teaches_what_a_whole_one_does(
    base: str, sharded: Path, tmp_path: Path
) -> None:
    alone = fit(base, tmp_path, **UNEVEN)

    one, other = summary(alone), summary(sharded)
    assert other["steps"] == one["steps"] == 10
    assert one["train_loss"] < 0.69  # it did learn
    for name in ("first_loss", "train_loss", "mean_train_loss", "grad_norm", "val_margin"):
        assert other[name] == pytest.approx(one[name], rel=1e-5), name
    assert other["val_accuracy"] == one["val_accuracy"]
    assert (sharded / "samples.txt").read_text() == (alone / "samples.txt").read_text()
    assert "in parts over 2 processes" in (sharded / "fit.log").read_text()


@pytest.mark.slow
def test_blocks_of_another_name_are_shared_too(base: str, tmp_path: Path) -> None:
    gpt2 = str(write_family(tmp_path / "base", "GPT-2", base))
    settings: dict[str, Any] = {"model.load_in_4bit": False, "trainer.max_steps": 2, **UNEVEN}
    alone = fit(gpt2, tmp_path / "alone", **settings)
    settings["trainer.strategy"] = "sharded"

    shared = fit(gpt2, tmp_path / "shared", processes=2, **settings)

    for name in ("first_loss", "mean_train_loss", "grad_norm"):
        assert summary(shared)[name] == pytest.approx(summary(alone)[name], rel=1e-5), name
    assert "in parts over 2 processes" in (shared / "fit.log").read_text()


@pytest.mark.slow
def test_its_checkpoint_is_the_adapter_and_goes_on_in_one_process(base: str, sharded: Path) -> None:
    weights = last(sharded)["state_dict"]
    assert weights
    assert all(".lora_" in name and type(w) is torch.Tensor for name, w in weights.items())
    exported = load_file(sharded / "adapter" / "adapter_model.safetensors")
    assert sorted(w.sum().item() for w in exported.values()) == pytest.approx(
        sorted(w.sum().item() for w in weights.values())
    )

    longer = options(base, sharded.parent, **UNEVEN, **{"trainer.max_epochs": 3})
    done = run(*PYTHON, *longer, "--ckpt_path", sharded / "last.ckpt")

    assert done.returncode == 0, done.stderr[-3000:]
    assert summary(sharded)["steps"] == 15


# In each of two processes: whatever way a base is held, it computes the same whole and in parts.
COMPARES = """
import sys
import torch
from torch.distributed.device_mesh import init_device_mesh
sys.path.insert(0, ".")
from fitbot.policy.engine_choice import accelerate
from tests.conftest import make_policy
from tests.cluster.test_sharded import HELD, batch_for

base, stored_in_4bit = sys.argv[1:]
torch.distributed.init_process_group("gloo")
mesh = init_device_mesh("cpu", (2,))
for name, settings in HELD.items():
    folder = stored_in_4bit if "stored" in name else base
    found = []
    for policy in (make_policy(folder, **settings), make_policy(folder, mesh=mesh, **settings)):
        batch = batch_for(base, pair=mesh.get_rank())
        logps = policy.logps(batch)
        (logps * torch.tensor([1.0, -2.0])).sum().backward()
        found.append([logps.detach(), policy.reference_logps(batch), policy.adapter.grad])
        policy.adapter.grad = None
        accelerate(policy, capture=False)
        logps = policy.logps(batch)
        (logps * torch.tensor([1.0, -2.0])).sum().backward()
        found[-1] += [logps.detach(), policy.reference_logps(batch), policy.adapter.grad]
        found[-1].append(policy.token_logps(batch))  # the network's own modules still can
    assert policy.engine_name == "compiled", name
    for whole, parts in zip(*found, strict=True):
        assert torch.equal(whole, parts), name
    for weight in policy.network.get_base_model().get_decoder().layers.parameters():
        if not weight.requires_grad:
            assert 2 * weight.to_local().numel() == weight.numel(), name
"""

HELD: dict[str, dict[str, Any]] = {
    "bf16": {"dtype": torch.bfloat16},
    "recomputed": {"gradient_checkpointing": True},
    "nf4": {"load_in_4bit": True, "expand_4bit": False},
    # Here bitsandbytes computes the layers that no adapter is on.
    "nf4, adapted in part": {
        "load_in_4bit": True,
        "expand_4bit": False,
        "lora": LoraSettings(r=4, alpha=8, dropout=0.0, target_modules=["q_proj"]),
    },
    "nf4, expanded": {"load_in_4bit": True, "expand_4bit": True},
    "stored nf4": {"load_in_4bit": True, "expand_4bit": False},
    "stored nf4, expanded": {"load_in_4bit": True, "expand_4bit": True},
}


def batch_for(base: str, pair: int) -> PairBatch:
    chat = Chat(AutoTokenizer.from_pretrained(base), system_prompt=SYSTEM)
    loaded = load_pairs(ROOT / "data" / "fitness_train.json", limit=pair + 1)
    return collate_pairs(chat.encode_pairs(loaded.pairs, LIMITS)[pair:], layout="shared", pad_id=0)


@pytest.mark.slow
def test_a_base_held_in_parts_computes_bit_for_bit_what_it_does_whole(
    base: str, prequantised: str, tmp_path: Path
) -> None:
    script = tmp_path / "compares.py"
    script.write_text(COMPARES)

    done = run(sys.executable, *TORCHRUN, sys.executable, script, base, prequantised)

    assert done.returncode == 0, done.stderr[-3000:]


def test_what_needs_the_whole_base_is_refused(base: str) -> None:
    with pytest.raises(ConfigError, match="sharded needs model.backend: transformers"):
        load_policy_network(
            BaseSettings(base, backend="unsloth"),
            LoraSettings(),
            device=torch.device("cpu"),
            compute_dtype=torch.float32,
            mesh=object(),  # type: ignore[arg-type]
        )


@pytest.mark.parametrize("measured", [True, False])
@pytest.mark.parametrize("reference", ["cached", "online"])
def test_a_joint_pass_that_ran_out_of_memory_is_not_tried_again(
    base: str,
    pairs_file: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reference: str,
    measured: bool,
) -> None:
    module = make_module(base, tmp_path, reference=reference)

    def run_out(passes: EagerPasses, batch: PairBatch) -> None:
        assert module.policy is not None
        module.policy.is_sharded = True
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(EagerPasses, "logps_by_modules", run_out)
    monkeypatch.setattr(dpo_module, "fitting_layout", lambda _, layout, *__: layout)
    if measured:  # so it is a pass of several pairs that fails
        monkeypatch.setattr(memory, "activation_bytes", lambda *_: 1)
    with pytest.raises(NoMemoryError, match=r"process 0, .*: data\.max_tokens_per_pass: 1024, "):
        make_trainer(tmp_path).fit(module, make_data(base, pairs_file))
