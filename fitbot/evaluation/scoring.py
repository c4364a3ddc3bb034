"""A model of the line-up → log-probs of pairs and of plain text, and how far it drifted.

The weights compute as they do in a fit: in float32 on a CPU, in 16 bits on a GPU.
N pairs or texts.
"""

from collections.abc import Callable, Iterator, Sequence
from logging import ERROR, getLogger
from typing import NamedTuple

import torch
from torch import Tensor
from transformers.utils import logging

from fitbot.base_model.adapter_files import load_adapter
from fitbot.base_model.gpu import compute_dtype_on
from fitbot.base_model.loading import load_policy_network, put_weights
from fitbot.base_model.lora import POLICY_ADAPTER
from fitbot.base_model.settings import BaseSettings, LoraSettings
from fitbot.dpo.accelerator import why_not_mps
from fitbot.errors import AdapterError
from fitbot.evaluation.models import Lineup, Model
from fitbot.pairs.batch import PairBatch, collate_pairs, pack_by_tokens, tokens_in_pass
from fitbot.pairs.budget import default_token_budget
from fitbot.pairs.chat import EncodedPair
from fitbot.platforms import choose_device
from fitbot.policy.agreement import fitting_layout
from fitbot.policy.policy import Policy, to_device
from fitbot.report.progress import Progress


class Positions(NamedTuple):
    """A model's next-token distributions at each token of an answer."""

    divergence: list[float]  # nats, KL(policy || reference) over the whole vocabulary
    entropy: list[float]  # nats, of the policy


def scoring_device() -> torch.device:
    """Choose where log-probs are computed; of Apple's GPU a trial says whether it can."""
    return choose_device(lambda device: why_not_mps(device, compute_dtype=compute_dtype_on(device)))


def hush_libraries() -> None:
    """Silence transformers' progress bars and bitsandbytes' warnings of missing kernels."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    getLogger("bitsandbytes").setLevel(ERROR)


class Scorer:
    """Computes log-probs under one model and its reference, which share the base's weights."""

    def __init__(self, lineup: Lineup, model: Model, *, device: torch.device):
        """Load base and adapter.

        Raises:
            AdapterError: The adapter's layers are not the base's.
        """
        base = BaseSettings(base_model=lineup.base_model, load_in_4bit=lineup.load_in_4bit)
        folder = model.folder
        lora, weights = (LoraSettings(), None) if folder is None else load_adapter(folder)
        dtype = compute_dtype_on(device)
        network = load_policy_network(
            base, lora, device=device, compute_dtype=dtype, adapter=model.reference
        )
        self.name, self.is_base = model.name, model.adapter is None
        self.policy = Policy(network, compute_dtype=dtype).eval()
        if weights is not None:
            put_weights(network, POLICY_ADAPTER, weights, str(model.adapter))
        # The packed row where the model's layers allow it; two rows a pair are always exact.
        self.layout = fitting_layout(self.policy, "shared", lineup.max_length)

    def logps(self, pairs: Sequence[EncodedPair]) -> tuple[Tensor, Tensor]:
        """Score both answers of every pair.

        Returns:
            (N, 2) float64 nats each: chosen and rejected, under the model and its reference.

        Raises:
            AdapterError: The model gives no finite log-probs.
        """
        found = torch.empty(2, len(pairs), 2, dtype=torch.float64)
        for indices, batch in self._batches(pairs, "log-probs of pairs"):
            ours = self.policy.logps_without_gradient(batch)
            theirs = ours if self.is_base else self.policy.reference_logps(batch)
            found[:, indices] = torch.stack([ours, theirs]).cpu().double()
        if not found.isfinite().all():
            raise AdapterError(
                f"{self.name}: some log-probs are no finite numbers, computed in "
                f"{self.policy.compute_dtype}; its weights are spoilt, or too large for that"
            )
        return found[0], found[1]

    def token_logps(self, pairs: Sequence[EncodedPair]) -> list[tuple[Tensor, Tensor]]:
        """Score both answers of N pairs token by token; `logps` are the sums.

        Returns:
            Of each pair, float64 nats under the model and its reference: chosen (2, C) and
            rejected (2, R).
        """

        def both_logps(batch: PairBatch) -> tuple[Tensor, Tensor]:
            ours = self.policy.token_logps(batch)
            with self.policy.as_reference():
                return ours, self.policy.token_logps(batch)

        return self._by_token(pairs, "log-probs of tokens", both_logps)

    def text_logps(self, texts: Sequence[list[int]]) -> Tensor:
        """Score plain texts, N times two token ids or more, each token after those before it.

        Returns:
            (N,) float64 nats; the first token has nothing before it and is not scored.
        """
        found = torch.empty(len(texts), dtype=torch.float64)
        for indices, batch in self._batches(
            [_single(ids[:1], ids[1:]) for ids in texts], "neutral texts"
        ):
            found[indices] = self.policy.logps_without_gradient(batch)[:, 0].cpu().double()
        return found

    def positions(
        self, prompts: Sequence[list[int]], answers: Sequence[list[int]]
    ) -> list[Positions]:
        """Compare the model with its reference at every position of N answers."""
        pairs = [_single(*both) for both in zip(prompts, answers, strict=True)]
        found = self._by_token(pairs, "drift in answers", self.policy.divergence)
        return [Positions(*values.tolist()) for values, _ in found]

    def _by_token(
        self,
        pairs: Sequence[EncodedPair],
        what: str,
        measure: Callable[[PairBatch], tuple[Tensor, Tensor]],
    ) -> list[tuple[Tensor, Tensor]]:
        """Measure two things of every scored token; → of each pair (2, C) and (2, R)."""
        found: dict[int, tuple[Tensor, Tensor]] = {}
        for indices, batch in self._batches(pairs, what):
            owners, both = batch.score_owner.cpu(), torch.stack(measure(batch)).cpu().double()
            for place, index in enumerate(indices):
                found[index] = both[:, owners == 2 * place], both[:, owners == 2 * place + 1]
        return [found[index] for index in range(len(pairs))]

    def _batches(
        self, pairs: Sequence[EncodedPair], what: str
    ) -> Iterator[tuple[list[int], PairBatch]]:
        """Group pairs of like length into batches; → their indices, and the batch."""
        device = self.policy.device
        order = sorted(range(len(pairs)), key=lambda index: pairs[index].num_tokens)
        sizes = [tokens_in_pass(pairs[index], self.layout) for index in order]
        groups = pack_by_tokens(sizes, default_token_budget(device))
        with Progress(f"{self.name}, {what}", len(pairs)) as progress:
            for group in groups:
                indices = [order[place] for place in group]
                own = [pairs[index] for index in indices]
                batch = collate_pairs(own, layout=self.layout, pad_id=0)
                yield indices, to_device(batch, device)
                progress.update(len(indices))


def _single(prompt: list[int], completion: list[int]) -> EncodedPair:
    """Make a pair of one completion; the other is a single token whose score is not used."""
    return EncodedPair(prompt, completion, completion[:1], 0, 0, 0, 0)
