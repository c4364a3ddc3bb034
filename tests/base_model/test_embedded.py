"""The embedded model: ours, small, loadable like any Qwen3, fluent, and of no preference."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from fitbot.base_model.embedded import (
    EMBEDDED_SYSTEM_PROMPT,
    embedded_model,
    resolve_base_model,
)
from fitbot.errors import ConfigError
from fitbot.pairs.chat import Chat, LengthLimits
from fitbot.pairs.preferences import load_pairs
from tests.conftest import ROOT

# Drawn by the generators that its training text came from.
ITS_OWN = ROOT / "data" / "fitness_test.json"


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(embedded_model())


def test_it_is_a_small_qwen3_with_a_record_of_its_training() -> None:
    folder = embedded_model()
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    training = json.loads((folder / "training.json").read_text(encoding="utf-8"))

    assert config["model_type"] == "qwen3"
    assert config["dtype"] == "bfloat16"
    assert sum(file.stat().st_size for file in folder.iterdir()) < 20e6
    assert 5e6 < training["parameters"] < 10e6
    assert training["log"][-1]["loss"] < 0.31 < training["log"][0]["loss"]


def test_control_tokens_are_qwen3s(tokenizer: PreTrainedTokenizerBase) -> None:
    controls = "<|im_start|><think></think>ok<|im_end|><|endoftext|>"

    ids = tokenizer.encode(controls)

    assert tokenizer.decode(ids[:3] + ids[-2:]) == controls.replace("ok", "")
    # Thinking is text to Qwen3: it survives where special tokens are left out.
    assert tokenizer.decode(ids, skip_special_tokens=True) == "<think></think>ok"
    plain = tokenizer.encode("<|im_end|>", split_special_tokens=True)
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") not in plain


def test_any_text_comes_back(tokenizer: PreTrainedTokenizerBase) -> None:
    text = "Rest two minutes, then squat: café, 5 × 5 🥦.\n"

    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize(
    ("options", "opening"),
    [
        ({}, ""),
        ({"add_generation_prompt": True}, "<|im_start|>assistant\n"),
        (
            {"add_generation_prompt": True, "enable_thinking": False},
            "<|im_start|>assistant\n<think>\n\n</think>\n\n",
        ),
    ],
)
def test_its_template_renders_turns_as_qwen3s(
    tokenizer: PreTrainedTokenizerBase, options: dict[str, bool], opening: str
) -> None:
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


def test_its_template_writes_an_empty_think_block_before_a_last_answer(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    messages = [{"role": "user", "content": "C?"}, {"role": "assistant", "content": "D."}]

    assert tokenizer.apply_chat_template(messages, tokenize=False) == (
        "<|im_start|>user\nC?<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n\nD.<|im_end|>\n"
    )


def test_it_speaks_the_domain_and_prefers_neither_answer(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    model = AutoModelForCausalLM.from_pretrained(embedded_model(), dtype=torch.float32)
    chat = Chat(tokenizer, system_prompt=EMBEDDED_SYSTEM_PROMPT)
    records = json.loads(ITS_OWN.read_text(encoding="utf-8"))
    seen = [i for i, record in enumerate(records) if record["split"] == "seen facts"]
    encoded = chat.encode_pairs(load_pairs(str(ITS_OWN)).pairs, LengthLimits(256, 1024))

    def nats(prompt: list[int], completion: list[int]) -> float:
        logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
        return -torch.nn.functional.cross_entropy(logits, torch.tensor(completion)).item()

    with torch.no_grad():
        pairs = [encoded[i] for i in seen[:120]]
        chosen = [nats(pair.prompt, pair.chosen) for pair in pairs]
        rejected = [nats(pair.prompt, pair.rejected) for pair in pairs]

    right = sum(one > other for one, other in zip(chosen, rejected, strict=True))
    assert 0.4 < right / len(pairs) < 0.6
    assert sum(chosen) / len(pairs) > -1.0  # nats a token: an untrained model has -8


@pytest.mark.parametrize(
    "path", ["./base", "../base", "/models/base", "~/base", r"C:\models\base", "C:/base", r"a\base"]
)
def test_what_is_written_like_a_path_must_be_a_folder(path: str) -> None:
    with pytest.raises(ConfigError, match="no config.json there"):
        resolve_base_model(path)


def test_a_hub_id_is_left_to_transformers() -> None:
    for name in ("gpt2", "Qwen/Qwen3-0.6B", "unsloth/Qwen3-0.6B-unsloth-bnb-4bit"):
        assert resolve_base_model(name) == name
