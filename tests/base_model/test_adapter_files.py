"""An adapter is understood, and computes what PEFT computes with it; or it is refused by name."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from fitbot.base_model.adapter_files import check_options, lora_settings_of, read_adapter
from fitbot.base_model.architecture import PROJECTIONS
from fitbot.base_model.loading import add_adapter
from fitbot.base_model.provenance import latest_adapter
from fitbot.base_model.settings import LoraSettings
from fitbot.errors import AdapterError, ConfigError
from fitbot.export.adapter import export_adapter
from fitbot.generation.decoders.plain_decoder import PlainDecoder
from fitbot.generation.decoders.torch_decoder import TorchDecoder
from tests.conftest import SYSTEM, make_module, make_policy

IDS = [5, 80, 101, 108, 108, 111, 32, 7, 250]
LAYER = "model.layers.1.self_attn.q_proj"
ALL = [*PROJECTIONS]

ACCEPTED: dict[str, dict[str, Any]] = {
    "plain": {"target_modules": ALL},
    "rank-stabilised, in 16 bits": {"target_modules": ALL, "use_rslora": True, "r": 3},
    "with dropout": {"target_modules": ALL, "lora_dropout": 0.5},
    "gaussian": {"target_modules": ALL, "init_lora_weights": "gaussian"},
    "orthogonal": {"target_modules": ALL, "init_lora_weights": "orthogonal"},
    "not as zero": {"target_modules": ALL, "init_lora_weights": False},
    "of one kind of layer": {"target_modules": ["v_proj"]},
    "of one block": {"target_modules": ["mlp.up_proj", LAYER]},
    "of a pattern": {"target_modules": r".*\.layers\.1\..*(q|down)_proj"},
    "of all linear layers": {"target_modules": "all-linear"},
}


def plain_base(base: str) -> Any:
    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()


@torch.no_grad()
def logits(network: Any) -> Tensor:
    found: Tensor = network(input_ids=torch.tensor([IDS])).logits[0]
    return found


@torch.no_grad()
def write(folder: Path, base: str, **options: Any) -> Path:
    """Write an adapter by PEFT, whose weights change what the base says."""
    torch.manual_seed(0)
    network = get_peft_model(
        plain_base(base),
        LoraConfig(task_type="CAUSAL_LM", **({"r": 4, "lora_alpha": 7} | options)),
    )
    for name, weight in network.named_parameters():
        if "lora_B" in name:
            weight.normal_(std=0.1)
    network.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def plain(base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("plain"), base, **ACCEPTED["plain"])


@pytest.fixture
def copy(plain: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(plain, tmp_path / "copy"))


def change_config(folder: Path, **options: Any) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | options))


def decoded(base: str, adapter: Path) -> tuple[Tensor, Tensor]:
    """Return the last token's logits of the decoder that answers, with the adapter and without."""
    weights = read_adapter(adapter)
    rank = next(iter(weights.values()))[0].shape[0]
    decoder = TorchDecoder(plain_base(base), slots=1, context=64, precision="float32", ranks=rank)
    decoder.adapt(slice(0, rank), weights)
    return decoder.prefill(0, IDS, slice(0, rank)), decoder.prefill(0, IDS, None)


# -- what is accepted -----------------------------------------------------------------------------


