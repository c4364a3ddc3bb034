"""One lesson: from a version and new choices to the weights of the next one, by DPOModule.

The base stays loaded, so a lesson costs its steps and little else. A lesson goes on from the
weights that are set. Beside the new pairs it repeats old choices, so that they are not forgotten.
The reference is what learning began from, so that versions cannot wander off step by step.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from fitbot.base_model.adapter_files import load_adapter
from fitbot.base_model.loading import put_weights
from fitbot.base_model.lora import POLICY_ADAPTER
from fitbot.base_model.settings import LoraSettings
from fitbot.dpo.module import DPOModule
from fitbot.dpo.run import quieten
from fitbot.evaluation.measure import neutral_texts
from fitbot.export.adapter import export_adapter
from fitbot.generation.loading import ends_of
from fitbot.learning.gate import Limits
from fitbot.learning.reader import Reader
from fitbot.pairs.batch import PairBatch, collate_pairs, pack_by_tokens, tokens_in_pass
from fitbot.pairs.chat import Chat, EncodedPair, LengthLimits
from fitbot.pairs.datamodule import PreferenceDataModule
from fitbot.pairs.formats import Message, PreferencePair
from fitbot.pairs.preferences import LoadedPairs, load_pairs
from fitbot.pairs.store import PairStore, Shard, as_shard, key_of
from fitbot.policy.agreement import fitting_layout
from fitbot.policy.engine_choice import use_engine
from fitbot.policy.policy import Policy, to_device

_HALVINGS = 3  # of a lesson's step, where all of it would drift too far


class LearnPair(Protocol):
    """A choice as the store gives it."""

    @property
    def id(self) -> int: ...
    @property
    def conversation(self) -> tuple[Message, ...]: ...
    @property
    def chosen(self) -> str: ...
    @property
    def rejected(self) -> str: ...


@dataclass(frozen=True)
class LessonSettings:
    """How a lesson learns; shares and limits are explained where they are set."""

    base_model: str = "embedded"
    adapter: str | None = None  # what learning begins from, and the reference; None: the bare base
    load_in_4bit: bool = True
    system_prompt: str | None = None
    lora: LoraSettings = field(default_factory=lambda: LoraSettings(r=16, alpha=64, dropout=0.05))
    # Beta and the share of NLL were found with 240 clicks on the embedded model's own answers, one
    # of ten wrong, learned at once: benchmarks/results/learning_settings_cpu_2026-12-01.json. Beta
    # 0.1 drifts twice as far and is right no more often.
    beta: float = 0.3
    # A click may be wrong: such a pair pulls until a margin of 2.2, and no further.
    label_smoothing: float = 0.1
    nll_weight: float = 1.0  # what was chosen is the model's own: it is to say it more often
    learning_rate: float = 5.0e-4  # of the first step; it falls to 0 in each lesson
    steps: int = 8  # at most; each is one more chance to drift
    pairs_per_step: int = 8
    repeats: int = 4  # of a new pair in its lesson: more is learning it by heart
    # Of a lesson's pairs. Without old ones the last click would undo the first; a third is enough
    # for each to come back every few lessons.
    old_share: float = 0.33
    # The shipped pairs keep what the person never asks about. It is a small share, or the person
    # would be outvoted.
    shipped_share: float = 0.125
    shipped: str | None = "data/fitness_train.json"
    max_prompt_length: int = 256
    max_length: int = 1024
    seed: int = 42


class LessonModule(DPOModule):
    """DPOModule whose policy stays loaded from fit to fit; each fit is a lesson."""

    def on_fit_start(self) -> None:
        """Do nothing: the policy is no longer its reference, and all else is ready."""


class LessonData(PreferenceDataModule):
    """A lesson's pairs, encoded already."""

    def setup(self, stage: str) -> None:
        """Do nothing: nothing is read."""


