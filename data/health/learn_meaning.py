"""Train the health layer's encoder: messages/*.jsonl → a LoRA adapter in fitbot/health/meaning.

    python data/health/learn_meaning.py --encoder FOLDER [--out FOLDER]

The encoder is all-MiniLM-L6-v2, by hub id or folder. It knew English only; of the other languages
it learns what is in the messages. `unseen.py` says what it finds of authors that were not learned.
"""

import argparse
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from learn import Line, read_lines, worst_windows
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

from fitbot.health.classifier import ABOUT, ANSWERS
from fitbot.health.encoder import ENCODER, HEADS, MOST_TOKENS, mean_of, readable

OUT = Path(__file__).parents[2] / "fitbot" / "health" / "meaning"
BATCH, EPOCHS, RATE, WARM_UP = 32, 7, 1e-3, 0.06
MIXED, LONGEST = 0.1, 700  # share of the messages that stand beside a harmless one; characters
SEED = 11
_NOT = -100  # a label: not this head's line


def main() -> None:
    """Learn all messages, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default=ENCODER)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    network, heads, _ = learned(read_lines(), args.encoder, args.epochs)
    args.out.mkdir(parents=True, exist_ok=True)
    network.peft_config["default"].base_model_name_or_path = ENCODER
    network.half().save_pretrained(args.out)
    (args.out / "README.md").unlink()  # of PEFT's, and empty
    save_file({name: t.cpu() for name, t in heads.state_dict().items()}, args.out / HEADS)


def learned(lines: list[Line], encoder: str, epochs: int = EPOCHS) -> tuple[Any, Any, Any]:
    """Train an adapter and heads; returns network, heads and tokenizer."""
    torch.manual_seed(SEED)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    lora = LoraConfig(
        r=32, lora_alpha=64, lora_dropout=0.1, target_modules=["query", "key", "value", "dense"]
    )
    network: Any = get_peft_model(AutoModel.from_pretrained(encoder, dtype="float32"), lora)
    network.to(device)
    width = network.config.hidden_size
    heads = nn.ModuleDict(
        {"about": nn.Linear(width, len(ABOUT)), "answers": nn.Linear(width, len(ANSWERS))}
    ).to(device)
    train(network, heads, tokenizer, lines, epochs)
    return network, heads, tokenizer


def opinions(lines: list[Line], texts: list[str], encoder: str) -> list[NDArray[np.float32]]:
    """Return what an encoder that has learned some lines makes of texts: see `likely`."""
    return likely(*learned(lines, encoder), texts)


def train(network: Any, heads: Any, tokenizer: Any, lines: list[Line], epochs: int) -> None:
    """Fit both heads and the adapter to all lines."""
    step, started = 0, time.perf_counter()
    steps = Steps(network, heads, tokenizer)
    worst: list[Line] = []
    number = epochs * -(-(len(lines) + sum(bool(line.windows) for line in lines)) // BATCH)
    for epoch in range(epochs):
        network.train()
        for batch in batches([*mixed(lines, epoch), *worst], epoch):
            share = step / number
            steps.take(batch, RATE * min(share / WARM_UP, 1 - share))
            step += 1
            if step % 500 == 0:
                spent = time.perf_counter() - started
                print(f"step {step} of {number}, {spent:.0f} s", flush=True)  # noqa: T201
        print(f"epoch {epoch + 1}: loss {steps.take_loss() / len(lines):.4f}", flush=True)  # noqa: T201
        network.eval()
        worst = worst_windows(
            lines, lambda texts: likely(network, heads, tokenizer, texts)[1][:, 1]
        )


class Steps:
    """Steps of training. On a GPU, one CUDA graph for each length of texts.

    A step is a thousand small kernels, and launched one by one each waits for the CPU.
    """

    def __init__(self, network: Any, heads: Any, tokenizer: Any):
        """Begin; what is trained stays where it is."""
        self.network, self.heads, self.tokenizer = network, heads, tokenizer
        self.weights = [p for p in network.parameters() if p.requires_grad]
        device = network.device
        self.rate, self.loss = (torch.zeros((), device=device) for _ in range(2))
        self.optimizer = torch.optim.AdamW(
            [*self.weights, *heads.parameters()],
            lr=self.rate,
            weight_decay=0.01,
            capturable=device.type == "cuda",
        )
        self._graphs: dict[int, tuple[Tensor, Any]] = {}

    def take(self, batch: list[Line], rate: float) -> None:
        """Learn at most `BATCH` lines."""
        texts = [readable(line.text) for line in batch]
        given = self.tokenizer(
            [*texts, *[texts[0]] * (BATCH - len(texts))],
            padding=True,
            pad_to_multiple_of=16,
            truncation=True,
            max_length=MOST_TOKENS,
            return_tensors="pt",
        )
        labels = [
            [kinds.index(line.kind) if line.kind in kinds else _NOT for line in batch]
            + [_NOT] * (BATCH - len(batch))
            for kinds in (ABOUT, ANSWERS)
        ]
        columns = [given["input_ids"], given["attention_mask"], torch.tensor(labels).T]
        inputs = torch.cat(columns, 1).to(self.network.device)
        self.rate.fill_(rate)
        length = inputs.shape[1]
        if length in self._graphs:
            held, graph = self._graphs[length]
            held.copy_(inputs)
            graph.replay()
            return
        self._step(inputs)
        if inputs.is_cuda:
            graph = torch.cuda.CUDAGraph()
            self.optimizer.zero_grad()
            with torch.cuda.graph(graph):
                self._step(inputs)
            self._graphs[length] = inputs, graph

    def take_loss(self) -> float:
        """Return the sum of all lines' losses since the last call."""
        loss = self.loss.item()
        self.loss.zero_()
        return loss

    def _step(self, inputs: Tensor) -> None:
        """Learn (lines, 2 x tokens + 2): ids, mask, and a label for each head, if any."""
        length = (inputs.shape[1] - 2) // 2
        ids, mask, labels = inputs.split([length, length, 2], 1)
        vectors = mean_of(self.network(ids, mask).last_hidden_state, mask)
        total = torch.stack(
            [
                F.cross_entropy(
                    self.heads[name](vectors),
                    labels[:, column],
                    ignore_index=_NOT,
                    label_smoothing=0.05,
                    reduction="sum",
                )
                for column, name in enumerate(("about", "answers"))
            ]
        ).sum()
        self.optimizer.zero_grad()
        (total / (labels != _NOT).sum()).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        self.loss += total.detach()