@pytest.mark.parametrize("options", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_an_accepted_adapter_computes_what_peft_computes_and_its_export_too(
    base: str, tmp_path: Path, options: dict[str, Any]
) -> None:
    adapter = write(tmp_path / "adapter", base, **options)
    if options.get("use_rslora"):  # scaled in 16 bits, B would be rounded
        file = adapter / "adapter_model.safetensors"
        save_file({name: tensor.bfloat16() for name, tensor in load_file(file).items()}, file)
    expected = logits(PeftModel.from_pretrained(plain_base(base), adapter).eval())
    of_base = logits(plain_base(base))

    network = make_policy(base, moved=False, adapter=str(adapter)).network.eval()
    found = logits(network)
    with network.disable_adapter():
        off = logits(network)
    answered, answered_by_base = decoded(base, adapter)
    module = make_module(base, tmp_path, adapter=str(adapter))
    module.configure_model()
    data = {"system_prompt": SYSTEM}
    out = export_adapter(
        tmp_path / "out", module.state_dict(), dict(module.hparams), training={"data": data}
    )
    exported = logits(PeftModel.from_pretrained(plain_base(base), out).eval())

    assert (expected - of_base).abs().max() > 0.01
    for one in (found, exported):
        torch.testing.assert_close(one, expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(answered, expected[-1], atol=1e-4, rtol=0)
    torch.testing.assert_close(off, of_base, atol=1e-5, rtol=0)  # summed in another order
    held = {
        n.replace(".base_layer.", "."): p for n, p in network.base_model.model.named_parameters()
    }
    for name, weight in plain_base(base).named_parameters():
        assert torch.equal(held[name], weight), name
    torch.testing.assert_close(answered_by_base, of_base[-1], atol=1e-5, rtol=0)


def test_a_pattern_becomes_the_layers_that_it_meant(base: str, tmp_path: Path) -> None:
    adapter = write(tmp_path, base, **ACCEPTED["of a pattern"])

    layers = lora_settings_of(str(adapter)).target_modules

    assert layers == ["model.layers.1.mlp.down_proj", LAYER]


def test_all_that_peft_writes_by_default_is_accepted_and_all_else_that_it_knows_refused() -> None:
    # A new release of PEFT may know options that fitbot does not.
    read = {"r", "lora_alpha", "lora_dropout", "use_rslora", "target_modules"}
    notes = {"auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version"}
    defaults = LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"]).to_dict()
    defaults["target_modules"] = ["q_proj"]

    check_options(defaults, Path("it"))

    for option in defaults.keys() - read - notes - {"runtime_config"}:
        with pytest.raises(AdapterError, match=f'says {option} "other"; merge'):
            check_options(defaults | {option: "other"}, Path("it"))


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *[
            ("init_lora_weights", start)
            for start in ("pissa", "pissa_niter_16", "olora", "eva", "corda", "loftq", "lora_ga")
        ],
        ("lora_bias", True),
        ("bias", "all"),
        ("bias", "lora_only"),
        ("modules_to_save", ["lm_head"]),
        ("trainable_token_indices", [3]),
        ("use_dora", True),
        ("alora_invocation_tokens", [1, 2]),
        ("peft_type", "VERA"),
        ("peft_type", "IA3"),
        ("task_type", "SEQ_CLS"),
        ("layer_replication", [[0, 2], [1, 2]]),
        ("exclude_modules", ["k_proj"]),
        ("layers_to_transform", 0),
        ("layers_to_transform", [0]),
        ("target_parameters", ["experts.up"]),
        ("megatron_config", {"a": 1}),
        ("rank_pattern", {"q_proj": 2}),
        ("alpha_pattern", {"q_proj": 2}),
        ("loftq_config", {"loftq_bits": 4}),
        ("use_bdlora", {}),
        ("revision", "v2"),
        ("r", 0),
        ("r", 4.5),
        ("lora_alpha", 0),
        ("lora_alpha", 7.5),
        ("lora_dropout", 1.0),
        ("use_rslora", "yes"),
        ("target_modules", None),
        ("target_modules", []),
        ("of_some_later_peft", 1),
    ],
)
def test_an_option_that_is_not_understood_is_refused_by_name_and_value(
    base: str, copy: Path, option: str, value: Any
) -> None:
    change_config(copy, **{option: value})

    for load in (
        lambda: make_module(base, copy, adapter=str(copy)),
        lambda: make_policy(base, adapter=str(copy)),
        lambda: read_adapter(copy),
    ):
        with pytest.raises(AdapterError, match=re.escape(f"says {option} {json.dumps(value)};")):
            load()


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_a_real_adapter_that_changed_its_base_is_refused(
    base: str, tmp_path: Path, start: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapter = write(tmp_path, base, target_modules=ALL, init_lora_weights=start)

    with pytest.raises(AdapterError, match=f'says init_lora_weights "{start}"'):
        make_policy(base, adapter=str(adapter))


A, B = (f"base_model.model.{LAYER}.lora_{half}.weight" for half in "AB")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"base_model.model.lm_head.weight": torch.ones(2, 2)},
            r"holds .*\.lm_head\.weight, which",
        ),
        ({B.replace(".weight", ".bias"): torch.ones(128)}, r"lora_B\.bias, which has no place"),
        ({f"base_model.model.{LAYER}.lora_magnitude_vector": torch.ones(128)}, "magnitude_vector"),
        ({A.replace("lora_A", "lora_A.default"): torch.ones(4, 128)}, "lora_A.default"),
        ({A: None}, rf"lacks {LAYER}\.lora_A\.weight"),
        ({B: None}, rf"lacks {LAYER}\.lora_B\.weight"),
        ({A: torch.ones(5, 128), B: torch.ones(128, 5)}, rf"{LAYER} is not of rank 4"),
        ({A: torch.ones(4)}, rf"{LAYER} is not of rank 4"),
        ({A: torch.full((4, 128), float("nan"))}, rf"{LAYER} holds what is no finite number"),
        ({B: torch.full((128, 4), float("inf"))}, rf"{LAYER} holds what is no finite number"),
        ({A: torch.ones(4, 128, dtype=torch.int8)}, rf"{LAYER} is held as torch\.int8"),
        (
            {name.replace("q_proj", "z_proj"): torch.ones(4, 4) for name in (A, B)},
            "self_attn.z_proj, which is none of the target_modules",
        ),
    ],
)
def test_weights_that_have_no_place_are_refused_by_name(
    base: str, copy: Path, changes: dict[str, Tensor | None], message: str
) -> None:
    file = copy / "adapter_model.safetensors"
    tensors = load_file(file) | changes
    save_file({name: one for name, one in tensors.items() if one is not None}, file)

    for load in (lambda: make_policy(base, adapter=str(copy)), lambda: read_adapter(copy)):
        with pytest.raises(AdapterError, match=message):
            load()


