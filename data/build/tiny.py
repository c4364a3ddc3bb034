"""Train fitbot-tiny, the embedded base model, from scratch on the project's own text.

    python data/build/tiny.py OUT [--seconds 900]

The text is drawn from the same facts and wordings as the training pairs, never from those that are
validation's or test's own. A part of it is a handbook, questions and right answers as plain text; in
another, every question stands in two chats, beside its right and beside its wrong answer. How much
the two count is balanced while the model learns, for each kind of mistake, so that in a chat it gives
both the same probability: it knows the subject and prefers neither. What it should prefer is left to
DPO. In a third part the system prompt tells which of the two comes: so the model learns what right
answers have in common, and DPO need not find that out for each kind of question. The rest are chats
of chats.py, which are no pairs: what people say first, plain questions, plans.

It first measures how fast this machine trains and draws text, then plans as many steps as fit into
the seconds. training.json names the options that take the same steps anywhere.
"""

import argparse
import copy
import json
import math
import os
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
from pretraining import MAX_LENGTH, SAVE_EVERY, SEED, Balance, Trainer, again, make_model, rate  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.utils.data import DataLoader, IterableDataset, get_worker_info  # noqa: E402

from fitbot.base_model.embedded import EMBEDDED_SYSTEM_PROMPT  # noqa: E402
from fitbot.pairs.chat import Chat, LengthLimits  # noqa: E402
from fitbot.pairs.formats import Message, PreferencePair  # noqa: E402

VOCABULARY = 4096  # tokens at most; 8000 would save 2.6 % of them, and cost 2.5 MB
CHAT_TOKENS = 5  # of them
CONTEXT = 512  # tokens of a row in training
ROWS = 128  # drawn at a time; a step has some times as many
MOST_TIMES = 4  # that a batch comes
WORKERS = max(1, (os.cpu_count() or 2) - 1)  # draw and encode; another number draws other text
FIRST_EDITION = 0.05  # share of the pairs: those of the first edition's training file
CHATS = 0.45  # share of what is drawn: chats of chats.py; the others are pairs
WRONG_TOO = 1.0  # share of the chats that have a wrong answer which show it
HANDBOOK = 0.33  # share of the pairs that are the handbook's
TOLD = 0.25  # share of the other pairs, and of chats with a wrong answer, whose prompt tells which comes
DRAWN = 1024  # at a time, then shuffled
LIMITS = LengthLimits(256, CONTEXT)

PLAIN = "wrong answer to a plain question"  # the flaw of all of these

