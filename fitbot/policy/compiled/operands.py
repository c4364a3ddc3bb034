"""What the definitions of the engine's kernels and the kernels themselves share: their operands."""

from typing import NamedTuple

import torch
from torch import Tensor


class Dropout(NamedTuple):
    """Which elements of one input are dropped; the seed is on the device, so that it may change."""

    seeds: Tensor  # int32, one for every place in the network that drops
    site: int  # which of them
    threshold: int  # probability · 2^31; 0 keeps everything
    scale: float  # 1 / (1 - probability)


class JoinedGradient(NamedTuple):
    """The gradient of a group's input, as its product with the joined matrix leaves it.

    The input's own part, and the part that came through the adapter: h times a, then dropout.
    """

    dx: Tensor  # (T, I)
    dh: Tensor  # (T, g), g may be 0
    a: Tensor  # (g, I)

    def total(self, dropout: Dropout | None) -> Tensor:
        """Add both parts: (T, I) float32."""
        if not self.dh.shape[1]:
            return self.dx.float()
        ddropped = (self.dh @ self.a).float()
        return self.dx.float() + (ddropped * kept(self.dx, dropout) if dropout else ddropped)


class Heads(NamedTuple):
    """What attention works on, or the gradients of it. Hq is a multiple of Hk."""

    queries: Tensor  # (T, Hq, D)
    keys: Tensor  # (T, Hk, D)
    values: Tensor  # (T, Hk, D)


class Visibility(NamedTuple):
    """What the tokens of a packed row see; each (T,) int32, indices of tokens."""

    pair_start: Tensor  # where the token's pair begins
    prompt_end: Tensor  # where that pair's prompt ends
    part_start: Tensor  # where the token's own part begins
    part_end: Tensor  # where it ends
    pair_end: Tensor


def kept(like: Tensor, dropout: Dropout) -> Tensor:
    """Return 0 where an element is dropped, 1 / (1 - p) where not: (T, I) float32.

    The hash is lowbias32 (https://github.com/skeeto/hash-prospector), in wrapping int32.
    """
    rows, columns = like.shape
    row = torch.arange(rows, dtype=torch.int32, device=like.device)
    column = torch.arange(columns, dtype=torch.int32, device=like.device)
    h = (row[:, None] * columns + column[None, :]) ^ dropout.seeds[dropout.site]
    h = (h ^ (h >> 16 & 0xFFFF)) * 0x7FEB352D
    h = (h ^ (h >> 15 & 0x1FFFF)) * -0x7B935975  # 0x846CA68B
    h = h ^ (h >> 16 & 0xFFFF)
    return torch.where((h & 0x7FFFFFFF) >= dropout.threshold, dropout.scale, 0.0)