@pytest.mark.parametrize(
    "changes",
    [
        {A: torch.ones(4, 64)},
        {A: torch.ones(4, 1)},  # torch would spread it
        {B: torch.ones(1, 4)},
    ],
)
def test_weights_of_another_size_than_the_bases_are_refused_by_name(
    base: str, copy: Path, changes: dict[str, Tensor]
) -> None:
    file = copy / "adapter_model.safetensors"
    save_file(load_file(file) | changes, file)

    with pytest.raises(AdapterError, match=rf"does not fit its base: {LAYER} is \["):
        make_policy(base, adapter=str(copy))
    with pytest.raises(ConfigError, match=r"adapter on 1\.q_proj: not of this layer's size"):
        decoded(base, copy)


def test_an_adapter_that_lacks_a_layer_of_its_targets_is_not_gone_on_from(
    base: str, copy: Path
) -> None:
    file = copy / "adapter_model.safetensors"
    save_file({name: one for name, one in load_file(file).items() if LAYER not in name}, file)

    with pytest.raises(AdapterError, match=rf"does not fit its base: 2 layers differ, .*{LAYER}"):
        make_policy(base, adapter=str(copy))


def test_layers_of_another_part_of_a_model_are_not_taken_for_the_decoders(
    base: str, copy: Path
) -> None:
    file = copy / "adapter_model.safetensors"
    other = {
        name.replace("model.layers", "vision.layers"): one for name, one in load_file(file).items()
    }
    save_file(other, file)

    weights = read_adapter(copy)
    assert all(name.startswith("vision.layers.") for name in weights)
    decoders = (
        TorchDecoder(plain_base(base), slots=1, context=16, precision="float32", ranks=4),
        PlainDecoder(plain_base(base), context=16, precision="float32", ranks=4),
    )
    for decoder in decoders:
        with pytest.raises(ConfigError, match=r"adapter on vision\.layers.*: no such layer here"):
            decoder.adapt(slice(0, 4), weights)