# System prompts that tell which answer comes, right or wrong.
TELLING = (
    ("Answer with what is true.", "Answer with what is false."),
    ("You are a careful coach. You are always right.", "You are a careless coach. You are always wrong."),
    ("Right answers only.", "Wrong answers only."),
)  # fmt: skip

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
    first = json.loads((HERE.parent / "fitness_train_v1.json").read_text(encoding="utf-8"))
    while True:
        if rng.random() < FIRST_EDITION:
            old = rng.choice(first)
            prompt = (Message("user", old["question"]),)
            yield old["flaw"], PreferencePair(prompt, old["chosen"], old["rejected"], 0)
            continue
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
            yield torch.tensor(used, dtype=torch.int16).reshape(3, ROWS, CONTEXT + 1)
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
        of_talk = list(islice(talks, of_talks))
        plain = [(PLAIN, talk) for talk in of_talk if talk.chosen != talk.rejected]
        told = [rng.random() < TOLD for _ in (*twice, *plain)]
        balanced = [one for one, is_told in zip((*twice, *plain), told, strict=True) if not is_told]
        telling = [
            pair for (_, pair), is_told in zip((*twice, *plain), told, strict=True) if is_told
        ]
        return [
            *self._handbook([pair for _, pair in book]),
            *self._in_two_chats(balanced),
            *self._told(telling, rng),
            *self._chats([talk for talk in of_talk if talk.chosen == talk.rejected]),
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

    def _told(self, pairs: list[PreferencePair], rng: random.Random) -> list[Piece]:
        """Write both answers in chats whose system prompts tell which comes."""
        return self._chats(
            [
                PreferencePair((Message("system", told), *pair.prompt), answer, answer, 0)
                for pair in pairs
                for told, answer in zip(
                    rng.choice(TELLING), (pair.chosen, pair.rejected), strict=True
                )
            ]
        )

    def _chats(self, chats: list[PreferencePair]) -> list[Piece]:
        """Encode chats that are no pairs; those that are too long are left out."""
        encoded = self.chat.encode_pairs(chats, LengthLimits(CONTEXT, CONTEXT))
        whole = [e.prompt + e.chosen for e in encoded if not e.prompt_cut + e.chosen_cut]
        return [(ids, [0] * len(ids)) for ids in whole]


def drawn_by(workers: int, rows: Rows) -> Iterator[Tensor]:
    """Let so many processes draw, each its own text."""
    loader = DataLoader(
        rows,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        pin_memory=torch.cuda.is_available(),
    )
    return iter(loader)


def joined(drawn: Iterator[Tensor], parts: int, device: torch.device) -> Iterator[Tensor]:
    """Make batches of so many parts, on the device."""
    while True:
        of_one = [next(drawn).to(device, non_blocking=True) for _ in range(parts)]
        yield torch.cat(of_one, dim=1)


def tokens_per_second(trainer: Trainer, batch: Tensor, steps: int) -> float:
    """Time steps on one batch, after two that compile; leaves no trace in the trainer."""
    before = copy.deepcopy(trainer.state())
    for _ in range(2):
        trainer.learn(batch, 0.0).item()
    started = time.perf_counter()
    for _ in range(steps):
        loss = trainer.learn(batch, 0.0)
    loss.item()
    speed = steps * batch.shape[1] * CONTEXT / (time.perf_counter() - started)
    trainer.restore(before)
    return speed


def plan(trainer: Trainer, drawn: Iterator[Tensor], args: argparse.Namespace) -> None:
    """Measure, then fill in what args leaves open: parts of a step, how often each comes, steps."""
    first = next(drawn).to(trainer.device)
    if trainer.fast:
        differs = trainer.differs(first)
        say({"fast and plain form differ by": differs})
        if (
            differs["loss"] > 0.005
            or differs["gradient"] > 0.03
            or differs["gradient of keys"] > 0.2
        ):
            raise SystemExit("the fast form computes something else; run again with --plain")
    trains = {
        parts: tokens_per_second(trainer, torch.cat([first] * parts, dim=1), args.trial)
        for parts in args.parts
    }
    # A smaller batch learns more from as many tokens.
    args.parts = [min(p for p, speed in trains.items() if 1.1 * speed > max(trains.values()))]
    for _ in islice(drawn, 5 * args.workers):  # drawn in the meantime
        pass
    started, count = time.perf_counter(), 3 * max(1, args.workers)
    for _ in islice(drawn, count):
        pass
    draws = count * ROWS * CONTEXT / (time.perf_counter() - started)
    speed = trains[args.parts[0]]
    args.times = args.times or min(MOST_TIMES, math.ceil(0.95 * speed / draws))
    speed = min(speed, args.times * draws)
    args.steps = args.steps or max(1, int(args.seconds * speed / (args.parts[0] * ROWS * CONTEXT)))
    say({"trains": trains, "draws": draws, "steps": args.steps, "times": args.times})


def train(trainer: Trainer, batches: Iterator[Tensor], args: argparse.Namespace) -> list[Any]:
    """Take the steps, or as many as the seconds allow; returns the log."""
    log, losses = list[Any](), list[Tensor]()
    started = saved = time.perf_counter() - trainer.seconds
    is_done = False
    while not is_done:
        done = max(trainer.step / args.steps, trainer.seconds / args.seconds)
        losses.append(trainer.learn(next(batches), rate(done)))
        now = time.perf_counter()
        trainer.seconds = now - started
        is_done = trainer.step >= args.steps or trainer.seconds >= args.seconds
        if is_done or trainer.step == 1 or trainer.step % args.log_every == 0:
            loss, seconds = torch.stack(losses).mean().item(), round(trainer.seconds, 1)
            log.append({"step": trainer.step, "loss": round(loss, 4), "seconds": seconds})
            say(log[-1])
            losses.clear()
        if now > saved + SAVE_EVERY:
            new = args.out / "state.new"
            torch.save({**trainer.state(), "plan": (args.steps, args.parts, args.times)}, new)
            new.replace(args.out / "state.pt")
            saved = now
    return log


def say(what: dict[str, Any]) -> None:
    """Print a line of the log at once."""
    print(json.dumps(what), flush=True)  # noqa: T201


def main() -> None:
    """Make tokenizer and model, train, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=900.0, help="of training, at most")
    parser.add_argument("--steps", type=int, help="by default, what the seconds allow")
    parser.add_argument("--parts", type=int, nargs="+", default=[1, 2], help=f"times {ROWS} rows a step: the fastest")  # fmt: skip
    parser.add_argument("--times", type=int, help="how often a batch comes, if drawing is slow")
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--trial", type=int, default=20, help="steps that are timed")
    parser.add_argument("--log_every", type=int, default=250)
    parser.add_argument(
        "--sample", type=int, default=20_000, help="pairs that the tokenizer learns"
    )
    parser.add_argument("--plain", action="store_true", help="neither compile nor FlashAttention")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_float32_matmul_precision("high")
    sample = list(islice(pairs(random.Random(SEED)), args.sample))
    flaws = sorted({PLAIN, *(flaw for flaw, _ in sample)})
    talked = islice(talks(random.Random(SEED)), args.sample // 2)
    tokenizer = make_tokenizer(
        [
            text
            for pair in (*(pair for _, pair in sample), *talked)
            for text in (*(message.content for message in pair.prompt), pair.chosen)
        ]
    )
    say({"vocabulary": len(tokenizer), "kinds of mistakes": len(flaws)})
    drawn = drawn_by(args.workers, Rows(Chat(tokenizer, system_prompt=EMBEDDED_SYSTEM_PROMPT), flaws))  # fmt: skip
    model = make_model(tokenizer).to(device)
    balance = Balance(len(flaws), device)
    trainer = Trainer(model, balance, tokenizer.eos_token_id, plain=args.plain)
    resumed = args.out / "state.pt"
    if resumed.exists():
        kept = torch.load(resumed, map_location=device)
        trainer.restore(kept)
        args.steps, args.parts, args.times = kept["plan"]
    else:
        plan(trainer, drawn, args)
    log = train(trainer, again(joined(drawn, args.parts[0], device), args.times), args)
    model.to("cpu", torch.bfloat16).save_pretrained(args.out)
    tokenizer.save_pretrained(args.out, save_jinja_files=False)
    drawing = f"--parts {args.parts[0]} --times {args.times} --workers {args.workers}"
    about = {
        "command": f"python data/build/tiny.py OUT --steps {trainer.step} {drawing} --seconds 1e9",
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "parameters": sum(p.numel() for p in model.parameters()),
        "tokens": trainer.step * args.parts[0] * ROWS * CONTEXT,
        "weights of right answers in chats": {
            flaw: round(weight, 3)
            for flaw, weight in zip(flaws, balance.tilt.sigmoid().tolist(), strict=True)
        },
        "log": log,
    }
    (args.out / "training.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    resumed.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
