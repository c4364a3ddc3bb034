"""A linear layer as answering wants it: y = x W^T + (h ∘ m) B^T.

One weight may have several adapters: their A matrices stand below each other, h = x A^T are the
ranks of all of them, and m, the rank mask, has a 1 at those that a row of x uses. So requests to
different adapters share a step. An adapter is never rounded into the weight, unless it was merged
on purpose. N rows, I and O the layer's widths, R the ranks of all adapters added up.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor


class AdaptedProduct:
    """What a weight's adapters are: A matrices below each other, scaled B side by side."""

    a: Tensor  # (R, I)
    b: Tensor  # (O, R), or as wide as one member's ranks where every member has rows of its own

    def adapt(self, ranks: slice, a: Tensor, rows: slice, b: Tensor) -> None:
        """Put an adapter's A, (r, I), and scaled B, (rows, r), where its ranks are."""
        self.a[ranks] = a
        start = ranks.start % self.b.shape[1]
        self.b[rows, start : start + b.shape[1]] = b


class DenseProduct(AdaptedProduct):
    """Weight and updates in one matrix, which is rounded once: see `base_model.lora`."""

    def __init__(self, weight: Tensor, ranks: int, dtype: torch.dtype):
        """Take the weight, (O, I), and leave room for R ranks."""
        height, self.width = weight.shape
        self.joined = weight.to(dtype)
        if ranks:
            self.joined = F.pad(self.joined, (0, ranks))
        self.a = torch.zeros(ranks, self.width, dtype=dtype, device=weight.device)
        self.b = self.joined[:, self.width :]

    def __call__(self, x: Tensor, rank_mask: Tensor | None) -> Tensor:
        """(N, I) in any precision, rank_mask (N, R) → (N, O) in the weight's."""
        x = x.to(self.joined.dtype)
        if rank_mask is None:
            return F.linear(x, self.joined[:, : self.width])
        h = F.linear(x, self.a) * rank_mask.to(x.dtype)
        return F.linear(torch.cat([x, h], -1), self.joined)


class StackedProduct(AdaptedProduct):
    """Weight and A matrices below each other: y and h in one product, for kernels that do the rest.

    What reads y adds (h ∘ m) B^T to it, so that an adapter costs no launch of its own.
    """

    def __init__(self, weight: Tensor, members: int, ranks: int, dtype: torch.dtype):
        """Take the weight, (O, I), of several layers, and leave room for R ranks in each."""
        height, width = weight.shape
        self.stacked = weight.to(dtype)
        if ranks:
            self.stacked = F.pad(self.stacked, (0, 0, 0, members * ranks))
        self.a = self.stacked[height:]
        self.b = torch.zeros(height, ranks, dtype=dtype, device=weight.device)


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Use so many threads of a CPU.

    Waking one takes 60 microseconds where threads sleep while they wait; a step's small operations
    take 5. Only its products are worth it. Setting the number takes 0.2.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
