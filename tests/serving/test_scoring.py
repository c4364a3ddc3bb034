"""Log-likelihoods as lm-evaluation-harness asks for them, over HTTP, beside transformers."""

from pathlib import Path

import httpx
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from fitbot.base_model.embedded import EMBEDDED, resolve_base_model
from tests.serve_fixtures import Start

QUESTIONS = [
    ("How much protein is in 100 g of tofu?", " About 12 g."),
    ("Is running every day harmful? Answer:", " No."),
    ("Überraschend:", " Reis hat Eiweiß"),
]


def token_ids() -> list[tuple[list[int], int]]:
    """Each question with its answer, and how many tokens are the question's."""
    tokenizer = AutoTokenizer.from_pretrained(resolve_base_model(EMBEDDED))
    return [
        (tokenizer.encode(question + answer), len(tokenizer.encode(question)))
        for question, answer in QUESTIONS
    ]


def log_likelihoods() -> list[tuple[Tensor, Tensor]]:
    """Transformers' log-probabilities of each answer's tokens, and those of the likeliest ones.

    The weights are as training sees them: put into 4 bits, then expanded.
    """
    quantised = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    model = AutoModelForCausalLM.from_pretrained(
        resolve_base_model(EMBEDDED), dtype=torch.float32, quantization_config=quantised
    ).dequantize(torch.float32)
    found = []
    for ids, length in token_ids():
        with torch.inference_mode():
            logps = model(torch.tensor([ids])).logits[0].log_softmax(-1)[length - 1 : -1]
        own = logps.gather(1, torch.tensor(ids[length:])[:, None])[:, 0]
        found.append((own, logps.max(-1).values))
    return found


@pytest.mark.slow
def test_log_likelihoods_are_transformers_own(start: Start, tmp_path: Path) -> None:
    server = start("--backend=torch", program=("-m", "fitbot", "serve"), cwd=tmp_path)
    prompts = token_ids()
    body = {"prompt": [ids for ids, _ in prompts], "echo": True, "logprobs": 1, "max_tokens": 1}

    answer = httpx.post(f"{server.url}/v1/completions", json=body, timeout=60)

    choices = answer.raise_for_status().json()["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2]
    pairs = zip(choices, prompts, log_likelihoods(), strict=True)
    for choice, (_, length), (own, likeliest) in pairs:
        scores = choice["logprobs"]["token_logprobs"][length:-1]
        top = [max(top.values()) for top in choice["logprobs"]["top_logprobs"][length:-1]]
        assert sum(scores) == pytest.approx(own.sum().item(), abs=1e-3)
        assert top == pytest.approx(likeliest.tolist(), abs=1e-3)
