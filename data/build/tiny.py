"""Train fitbot-tiny, the embedded base model, from scratch on the project's own text.

    python data/build/tiny.py OUT [--steps 1500]

The text is drawn from the same facts and wordings as the training pairs, never from those that are
validation's or test's own. A part of it is a handbook, questions and right answers as plain text; in
another, every question stands in two chats, beside its right and beside its wrong answer. How much
the two count is balanced while the model learns, for each kind of mistake, so that in a chat it gives
both the same probability: it knows the subject and prefers neither. What it should prefer is left to
DPO. The rest are chats of chats.py, which are no pairs: what people say first, plain questions, plans.
"""

import argparse
import json
import math
import random
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent.parent), str(HERE)]

import torch  # noqa: E402
from categories import CATEGORIES, draw_one  # noqa: E402
from chats import chats  # noqa: E402
from mirrors import Draw, NothingToDraw  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn.functional import cross_entropy  # noqa: E402
from torch.utils.data import DataLoader, IterableDataset, get_worker_info  # noqa: E402

from fitbot.base_model.embedded import EMBEDDED_SYSTEM_PROMPT  # noqa: E402
from fitbot.pairs.chat import Chat, LengthLimits  # noqa: E402
from fitbot.pairs.formats import Message, PreferencePair  # noqa: E402

SEED = 7
VOCABULARY = 4096  # tokens at most; 8000 would save 2.6 % of them, and cost 2.5 MB
CHAT_TOKENS = 5  # of them
CONTEXT = 512  # tokens of a row in training
ROWS = 128  # a step
WORKERS = 7  # that draw and encode; another number draws other text
CHATS = 0.45  # share of what is drawn: chats of chats.py; the others are pairs
WRONG_TOO = 1.0  # share of the chats that have a wrong answer which show it
HANDBOOK = 0.33  # share of the pairs that are the handbook's
DRAWN = 1024  # at a time, then shuffled
BALANCING = 0.02  # a step, on the weights' logits, for a difference of one nat
MAX_LENGTH = 2048  # positions that the model is told of
LIMITS = LengthLimits(256, CONTEXT)

PLAIN = "wrong answer to a plain question"  # the flaw of all of these

END_OF_TEXT = "<|endoftext|>"  # pads
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"
THINK_TOKENS = ["<think>", "</think>"]  # ordinary text to Qwen3: decoding keeps them

# Plain turns, and the empty think blocks of Qwen3's own template: before a last answer, and in the
# generation prompt when thinking is off. No tools, no reasoning content.
CHAT_TEMPLATE = r"""
{%- for message in messages -%}
    {%- set answered = loop.last and message.role == 'assistant' -%}
    {{ '<|im_start|>' ~ message.role ~ '\n' ~ ('<think>\n\n</think>\n\n' if answered else '')
       ~ message.content ~ '<|im_end|>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {%- set thinking = enable_thinking is not defined or enable_thinking is not false -%}
    {{ '<|im_start|>assistant\n' ~ ('' if thinking else '<think>\n\n</think>\n\n') }}
{%- endif -%}
""".strip()

Piece = tuple[list[int], list[int]]  # of text: tokens, and the kind of each


def pairs(rng: random.Random) -> Iterator[tuple[str, PreferencePair]]:
    """Draw pairs without end, both of every mirror, each with what is wrong in its wrong answer."""
    while True:
        (category,) = rng.choices(CATEGORIES, [category.train for category in CATEGORIES])
        try:
            mirror = draw_one(category, Draw(rng, "train", "train"))
        except NothingToDraw:
            continue
        if mirror.holds():
            for side, other in ((mirror.one, mirror.other), (mirror.other, mirror.one)):
                earlier = [text for exchange in side.history for text in exchange]
                roles = ("user", "assistant")
                prompt = tuple(
                    Message(roles[i % 2], text) for i, text in enumerate([*earlier, side.question])
                )
                yield side.flaw, PreferencePair(prompt, side.answer, other.answer, 0)


def talks(rng: random.Random) -> Iterator[PreferencePair]:
    """Draw chats without end, as pairs; where there is no wrong answer, both are the same."""
    for chat in chats(rng):
        turns = [text for exchange in chat for text in exchange[:2]]
        wrong = chat[-1][2] if len(chat[-1]) > 2 and rng.random() < WRONG_TOO else turns[-1]
        roles = ("user", "assistant")
        prompt = tuple(Message(roles[i % 2], text) for i, text in enumerate(turns[:-1]))
        yield PreferencePair(prompt, turns[-1], wrong, 0)


