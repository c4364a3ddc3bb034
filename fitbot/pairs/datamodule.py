"""Preference files → batches: reads, encodes, splits by token budget, and keeps its place.

One batch of the training loader is one optimizer step: a list of `PairBatch`, each within the token
budget. How the pairs of a step are split into forward passes changes no result.
"""

import logging
from collections.abc import Callable, Sequence
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from lightning import LightningDataModule
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from fitbot.base_model.base_files import positions_of
from fitbot.base_model.settings import check_ranges
from fitbot.cluster.processes import balanced_shares, num_processes, rank
from fitbot.errors import ConfigError
from fitbot.pairs.batch import (
    Extent,
    Layout,
    PairBatch,
    collate_pairs,
    pack_by_tokens,
    tokens_in_pass,
)
from fitbot.pairs.budget import PassBudget
from fitbot.pairs.chat import Chat, EncodedPair, LengthLimits, load_tokenizer, within
from fitbot.pairs.formats import PreferencePair, shorten
from fitbot.pairs.sampler import EpochSampler
from fitbot.pairs.sources import is_on_hub
from fitbot.pairs.store import PairStore, open_pairs, some_of
from fitbot.pairs.weights import training_weights
from fitbot.shipped import shipped_pairs

logger = logging.getLogger(__name__)

Split = Literal["train", "val", "test"]

# Validation keeps nothing for backward, so the more the better; the token budget splits them.
PAIRS_MEASURED_AT_ONCE = 256
LOOKED_AT = 20_000  # texts that a fit's own audit looks at, a split
_WEIGHED = 10_000  # pairs whose lengths are looked at before a fit
_ORDERS = 5  # epochs whose steps are
_PAIRS = "training pairs"  # in a checkpoint, their hash
_COUNTS = (
    *("train_limit", "val_limit", "test_limit", "max_prompt_length"),
    *("batch_size", "accumulate_batches", "max_tokens_per_pass"),
)


class Lengths(NamedTuple):
    """What decides how large forward passes over a split are, in tokens without padding."""

    pair: int  # of the longest pair
    step: int  # of a process's share of the largest batch
    scored: float  # share of the tokens that are scored


