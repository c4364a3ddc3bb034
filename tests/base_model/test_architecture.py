"""A family of networks is one entry: training engine, decoder and exports take it from there."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen3ForCausalLM

from fitbot.base_model.architecture import (
    FAMILIES,
    PROJECTIONS,
    LinearGroup,
    all_projections,
    family_of,
    head_size_of,
    known_families,
    parts_of,
)
from fitbot.base_model.gguf_file import write_adapter, write_base
from fitbot.base_model.settings import LoraSettings
from fitbot.errors import ConfigError
from fitbot.generation.decoders.torch_decoder import TorchDecoder
from fitbot.generation.merging import merge
from fitbot.pairs.batch import collate_pairs
from fitbot.pairs.chat import Chat, EncodedPair
from fitbot.policy.compiled.passes import unsupported
from fitbot.policy.engine_choice import accelerate
from tests.conftest import make_policy


@pytest.fixture
def qwen9(monkeypatch: pytest.MonkeyPatch) -> None:
    """A family that transformers and fitbot know for the length of a test."""
    entry = FAMILIES["qwen3"]._replace(model_type="qwen9", gguf="qwen9")
    monkeypatch.setitem(FAMILIES, "qwen9", entry)


@pytest.fixture
def network(base: str) -> Any:
    """The tiny Qwen3 under another family's name."""
    network: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    network.config.model_type = "qwen9"
    return network


def logits_of(network: Any, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = network(input_ids=torch.tensor([ids])).logits[0, -1]
    return logits


# -- one entry is enough --------------------------------------------------------------------------


@pytest.mark.usefixtures("qwen9")
def test_the_training_engine_takes_a_family_that_was_added(
    base: str, pairs: list[EncodedPair]
) -> None:
    policy = make_policy(base)
    causal_lm = policy.network.get_base_model()
    causal_lm.config.model_type = "qwen9"
    batch = collate_pairs(pairs[:2], layout="shared", pad_id=0)
    expected = policy.logps_without_gradient(batch)

    assert unsupported(causal_lm) is None
    accelerate(policy, capture=False)

    assert policy.engine_name == "compiled"
    found = policy.logps_without_gradient(batch)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-5)


@pytest.mark.usefixtures("qwen9")
def test_the_decoder_and_merging_take_it(network: Any) -> None:
    ids = [5, 6, 7, 8]
    weights = {"1.k_proj": (torch.full((2, 128), 0.1), torch.full((64, 2), 0.1))}
    decoder = TorchDecoder(network, slots=1, context=16, precision="float32", ranks=2)
    plain = logits_of(network, ids)
    torch.testing.assert_close(decoder.prefill(0, ids, None), plain, atol=1e-4, rtol=0)

    decoder.adapt(slice(0, 2), weights)
    merge(network, weights)

    tuned = logits_of(network, ids)
    assert not torch.allclose(tuned, plain, atol=1e-2)
    torch.testing.assert_close(decoder.prefill(0, ids, slice(0, 2)), tuned, atol=1e-4, rtol=0)


