"""Any causal LM of transformers draws the tokens by its own modules, one request at a time.

For networks whose layers fitbot's decoders do not compute. The tokens are those of `generate`: the
network's own cache, one token a pass. Where it has none that works, every pass reads the whole text
anew. An adapter is added where its linear layers end.
"""

import logging
from collections.abc import Sequence
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from fitbot.base_model.adapter_files import AdapterWeights, layer_key
from fitbot.base_model.gpu import is_out_of_memory, what_failed
from fitbot.base_model.lora import frozen_weight
from fitbot.base_model.nf4 import count_4bit, expand_4bit
from fitbot.base_model.targets import linear_layers
from fitbot.errors import ConfigError
from fitbot.generation.decoders.decoder import Decoder, Drawing, Part
from fitbot.generation.decoders.torch_decoder import Precision
from fitbot.generation.sampling import Draw, draw, score

logger = logging.getLogger(__name__)

_SAME_WITHIN = 0.05  # relative difference of logits that rounding explains, in 16 bits


class PlainDecoder(Decoder):
    """See `Decoder`; it has one slot."""

    overlaps, scores_prompts = False, True
    slots, pass_block = 1, 1
    pass_tokens = pass_prompts = 2**31  # a prompt is read in one pass

    def __init__(self, model: Any, *, context: int, precision: Precision, ranks: int = 0):
        """Take over a network.

        Args:
            model: transformers' causal LM without adapter; what it holds in 4 bits is expanded.
            context: Tokens that a request may have.
            precision: Of the weights.
            ranks: The room for adapters.
        """
        dtype = getattr(torch, precision)
        if count_4bit(model)[0]:
            expand_4bit(model, dtype)
        for weight in model.parameters():  # not the buffers: positions need all their digits
            weight.data = weight.data.to(dtype)
        self.model, self.precision, self.ranks = model.eval(), precision, ranks
        self.device: torch.device = model.device
        self.context = self.tokens = context
        self.vocabulary = model.get_output_embeddings().weight.shape[0]
        self._takes_last = "logits_to_keep" in signature(model.forward).parameters
        self._cache: Any = None  # of the request that is being answered
        self._caches, self._seen = True, torch.empty(1, 0, dtype=torch.long)  # without: its tokens
        self._last = torch.empty(1, 1, dtype=torch.long)  # its newest token, not in the cache yet
        self._adapters: dict[int, AdapterWeights] = {}  # by their first rank
        self._active: AdapterWeights = {}
        named = linear_layers(model).items()
        self._linears = {layer_key(name): linear for name, linear in named}
        for key, linear in self._linears.items():
            linear.register_forward_hook(partial(self._add_update, key))

    def _add_update(
        self, key: str, linear: nn.Module, inputs: tuple[Tensor], output: Tensor
    ) -> Tensor | None:
        if key not in self._active:
            return None
        a, b = self._active[key]
        return output + (inputs[0].float() @ a.T @ b.T).to(output.dtype)

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Make sure that token by token the network computes what it does at once.

        Raises:
            ConfigError: It does not even without its cache.
        """
        reason = self._try_tokens()
        if reason is None:
            return
        self._caches = False
        kind = self.model.config.model_type
        if reason_without := self._try_tokens():
            raise ConfigError(
                f"a base of kind {kind!r} cannot be answered with here: {reason_without}"
            )
        logger.warning(
            "answers: each token reads the whole text anew, which is slow, as the cache of a base "
            "of kind %r does not work here: %s",
            kind,
            reason,
        )

    def _try_tokens(self) -> str | None:
        """Read some tokens one by one; returns why that is not what all at once are."""
        ids = torch.arange(4, 12, device=self.device)[None]
        try:
            expected = self.model(input_ids=ids, use_cache=False).logits[0, 5:].float()
            found = [self._next_logits(ids[:, :6])[-1:]]
            found += [self._next_logits(ids[:, place : place + 1]) for place in (6, 7)]
        except Exception as error:  # a network's own modules may fail in any way
            if is_out_of_memory(error):
                raise
            return what_failed(error)
        finally:
            self._forget()
        if not (torch.cat(found) - expected).norm() < _SAME_WITHIN * expected.norm():
            return "its tokens one by one give other logits than all at once"
        return None

    def _forget(self) -> None:
        self._cache, self._seen = None, torch.empty(1, 0, dtype=torch.long, device=self.device)

    def admit(self, slot: int, ids: Sequence[int], ranks: slice | None, wanted: Draw) -> int:
        """See `Decoder`."""
        wanted.see(ids, self.vocabulary, self.device)
        self._draw = wanted
        self._forget()
        self._active = {} if ranks is None else self._adapters[ranks.start]
        return 0

    def grow(self, slot: int) -> int:
        """See `Decoder`; the network's cache grows by itself."""
        return 1

    @torch.inference_mode()
    def run(self, parts: Sequence[Part], slots: Sequence[int]) -> Drawing:
        """See `Decoder`."""
        read = self._last
        if parts:
            read = torch.tensor([parts[0].ids], device=self.device)
        logits = self._next_logits(read, every=self._draw.scores_prompt)
        if self._draw.scores_prompt:
            top = self._draw.sampling.logprobs or 0
            self._draw.scores.append(score(logits[:-1], read[0, 1:], top))
        pending = draw(logits[-1:], [self._draw])
        self._last = pending.tokens[:, None]
        return pending.drawn

    def _next_logits(self, ids: Tensor, *, every: bool = False) -> Tensor:
        """Read tokens, (1, N); returns the logits after all or the last of them, (N or 1, V)."""
        last = {"logits_to_keep": 1} if self._takes_last and not every else {}
        if self._caches:
            out = self.model(input_ids=ids, past_key_values=self._cache, use_cache=True, **last)
            self._cache = out.past_key_values
        else:
            self._seen = torch.cat([self._seen, ids], dim=1)
            out = self.model(input_ids=self._seen, use_cache=False, **last)
        logits: Tensor = out.logits[0, -ids.shape[1] :].float()
        return logits

    def release(self, slot: int) -> None:
        """See `Decoder`."""
        self._forget()

    def adapt(self, ranks: slice, weights: AdapterWeights) -> None:
        """See `Decoder`."""
        for key, (a, b) in weights.items():
            if key not in self._linears:
                raise ConfigError(f"adapter on {key}: no such layer here")
            if frozen_weight(self._linears[key]).shape != (b.shape[0], a.shape[1]):
                raise ConfigError(f"adapter on {key}: not of this layer's size")
        self._adapters[ranks.start] = {
            key: (a.float().to(self.device), b.float().to(self.device))
            for key, (a, b) in weights.items()
        }