def make_tokenizer(texts: list[str]) -> Any:
    """Train a byte-level BPE with Qwen3's control tokens and chat format."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    # One digit a token: numbers are then spelled alike wherever they stand.
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - CHAT_TOKENS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return chat_tokenizer(bpe, MAX_LENGTH)


def chat_tokenizer(tokenizer: Any, max_length: int) -> Any:
    """Give a tokenizer of text Qwen3's chat format: five tokens of its own, and the template.

    Args:
        tokenizer: Of the tokenizers library; the five are added to it.
        max_length: Tokens that the model is told of.
    """
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast

    specials = [END_OF_TEXT, TURN_START, TURN_END]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in specials])
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in THINK_TOKENS])
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        extra_special_tokens=[TURN_START],
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def make_model(tokenizer: Any) -> Any:
    """Build a Qwen3 of 6 layers, 320 wide."""
    from transformers import AutoModelForCausalLM, Qwen3Config

    config = Qwen3Config(
        vocab_size=-(-len(tokenizer) // 64) * 64,
        hidden_size=320,
        intermediate_size=960,
        num_hidden_layers=6,
        num_attention_heads=10,
        num_key_value_heads=5,
        head_dim=32,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        initializer_range=0.02,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(SEED)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    # A text of the handbook ends in the padding token; an answer that does so has ended, too.
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    return model


class Rows(IterableDataset[Tensor]):
    """Text in rows, one piece after another: (3, ROWS, CONTEXT + 1).

    The first of the three are tokens. The second says of what kind each is: 2 f + 1 for a right
    answer in a chat, 2 f + 2 for a wrong one, f being the number of the flaw; 0 for all else. The
    third is a token's place in its piece. Each worker draws its own text, by its number.
    """

    def __init__(self, chat: Chat, flaws: list[str]):
        """Take the renderer and the names of all flaws."""
        self.chat, self.number = chat, {flaw: f for f, flaw in enumerate(flaws)}

    def __iter__(self) -> Iterator[Tensor]:
        """Draw without end."""
        worker = get_worker_info()
        rng = random.Random(f"{SEED} worker {worker.id if worker else 0}")
        sources, size = (pairs(rng), talks(rng)), ROWS * (CONTEXT + 1)
        columns: tuple[list[int], list[int], list[int]] = ([], [], [])
        while True:
            while len(columns[0]) < size:
                pieces = self._pieces(*sources, rng)
                # Or else whoever has read the right answer knows that the wrong one comes next.
                rng.shuffle(pieces)
                for tokens, kinds in pieces:
                    columns[0].extend(tokens)
                    columns[1].extend(kinds)
                    columns[2].extend(range(len(tokens)))
            used = [column[:size] for column in columns]
            yield torch.tensor(used).reshape(3, ROWS, CONTEXT + 1)
            for column in columns:
                del column[:size]

    def _pieces(
        self,
        pairs: Iterator[tuple[str, PreferencePair]],
        talks: Iterator[PreferencePair],
        rng: random.Random,
    ) -> list[Piece]:
        """Draw and encode some of each."""
        of_talks = sum(rng.random() < CHATS for _ in range(DRAWN))
        drawn = list(islice(pairs, DRAWN - of_talks))
        in_book = round(HANDBOOK * len(drawn))
        # The two of a mirror follow each other, so that either may be the handbook's.
        rng.shuffle(drawn)
        book, twice = drawn[:in_book], drawn[in_book:]
        return [
            *self._handbook([pair for _, pair in book]),
            *self._in_two_chats(twice),
            *self._of_talks(list(islice(talks, of_talks))),
        ]

    def _handbook(self, pairs: list[PreferencePair]) -> list[Piece]:
        tokenizer = self.chat.tokenizer
        texts = ["\n".join([*(m.content for m in p.prompt), p.chosen]) for p in pairs]
        return [
            ([*ids, tokenizer.pad_token_id], [0] * (len(ids) + 1))
            for ids in tokenizer(texts).input_ids
        ]

    def _in_two_chats(self, drawn: list[tuple[str, PreferencePair]]) -> list[Piece]:
        pieces: list[Piece] = []
        # A flaw so rare that the sample lacks it has no weight of its own.
        drawn = [(flaw, pair) for flaw, pair in drawn if flaw in self.number]
        encoded = self.chat.encode_pairs([pair for _, pair in drawn], LIMITS)
        for (flaw, _), pair in zip(drawn, encoded, strict=True):
            for wrong, answer in enumerate((pair.chosen, pair.rejected)):
                kind = 2 * self.number[flaw] + 1 + wrong
                kinds = [0] * len(pair.prompt) + [kind] * len(answer)
                pieces.append((pair.prompt + answer, kinds))
        return pieces

    def _of_talks(self, talks: list[PreferencePair]) -> list[Piece]:
        same = [talk for talk in talks if talk.chosen == talk.rejected]
        two = [(PLAIN, talk) for talk in talks if talk.chosen != talk.rejected]
        encoded = self.chat.encode_pairs(same, LengthLimits(CONTEXT, CONTEXT))
        whole = [e.prompt + e.chosen for e in encoded if not e.prompt_cut + e.chosen_cut]
        return [*((ids, [0] * len(ids)) for ids in whole), *self._in_two_chats(two)]


class Balance:
    """How much right and wrong answers in chats count, so that both become equally probable."""

    def __init__(self, num_flaws: int, device: torch.device):
        """Start with as much for the one as for the other."""
        self.tilt = torch.zeros(num_flaws, device=device)  # logit of the right answer's weight

    def loss(self, nll: Tensor, kinds: Tensor, ends: Tensor) -> Tensor:
        """Average by weight, then tilt against the answers that the model prefers.

        Args:
            nll: Negative log-prob of every token: (N,) nats.
            kinds: See Rows: (N,).
            ends: Which tokens end a turn: (N,), bool.
        """
        weights = torch.stack([self.tilt.sigmoid(), (-self.tilt).sigmoid()], dim=1).flatten()
        weights = torch.cat([weights.new_ones(1), 2 * weights])[kinds]
        sums, counts = nll.new_zeros(2, 2 * len(self.tilt) + 1)
        sums.index_add_(0, kinds, nll.detach())
        counts.index_add_(0, kinds, ends.float())
        of_answers = sums[1:] / counts[1:].clamp(min=1)
        preferred = (of_answers[1::2] - of_answers[0::2]).clamp(-4, 4)  # log right - log wrong
        both = (counts[1::2] > 0) & (counts[2::2] > 0)  # or else there is nothing to compare
        self.tilt -= BALANCING * preferred * both
        return (weights * nll).sum() / weights.sum()


def train(
    model: Any, batches: Iterator[Tensor], steps: int, balance: Balance, end: int
) -> list[Any]:
    """Train on next tokens; returns the log. `end` is the token that ends a turn."""
    device = balance.tilt.device
    model.to(device).train()
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        lr=1e-3,
        betas=(0.9, 0.95),
    )
    warmup = max(1, steps // 50)

    def share(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.05 + 0.475 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
    log, started = [], time.perf_counter()
    for step in range(1, steps + 1):
        row, kinds, places = next(batches).to(device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            # No piece sees the one before it: places that begin anew say where one begins.
            logits = model(
                input_ids=row[:, :-1], position_ids=places[:, :-1], use_cache=False
            ).logits
        targets = row[:, 1:].flatten()
        nll = cross_entropy(logits.float().flatten(0, 1), targets, reduction="none")
        loss = balance.loss(nll, kinds[:, 1:].flatten(), targets == end)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        if step == 1 or step % 50 == 0 or step == steps:
            seconds = round(time.perf_counter() - started, 1)
            log.append({"step": step, "loss": round(loss.item(), 4), "seconds": seconds})
            print(log[-1], flush=True)  # noqa: T201
    return log


def main() -> None:
    """Make tokenizer and model, train, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=1500)
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    sample = list(islice(pairs(random.Random(SEED)), 40_000))
    flaws = sorted({PLAIN, *(flaw for flaw, _ in sample)})
    talked = islice(talks(random.Random(SEED)), 20_000)
    tokenizer = make_tokenizer(
        [
            text
            for pair in (*(pair for _, pair in sample), *talked)
            for text in (*(message.content for message in pair.prompt), pair.chosen)
        ]
    )
    model = make_model(tokenizer)
    chat = Chat(tokenizer, system_prompt=EMBEDDED_SYSTEM_PROMPT)
    batches = iter(DataLoader(Rows(chat, flaws), batch_size=None, num_workers=WORKERS))
    balance = Balance(len(flaws), device)
    log = train(model, batches, args.steps, balance, tokenizer.eos_token_id)
    model.to("cpu", torch.bfloat16).save_pretrained(args.out)
    tokenizer.save_pretrained(args.out, save_jinja_files=False)
    about = {
        "command": "python data/build/tiny.py " + " ".join(sys.argv[1:]),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "parameters": sum(p.numel() for p in model.parameters()),
        "tokens": args.steps * ROWS * CONTEXT,
        "weights of right answers in chats": {
            flaw: round(weight, 3)
            for flaw, weight in zip(flaws, balance.tilt.sigmoid().tolist(), strict=True)
        },
        "log": log,
    }
    (args.out / "training.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
