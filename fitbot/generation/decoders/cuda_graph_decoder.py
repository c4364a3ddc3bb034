"""The decoder on a GPU: steps by kernels of their own, in CUDA graphs.

A step of a small model is hundreds of kernels of a few microseconds; launched one by one, they wait
for the CPU. A graph is one launch. There is one for every so many requests and one for every so
many tokens of a prompt; what lies between is padded: a padded request writes to a slot that nobody
has, a padded token stands behind the prompt, where nothing sees it before it is overwritten.

What a step must know of a request lies on the GPU, slot by slot, and a step brings it up to date:
the CPU names the slots, launches the graph, and can read the tokens while the next step runs.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fitbot.generation.decoders import step_kernels
from fitbot.generation.decoders.choice_kernel import choose_rows
from fitbot.generation.decoders.decoder import Drawing
from fitbot.generation.decoders.linear import StackedProduct
from fitbot.generation.decoders.step_kernels import Adapted, Cache, Ranks
from fitbot.generation.decoders.torch_decoder import TorchDecoder, attend_causally
from fitbot.generation.random_numbers import STEP
from fitbot.generation.sampling import Draw, Pending, draw, numbers_of, state_of


class Graph(NamedTuple):
    """A step or prompt, captured where that is wanted: inputs, outputs."""

    tokens: Tensor  # (T,) of a prompt, and the place of the last one; of a step, nothing
    slots: Tensor  # (B,)
    logits: Tensor  # (B, V)
    found: Tensor  # (B,) tokens
    run: Any = None  # computes the outputs


class CudaGraphDecoder(TorchDecoder):
    """See `TorchDecoder`, of which this computes prompts and steps faster."""

    overlaps = True

    @torch.inference_mode()
    def __init__(self, model: Any, *, slots: int, capture: bool = True, **size: Any):
        """Take over a network's weights.

        Args:
            model, slots, size: See `TorchDecoder`.
            capture: Off, kernels are launched one by one; for tests.
        """
        # One slot more than there are: where padded requests write.
        super().__init__(model, slots=slots + 1, **size)
        self.capture, self.slots, self.spare = capture, slots, slots
        self.inner_size: int = model.config.intermediate_size
        # Of each slot: newest token, which is not in the cache yet; tokens in the cache; start and
        # count of its adapter's ranks; state of its random numbers.
        self._of_slots = torch.zeros(5, slots + 1, dtype=torch.long, device=self.device)
        self._numbers = torch.zeros(slots + 1, 4, device=self.device)  # `sampling.numbers_of`
        self._draws: dict[int, Draw] = {}
        self.processors = 1
        if self.device.type == "cuda":
            self.processors = torch.cuda.get_device_properties(self.device).multi_processor_count
        self._sent: dict[int, list[int]] = {}  # the slots that a step's graph had last
        self._graphs: dict[tuple[int, int], Graph] = {}  # by their numbers of tokens and slots
        self._pool: Any = None

    def warm_up(self) -> None:
        """Capture everything now; or else the first requests of each size wait for it."""
        with torch.inference_mode():
            for size in _sizes(self.spare, 1):
                self._graph(0, size, self._step)
            for size in _sizes(self.context, 32):
                self._graph(size + 1, 1, self._prompt)

    @torch.inference_mode()
    def begin(self, slot: int, ids: Sequence[int], ranks: slice | None, wanted: Draw) -> Drawing:
        """See `TorchDecoder`."""
        wanted.see(ids, self.vocabulary, self.device)
        self._draws[slot] = wanted
        start, count = (0, 0) if ranks is None else (ranks.start, ranks.stop - ranks.start)
        _send(self._of_slots[:, slot], [0, len(ids), start, count, state_of(wanted)])
        _send(self._numbers[slot], numbers_of(wanted))
        return self._pending(self._run_prompt(slot, ids), [slot])

    @torch.inference_mode()
    def advance(self, slots: Sequence[int]) -> Drawing:
        """See `TorchDecoder`."""
        return self._pending(self._run_step(slots), slots)

    def _run_prompt(self, slot: int, ids: Sequence[int]) -> Graph:
        graph = self._graph(_size_for(len(ids), self.context, 32) + 1, 1, self._prompt)
        padding = [0] * (len(graph.tokens) - 1 - len(ids))
        _send(graph.tokens, [*ids, *padding, len(ids) - 1])
        _send(graph.slots, [slot])
        graph.run()
        return graph

    def _run_step(self, slots: Sequence[int]) -> Graph:
        graph = self._graph(0, _size_for(len(slots), self.spare, 1), self._step)
        padded = [*slots, *[self.spare] * (len(graph.slots) - len(slots))]
        if self._sent.get(len(padded)) != padded:  # hardly ever from one step to the next
            _send(graph.slots, padded)
            self._sent[len(padded)] = padded
        graph.run()
        return graph

    def _pending(self, graph: Graph, slots: Sequence[int]) -> Drawing:
        """Return what the graph has drawn, drawn again where a penalty changes the logits."""
        rows = len(slots)
        draws, logits = [self._draws[slot] for slot in slots], graph.logits[:rows]
        if all(wanted.seen is None for wanted in draws):
            return Pending(graph.found[:rows], logits, draws).drawn
        pending = draw(logits, draws)
        self._of_slots[0].index_copy_(0, graph.slots[:rows], pending.tokens)
        return pending.drawn

    def _graph(self, tokens: int, rows: int, compute: Callable[[Graph], None]) -> Graph:
        """Compute once, to compile, then capture; inputs and outputs stay where they are."""
        if (tokens, rows) in self._graphs:
            return self._graphs[tokens, rows]
        integers = {"dtype": torch.long, "device": self.device}
        static = Graph(
            tokens=torch.zeros(tokens, **integers),
            slots=torch.full((rows,), self.spare, **integers),
            logits=self._empty(rows, self.vocabulary),
            found=torch.zeros(rows, **integers),
        )
        run: Callable[[], None] = partial(compute, static)
        if self.capture:
            run()
            graph = torch.cuda.CUDAGraph()
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            with torch.cuda.graph(graph, pool=self._pool):
                run()
            run = graph.replay
        self._graphs[tokens, rows] = static._replace(run=run)
        return self._graphs[tokens, rows]

    def _step(self, static: Graph) -> None:
        slots = static.slots
        last, lengths, starts, counts, states = self._of_slots.index_select(1, slots)

        def attend(cache: Cache, queries: Tensor, out: Tensor) -> None:
            step_kernels.attend(queries, cache, slots, lengths, out)

        ranks = Ranks(starts, counts)
        x, added = self._layers(last, slots, lengths, ranks, attend, self._multiply_few)
        self._choose(static, x, added, ranks, states)
        self._of_slots[1].index_add_(0, slots, (slots != self.spare).long())

    def _prompt(self, static: Graph) -> None:
        tokens, last, slot = static.tokens[:-1], static.tokens[-1:], static.slots
        length = len(tokens)
        _, _, starts, counts, states = self._of_slots.index_select(1, slot)
        own = Ranks(starts, counts)
        everywhere = Ranks(*(one.expand(length).contiguous() for one in own))

        def attend(cache: Cache, queries: Tensor, out: Tensor) -> None:
            k, v = (part[:, :, :length].index_select(0, slot)[0].transpose(0, 1) for part in cache)
            out.view(queries.shape).copy_(attend_causally(queries, k, v))

        positions = torch.arange(length, device=self.device)
        slots = slot.expand(length).contiguous()
        x, added = self._layers(tokens, slots, positions, everywhere, attend, _multiply_many)
        x, y = x.index_select(0, last), added.y.index_select(1, last)
        self._choose(static, x, Adapted(y, added.b), own, states)

    def _layers(
        self,
        tokens: Tensor,
        slots: Tensor,
        positions: Tensor,
        ranks: Ranks,
        attend: Callable[[Cache, Tensor, Tensor], None],
        multiply: Callable[[StackedProduct, Tensor], Adapted],
    ) -> tuple[Tensor, Adapted]:
        """Run all layers for N tokens; returns (N, H), and what is still to be added to it."""
        x = self.embedding[tokens].float()
        normal, inner = self._empty(len(x), x.shape[1]), self._empty(len(x), self.inner_size)
        queries = self._empty(len(x), self.heads, self.head_size)
        attended = self._empty(len(x), self.heads * self.head_size)
        rotary = self.cos, self.sin
        added: Any = None
        for number, layer in enumerate(self.layers):
            products: list[Any] = layer.products
            qkv, o, gate_up, down = products
            cache = Cache(self.keys[number], self.values[number])
            step_kernels.add_norm(x, added, ranks, layer.before_attention, self.eps, normal)
            heads = multiply(qkv, normal)
            step_kernels.place_heads(
                heads, ranks, layer.head_norms, rotary, cache, slots, positions, self.eps, queries
            )
            attend(cache, queries, attended)
            added = multiply(o, attended)
            step_kernels.add_norm(x, added, ranks, layer.before_mlp, self.eps, normal)
            step_kernels.swiglu(multiply(gate_up, normal), ranks, inner)
            added = multiply(down, inner)
        return x, added

    def _choose(
        self, static: Graph, x: Tensor, added: Adapted, ranks: Ranks, states: Tensor
    ) -> None:
        """Draw each row's token, and have its slot go on with it."""
        normal = self._empty(*x.shape)
        step_kernels.add_norm(x, added, ranks, self.norm, self.eps, normal)
        head: Any = self.head
        step_kernels.multiply(normal, head.stacked, 1, static.logits[None])
        numbers = self._numbers.index_select(0, static.slots)
        choose_rows(static.logits, numbers, states, static.found)
        self._of_slots[0].index_copy_(0, static.slots, static.found)
        self._of_slots[4].index_copy_(0, static.slots, states + STEP)

    def _multiply_few(self, product: StackedProduct, x: Tensor) -> Adapted:
        parts = step_kernels.parts_for(product.stacked, self.processors)
        y = torch.empty(parts, len(x), len(product.stacked), device=self.device)
        step_kernels.multiply(x, product.stacked, parts, y)
        return Adapted(y, product.b)

    def _empty(self, *shape: int) -> Tensor:
        return torch.empty(shape, dtype=self.keys.dtype, device=self.device)

    def _product(self, linears: list[Any], *, ranks: int) -> Any:
        weight = torch.cat([linear.weight.data for linear in linears])
        own = self.ranks if ranks else 0
        return StackedProduct(weight, len(linears), own, getattr(torch, self.precision))


def _multiply_many(product: StackedProduct, x: Tensor) -> Adapted:
    return Adapted(F.linear(x, product.stacked)[None], product.b)


def _sizes(most: int, least: int) -> list[int]:
    """Return the sizes that there are graphs for: doubling, and the largest."""
    return [*(least << n for n in range(most.bit_length()) if least << n < most), most]


def _size_for(number: int, most: int, least: int) -> int:
    return next(size for size in _sizes(most, least) if size >= number)


def _send(target: Tensor, values: Sequence[Any]) -> None:
    """Copy numbers to the GPU without waiting for it."""
    # Not by torch.tensor, which lets other threads go first, and waits until they are done.
    host = torch.from_numpy(
        np.array(values, np.float32 if target.is_floating_point() else np.int64)
    )
    target.copy_(host.pin_memory() if target.is_cuda else host, non_blocking=True)
