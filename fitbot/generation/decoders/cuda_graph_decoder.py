"""The decoder on a GPU: passes by kernels of their own, in CUDA graphs.

A pass of a small model is hundreds of kernels of a few microseconds; launched one by one, they wait
for the CPU. A graph is one launch. There is one for every so many requests that draw a token and
every so many tokens of prompts; what lies between is padded: padding writes to a page that nobody
has.

What a pass must know of a request lies on the GPU, slot by slot, and a pass brings it up to date:
the CPU names the slots, launches the graph, and can read the tokens while the next pass runs.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from fitbot.base_model.gpu import gpu_of, has_tensor_cores
from fitbot.generation.decoders import cache_kernels, step_kernels
from fitbot.generation.decoders.cache_kernels import CHUNK, Cache
from fitbot.generation.decoders.choice_kernel import choose_rows
from fitbot.generation.decoders.decoder import Drawing, Part
from fitbot.generation.decoders.linear import StackedProduct
from fitbot.generation.decoders.pass_kernels import Pass, close_pass, open_pass
from fitbot.generation.decoders.step_kernels import Adapted, Ranks
from fitbot.generation.decoders.torch_decoder import SPARE_BYTES, TorchDecoder, joined
from fitbot.generation.pages import pages_for
from fitbot.generation.sampling import Draw, Pending, draw, numbers_of, state_of

_FEW = 8  # requests for which there is a graph with prompts, beside the one for all slots


class Size(NamedTuple):
    """Of a graph."""

    slots: int  # B: requests that draw one token more
    tokens: int  # P: of prompts
    chunks: int  # of `CHUNK` tokens that the longest of the B requests has


class Inputs(NamedTuple):
    """What the CPU sends for a pass, in this order."""

    slots: Tensor  # (B,)
    tokens: Tensor  # (P,) of prompts
    of_slots: Tensor  # (P,) whose they are
    positions: Tensor  # (P,)
    ends: Tensor  # (E,) rows of prompts' last tokens
    ending: Tensor  # (E,) slots of those prompts


class Graph(NamedTuple):
    """A pass, captured where that is wanted."""

    inputs: Tensor  # all of `Inputs`
    logits: Tensor  # (B + E, V)
    found: Tensor  # (B + E,) tokens
    run: Any  # computes the outputs


class CudaGraphDecoder(TorchDecoder):
    """See `TorchDecoder`, of which this computes passes faster."""

    overlaps = True

    @torch.inference_mode()
    def __init__(self, model: Any, *, slots: int, capture: bool = True, **size: Any):
        """Take over a network's weights.

        Args:
            model, slots, size: See `TorchDecoder`.
            capture: Off, kernels are launched one by one; for tests.
        """
        self.capture, self.spare = capture, slots  # the spare slot is padding's
        self.inner_size: int = model.config.intermediate_size
        super().__init__(model, slots=slots, **size)
        has_cores = has_tensor_cores(gpu_of(self.device), self.dtype)
        self.multiplies = has_cores or self.dtype == torch.float32
        self.pass_block = cache_kernels.prompt_block(
            self.device, self.dtype, self.heads // self.key_heads
        )
        self.pass_tokens = self._token_sizes(1)[-1]
        # Of each slot: newest token, which is not in the cache yet; tokens in the cache; start and
        # count of its adapter's ranks; state of its random numbers.
        self._of_slots = self._integers(5, slots + 1)
        self._numbers = torch.zeros(slots + 1, 4, device=self.device)  # `sampling.numbers_of`
        self._known_pages = [0] * slots  # of each slot, how many of its pages the GPU knows
        self._grown: set[int] = set()  # slots that may have pages which it does not know
        self._sent: dict[Size, list[int]] = {}  # the slots that a step's graph had last
        self._graphs: dict[Size, Graph] = {}
        self._pool: Any = None
        self._logits_buffer = self._empty(slots + self.pass_prompts, self.vocabulary)
        self._found_buffer = self._integers(slots + self.pass_prompts)

    def _allocate(self) -> None:
        super()._allocate()
        self._table = torch.full(
            (self.slots + 1, pages_for(self.context)),
            self.cache.pages.count,  # the page that nobody has
            dtype=torch.int32,
            device=self.device,
        )

    def warm_up(self) -> None:
        """Make the cache, and capture what most passes are; or else the first ones wait for it."""
        super().warm_up()
        if self.capture:
            with torch.inference_mode():
                for slots in _sizes(self.slots, 1):
                    self._graph(Size(slots, 0, self._chunks(0)))
                for slots in self._few_or_all:
                    for tokens in self._token_sizes(slots):
                        self._graph(Size(slots, tokens, self._chunks(0)))

    def _fit(self) -> None:
        """Make the cache as large as the memory that the largest pass leaves."""
        most, context = self.cache.tokens, self.context
        self.cache.tokens = 1
        self._allocate()
        self.context = context
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        tokens = self._token_sizes(self.slots)[-1]
        size = Size(self.slots, tokens, self._chunks(context - 1))
        with torch.inference_mode():
            self._pass(self._new_graph(size), size)
        torch.cuda.synchronize(self.device)
        taken = torch.cuda.max_memory_allocated(self.device) - before
        del self.cache.keys, self.cache.values
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info(self.device)
        self.cache.tokens = most
        self.cache.fit(free - taken - SPARE_BYTES, context)
        self._allocate()

    @property
    def _few_or_all(self) -> list[int]:
        return sorted({min(_FEW, self.slots), self.slots})

    def _token_sizes(self, slots: int) -> list[int]:
        """Return for how many tokens of prompts there are graphs, beside so many requests."""
        # Where Triton cannot multiply by tensor cores, cuBLAS reads prompts. It takes another order
        # of sums for another number of rows: so there is one number.
        if not self.multiplies:
            return [256]
        # Products are computed in tiles of so many rows: a few requests more are no tile more.
        beside = -(-slots // self.pass_block) * self.pass_block if slots <= _FEW else 0
        return [rows - beside for rows in _sizes(512, 64)]

    def _chunks(self, position: int) -> int:
        """Return for how many chunks there is a graph that holds a position."""
        least = min(16, -(-self.context // CHUNK))
        return _size_for(position // CHUNK + 1, -(-self.context // CHUNK), least)

    @torch.inference_mode()
    def admit(self, slot: int, ids: Sequence[int], ranks: slice | None, wanted: Draw) -> int | None:
        """See `Decoder`."""
        known = super().admit(slot, ids, ranks, wanted)
        if known is not None:
            self._known_pages[slot] = 0
            self._grown.add(slot)
            start, count = (0, 0) if ranks is None else (ranks.start, ranks.stop - ranks.start)
            _send(self._of_slots[:, slot], [0, len(ids), start, count, state_of(wanted)])
            _send(self._numbers[slot], numbers_of(wanted))
        return known

    def grow(self, slot: int) -> int:
        """See `Decoder`."""
        self._grown.add(slot)
        return super().grow(slot)

    @torch.inference_mode()
    def run(self, parts: Sequence[Part], slots: Sequence[int]) -> Drawing:
        """See `Decoder`."""
        graph, rows = self._launch(parts, slots)
        self._advance(parts, slots)
        drawing = [*(part.slot for part in parts if part.ends), *slots]
        draws = [self.held[slot].draw for slot in drawing]
        found, logits = graph.found, graph.logits
        special = [one for one in draws if not one.is_plain]
        changed = any(one.changes_logits for one in special)
        if parts or changed:
            index = _to_device(rows, self.device)
            found = found.index_select(0, index)
            if special:
                logits = logits.index_select(0, index)
        if not changed:
            return Pending(found[: len(rows)], logits, draws).drawn
        pending = draw(logits, draws)  # anew, from other logits
        self._of_slots[0].index_copy_(0, _to_device(drawing, self.device), pending.tokens)
        return pending.drawn

    @torch.inference_mode()
    def step(self, tokens: Tensor, slots: Sequence[int]) -> Tensor:
        """See `TorchDecoder`."""
        for slot, token in zip(slots, tokens.tolist(), strict=True):
            _send(self._of_slots[:2, slot], [token, self.held[slot].length])
        return super().step(tokens, slots)

    def _logits(self, parts: Sequence[Part], slots: Sequence[int]) -> Tensor:
        graph, rows = self._launch(parts, slots)
        return graph.logits[rows]

    def _launch(self, parts: Sequence[Part], slots: Sequence[int]) -> tuple[Graph, list[int]]:
        """Launch a pass; also returns the rows of each prompt that ends and of each slot."""
        self._send_pages()
        longest = max((self.held[slot].length for slot in slots), default=0)
        if not parts:
            size = Size(_size_for(len(slots), self.slots, 1), 0, self._chunks(longest))
            graph = self._graph(size)
            padded = self._padded(slots, size.slots)
            if self._sent.get(size) != padded:  # hardly ever from one step to the next
                _send(graph.inputs, padded)
                self._sent[size] = padded
            graph.run()
            return graph, list(range(len(slots)))
        number = sum(-(-len(part.ids) // self.pass_block) * self.pass_block for part in parts)
        few = next(few for few in self._few_or_all if few >= len(slots))
        tokens = next(most for most in self._token_sizes(few) if most >= number)
        size = Size(few, tokens if self.capture else number, self._chunks(longest))
        scores = any(self.held[part.slot].draw.scores_prompt for part in parts)
        graph = self._new_graph(size) if scores else self._graph(size)
        _send(graph.inputs, self._inputs_of(parts, slots, size))
        if scores:  # hardly ever, and not worth graphs of their own
            normal = self._empty(size.tokens, len(self.norm))
            self._pass(graph, size, normal)
            self._score_prompts(parts, normal)
        else:
            graph.run()
        num_ending = sum(part.ends for part in parts)
        return graph, [*range(size.slots, size.slots + num_ending), *range(len(slots))]

    def _inputs_of(self, parts: Sequence[Part], slots: Sequence[int], size: Size) -> list[int]:
        """List a pass's `Inputs`; each part begins a block of prompt tokens."""
        tokens, of_slots, positions = (np.zeros(size.tokens, np.int64) for _ in range(3))
        of_slots[:] = self.spare
        ends, ending, first = [], [], 0
        for part in parts:
            stop = first + len(part.ids)
            tokens[first:stop], of_slots[first:stop] = part.ids, part.slot
            positions[first:stop] = np.arange(part.start, part.start + len(part.ids))
            if part.ends:
                ends.append(size.slots + stop - 1)
                ending.append(part.slot)
            first += -(-len(part.ids) // self.pass_block) * self.pass_block
        padding = self.pass_prompts - len(ends)
        return [
            *self._padded(slots, size.slots),
            *tokens.tolist(),
            *of_slots.tolist(),
            *positions.tolist(),
            *ends,
            *[0] * padding,
            *self._padded(ending, self.pass_prompts),
        ]

    def _padded(self, slots: Sequence[int], number: int) -> list[int]:
        return [*slots, *[self.spare] * (number - len(slots))]

    def _send_pages(self) -> None:
        """Tell the GPU of the pages that slots have got since."""
        places: list[int] = []
        pages: list[int] = []
        for slot in self._grown & self.held.keys():
            own, known = self.held[slot].pages, self._known_pages[slot]
            if len(own) > known:
                start = slot * self._table.shape[1]
                places += range(start + known, start + len(own))
                pages += own[known:]
                self._known_pages[slot] = len(own)
        self._grown.clear()
        if places:
            both = _to_device([*places, *pages], self.device)
            values = both[len(places) :].to(torch.int32)
            self._table.view(-1).index_copy_(0, both[: len(places)], values)

    def _new_graph(self, size: Size) -> Graph:
        ending = self.pass_prompts if size.tokens else 0
        scored = size.slots + ending
        inputs = self._integers(size.slots + 3 * size.tokens + 2 * ending)
        inputs[: size.slots] = self.spare
        return Graph(inputs, self._logits_buffer[:scored], self._found_buffer[:scored], None)

    def _graph(self, size: Size) -> Graph:
        """Compute once, to compile, then capture; inputs and outputs stay where they are."""
        if size in self._graphs:
            return self._graphs[size]
        static = self._new_graph(size)
        if size.tokens:
            _send(static.inputs, self._inputs_of([], [], size))
        run: Callable[[], None] = partial(self._pass, static, size)
        if self.capture:
            run()
            graph = torch.cuda.CUDAGraph()
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            with torch.cuda.graph(graph, pool=self._pool):
                run()
            run = graph.replay
        self._graphs[size] = static._replace(run=run)
        return self._graphs[size]

    def _pass(self, static: Graph, size: Size, states: Tensor | None = None) -> None:
        """Compute a pass: first the tokens of B requests, then P of prompts.

        Args:
            static: Inputs and outputs.
            size: Of them.
            states: (P, H), gets the last layer's normalised output after the tokens of prompts.
        """
        few, ends = size.slots, len(static.found) - size.slots
        one = open_pass(
            self._of_slots,
            self._numbers,
            self._table,
            self.embedding,
            static.inputs,
            few=few,
            tokens=size.tokens,
            ends=ends,
        )

        def attend(cache: Cache, queries: Tensor, out: Tensor) -> None:
            own = cache._replace(table=one.table)
            stored = one.positions[:few]
            cache_kernels.attend(queries[:few], own, stored, size.chunks, out[:few])
            if size.tokens:
                cache_kernels.attend_prompts(
                    queries[few:], cache, one.slots[few:], one.positions[few:], out[few:]
                )

        added, ranks, x = self._layers(one, attend, few), one.ranks, one.x
        if states is not None:
            of_prompts = Adapted(added.y[:, few:], added.b), Ranks(*(one[few:] for one in ranks))
            # x stays as it is: it is yet to be added to.
            step_kernels.add_norm(x[few:].clone(), *of_prompts, self.norm, self.eps, states)
        if ends:
            lengths = [few, *[size.tokens] * 3, ends, ends]
            inputs = Inputs(*torch.split(static.inputs, lengths))
            rows = torch.cat([torch.arange(few, device=self.device), inputs.ends])
            x, y = x.index_select(0, rows), added.y.index_select(1, rows)
            added, ranks = Adapted(y, added.b), Ranks(*(one.index_select(0, rows) for one in ranks))
        normal = self._empty(*x.shape)
        step_kernels.add_norm(x, added, ranks, self.norm, self.eps, normal)
        head: Any = self.head
        step_kernels.multiply(normal, head.stacked, 1, static.logits[None])
        choose_rows(static.logits, one.numbers, one.states, static.found)
        close_pass(self._of_slots, one, static.found, few)

    def _layers(
        self, one: Pass, attend: Callable[[Cache, Tensor, Tensor], None], few: int
    ) -> Adapted:
        """Run all layers; returns what is still to be added to x."""
        multiply, (x, ranks) = partial(self._multiply_rows, few), (one.x, one.ranks)
        normal, inner = self._empty(len(x), x.shape[1]), self._empty(len(x), self.inner_size)
        queries = self._empty(len(x), self.heads, self.head_size)
        attended = self._empty(len(x), self.heads * self.head_size)
        rotary = self.cos, self.sin
        added: Any = None
        for number, layer in enumerate(self.layers):
            products: list[Any] = layer.products
            qkv, o, gate_up, down = products
            cache = Cache(self.cache.keys[number], self.cache.values[number], self._table)
            step_kernels.add_norm(x, added, ranks, layer.before_attention, self.eps, normal)
            heads = multiply(qkv, normal)
            if layer.bias is not None:
                heads.y[0, :, : len(layer.bias)] += layer.bias
            step_kernels.place_heads(
                heads,
                ranks,
                layer.head_norms,
                rotary,
                *cache[:2],
                one.places,
                one.positions,
                self.eps,
                queries,
            )
            attend(cache, queries, attended)
            added = multiply(o, attended)
            step_kernels.add_norm(x, added, ranks, layer.before_mlp, self.eps, normal)
            step_kernels.swiglu(multiply(gate_up, normal), ranks, inner)
            added = multiply(down, inner)
        return cast(Adapted, added)

    def _multiply_rows(self, few: int, product: StackedProduct, x: Tensor) -> Adapted:
        weight = product.stacked
        parts = step_kernels.parts_for(weight)
        y = torch.empty(parts, len(x), len(weight), device=self.device)
        if self.multiplies:
            few = len(x)
        step_kernels.multiply(x[:few], weight, parts, y[:, :few])
        if few < len(x):  # there is one part
            torch.mm(x[few:], weight.T, out_dtype=y.dtype, out=y[0, few:])
        return Adapted(y, product.b)

    def _next_logits(self, x: Tensor) -> Tensor:
        """Compute the logits after some tokens, (B, V), from their `states`, (B, H)."""
        head: Any = self.head
        logits = torch.empty(len(x), self.vocabulary, device=self.device)
        step_kernels.multiply(x, head.stacked, 1, logits[None])
        return logits

    def _empty(self, *shape: int) -> Tensor:
        return torch.empty(shape, dtype=self.dtype, device=self.device)

    def _integers(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.long, device=self.device)

    def _product(self, linears: list[Any], *, ranks: int) -> Any:
        own = self.ranks if ranks else 0
        return StackedProduct(joined(linears), len(linears), own, self.dtype)


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
    target.copy_(host.pin_memory() if target.device.type == "cuda" else host, non_blocking=True)


def _to_device(values: Sequence[int], device: torch.device) -> Tensor:
    target = torch.empty(len(values), dtype=torch.long, device=device)
    _send(target, values)
    return target
