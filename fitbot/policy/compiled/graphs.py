"""The engine's passes in CUDA graphs: the launches of a whole pass become one.

A graph replays the same kernels on the same addresses, so there is one graph for every size of
batch, with inputs and outputs of its own; all share one pool of memory, because only one pass is
under way at a time. A size is captured when it comes for the second time: the first pass compiles
what it needs, and a size that never returns is not worth a graph.
"""

from collections import Counter
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fitbot.pairs.batch import PairBatch
from fitbot.policy.compiled.passes import CompiledEngine, Kept

MAX_GRAPHS = 64

Size = tuple[int, int, int, bool]  # tokens, scored tokens, pairs, dropout


class Graphs(NamedTuple):
    """Forward and backward pass of one size of batch."""

    adapter: Tensor  # the vector, (N,); with the batch all inputs
    batch: PairBatch
    logps: Tensor  # (B, 2), output of forward
    upstream: Tensor  # (B, 2), input of backward
    forward: torch.cuda.CUDAGraph
    backward: torch.cuda.CUDAGraph


class Passes:
    """Forward and backward passes of an engine, replayed from graphs where that pays."""

    def __init__(self, engine: CompiledEngine, *, capture: bool):
        """Take the engine; without `capture` every pass is launched kernel by kernel."""
        self.engine, self.capture = engine, capture
        self._seen: Counter[Size] = Counter()
        self._graphs: dict[Size, Graphs] = {}
        self._pool: Any = None
        self._number = 0  # of the latest forward pass

    def forget(self) -> bool:
        """Drop all graphs and their memory; say whether there were any."""
        had_graphs = bool(self._graphs)
        self._graphs.clear()
        self._seen.clear()
        self._pool = None
        return had_graphs

    def logps(self, adapter: Tensor, batch: PairBatch, *, training: bool) -> Tensor:
        """Return (B, 2) log-probs with gradient with respect to the adapter's vector."""
        result: Tensor = _EnginePass.apply(adapter, self, batch, training)  # type: ignore[no-untyped-call]
        return result

    def forward(
        self, adapter: Tensor, batch: PairBatch, training: bool
    ) -> tuple[Tensor, Kept | Graphs, int]:
        """Run forward; returns the log-probs, what `backward` is called with, and its number."""
        self._number += 1
        if training:
            self.engine.draw_dropout()
        graphs = self._graphs_for(adapter, batch, training)
        if graphs is None:
            logps, kept = self.engine.forward(batch, adapter, training=training, backward=True)
            assert kept is not None
            return logps, kept, self._number
        ours, theirs = _inputs(graphs.batch), _inputs(batch)
        torch._foreach_copy_(list(ours.values()), list(theirs.values()))
        graphs.forward.replay()
        self.engine.layers.joined.adapter = graphs.adapter
        return graphs.logps.clone(), graphs, self._number

    def backward(self, what: Kept | Graphs, upstream: Tensor, number: int) -> Tensor:
        """Run backward: (B, 2) → the gradient of the adapter's vector, (N,).

        Raises:
            RuntimeError: Another forward pass has come in between. It drew other dropout masks, and
                may have been captured, into the same memory.
        """
        if number != self._number:
            raise RuntimeError("backward of a pass must come before the next forward")
        if isinstance(what, Graphs):
            self.engine.restore(what.adapter)
            what.upstream.copy_(upstream)
            what.backward.replay()
        else:
            self.engine.backward(what, upstream)
        return self.engine.gradient

    def _graphs_for(self, adapter: Tensor, batch: PairBatch, training: bool) -> Graphs | None:
        if not self.capture:
            return None
        size = (batch.input_ids.shape[1], batch.score_ids.shape[0], batch.num_pairs, training)
        self._seen[size] += 1
        if size not in self._graphs and self._seen[size] > 1 and len(self._graphs) < MAX_GRAPHS:
            self._graphs[size] = self._capture(adapter, batch, training)
        return self._graphs.get(size)

    def _capture(self, adapter: Tensor, batch: PairBatch, training: bool) -> Graphs:
        static = batch._replace(**{name: one.clone() for name, one in _inputs(batch).items()})
        upstream = torch.zeros(batch.num_pairs, 2, device=adapter.device)
        forward, backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        with torch.cuda.graph(forward, pool=self._pool):
            logps, kept = self.engine.forward(static, adapter, training=training, backward=True)
        assert kept is not None
        with torch.cuda.graph(backward, pool=self._pool):
            self.engine.backward(kept, upstream)
        return Graphs(adapter, static, logps, upstream, forward, backward)


class _EnginePass(torch.autograd.Function):
    """Forward and backward pass as one node of autograd's graph."""

    @staticmethod
    def forward(
        ctx: Any, adapter: Tensor, passes: Passes, batch: PairBatch, training: bool
    ) -> Tensor:
        ctx.passes = passes
        logps, ctx.what, ctx.number = passes.forward(adapter.detach(), batch, training)
        return logps

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None, None]:
        return ctx.passes.backward(ctx.what, upstream[0], ctx.number), None, None, None


def _inputs(batch: PairBatch) -> dict[str, Tensor]:
    """Take what the passes read of a batch."""
    unread = ("records", "reference_logps", "weights")
    return {name: value for name, value in batch._asdict().items() if name not in unread}