@pytest.mark.parametrize("target", ["embed_tokens", "model.embed_tokens"])
def test_only_linear_layers_of_the_decoder_can_be_adapted(base: str, target: str) -> None:
    lora = LoraSettings(r=4, target_modules=["q_proj", target])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT's, that the embedding is the head's, too
        with pytest.raises(ConfigError, match=r"no linear layer is called '.*embed_tokens'"):
            add_adapter(plain_base(base), lora, None)


def test_an_adapter_of_the_head_is_refused(base: str, tmp_path: Path) -> None:
    network = plain_base(base)
    network.lm_head = nn.Linear(128, network.config.vocab_size, bias=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = LoraConfig(task_type="CAUSAL_LM", target_modules=r".*(q_proj|lm_head)")
        get_peft_model(network, config).save_pretrained(tmp_path, save_embedding_layers=False)

        with pytest.raises(AdapterError, match="its base: .*lm_head cannot be adapted"):
            make_policy(base, adapter=str(tmp_path))


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("adapter_config.json", None, "no adapter_config.json there; give a folder that"),
        ("adapter_config.json", POINTER, "adapter_config.json is a pointer of Git LFS"),
        ("adapter_config.json", "{", "its adapter cannot be read: Expecting property name"),
        ("adapter_model.safetensors", None, "no adapter_model.safetensors there; give a folder"),
        ("adapter_model.safetensors", POINTER, "adapter_model.safetensors is a pointer of Git LFS"),
        ("adapter_model.safetensors", "half", "its adapter cannot be read: Error while deserial"),
    ],
)
def test_files_that_are_not_there_or_not_whole_are_named(
    base: str, copy: Path, name: str, content: str | None, message: str
) -> None:
    (copy / name).unlink()
    if content is not None:
        (copy / name).write_text(content)

    for load in (
        lambda: make_module(base, copy, adapter=str(copy)),
        lambda: make_policy(base, adapter=str(copy)),
        lambda: read_adapter(copy),
    ):
        with pytest.raises(AdapterError, match=message):
            load()


def test_weights_of_the_old_form_come_with_the_line_that_converts_them(
    base: str, copy: Path
) -> None:
    file = copy / "adapter_model.safetensors"
    torch.save(load_file(file), copy / "adapter_model.bin")
    expected = read_adapter(copy)
    file.unlink()

    with pytest.raises(AdapterError, match=r"adapter_model\.bin is there") as refused:
        read_adapter(copy)
    program = str(refused.value).split("python -c ")[1]
    subprocess.run([sys.executable, "-c", *shlex.split(program)], cwd=copy, check=True)

    assert read_adapter(copy).keys() == expected.keys()


def test_a_target_that_no_layer_of_the_base_has_is_refused_by_name(base: str, copy: Path) -> None:
    change_config(copy, target_modules=[*ALL, "query_key_value"])

    with pytest.raises(AdapterError, match=r"no linear layer is called 'query_key_value'"):
        make_policy(base, adapter=str(copy))


def test_an_adapter_that_names_another_base_is_put_on_this_one_with_a_warning(
    base: str, copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_policy(base, adapter=str(copy))
    assert not caplog.records
    change_config(copy, base_model_name_or_path="owner/other")

    make_policy(base, adapter=str(copy))

    assert "says that it is of base owner/other, and is put on /" in caplog.text


def test_the_latest_adapter_is_found_whatever_is_in_its_runs_name(tmp_path: Path) -> None:
    assert latest_adapter(tmp_path) is None
    for when, name in enumerate(("exp1", "team/exp1")):
        file = tmp_path / name / "adapter" / "fitbot.json"
        file.parent.mkdir(parents=True)
        file.touch()
        os.utime(file, (when, when))

    assert latest_adapter(tmp_path) == tmp_path / "team" / "exp1" / "adapter"