def mixed(lines: list[Line], epoch: int) -> list[Line]:
    """Put some messages next to a harmless one: a sign may stand anywhere in a long text."""
    chance = random.Random(SEED - epoch)
    harmless: dict[str, list[str]] = {}
    for line in lines:
        if line.kind == "harmless":
            harmless.setdefault(line.language, []).append(line.text)
    found = []
    for line in lines:
        if line.kind in ABOUT and line.language in harmless and chance.random() < MIXED:
            parts = [line.text, chance.choice(harmless[line.language])]
            chance.shuffle(parts)
            text = chance.choice(("\n", " ")).join(parts)
            line = line._replace(text=text) if len(text) <= LONGEST else line
        found.append(line)
    return found


def batches(lines: list[Line], epoch: int) -> Iterator[list[Line]]:
    """Yield batches of texts of like length, in another order each epoch."""
    chance = random.Random(SEED + epoch)
    order = sorted(lines, key=lambda line: len(line.text) * chance.uniform(0.8, 1.25))
    found = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
    chance.shuffle(found)
    yield from found


def encode(network: Any, tokenizer: Any, texts: list[str]) -> Tensor:
    """Return (texts, width)."""
    read = [readable(text) for text in texts]
    given = tokenizer(
        read, padding=True, truncation=True, max_length=MOST_TOKENS, return_tensors="pt"
    ).to(network.device)
    return mean_of(network(**given).last_hidden_state, given["attention_mask"])


@torch.inference_mode()
def likely(
    network: Any, heads: Any, tokenizer: Any, texts: Sequence[str]
) -> list[NDArray[np.float32]]:
    """Return how likely each of `ABOUT` is for each text, and each of `ANSWERS`."""
    order = sorted(range(len(texts)), key=lambda n: len(texts[n]))
    found = [np.zeros((len(texts), len(kinds)), np.float32) for kinds in (ABOUT, ANSWERS)]
    for start in range(0, len(order), 64):
        rows = order[start : start + 64]
        vectors = encode(network, tokenizer, [texts[n] for n in rows])
        for of, name in zip(found, ("about", "answers"), strict=True):
            of[rows] = heads[name](vectors).softmax(-1).cpu().numpy()
    return found


if __name__ == "__main__":
    main()