class PreferenceDataModule(LightningDataModule):
    """Preference pairs from files or a hub data set, tokenised within both limits.

    A trainer of your own takes it together with a DPOModule, see dpo/module.py; then base_model has
    to be the module's.

    Args:
        train_path: JSON, JSONL, CSV or Parquet file, also as s3:// or another URL, or a hub
            data set as "owner/name:split".
        val_path: Likewise; validation runs after every epoch.
        test_path: Likewise; for `fitbot test` and `fitbot predict`.
        base_model: Whose tokenizer encodes the pairs; follows model.base_model.
        train_limit: Use the first so many records; null for all.
        val_limit: Likewise.
        test_limit: Likewise.
        skip_bad_records: Leave unusable records out and report them, instead of stopping.
        keep_equal_pairs: Train on pairs whose two answers are the same tokens, too, as cutting may
            leave them; else they are left out and counted.
        weight_column: Key of a pair's weight in the mean training loss; a record without it counts
            1. null: all count the same.
        pair_cache: Folder of encoded pairs, where there are too many for memory; runs share it.
        system_prompt: First turn of every conversation that brings none of its own.
        max_prompt_length: Tokens of a prompt, template included; longer ones lose their start.
        max_length: Tokens of prompt + completion; longer completions lose their end.
        batch_size: Pairs of a batch; batch_size x accumulate_batches make one optimizer step.
        accumulate_batches: Batches of a step. Only the product matters: how a step's pairs are
            split into forward passes follows from max_tokens_per_pass and changes no result.
        layout: shared (prompt once, packed row) or rows (two rows a pair, any backend).
        max_tokens_per_pass: Tokens of one forward pass; null: by the memory there is, and
            less once it has run out.
        seed: Of the shuffling.
    """

    def __init__(
        self,
        train_path: str | None = None,
        val_path: str | None = None,
        test_path: str | None = None,
        base_model: str = "embedded",
        train_limit: int | None = None,
        val_limit: int | None = None,
        test_limit: int | None = None,
        skip_bad_records: bool = False,
        keep_equal_pairs: bool = False,
        weight_column: str | None = None,
        pair_cache: str = "checkpoints/pairs",
        system_prompt: str | None = None,
        max_prompt_length: int = 256,
        max_length: int = 1024,
        batch_size: int = 2,
        accumulate_batches: int = 4,
        layout: Layout = "shared",
        max_tokens_per_pass: int | None = None,
        seed: int = 42,
    ):
        """Take the settings; files are read in `setup`."""
        super().__init__()
        self.save_hyperparameters()
        self.paths = {"train": train_path, "val": val_path, "test": test_path}
        self.base_model = base_model
        self.system_prompt = system_prompt
        self.limits = LengthLimits(max_prompt_length, max_length)
        self.pairs_per_step = batch_size * accumulate_batches
        self.layout: Layout = layout
        self.budget = PassBudget(max_tokens_per_pass)
        self.seed = seed
        self.pairs: dict[Split, PairStore] = {}
        self.reference_logps: dict[Split, Tensor] = {}  # (N, 2) a split, once they are cached
        self.weights: Tensor | None = None  # (N,) float32, of the training pairs
        check_ranges("data", self.hparams, dict.fromkeys(_COUNTS, ">= 1"))
        if max_length <= max_prompt_length:
            raise ConfigError(
                f"data.max_length {max_length} must exceed data.max_prompt_length "
                f"{max_prompt_length}: it counts the prompt and its completion"
            )

    @cached_property
    def chat(self) -> Chat:
        """Renders conversations with the base model's tokenizer."""
        return Chat(load_tokenizer(self.base_model), system_prompt=self.system_prompt)

    @property
    def pad_id(self) -> int:
        """Token that fills a row; what it is never matters."""
        pad_id = self.chat.tokenizer.pad_token_id
        return self.chat.end_of_turn_id if pad_id is None else int(pad_id)

    @property
    def token_budget(self) -> int:
        """Tokens of one forward pass: as set, or by the memory of the device."""
        return self.budget.tokens(self._device)

    @property
    def _device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

    def choose_budget(self, tokens_that_fit: Callable[[int], int]) -> None:
        """Let the memory that a token takes decide; see `PassBudget.choose`."""
        self.budget.choose(self._device, tokens_that_fit)

    def setup(self, stage: str) -> None:
        """Read and encode the files that the stage needs.

        Raises:
            ConfigError: The stage needs a file that no setting names.
            DataError: A file or record cannot be used.
        """
        self.limits = within(self.limits, positions_of(self.base_model))
        self.hparams["max_length"] = self.limits.max_length
        for split in self._needed(stage):
            if split not in self.pairs:
                self.pairs[split] = self._read(split)

    def check_files(self, stage: str) -> None:
        """Refuse files that the stage needs and that are not there, without reading any.

        Raises:
            ConfigError: The stage needs a file that no setting names.
            DataError: A file is not there, or of an unknown type.
        """
        for split in self._needed(stage):
            path = self._path(split)
            is_on_hub(shipped_pairs(path) or path)

    def train_dataloader(self) -> DataLoader[list[PairBatch]]:
        """One item per optimizer step; every epoch another order, the same for the same seed."""
        count, step = len(self.pairs["train"]), self.pairs_per_step
        return self._loader("train", EpochSampler(self._order, count, step, self._position))

    def val_dataloader(self) -> DataLoader[list[PairBatch]] | list[Any]:
        """All pairs in the file's order, each once."""
        return self._in_order("val") if "val" in self.pairs else []

    def test_dataloader(self) -> DataLoader[list[PairBatch]]:
        """All pairs in the file's order, each once."""
        return self._in_order("test")

    predict_dataloader = test_dataloader

    def collate(
        self, split: Split, indices: Sequence[int], room: Extent | None = None
    ) -> list[PairBatch]:
        """Lay pairs of a split out in as many forward passes as the token budget asks for.

        Args:
            split: What the indices are of.
            indices: Of the pairs.
            room: What each pass has room for at least; `shared` only.
        """
        pairs = [self.pairs[split][i] for i in indices]
        sizes = [tokens_in_pass(pair, self.layout) for pair in pairs]
        reference = self.reference_logps.get(split)
        weights = self.weights if split == "train" else None
        return [
            collate_pairs(
                [pairs[j] for j in group],
                layout=self.layout,
                pad_id=self.pad_id,
                records=(records := [indices[j] for j in group]),
                reference_logps=None if reference is None else reference[records],
                weights=None if weights is None else weights[records],
                room=room,
            )
            for group in pack_by_tokens(sizes, self.token_budget)
        ]

    def lengths(self, split: Split) -> tuple[Lengths, EncodedPair]:
        """Look at a split's pairs, at some of very many; returns one of the usual length, too."""
        some = some_of(self.pairs[split], _WEIGHED)
        sizes, batches = self._batches(split)
        typical = some[int(np.abs(sizes - sizes.mean()).argmin())]
        scored = sum(len(pair.chosen) + len(pair.rejected) for pair in some) / sizes.sum()
        return Lengths(int(sizes.max()), _largest_share(sizes, batches), float(scored)), typical

    def largest_pass(self, split: Split) -> int:
        """Return the tokens of the largest pass over a split, as far as its pairs are looked at."""
        sizes, batches = self._batches(split)
        largest = max(
            sizes[batch[group]].sum()
            for batch in batches
            for group in pack_by_tokens(sizes[batch].tolist(), self.token_budget)
        )
        return min(int(largest), _largest_share(sizes, batches))

    def _batches(self, split: Split) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
        """Return tokens of a split's pairs, of some of very many, and batches of them by index."""
        some = some_of(self.pairs[split], _WEIGHED)
        sizes = np.array([tokens_in_pass(pair, self.layout) for pair in some])
        step, orders = PAIRS_MEASURED_AT_ONCE, [np.arange(len(sizes))]
        if split == "train":
            step = self.pairs_per_step
            orders = [self._order(epoch, len(sizes)).numpy() for epoch in range(_ORDERS)]
        starts = range(0, len(sizes), step)
        return sizes, [order[start : start + step] for order in orders for start in starts]

    def pairs_in_step(self) -> int:
        """Count the pairs of the optimizer step that is under way, those of all processes."""
        _, batch = self._position()
        return min(self.pairs_per_step, len(self.pairs["train"]) - batch * self.pairs_per_step)

    def split_smaller(self, split: Split, batch: Sequence[PairBatch]) -> list[PairBatch] | None:
        """Lay a batch out in smaller passes, this time and from now on; None if that cannot be."""
        largest = max(part.input_ids.numel() for part in batch)
        pairs = sum(part.num_pairs for part in batch)
        if not self.budget.lower(largest, can_be_smaller=len(batch) < pairs):
            return None
        return self.collate(split, torch.cat([part.records for part in batch]).tolist())

    def provenance(self) -> dict[str, Any]:
        """Say which pairs were read and how they were rendered; plain values."""
        files: dict[str, Any] = {
            split: {"path": self.paths[split], "pairs": len(pairs), "sha256": pairs.sha256}
            for split, pairs in self.pairs.items()
        }
        if "train" in files:
            files["train"]["limit"] = self.hparams["train_limit"]  # records; None: all
        rendering = {"system_prompt": self.system_prompt, "date": self.chat.date}
        return {**files, **rendering, **self.limits._asdict()}

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must agree on; the position itself is the trainer's step count."""
        return {"identity": self.identity(), "provenance": self.provenance()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Refuse to go on with other data: the position would mean something else.

        A template that writes the day is given the day that the checkpoint's run began.

        Raises:
            ConfigError: Pairs, rendering, pairs per step or seed are not the checkpoint's; or
                validation pairs, by which best.ckpt is chosen.
        """
        date = state["provenance"].get("date")
        if date and self.chat.date and date != self.chat.date:
            # They were read as of today, which this template writes into every prompt.
            self.chat = Chat(self.chat.tokenizer, system_prompt=self.system_prompt, date=date)
            self.pairs = {split: self._read(split) for split in self.pairs}
        here = self.identity()
        if _PAIRS not in here:
            return  # validating or testing: no position to keep
        for key, value in state["identity"].items():
            if here.get(key) != value:
                found = f"the checkpoint was written with {key} = {value}, this run has {here[key]}"
                if key == _PAIRS:  # two hashes would say nothing
                    found = self._why_other_pairs(state["provenance"])
                raise ConfigError(
                    f"cannot resume: {found}; use the same data settings, or start a new run"
                )
        before = state["provenance"].get("val")
        if before and "val" in self.pairs and before["sha256"] != self.pairs["val"].sha256:
            raise ConfigError(
                f"cannot resume: data.val_path {self.paths['val']} has other pairs than the "
                f"checkpoint's {before['path']}, by whose loss best.ckpt was chosen; use those, "
                "set it to null, or start a new run"
            )

    def _why_other_pairs(self, before: dict[str, Any]) -> str:
        """Name the setting by which training pairs became other tokens, or else the files."""
        here = self.provenance()
        for name in ("system_prompt", *self.limits._fields):
            if before.get(name) != here[name]:
                was, now = shorten(before.get(name)), shorten(here[name])
                return f"data.{name} was {was} and is {now}, which makes other pairs"
        file = before["train"]["path"]
        return f"data.train_path {self.paths['train']} has other pairs than {file} had"

    def identity(self) -> dict[str, Any]:
        """Say what decides which pairs a step has."""
        if "train" not in self.pairs:
            return {}
        return {
            _PAIRS: self.pairs["train"].sha256,
            "pairs per step": self.pairs_per_step,
            "data.seed": self.seed,
        }

    def some_texts(self, split: Split) -> list[PreferencePair]:
        """Return a split's texts, from all over it if they are many; none without such a file."""
        return some_of(self.pairs[split].texts, LOOKED_AT) if split in self.pairs else []

    def _needed(self, stage: str) -> list[Split]:
        fit: list[Split] = ["train", "val"] if self.paths["val"] else ["train"]
        needed: dict[str, list[Split]] = {"fit": fit, "validate": ["val"]}
        return needed.get(stage, ["test"])

    def _path(self, split: Split) -> str:
        path = self.paths[split]
        if path is None:
            raise ConfigError(f"data.{split}_path is not set; name a file with preference pairs")
        return path

    def _read(self, split: Split) -> PairStore:
        path = self._path(split)
        logger.info("reading pairs of %s", path)
        keeps = split != "train" or self.hparams["keep_equal_pairs"]
        pairs = open_pairs(
            path,
            self.chat,
            self.limits,
            cache=Path(self.hparams["pair_cache"]),
            limit=self.hparams[f"{split}_limit"],
            skip_bad_records=self.hparams["skip_bad_records"],
            keep_equal=keeps,
            weight_column=self.hparams["weight_column"],
        )
        if split == "train" and (column := self.hparams["weight_column"]):
            self.weights = training_weights(pairs, column, self.paths[split])
        for message in pairs.skipped:
            logger.warning("skipped: %s", message)
        skipped = f"; {len(pairs.skipped)} bad records skipped" if pairs.skipped else ""
        logger.info("%s %s: %s%s", split, path, pairs.cut, skipped)
        if pairs.cut.equal:
            what = "kept" if keeps else "left out; data.keep_equal_pairs keeps them"
            logger.warning(
                "%s: in %s of %s pairs both answers are the same tokens, from which nothing is "
                "learned: %s",
                path,
                f"{pairs.cut.equal:,}",
                f"{pairs.cut.num_pairs:,}",
                what,
            )
        return pairs

    def _loader(self, split: Split, batches: EpochSampler) -> DataLoader[list[PairBatch]]:
        return DataLoader(
            range(len(self.pairs[split])),  # type: ignore[arg-type]
            batch_sampler=batches,
            collate_fn=partial(self._collate_share, split),
            # A generator of its own: a loader otherwise draws from the run's random numbers each
            # time it starts, and a resumed run would see others than the unbroken one.
            generator=torch.Generator(),
        )

    def _collate_share(self, split: Split, indices: Sequence[int]) -> list[PairBatch]:
        """Collate this process's pairs of a batch; none where a batch has fewer than processes.

        Where passes may be captured, all processes pad as the one that has most: a process that
        captures a new size holds up all others, so all of them do it in the same step.
        """
        extent = cache(self.pairs[split].extent)
        shares = balanced_shares(indices, lambda i: extent(i).tokens)
        ours = shares[rank()]
        captured = split == "train" and self.layout == "shared" and self._device.type == "cuda"
        if len(shares) == 1 or not captured:
            return self.collate(split, ours)
        most = Extent(
            max(sum(extent(i).tokens for i in share) for share in shares),
            max(sum(extent(i).scored for i in share) for share in shares),
        )
        return self.collate(split, ours, most if most.tokens <= self.token_budget else None)

    def _in_order(self, split: Split) -> DataLoader[list[PairBatch]]:
        count, step = len(self.pairs[split]), PAIRS_MEASURED_AT_ONCE
        return self._loader(split, EpochSampler(lambda epoch: torch.arange(count), count, step))

    def _order(self, epoch: int, count: int | None = None) -> Tensor:
        """Order of one epoch: a permutation that depends on seed and epoch only, (N,)."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        return torch.randperm(count or len(self.pairs["train"]), generator=generator)

    def _position(self) -> tuple[int, int]:
        """Epoch and batch that come next; one batch is one step, so both follow from the count."""
        if self.trainer is None:
            return 0, 0
        per_epoch = -(-len(self.pairs["train"]) // self.pairs_per_step)
        if self.trainer.num_training_batches not in (0, float("inf")):
            per_epoch = min(per_epoch, int(self.trainer.num_training_batches))
        return divmod(self.trainer.global_step, per_epoch)


def _largest_share(sizes: NDArray[np.int64], batches: list[NDArray[np.int64]]) -> int:
    """Return a process's tokens of the largest batch; at least those of the longest pair."""
    largest = max(int(sizes[batch].sum()) for batch in batches)
    return max(int(sizes.max()), -(-largest // num_processes()))
