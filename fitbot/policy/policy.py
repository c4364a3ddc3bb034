"""The policy: `PairBatch` → log-probs of every completion, with the adapter on or as the reference.

How log-probs are computed fast is this module's business and nobody else's.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from fitbot.base_model.lora import POLICY_ADAPTER, REFERENCE_ADAPTER
from fitbot.base_model.sharding import is_sharded, own_part
from fitbot.errors import ConfigError
from fitbot.pairs.batch import LAYOUTS, Layout, PairBatch, attention_mask, collate_pairs
from fitbot.pairs.chat import EncodedPair
from fitbot.policy.adapter_vector import AdapterVector
from fitbot.policy.compiled.graphs import Passes
from fitbot.policy.compiled.passes import CompiledEngine, unsupported
from fitbot.policy.cpu_attention import BY_PAIR, attend_by_pair, segments_of
from fitbot.policy.logps import (
    LARGE_TILE_ELEMENTS,
    TILE_ELEMENTS,
    divergence,
    sum_by_owner,
    token_logps,
)

logger = logging.getLogger(__name__)

EngineSetting = Literal["auto", "eager", "compiled"]

# Compiling takes seven seconds on 16 cores, once on a machine; by the network's own modules a step
# of the recipe takes 0.2 s longer there, one of a larger base or of longer pairs up to seconds.
COMPILED_FROM_STEPS = 30


class Policy(nn.Module):
    """A base model with a LoRA adapter, asked for log-probs; the adapter off is the reference."""

    def __init__(self, network: Any, *, compute_dtype: torch.dtype):
        """Wrap a PEFT model from `load_policy_network`.

        Args:
            network: The PEFT model, adapter "default" active, perhaps a frozen adapter "reference".
            compute_dtype: What matrix products run in; not float32 means autocast.

        Raises:
            ConfigError: The model computes its logits in a way that `token_logps` does not know.
        """
        super().__init__()
        self.network: Any = network
        self.compute_dtype = compute_dtype
        causal_lm = self.network.get_base_model()
        self._decoder = [causal_lm.get_decoder()]  # in lists: not registered a second time
        self._head = [causal_lm.get_output_embeddings()]
        # Then every pass is one of all processes: all run as many (base_model/sharding.py).
        self.is_sharded = is_sharded(self._decoder[0])
        self.weights = AdapterVector(network, POLICY_ADAPTER)
        self.adapter = self.weights.vector  # (N,) float32: everything that is trained
        self.has_reference_adapter = REFERENCE_ADAPTER in self.network.peft_config
        self._reference = (
            AdapterVector(network, REFERENCE_ADAPTER) if self.has_reference_adapter else None
        )
        self._passes: Passes | None = None
        # On a GPU one dense product costs less than launching many small ones.
        self.by_pair = self.device.type == "cpu" and causal_lm.config._attn_implementation == "sdpa"
        if self.by_pair:
            ALL_ATTENTION_FUNCTIONS.register(BY_PAIR, attend_by_pair)
            causal_lm.config._attn_implementation = BY_PAIR
        self._check_head()

    @property
    def device(self) -> torch.device:
        """Where the policy computes."""
        device: torch.device = self._head[0].weight.device
        return device

    def release_memory(self) -> bool:
        """Give back what captured passes hold, and say whether there were any.

        They are captured anew when they come again.
        """
        had_graphs = self._passes is not None and self._passes.forget()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return had_graphs

    @torch.no_grad()
    def base_checksum(self) -> int:
        """Add up the bits of the frozen weights, as far as this process holds them whole.

        Bases of another seed, revision or training have another sum; it takes one reading of them.
        """
        total = 0
        for weight in self.network.parameters():
            if not weight.requires_grad and own_part(weight) is weight:
                bits = weight.detach().contiguous().view(-1).view(torch.uint8)
                whole = bits.numel() // 8 * 8
                total += int(bits[:whole].view(torch.int64).sum()) + int(bits[whole:].sum())
        return total % 2**64

    @property
    def tile_elements(self) -> int:
        """Logits that the head holds at once, at most."""
        return TILE_ELEMENTS if self._passes is None else LARGE_TILE_ELEMENTS

    @property
    def buffer_bytes(self) -> int:
        """Bytes in which the engine joins one layer at a time; 0 where it need not."""
        return 0 if self._passes is None else self._passes.engine.layers.joined.buffer_bytes

    @property
    def engine_name(self) -> str:
        """What computes the log-probs: eager or compiled."""
        return "eager" if self._passes is None else "compiled"

    def logps(self, batch: PairBatch) -> Tensor:
        """Sum the log-probs of every completion under the policy.

        Args:
            batch: B pairs in either layout, on the policy's device.

        Returns:
            (B, 2) float32 nats: chosen, rejected; with gradient with respect to `adapter`.
        """
        if self._passes is not None and batch.pair_index is not None:
            if torch.is_grad_enabled():
                return self._passes.logps(self.adapter, batch, training=self.training)
            return self._by_engine(batch, self.adapter.data)
        if torch.is_grad_enabled():
            logps: Tensor = _ByAutograd.apply(self.adapter, self, batch)  # type: ignore[no-untyped-call]
            return logps
        return self._network_logps(batch)

    def reference_logps(self, batch: PairBatch) -> Tensor:
        """Sum the log-probs under the reference: (B, 2) float32 nats, without gradient."""
        if self._passes is not None and batch.pair_index is not None:
            vector = None if self._reference is None else self._reference.vector.data
            return self._by_engine(batch, vector)
        with self.as_reference():
            return self.logps(batch)

    @contextmanager
    def as_reference(self) -> Iterator[None]:
        """Be the reference: no gradient, no dropout, the adapter off or the frozen one on."""
        was_training = self.training
        self.eval()
        try:
            with torch.no_grad():
                if self.has_reference_adapter:
                    self.network.set_adapter(REFERENCE_ADAPTER, inference_mode=True)
                    try:
                        yield
                    finally:
                        self.network.set_adapter(POLICY_ADAPTER)
                else:
                    with self.network.disable_adapter():
                        yield
        finally:
            self.train(was_training)

    def check_layout(self, layout: Layout, max_length: int) -> None:
        """Make sure that the packed layout is exact for this model; `rows` always is.

        Raises:
            ConfigError: The model has layers that the packed row's mask cannot describe.
        """
        if layout == "rows":
            return
        window = getattr(self.network.config, "sliding_window", None)
        if window is not None and max_length > window:
            raise ConfigError(
                f"data.layout: shared cannot express this base model's sliding window of {window} "
                f"tokens, and data.max_length is {max_length}; set data.layout: rows"
            )
        logps = {name: self.reference_logps(self._made_up_batch(name)) for name in LAYOUTS}
        drift = _drift(logps["shared"], logps["rows"])
        if not drift < self._same_within:
            raise ConfigError(
                f"data.layout: shared changes this base model's log-probs by {drift:.2%} (its "
                "layers are not all ordinary attention); set data.layout: rows"
            )

    def _apply(self, fn: Any, recurse: bool = True) -> "Policy":
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if not self.weights.is_tied:  # a move to another device takes every parameter by itself
            self.weights.tie()
            self._passes = None
        return self

    def use_engine(self, setting: EngineSetting, *, layout: Layout, num_steps: int) -> None:
        """Choose what computes the log-probs from now on, and say so.

        Args:
            setting: eager (the network's own modules), compiled (the engine), or auto: compiled
                where it can run and the run is long enough to pay for it.
            layout: Of the batches; the engine takes shared ones.
            num_steps: Optimizer steps of the run.

        Raises:
            ConfigError: compiled is asked for and cannot be.
        """
        if setting == "eager":
            logger.info("engine: eager")
            return
        reason = self._why_not_compiled(layout)
        if setting == "auto" and not reason and num_steps < COMPILED_FROM_STEPS:
            reason = f"{num_steps} steps are over before compiling pays"
        if not reason:
            try:
                self.accelerate(capture=True)
            except ValueError as error:
                reason = str(error)
        if reason and setting == "compiled":
            raise ConfigError(f"model.engine compiled cannot run here: {reason}; set it to auto")
        if reason:
            logger.info("engine: eager (%s)", reason)
        elif self.is_sharded:
            logger.info(
                "engine: compiled, kernel by kernel, each layer gathered when its turn comes"
            )
        else:
            logger.info("engine: compiled, a CUDA graph for each size of batch that comes twice")

    def accelerate(self, *, capture: bool) -> None:
        """Compute with the engine from now on, wherever a batch is in the shared layout.

        Args:
            capture: Replay training passes from CUDA graphs; of a sharded base they are launched
                kernel by kernel, for its layers are gathered in between.

        Raises:
            ValueError: With the reason why the engine cannot run this network.
        """
        engine = CompiledEngine(
            self.network.get_base_model(), self.weights, dtype=self.compute_dtype
        )
        batch = self._made_up_batch("shared")
        if self.device.type == "cuda":
            engine.compile_kernels(batch)
        by_network = self.logps_without_gradient(batch)
        self._passes = Passes(engine, capture=capture and not self.is_sharded)
        by_engine = self.logps_without_gradient(batch)
        drift = _drift(by_engine, by_network)
        if not drift < self._same_within:
            self._passes = None
            raise ValueError(f"its log-probs differ from the network's by {drift:.2%}")

    def _why_not_compiled(self, layout: Layout) -> str | None:
        if self.device.type != "cuda":
            return f"it needs a CUDA GPU, this is a {self.device.type}"
        if torch.cuda.get_device_capability(self.device) < (8, 0):
            return "it is written for GPUs with bfloat16"
        if find_spec("triton") is None:
            return "Triton is not installed"
        if layout != "shared":
            return "it takes data.layout shared"
        return unsupported(self.network.get_base_model())

    @torch.no_grad()
    def kept_by_engine(self, batch: PairBatch) -> list[Tensor]:
        """Run a training pass forward and return what the engine keeps; nothing without engine."""
        if self._passes is None:
            return []
        _, kept = self._passes.engine.forward(
            batch, self.adapter.data, training=True, backward=True
        )
        assert kept is not None
        return self._passes.engine.tensors_for_backward(kept)

    @torch.no_grad()
    def logps_without_gradient(self, batch: PairBatch) -> Tensor:
        """Sum the log-probs under the policy: (B, 2) float32 nats, without dropout."""
        was_training = self.training
        self.eval()
        logps = self.logps(batch)
        self.train(was_training)
        return logps

    @torch.no_grad()
    def token_logps(self, batch: PairBatch) -> Tensor:
        """Score every token by itself, without dropout, by the network's own modules.

        What `logps` sums; the reference's inside `as_reference`.

        Args:
            batch: S scored tokens in either layout, on the policy's device.

        Returns:
            (S,) float32 nats, in the order of `batch.score_ids`.
        """
        was_training = self.training
        self.eval()
        scores = self._network_token_logps(batch)
        self.train(was_training)
        return scores

    @torch.no_grad()
    def divergence(self, batch: PairBatch) -> tuple[Tensor, Tensor]:
        """Compare the policy with its reference wherever a token is scored, without dropout.

        Args:
            batch: S scored tokens in either layout, on the policy's device.

        Returns:
            (S,) nats each: KL(policy || reference) over the vocabulary, and the policy's entropy.
        """
        was_training = self.training
        self.eval()
        ours = self._scored_states(batch)
        self.train(was_training)
        with self.as_reference():
            theirs = self._scored_states(batch)
        return divergence(ours, theirs, self._head[0].weight)

    @torch.no_grad()
    def answer_greedily(self, prompt: Sequence[int], max_new_tokens: int, end: int) -> list[int]:
        """Let the policy as it is answer a prompt, without dropout and without a draw.

        For a look at a few answers; `generation.scheduler` is what answers fast.

        Args:
            prompt: Token ids.
            max_new_tokens: At most.
            end: The token that ends an answer; it is not returned.
        """
        was_training = self.training
        self.eval()
        new: list[int] = []
        ids, cache = torch.tensor([list(prompt)], device=self.device), None
        with self._autocast():
            while len(new) < max_new_tokens:
                out = self._decoder[0](input_ids=ids, past_key_values=cache, use_cache=True)
                cache = out.past_key_values
                ids = self._head[0](out.last_hidden_state[:, -1:]).argmax(-1)
                new.append(int(ids))
                # Of a sharded base all processes run as many passes, wherever an answer ends.
                if new[-1] == end and not self.is_sharded:
                    break
        self.train(was_training)
        return new[: new.index(end)] if end in new else new

    def _made_up_batch(self, layout: Layout) -> PairBatch:
        """Make up three pairs, to compare one way of computing with another.

        Their tokens lie all over the vocabulary: what a model has never seen, such as the special
        tokens at its start, it computes so unevenly that 16 bits round it by several per cent.
        """
        size = 9 * self.network.config.vocab_size // 10  # the last are often no tokens
        pairs = []
        for n in range(3):
            a, b, c = ([(104_729 * (i + 9 * n) + s) % size for i in range(8)] for s in (1, 2, 3))
            pairs.append(EncodedPair(a, b[:5], c[:7], 0, 0, 0, n))
        return to_device(collate_pairs(pairs, layout=layout, pad_id=0), self.device)

    @property
    def _same_within(self) -> float:
        """How far two ways to compute a log-prob may be apart, as a share of it."""
        return 1e-4 if self.compute_dtype == torch.float32 else 0.02

    @torch.no_grad()
    def _by_engine(self, batch: PairBatch, adapter: Tensor | None) -> Tensor:
        assert self._passes is not None
        return self._passes.engine.forward(batch, adapter, training=False, backward=False)[0]

    def _network_logps(self, batch: PairBatch) -> Tensor:
        scores = self._network_token_logps(batch)
        return sum_by_owner(scores, batch.score_owner, batch.num_pairs)

    def _network_token_logps(self, batch: PairBatch) -> Tensor:
        return token_logps(self._scored_states(batch), self._head[0].weight, batch.score_ids)

    def _scored_states(self, batch: PairBatch) -> Tensor:
        """Run the decoder and keep the hidden states that predict a scored token: (S, H)."""
        inputs: dict[str, Any] = {"input_ids": batch.input_ids, "use_cache": False}
        if batch.pair_index is not None and batch.part is not None:
            inputs["position_ids"] = batch.position_ids
            if self.by_pair:
                inputs["segments"] = segments_of(batch.pair_index, batch.part)
                # A mask in four dimensions is taken as it is; this one is never looked at.
                inputs["attention_mask"] = torch.ones(1, 1, 1, 1, dtype=torch.bool)
            else:
                mask = attention_mask(batch.pair_index, batch.part)
                inputs["attention_mask"] = mask[None, None]
        # In rows the padding is on the right, where causal attention hides it: no mask, and the
        # ordinary positions, so that any backend's own kernels may run.
        with self._autocast():
            hidden: Tensor = self._decoder[0](**inputs)[0]  # (1, T, H) or (2B, L, H)
        return hidden.flatten(0, 1)[batch.score_from]

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self.device.type,
            dtype=self.compute_dtype if self.compute_dtype != torch.float32 else torch.bfloat16,
            enabled=self.compute_dtype != torch.float32,
            cache_enabled=False,  # a cast cached under no_grad would cut the gradient off
        )

    def _check_head(self) -> None:
        """Compare our head with the model's own logits: some families scale or cap theirs."""
        head = self._head[0]
        if any(parameter.requires_grad for parameter in head.parameters()):
            raise ConfigError("the output head must be frozen; remove it from lora.target_modules")
        ids = torch.arange(5, 13, device=self.device)[None]
        with self.as_reference(), self._autocast():
            logits = self.network(input_ids=ids, use_cache=False).logits[0, :-1]
            hidden = self._decoder[0](input_ids=ids, use_cache=False)[0][0, :-1]
        expected = logits.float().log_softmax(-1).gather(-1, ids[0, 1:, None]).squeeze(-1)
        drift = (token_logps(hidden, head.weight, ids[0, 1:]) - expected).abs().max().item()
        tolerance = 1e-3 if self.compute_dtype == torch.float32 else 0.25
        if getattr(head, "bias", None) is not None or not drift < tolerance:
            raise ConfigError(
                f"this base model does not compute its logits as hidden @ weight.T (log-probs "
                f"differ by {drift:.3g} nats); fitbot supports plain heads, as Qwen's and Llama's"
            )


def _drift(one: Tensor, other: Tensor) -> float:
    """Return how far two ways to compute log-probs, (B, 2), are apart, as a share of them."""
    return ((one - other).abs().sum() / other.abs().sum()).item()


class _ByAutograd(torch.autograd.Function):
    """Log-probs of the network as a function of the adapter's vector."""

    @staticmethod
    def forward(ctx: Any, adapter: Tensor, policy: Policy, batch: PairBatch) -> Tensor:
        with torch.enable_grad():
            ctx.logps = policy._network_logps(batch)
        ctx.weights = policy.weights
        return ctx.logps.detach()  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        return ctx.weights.gradient_of(ctx.logps, upstream[0]), None, None


def to_device(batch: PairBatch, device: torch.device) -> PairBatch:
    """Move every tensor of a batch; to a GPU all integers in one copy that nobody waits for."""
    fields: dict[str, Any] = batch._asdict()
    moved: dict[str, Any]
    if device.type != "cuda" or batch.input_ids.is_cuda:
        moved = {n: v if v is None else v.to(device) for n, v in fields.items()}
        return PairBatch(**moved)
    whole = {n: v for n, v in fields.items() if v is not None and v.dtype == torch.int64}
    packed = torch.cat([value.flatten() for value in whole.values()]).pin_memory()
    parts = torch.split(packed.to(device, non_blocking=True), [v.numel() for v in whole.values()])
    moved = {n: part.view(v.shape) for part, (n, v) in zip(parts, whole.items(), strict=True)}
    if batch.reference_logps is not None:
        reference = batch.reference_logps.pin_memory()
        moved["reference_logps"] = reference.to(device, non_blocking=True)
    return PairBatch(**(fields | moved))
