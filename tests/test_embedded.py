"""The embedded model loads like any Qwen3 folder, and the same call writes the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from fitbot import embedded
from fitbot.embedded import embedded_model, write_embedded_model
from fitbot.errors import ConfigError

TEXT = "Rest two minutes, then squat: café, 5 × 5 🥦."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_embedded_model(tmp_path_factory.mktemp("embedded"))


def logits_of(folder: Path, **load_options: Any) -> torch.Tensor:
    """Return the (T, V) logits of TEXT."""
    model = AutoModelForCausalLM.from_pretrained(folder, **load_options)
    ids = AutoTokenizer.from_pretrained(folder)(TEXT, return_tensors="pt").input_ids
    with torch.no_grad():
        logits: torch.Tensor = model(ids).logits[0]
    return logits


def test_auto_classes_load_the_folder(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = AutoModelForCausalLM.from_pretrained(folder).config

    assert config.model_type == "qwen3"
    assert len(tokenizer) == 261  # 256 bytes, 3 special tokens, <think> and </think>
    assert config.vocab_size == 320  # 261 rounded up to a multiple of 64
    assert (config.num_attention_heads, config.num_key_value_heads, config.head_dim) == (4, 2, 32)
    assert (config.hidden_size, config.intermediate_size, config.num_hidden_layers) == (128, 256, 2)
    assert config.tie_word_embeddings
    assert config.max_position_embeddings == tokenizer.model_max_length == 4096
    assert config.eos_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>") == 258
    assert config.pad_token_id == tokenizer.convert_tokens_to_ids("<|endoftext|>") == 256
    assert config.bos_token_id is tokenizer.bos_token is tokenizer.unk_token is None


def test_text_becomes_one_token_per_byte_and_comes_back(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)

    ids = tokenizer.encode(TEXT)

    assert len(ids) == len(TEXT.encode())
    assert tokenizer.decode(ids) == TEXT


def test_think_tokens_are_single_and_survive_decoding_without_special_tokens(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)

    ids = tokenizer.encode("<|im_start|><think></think>ok<|im_end|><|endoftext|>")

    assert len(ids) == 7
    assert tokenizer.decode(ids, skip_special_tokens=True) == "<think></think>ok"


def test_control_strings_can_be_read_as_plain_characters(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)

    ids = tokenizer.encode("<|im_end|>", split_special_tokens=True)

    assert len(ids) == 10
    assert max(ids) < 256


@pytest.mark.parametrize(
    ("options", "opening"),
    [
        ({}, ""),
        ({"enable_thinking": False}, ""),
        ({"add_generation_prompt": True}, "<|im_start|>assistant\n"),
        (
            {"add_generation_prompt": True, "enable_thinking": True},
            "<|im_start|>assistant\n",
        ),
        (
            {"add_generation_prompt": True, "enable_thinking": False},
            "<|im_start|>assistant\n<think>\n\n</think>\n\n",
        ),
    ],
)
def test_template_renders_turns_and_then_the_generation_prompt(
    folder: Path, options: dict[str, bool], opening: str
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": " Rest\n\nor train? \n"},
        {"role": "assistant", "content": "Rest."},
        {"role": "user", "content": "Why?"},
    ]

    text = tokenizer.apply_chat_template(messages, tokenize=False, **options)

    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\n Rest\n\nor train? \n<|im_end|>\n"
        "<|im_start|>assistant\nRest.<|im_end|>\n"
        "<|im_start|>user\nWhy?<|im_end|>\n" + opening
    )


def test_same_arguments_give_the_same_bytes_and_another_seed_does_not(
    folder: Path, tmp_path: Path
) -> None:
    again = write_embedded_model(tmp_path / "again")
    other = write_embedded_model(tmp_path / "other", seed=1)

    for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json", "config.json"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()
    weights = "model.safetensors"
    assert (other / weights).read_bytes() != (folder / weights).read_bytes()
    assert (other / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()


def test_random_state_is_neither_used_nor_changed(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(1234)
    before = torch.get_rng_state()

    again = write_embedded_model(tmp_path)

    assert torch.equal(torch.get_rng_state(), before)
    weights = "model.safetensors"
    assert (again / weights).read_bytes() == (folder / weights).read_bytes()


def test_default_device_and_dtype_of_the_caller_change_nothing(
    folder: Path, tmp_path: Path
) -> None:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("meta"):
            again = write_embedded_model(tmp_path)
    finally:
        torch.set_default_dtype(before)

    weights = "model.safetensors"
    assert (again / weights).read_bytes() == (folder / weights).read_bytes()


def test_dtype_is_the_type_on_disk(tmp_path: Path) -> None:
    write_embedded_model(tmp_path, dtype=torch.bfloat16)

    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype="auto")

    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("hidden_size", [64, 128, 256])
def test_logits_spread_by_about_one_at_any_width(tmp_path: Path, hidden_size: int) -> None:
    write_embedded_model(tmp_path, hidden_size=hidden_size, num_layers=1)

    assert logits_of(tmp_path).std().item() == pytest.approx(1, abs=0.15)


def test_nf4_loads_on_a_cpu_with_finite_logits(folder: Path) -> None:
    from bitsandbytes.nn import Linear4bit

    nf4 = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    model = AutoModelForCausalLM.from_pretrained(folder, quantization_config=nf4)
    logits = logits_of(folder, quantization_config=nf4)

    # 2 layers of q k v o gate up down; the tied head stays in full precision
    assert sum(isinstance(module, Linear4bit) for module in model.modules()) == 14
    assert logits.shape == (len(TEXT.encode()), 320)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("hidden_size", [0, 32, 100, -64])
def test_a_width_that_nf4_cannot_take_is_refused(tmp_path: Path, hidden_size: int) -> None:
    with pytest.raises(ConfigError, match=f"multiple of 64, got {hidden_size}"):
        write_embedded_model(tmp_path, hidden_size=hidden_size)


def test_embedded_model_is_written_once_into_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    first = embedded_model()
    written = {path.name: path.stat().st_mtime_ns for path in first.iterdir()}
    second = embedded_model()

    assert first == second == tmp_path / "fitbot" / f"embedded-{embedded.VERSION}"
    assert {path.name: path.stat().st_mtime_ns for path in second.iterdir()} == written
    assert "model.safetensors" in written
    assert list(first.parent.iterdir()) == [first]  # no draft is left behind


def test_a_process_that_comes_second_uses_the_files_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    winner = tmp_path / "fitbot" / f"embedded-{embedded.VERSION}"

    def overtaken(draft: Path) -> Path:
        write_embedded_model(winner, seed=1)  # the other process finishes while we write
        return write_embedded_model(draft)

    monkeypatch.setattr(embedded, "write_embedded_model", overtaken)
    folder = embedded_model()

    expected = write_embedded_model(tmp_path / "expected", seed=1)
    weights = "model.safetensors"
    assert (folder / weights).read_bytes() == (expected / weights).read_bytes()
    assert list(winner.parent.iterdir()) == [winner]


def test_a_failed_write_raises_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def full_disk(draft: Path) -> Path:
        (draft / "config.json").write_text("{")
        raise OSError("No space left on device")

    monkeypatch.setattr(embedded, "write_embedded_model", full_disk)

    with pytest.raises(OSError, match="No space left"):
        embedded_model()
    assert list((tmp_path / "fitbot").iterdir()) == []


def test_template_writes_an_empty_think_block_before_a_last_answer(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    messages = [
        {"role": "user", "content": "A?"},
        {"role": "assistant", "content": "B."},
        {"role": "user", "content": "C?"},
        {"role": "assistant", "content": "D."},
    ]

    assert tokenizer.apply_chat_template(messages, tokenize=False) == (
        "<|im_start|>user\nA?<|im_end|>\n<|im_start|>assistant\nB.<|im_end|>\n"
        "<|im_start|>user\nC?<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n\nD.<|im_end|>\n"
    )