class Teacher:
    """A loaded policy that takes lessons and is measured."""

    def __init__(self, settings: LessonSettings, *, device: str = "cpu"):
        """Load base and tokenizer.

        Args:
            settings: Of all lessons.
            device: cpu, or cuda.
        """
        quieten()
        torch.set_flush_denormal(True)
        torch.manual_seed(settings.seed)
        self.settings, self.device = settings, device
        self.precision = "32-true" if device == "cpu" else "bf16-mixed"
        self.module = LessonModule(
            **{name: getattr(settings, name) for name in _MODULE},
            optimizer="adamw",
            lr_schedule="linear",
            warmup_ratio=0.0,  # its first step would be none
        )
        trainer = self._trainer([])
        trainer.strategy.connect(self.module)
        self.module.trainer = trainer
        self.module.configure_model()
        self.policy: Policy = self.module.policy  # type: ignore[assignment]
        self.limits = LengthLimits(settings.max_prompt_length, settings.max_length)
        self.data = self._data()
        self.chat: Chat = self.data.chat
        self.ends = self.chat.ends | ends_of(settings.base_model)  # as where answers are given
        self.layout = fitting_layout(self.policy, "shared", self.limits.max_length)
        # One engine for all lessons: compiling it pays over many.
        use_engine(self.policy, "auto", layout=self.layout, num_steps=1_000_000)
        self.reader = Reader(self.policy, self.ends, lambda: self.before_pass())
        self.max_drift = Limits().drift  # the gate's
        self.start = self.policy.adapter.detach().clone()  # version 0
        self._texts = [self.chat.encode_text(text) for text in neutral_texts()]
        self._references: dict[bytes, Tensor] = {}
        self._shipped: list[PreferencePair] = []
        if settings.shipped and settings.shipped_share:
            self._shipped = load_pairs(settings.shipped).pairs

    def encode(self, pairs: Sequence[PreferencePair]) -> list[EncodedPair]:
        """Encode pairs as every fit does."""
        return self.chat.encode_pairs(pairs, self.limits)

    def encode_choices(self, choices: Sequence[LearnPair]) -> list[EncodedPair]:
        """Encode choices; the answers are as the person saw them."""
        return self.encode(
            [PreferencePair(one.conversation, one.chosen, one.rejected, one.id) for one in choices]
        )

    def be(self, adapter: Path | None) -> None:
        """Take a version's weights; None: those of version 0.

        Raises:
            AdapterError: The files are damaged, or of another base.
        """
        if adapter is None:
            self.set(self.start)
            return
        with torch.no_grad():
            put_weights(self.policy.network, POLICY_ADAPTER, load_adapter(adapter)[1], str(adapter))

    def learn(
        self,
        new: Sequence[LearnPair],
        old: Sequence[LearnPair],
        *,
        number: int,
        after_step: Callable[[int, int], None] = lambda step, steps: None,
    ) -> int:
        """Learn from the weights that are set now; they are those of the next version afterwards.

        Args:
            new: Choices that no version in this line has learned from.
            old: Those that one has.
            number: Of the version that comes of it; with the seed it decides all chance.
            after_step: Called with the steps done and their number.

        Returns:
            Steps done.
        """
        chance = random.Random(self.settings.seed * 1_000_003 + number)
        torch.manual_seed(chance.randrange(2**31))
        before = self.policy.adapter.detach().clone()
        pairs = self._lesson(new, old, chance)
        data = self._data(seed=chance.randrange(2**31))
        data.layout, data.chat = self.layout, self.chat
        data.pairs["train"] = _as_store(pairs)
        data.reference_logps["train"] = self._reference_logps(pairs)
        self.policy.train()
        trainer = self._trainer([_EachStep(after_step)], steps=self.settings.steps)
        trainer.fit(self.module, datamodule=data)
        self.data = data  # whose rendering an export records
        learned = self.policy.adapter.detach().clone()
        for halving in range(_HALVINGS + 1):
            if halving:
                self.set(before + (learned - before) * 0.5**halving)
            if self.drift() <= self.max_drift:
                break
        return int(trainer.global_step)

    @torch.no_grad()
    def drift(self) -> float:
        """Return KL(policy || reference) on neutral text, exact at every token; nats a token."""
        pairs = [_single(ids[:1], ids[1:]) for ids in self._texts]
        batch = to_device(
            collate_pairs(pairs, layout=self.layout, pad_id=0), torch.device(self.device)
        )
        nats, _ = self.policy.divergence(batch)
        own = (batch.score_owner % 2 == 0) & (batch.score_owner < 2 * len(pairs))
        return float(nats[own].mean())

    def margins(self, pairs: Sequence[EncodedPair]) -> list[float]:
        """Return log p(chosen) - log p(rejected) of each pair; nats."""
        found: list[float] = [0.0] * len(pairs)
        for indices in self._passes(pairs):
            logps = self.policy.logps_without_gradient(self._batch(pairs, indices))
            for index, margin in zip(indices, (logps[:, 0] - logps[:, 1]).tolist(), strict=True):
                found[index] = margin
        return found

    def export(self, folder: Path, steps: int) -> None:
        """Write the weights that are set now as a fit exports them."""
        files = {split: one for split, one in self.data.provenance().items() if split != "train"}
        training = {"step": steps, "data": files, **self.module.hashes}
        export_adapter(
            folder, self.module.state_dict(), dict(self.module.hparams), training=training
        )

    def _lesson(
        self, new: Sequence[LearnPair], old: Sequence[LearnPair], chance: random.Random
    ) -> list[EncodedPair]:
        """Choose the pairs of a lesson: new ones several times, some old ones, some shipped."""
        settings = self.settings
        most = settings.steps * settings.pairs_per_step
        has_old, has_shipped = bool(old), bool(self._shipped)
        share = 1 - has_old * settings.old_share - has_shipped * settings.shipped_share
        repeats = min(settings.repeats, max(1, round(most * share / len(new))))
        own = self.encode_choices(new) * repeats
        chance.shuffle(own)
        own = own[:most]
        total = min(most, round(len(own) / share))
        some_old = chance.choices(old, k=round(total * settings.old_share)) if old else []
        pairs = [*own, *self.encode_choices(some_old)]
        missing = max(0, total - len(pairs))
        if has_shipped and missing:
            pairs += self.encode(chance.sample(self._shipped, min(missing, len(self._shipped))))
        chance.shuffle(pairs)
        return [pair for pair in pairs if not pair.is_equal]

    def _reference_logps(self, pairs: Sequence[EncodedPair]) -> Tensor:
        """Return the reference's log-probs, (N, 2); a pair that comes again is not computed."""
        keys = [key_of(pair) for pair in pairs]
        missing = dict(zip(keys, pairs, strict=True))
        missing = {key: pair for key, pair in missing.items() if key not in self._references}
        names, unseen = list(missing), list(missing.values())
        for indices in self._passes(unseen):
            logps = self.policy.reference_logps(self._batch(unseen, indices))
            self._references |= {names[i]: own for i, own in zip(indices, logps.cpu(), strict=True)}
        return torch.stack([self._references[key] for key in keys])

    def _passes(self, pairs: Sequence[EncodedPair]) -> Iterator[list[int]]:
        """Group pairs of like length; → their indices."""
        order = sorted(range(len(pairs)), key=lambda index: pairs[index].num_tokens)
        sizes = [tokens_in_pass(pairs[index], self.layout) for index in order]
        for group in pack_by_tokens(sizes, self.data.token_budget):
            self.before_pass()
            yield [order[place] for place in group]

    def before_pass(self) -> None:
        """Called before each forward pass that measures; a learner waits in it for others."""

    def _batch(self, pairs: Sequence[EncodedPair], indices: Sequence[int]) -> PairBatch:
        own = [pairs[index] for index in indices]
        return to_device(
            collate_pairs(own, layout=self.layout, pad_id=0), torch.device(self.device)
        )

    def set(self, vector: Tensor) -> None:
        """Take weights that are in memory."""
        with torch.no_grad():
            self.policy.adapter.copy_(vector)

    def _data(self, seed: int = 0) -> LessonData:
        names = ("base_model", "system_prompt", "max_prompt_length", "max_length")
        own = {name: getattr(self.settings, name) for name in names}
        return LessonData(
            **own, batch_size=self.settings.pairs_per_step, accumulate_batches=1, seed=seed
        )

    def _trainer(self, callbacks: list[Callback], steps: int = -1) -> Trainer:
        return Trainer(
            accelerator=self.device,
            devices=1,
            precision=self.precision,  # type: ignore[arg-type]
            max_epochs=1,
            max_steps=steps,
            callbacks=callbacks,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )


_MODULE = (
    *("base_model", "adapter", "load_in_4bit", "lora", "beta", "label_smoothing", "nll_weight"),
    "learning_rate",
)


class _EachStep(Callback):
    """Calls a function after each step."""

    def __init__(self, after_step: Callable[[int, int], None]):
        self.after_step = after_step

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self.after_step(trainer.global_step, int(trainer.estimated_stepping_batches))


def _single(prompt: list[int], completion: list[int]) -> EncodedPair:
    """Make a pair of one completion; the other is a token that is not looked at."""
    return EncodedPair(prompt, completion, completion[:1], 0, 0, 0, 0)


def _as_store(pairs: Sequence[EncodedPair]) -> PairStore:
    """Hold pairs as a fit does; their texts stay in the store of choices."""
    numbered = [pair._replace(record=index) for index, pair in enumerate(pairs)]
    nothing = [PreferencePair((), "", "", pair.record) for pair in numbered]
    batch, facts = as_shard(numbered, LoadedPairs(nothing, []), len(numbered))
    return PairStore([facts], [Shard(batch)])
