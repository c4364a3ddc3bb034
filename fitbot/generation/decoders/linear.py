"""A linear layer as answering wants it: y = x W^T + (h ∘ m) B^T, in one of three precisions.

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

_ENDS = 2  # columns


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


class Int8Product(AdaptedProduct):
    """An 8-bit weight, a scale for each of its rows, and x in twice 8 bits, by scales of its own.

    Real models have activations a hundred times as large as the rest of their row; in 8 bits the
    rest is lost. So a row of x becomes two, itself and what rounding has left of it, which cost
    next to nothing: a product of few rows is as long as its weight takes to read.

    The products are sums of integers, exact in any order: a row's result does not depend on what
    else is in the batch. Updates stay in float32.
    """

    def __init__(self, weight: Tensor, ranks: int):
        """Round the weight, (O, I), and leave room for R ranks."""
        weight = weight.float()
        height, width = weight.shape
        # PyTorch's product rounds all of x by one scale, between its least and greatest element.
        # With two more columns of 1 and -1 that the weight ignores, that scale is 1 / 127.5.
        padded = F.pad(weight, (0, _ENDS))
        scales = (weight.abs().amax(1) / 127).clamp(min=1e-12).double()
        zeros = torch.zeros(height, dtype=torch.long)
        rounded = torch.quantize_per_channel(padded, scales, zeros, 0, torch.qint8)
        self.packed = torch.ops.quantized.linear_prepack(rounded, None)
        # Without VNNI's instructions 16-bit sums may overflow unless x has one bit less.
        self.reduced = not torch.cpu._is_vnni_supported()
        self.steps = 63.5 if self.reduced else 127.5  # of x between 0 and 1
        self.input = torch.empty(0, 0, width + _ENDS)
        self.a = torch.zeros(ranks, width)
        self.b = torch.zeros(height, ranks)

    def __call__(self, x: Tensor, rank_mask: Tensor | None) -> Tensor:
        """(N, I), rank_mask (N, R) → (N, O) float32."""
        x = x.float()
        if self.input.shape[1] != len(x):
            self.input = torch.ones(2, len(x), self.input.shape[2])
            self.input[:, :, -1] = -1
        rounded, left = self.input[:, :, : x.shape[1]]
        # The largest step is not reached: it is at half a step's distance from the end.
        greatest = x.abs().amax(-1, keepdim=True).clamp(min=1e-12) / (self.steps - 0.5)
        torch.div(x, greatest, out=left)
        torch.round(left, out=rounded)
        left -= rounded  # from -1/2 to 1/2 of a step
        left *= 2 - 1 / self.steps
        rounded /= self.steps
        y: Tensor = torch.ops.quantized.linear_dynamic(
            self.input.flatten(0, 1), self.packed, self.reduced
        )
        whole, rest = y.view(2, len(x), -1)
        y = torch.add(whole, rest, alpha=1 / (2 * self.steps - 1))
        y *= greatest * self.steps
        return y if rank_mask is None else torch.addmm(y, F.linear(x, self.a) * rank_mask, self.b.T)


Product = DenseProduct | Int8Product


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
