"""The decoder on a GPU: steps by kernels of their own, in CUDA graphs.

A step of a small model is hundreds of kernels of a few microseconds; launched one by one, they wait
for the CPU. A graph is one launch. There is one for every so many requests and one for every so
many tokens of a prompt; what lies between is padded: a padded request writes to a slot that nobody
has, a padded token stands behind the prompt, where nothing sees it before it is overwritten.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fitbot.answers import step_kernels
from fitbot.answers.decoder import Decoder, Layer, Precision, attend_causally
from fitbot.answers.sampling import Draw, Drawn, choose, draw, numbers_of, settle, told

_NUMBERS = 5  # that `choose` must know of a request


class StepGraph(NamedTuple):
    """A captured step: inputs, outputs."""

    integers: Tensor  # (3, B): tokens, slots, lengths
    numbers: Tensor  # (B, 5)
    who: Tensor  # (B, R)
    logits: Tensor  # (B, V)
    found: Tensor  # (B,)
    sure: Tensor  # (B,)
    graph: Any


class PromptGraph(NamedTuple):
    """A captured reading of a prompt: inputs, output."""

    tokens: Tensor  # (T,)
    slot_and_last: Tensor  # (2,)
    who: Tensor  # (R,)
    logits: Tensor  # (1, V)
    graph: Any


class GraphedDecoder(Decoder):
    """See `Decoder`, of which this computes prompts and steps faster."""

    @torch.inference_mode()
    def __init__(
        self,
        model: Any,
        *,
        slots: int,
        context: int,
        precision: Precision,
        ranks: int = 0,
        capture: bool = True,
    ):
        """Take over a network's weights; see `Decoder`.

        Args:
            model, slots, context, precision, ranks: See `Decoder`.
            capture: Off, kernels are launched one by one; for tests.
        """
        # One slot more than there are: where padded requests write.
        super().__init__(model, slots=slots + 1, context=context, precision=precision, ranks=ranks)
        self.capture, self.slots, self.spare = capture, slots, slots
        self._steps: dict[int, StepGraph] = {}
        self._prompts: dict[int, PromptGraph] = {}
        self._pool: Any = None

    def warm_up(self) -> None:
        """Capture everything now; or else the first requests of each size wait for it."""
        with torch.inference_mode():
            for size in _sizes(self.spare, 1):
                self._step_graph(size)
            for size in _sizes(self.context, 32):
                self._prompt_graph(size)

    @torch.inference_mode()
    def prefill(self, slot: int, ids: Sequence[int], who: Tensor | None) -> Tensor:
        """See `Decoder`."""
        graph = self._prompt_graph(_size_for(len(ids), self.context, 32))
        padding = [0] * (len(graph.tokens) - len(ids))
        _send(graph.tokens, [*ids, *padding])
        _send(graph.slot_and_last, [slot, len(ids) - 1])
        _set_rows(graph.who, who)
        self._replay(graph.graph, self._prompt, graph)
        return graph.logits[0].clone()

    @torch.inference_mode()
    def step(
        self, tokens: Tensor, slots: Sequence[int], lengths: Sequence[int], who: Tensor | None
    ) -> Tensor:
        """See `Decoder`."""
        graph = self._fill(tokens.tolist(), slots, lengths, who, [[0.0] * _NUMBERS] * len(slots))
        self._replay(graph.graph, self._step, graph)
        return graph.logits[: len(slots)].clone()

    @torch.inference_mode()
    def advance(
        self,
        tokens: Sequence[int],
        slots: Sequence[int],
        lengths: Sequence[int],
        who: Tensor | None,
        wanted: Sequence[Draw],
    ) -> list[Drawn]:
        """See `Decoder`."""
        graph = self._fill(tokens, slots, lengths, who, numbers_of(wanted))
        self._replay(graph.graph, self._step, graph)
        rows = len(wanted)
        logits = graph.logits[:rows]
        if any(want.seen is not None for want in wanted):
            return draw(logits, wanted)
        found = settle(graph.found[:rows], graph.sure[:rows], logits, wanted)
        return [
            told(row, token, want) for row, token, want in zip(logits, found, wanted, strict=True)
        ]

    def _fill(
        self,
        tokens: Sequence[int],
        slots: Sequence[int],
        lengths: Sequence[int],
        who: Tensor | None,
        numbers: list[list[float]],
    ) -> StepGraph:
        rows = len(slots)
        graph = self._step_graph(_size_for(rows, self.spare, 1))
        padding = [0] * (graph.integers.shape[1] - rows)
        spare = [self.spare] * len(padding)
        _send(graph.integers, [[*tokens, *padding], [*slots, *spare], [*lengths, *padding]])
        _send(graph.numbers, [*numbers, *([0.0] * _NUMBERS for _ in padding)])
        _set_rows(graph.who[:rows], who)
        return graph

    def _replay(self, graph: Any, compute: Any, static: Any) -> None:
        if graph is None:
            compute(static)
        else:
            graph.replay()

    def _step_graph(self, size: int) -> StepGraph:
        if size not in self._steps:
            self._steps[size] = self._captured(
                StepGraph(
                    integers=torch.tensor([[0], [self.spare], [0]], device=self.device).repeat(
                        1, size
                    ),
                    numbers=torch.zeros(size, _NUMBERS, dtype=torch.float64, device=self.device),
                    who=torch.zeros(size, self.ranks, device=self.device),
                    logits=torch.zeros(size, self.vocabulary, device=self.device),
                    found=torch.zeros(size, dtype=torch.long, device=self.device),
                    sure=torch.zeros(size, dtype=torch.bool, device=self.device),
                    graph=None,
                ),
                self._step,
            )
        return self._steps[size]

    def _prompt_graph(self, size: int) -> PromptGraph:
        if size not in self._prompts:
            self._prompts[size] = self._captured(
                PromptGraph(
                    tokens=torch.zeros(size, dtype=torch.long, device=self.device),
                    slot_and_last=torch.tensor([self.spare, 0], device=self.device),
                    who=torch.zeros(self.ranks, device=self.device),
                    logits=torch.zeros(1, self.vocabulary, device=self.device),
                    graph=None,
                ),
                self._prompt,
            )
        return self._prompts[size]

    def _captured(self, static: Any, compute: Any) -> Any:
        """Compute once, to compile, then capture; inputs and outputs stay where they are."""
        if not self.capture:
            return static
        compute(static)
        graph = torch.cuda.CUDAGraph()
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        with torch.cuda.graph(graph, pool=self._pool):
            compute(static)
        return static._replace(graph=graph)

    def _prompt(self, static: PromptGraph) -> None:
        length = len(static.tokens)
        positions = torch.arange(length, device=self.device)
        slots, last = static.slot_and_last[:1].expand(length), static.slot_and_last[1:]
        who = static.who.expand(length, -1) if self.ranks else None
        static.logits.copy_(self._run(static.tokens, positions, slots, who, attend_causally, last))

    def _step(self, static: StepGraph) -> None:
        tokens, slots, lengths = static.integers
        rows, dtype = len(tokens), self.keys.dtype
        x = self.embedding[tokens].float()
        wide = torch.cat([static.who] * 3, -1).to(dtype)
        queries = torch.empty(rows, self.heads, self.head_size, dtype=dtype, device=self.device)
        size = step_kernels.scratch_size(rows, self.heads, self.head_size, self.context)
        scratch = torch.empty(size, device=self.device)
        turns, y = (self.cos, self.sin), None
        for number, layer in enumerate(self.layers):
            qkv, o, gate_up, down = layer.products
            cache = step_kernels.Cache(self.keys[number], self.values[number])
            row = self._room(qkv, rows)
            step_kernels.add_norm(x, y, layer.before_attention, self.eps, row)
            heads = self._product_of(qkv, row, wide)
            step_kernels.place_heads(
                heads, _norms(layer), turns, cache, slots, lengths, self.eps, queries
            )
            row = self._room(o, rows)
            step_kernels.attend(queries, cache, slots, lengths, row, scratch)
            y = self._product_of(o, row, wide)
            row = self._room(gate_up, rows)
            step_kernels.add_norm(x, y, layer.before_mlp, self.eps, row)
            both = self._product_of(gate_up, row, wide)
            row = self._room(down, rows)
            step_kernels.swiglu(both, row)
            y = self._product_of(down, row, wide)
        row = self._room(self.head, rows)
        step_kernels.add_norm(x, y, self.norm, self.eps, row)
        static.logits.copy_(self._product_of(self.head, row, wide))
        found, sure = choose(static.logits, static.numbers)
        static.found.copy_(found)
        static.sure.copy_(sure)

    def _room(self, product: Any, rows: int) -> Tensor:
        """Make room for [x | h], a product's input and what the adapters make of it."""
        width: int = product.joined.shape[1]
        return torch.empty(rows, width, dtype=self.keys.dtype, device=self.device)

    def _product_of(self, product: Any, row: Tensor, wide: Tensor) -> Tensor:
        ranks = len(product.a)
        if ranks:
            h = F.linear(row[:, : product.width], product.a)
            torch.mul(h, wide[:, :ranks], out=row[:, product.width :])
        return F.linear(row, product.joined)


def _norms(layer: Layer) -> tuple[Tensor, Tensor] | None:
    if layer.query_norm is None or layer.key_norm is None:
        return None
    return layer.query_norm, layer.key_norm


def _sizes(most: int, least: int) -> list[int]:
    """Return the sizes that there are graphs for: doubling, and the largest."""
    sizes = []
    while least < most:
        sizes.append(least)
        least *= 2
    return [*sizes, most]


def _size_for(number: int, most: int, least: int) -> int:
    return next(size for size in _sizes(most, least) if size >= number)


def _send(target: Tensor, values: list[Any]) -> None:
    """Copy numbers to the GPU without waiting for it."""
    host = torch.tensor(values, dtype=target.dtype)
    target.copy_(host.pin_memory() if target.is_cuda else host, non_blocking=True)


def _set_rows(target: Tensor, who: Tensor | None) -> None:
    if who is None:
        target.zero_()
    else:
        target.copy_(who)
