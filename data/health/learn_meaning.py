"""Train the health layer's encoder: messages/*.jsonl → a LoRA adapter in fitbot/health/meaning.

    python data/health/learn_meaning.py --encoder FOLDER [--without i j] [--out FOLDER]

The encoder is all-MiniLM-L6-v2, by hub id or folder. It knows English only, so it learns from
English only. With --without it does not see some authors' messages: what it makes of theirs is
printed.
"""

import argparse
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from learn import Line, read_lines
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

from fitbot.health.classifier import ABOUT, ANSWERS
from fitbot.health.encoder import ENCODER, HEADS, MOST_TOKENS, mean_of

OUT = Path(__file__).parents[2] / "fitbot" / "health" / "meaning"
BATCH, EPOCHS, RATE, WARM_UP = 32, 4, 1e-3, 0.06
SEED = 11


def main() -> None:
    """Train, report, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default=ENCODER)
    parser.add_argument("--without", nargs="*", default=[], help="authors")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    torch.manual_seed(SEED)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    lines = [line for line in read_lines() if line.language == "en"]
    seen = [line for line in lines if line.author not in args.without]
    tokenizer = AutoTokenizer.from_pretrained(args.encoder)
    lora = LoraConfig(
        r=16, lora_alpha=32, lora_dropout=0.1, target_modules=["query", "key", "value", "dense"]
    )
    network: Any = get_peft_model(AutoModel.from_pretrained(args.encoder), lora).to(device)
    width = network.config.hidden_size
    heads = nn.ModuleDict(
        {"about": nn.Linear(width, len(ABOUT)), "answers": nn.Linear(width, len(ANSWERS))}
    ).to(device)
    train(network, heads, tokenizer, seen, args.epochs)
    args.out.mkdir(parents=True, exist_ok=True)
    network.peft_config["default"].base_model_name_or_path = ENCODER
    network.half().save_pretrained(args.out)
    (args.out / "README.md").unlink()  # of PEFT's, and empty
    network.float()
    save_file({name: t.cpu() for name, t in heads.state_dict().items()}, args.out / HEADS)
    unseen = [line for line in lines if line.author in args.without]
    if unseen:
        report(network, heads, tokenizer, unseen)


def train(network: Any, heads: Any, tokenizer: Any, lines: list[Line], epochs: int) -> None:
    """Fit both heads and the adapter to all lines."""
    weights = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW([*weights, *heads.parameters()], lr=RATE, weight_decay=0.01)
    steps, step, started = epochs * -(-len(lines) // BATCH), 0, time.perf_counter()
    network.train()
    for epoch in range(epochs):
        total = 0.0
        for batch in batches(lines, epoch):
            share = step / steps
            optimizer.param_groups[0]["lr"] = RATE * min(share / WARM_UP, 1 - share)
            vectors = encode(network, tokenizer, [line.text for line in batch])
            loss = sum_of_losses(heads, vectors, batch) / len(batch)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            step, total = step + 1, total + loss.item() * len(batch)
            if step % 50 == 0:
                spent = time.perf_counter() - started
                print(f"step {step} of {steps}, loss {loss.item():.3f}, {spent:.0f} s", flush=True)  # noqa: T201
        print(f"epoch {epoch + 1}: loss {total / len(lines):.4f}", flush=True)  # noqa: T201
    network.eval()


def batches(lines: list[Line], epoch: int) -> Iterator[list[Line]]:
    """Yield batches of texts of like length, in another order each epoch."""
    chance = random.Random(SEED + epoch)
    order = sorted(lines, key=lambda line: len(line.text) * chance.uniform(0.8, 1.25))
    found = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
    chance.shuffle(found)
    yield from found


def encode(network: Any, tokenizer: Any, texts: list[str]) -> Tensor:
    """Return (texts, width)."""
    given = tokenizer(
        texts, padding=True, truncation=True, max_length=MOST_TOKENS, return_tensors="pt"
    ).to(network.device)
    return mean_of(network(**given).last_hidden_state, given["attention_mask"])


def sum_of_losses(heads: Any, vectors: Tensor, batch: list[Line]) -> Tensor:
    """Add up the losses of what is a user's and what is an assistant's."""
    total = vectors.new_zeros(())
    for name, classes in (("about", list(ABOUT)), ("answers", [f"{a}_answer" for a in ANSWERS])):
        rows = [row for row, line in enumerate(batch) if line.kind in classes]
        if rows:
            wanted = torch.tensor([classes.index(batch[row].kind) for row in rows])
            logits = heads[name](vectors[rows])
            total = total + F.cross_entropy(
                logits, wanted.to(logits.device), label_smoothing=0.05, reduction="sum"
            )
    return total


@torch.inference_mode()
def report(network: Any, heads: Any, tokenizer: Any, lines: list[Line]) -> None:
    """Print what is found of unseen authors' messages, at some rates of false alarms."""
    order = sorted(lines, key=lambda line: len(line.text))
    vectors = torch.cat(
        [
            encode(network, tokenizer, [line.text for line in order[start : start + 64]])
            for start in range(0, len(order), 64)
        ]
    )
    for name, first in (("about", "harmless"), ("answers", "good_answer")):
        risk = (1 - heads[name](vectors).softmax(-1)[:, 0]).cpu().numpy()
        kinds = np.array([line.kind for line in order])
        own = sorted(set(kinds) & ({*ABOUT} if name == "about" else {"good_answer", "bad_answer"}))
        for rate in (0.01, 0.02, 0.05, 0.1):
            least = np.quantile(risk[kinds == first], 1 - rate)
            shares = {kind: f"{(risk[kinds == kind] > least).mean():.3f}" for kind in own}
            print(f"{name}: {rate:.0%} false alarms, above {least:.3f}: {shares}")  # noqa: T201


if __name__ == "__main__":
    main()