@pytest.mark.usefixtures("qwen9")
def test_gguf_files_name_it_as_llama_cpp_does(network: Any, chat: Chat, tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    base, adapter = tmp_path / "base.gguf", tmp_path / "adapter.gguf"

    write_base(base, network, chat.tokenizer, "f32", end_of_turn_id=chat.end_of_turn_id)
    weights = {"0.q_proj": (torch.ones(2, 128), torch.ones(128, 2))}
    write_adapter(adapter, weights, network.config)

    for file in (base, adapter):
        reader = gguf.GGUFReader(file)
        assert reader.get_field("general.architecture").contents() == "qwen9"
    assert {tensor.name for tensor in reader.tensors} == {
        "blk.0.attn_q.weight.lora_a",
        "blk.0.attn_q.weight.lora_b",
    }


def test_a_family_may_have_other_names_and_no_norms_of_heads(
    network: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Qwen3ForCausalLM(network.config)
    for layer in plain.model.layers:
        layer.feed_forward, layer.norm_1 = layer.mlp, layer.input_layernorm
    groups = (
        *FAMILIES["llama"].groups[:2],
        LinearGroup("feed_forward", ("gate_proj", "up_proj")),
        LinearGroup("feed_forward", ("down_proj",)),
    )
    family = FAMILIES["llama"]._replace(
        groups=groups, layer_norms=("norm_1", "post_attention_layernorm")
    )
    layer = parts_of(plain).layers[0]

    assert family.linears(layer)["up_proj"] is layer.mlp.up_proj
    assert family.norms(layer).before_attention is layer.input_layernorm
    assert family.norms(layer).queries is None
    monkeypatch.setitem(FAMILIES, "other", family._replace(groups=(LinearGroup("a", ("w_q",)),)))
    assert {*all_projections().values()} == {*PROJECTIONS, "w_q"}  # whose adapters can be read


# -- what is refused ------------------------------------------------------------------------------


def test_a_family_that_is_not_known_is_refused_in_a_sentence(
    network: Any, chat: Chat, tmp_path: Path
) -> None:
    assert unsupported(network) == (
        "it knows the families qwen3, llama, qwen2, mistral, this is qwen9"
    )
    with pytest.raises(
        ConfigError,
        match=r"cannot be answered with by fitbot's decoder: it knows the families qwen3, llama, "
        "qwen2 and mistral, this is 'qwen9'",
    ):
        TorchDecoder(network, slots=1, context=16, precision="float32")
    with pytest.raises(
        ConfigError,
        match="'qwen9' cannot be written as GGUF, only qwen3, llama, qwen2 and mistral without",
    ):
        write_base(tmp_path / "a.gguf", network, chat.tokenizer, "f32", end_of_turn_id=0)
    with pytest.raises(ConfigError, match="'qwen9' cannot be used here, only qwen3, llama, qw"):
        family_of(network.config)


def test_a_network_of_other_parts_is_refused_before_they_are_looked_for() -> None:
    strange = SimpleNamespace(config=SimpleNamespace(model_type="gpt2"))

    with pytest.raises(ConfigError, match="cannot be answered with .* this is 'gpt2'"):
        TorchDecoder(strange, slots=1, context=16, precision="float32")


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("attention_bias", True, "no biases, this base's have"),
        ("mlp_bias", True, "no biases, this base's have"),
        ("hidden_act", "gelu", "it knows the activation silu, this is 'gelu'"),
    ],
)
@pytest.mark.usefixtures("qwen9")
def test_the_decoder_refuses_what_its_layers_do_not_compute(
    network: Any, setting: str, value: Any, message: str
) -> None:
    setattr(network.config, setting, value)

    with pytest.raises(ConfigError, match=message):
        TorchDecoder(network, slots=1, context=16, precision="float32")


@pytest.mark.usefixtures("qwen9")
def test_gguf_refuses_an_activation_that_llama_cpp_does_not_compute(
    network: Any, chat: Chat, tmp_path: Path
) -> None:
    pytest.importorskip("gguf")
    network.config.hidden_act = "gelu"

    with pytest.raises(ConfigError, match="'gelu' cannot be written as GGUF, only with silu"):
        write_base(tmp_path / "a.gguf", network, chat.tokenizer, "f32", end_of_turn_id=0)


# -- reading --------------------------------------------------------------------------------------


def test_adapters_get_all_projections_by_default() -> None:
    assert LoraSettings().target_modules == [*PROJECTIONS]
    assert LoraSettings().target_modules is not LoraSettings().target_modules
    assert all(family.projections == PROJECTIONS for family in FAMILIES.values())


def test_the_size_of_a_head_follows_from_others_where_it_is_not_given() -> None:
    given = SimpleNamespace(head_dim=128, hidden_size=1024, num_attention_heads=16)
    derived = SimpleNamespace(hidden_size=576, num_attention_heads=9)

    assert (head_size_of(given), head_size_of(derived)) == (128, 64)


def test_families_are_listed_as_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    assert known_families() == "qwen3, llama, qwen2 and mistral"
    monkeypatch.setitem(FAMILIES, "qwen9", FAMILIES["qwen3"])
    assert known_families() == "qwen3, llama, qwen2, mistral and qwen9"


def test_it_is_read_without_torch() -> None:
    code = "import sys, fitbot.base_model.architecture, fitbot.base_model.settings; "
    code += "sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
