"""Small and real: a two-layer random Qwen3, a handful of pairs, the straight line on a CPU."""

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "disabled")

import torch

if not torch.cuda.is_available():  # then Triton's kernels are tested in its interpreter
    os.environ.setdefault("TRITON_INTERPRET", "1")

import lightning
import pytest
from lightning.pytorch.callbacks import Checkpoint
from torch.distributed.device_mesh import DeviceMesh
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from fitbot.base_model.loading import load_policy_network
from fitbot.base_model.settings import BaseSettings, LoraSettings
from fitbot.dpo.module import DPOModule
from fitbot.pairs.chat import Chat, EncodedPair, LengthLimits
from fitbot.pairs.datamodule import PreferenceDataModule
from fitbot.pairs.formats import PreferencePair
from fitbot.pairs.preferences import LoadedPairs, load_pairs
from fitbot.pairs.store import PairStore, Shard, as_shard
from fitbot.policy.policy import Policy
from tests.tiny_model import write_tiny_model

pytest_plugins = ["tests.serve_fixtures"]
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it

ROOT = Path(__file__).parent.parent
SYSTEM = "You are a helpful AI fitness assistant."
LIMITS = LengthLimits(max_prompt_length=300, max_length=700)

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture(scope="session", autouse=True)
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """GGUF files of bases go to no user's folder."""
    os.environ["FITBOT_CACHE"] = str(tmp_path_factory.mktemp("cache"))


def store_of(pairs: Sequence[EncodedPair]) -> PairStore:
    """Hold pairs that are encoded already; their texts are not known."""
    nothing = [PreferencePair((), "", "", pair.record) for pair in pairs]
    batch, facts = as_shard(pairs, LoadedPairs(nothing, []), len(pairs))
    return PairStore([facts], [Shard(batch)])


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a tiny float32 Qwen3 with a byte tokenizer."""
    return str(write_tiny_model(tmp_path_factory.mktemp("base")))


@pytest.fixture
def prequantised(base: str, tmp_path: Path) -> str:
    """A checkpoint as hub folders named *-bnb-4bit are: bf16, NF4, one module left out."""
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=["lm_head", "model.layers.1.mlp.up_proj"],
    )
    model = AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.bfloat16, quantization_config=nf4, device_map={"": "cpu"}
    )
    model.save_pretrained(tmp_path / "nf4")
    return str(tmp_path / "nf4")


@pytest.fixture(scope="session")
def chat(base: str) -> Chat:
    return Chat(AutoTokenizer.from_pretrained(base), system_prompt=SYSTEM)


@pytest.fixture(scope="session")
def pairs(chat: Chat) -> list[EncodedPair]:
    """The first eight fitness pairs, encoded."""
    loaded = load_pairs(ROOT / "data" / "fitness_train.json", limit=8)
    return chat.encode_pairs(loaded.pairs, LIMITS)


@pytest.fixture
def pairs_file(tmp_path: Path) -> str:
    """Ten short pairs in the published schema: two steps of eight and two."""
    records = [
        {"question": f"Is {n} sets enough?", "chosen": f"Yes, {n} sets.", "rejected": f"No, {n}!!"}
        for n in range(10)
    ]
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps(records), encoding="utf-8")
    return str(path)


def make_policy(
    base: str,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    moved: bool = True,
    adapter: str | None = None,
    dropout: float = 0.0,
    lora: LoraSettings | None = None,
    mesh: DeviceMesh | None = None,
    **settings: Any,
) -> Policy:
    """Build a policy; `moved` gives it an adapter that is not the identity, as after training."""
    held: dict[str, Any] = {"base_model": base, "load_in_4bit": False} | settings
    network = load_policy_network(
        BaseSettings(**held),
        lora or LoraSettings(r=4, alpha=8, dropout=dropout),
        device=torch.device(device),
        compute_dtype=dtype,
        adapter=adapter,
        mesh=mesh,
    )
    if moved:
        generator = torch.Generator().manual_seed(1)
        for name, parameter in network.named_parameters():
            if "lora_B" in name and parameter.requires_grad:
                noise = torch.randn(parameter.shape, generator=generator) * 0.05
                parameter.data.copy_(noise)
    return Policy(network, compute_dtype=dtype)


def make_module(base: str, tmp_path: Path, **settings: Any) -> DPOModule:
    defaults: dict[str, Any] = {
        "base_model": base,
        "load_in_4bit": False,
        "lora": LoraSettings(r=4, alpha=8, dropout=0.1),
        "learning_rate": 1e-2,
        "optimizer": "adamw",
        "lr_schedule": "constant",
        "warmup_ratio": 0.0,
        "reference_cache": str(tmp_path / "reference"),
    }
    return DPOModule(**(defaults | settings))


def make_data(base: str, path: str, **settings: Any) -> PreferenceDataModule:
    defaults: dict[str, Any] = {
        "train_path": path,
        "val_path": path,
        "base_model": base,
        "system_prompt": SYSTEM,
        "max_prompt_length": 300,
        "max_length": 700,
    }
    return PreferenceDataModule(**(defaults | settings))


def make_trainer(tmp_path: Path, **settings: Any) -> lightning.Trainer:
    defaults: dict[str, Any] = {
        "accelerator": "cpu",
        "precision": "32-true",
        "max_epochs": 2,
        "logger": False,
        "enable_checkpointing": any(
            isinstance(callback, Checkpoint) for callback in settings.get("callbacks", ())
        ),
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "use_distributed_sampler": False,
        "default_root_dir": tmp_path,
    }
    return lightning.Trainer(**(defaults | settings))


def adapter_of(module: DPOModule) -> dict[str, torch.Tensor]:
    """Copy the adapter's weights."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}
