"""The beginning and the end of a pass on a GPU, in Triton: one launch each, for a step is short.

B requests draw one token more; P tokens of prompts, and E prompts that may end; N = B + P. S slots,
W pages of a request, H hidden size.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from fitbot.generation.decoders.step_kernels import Ranks
from fitbot.generation.pages import PAGE
from fitbot.generation.random_numbers import STEP

_STEP = tl.constexpr(STEP)


class Pass(NamedTuple):
    """What is known of a pass's tokens, and of the requests that draw one.

    Args:
        x: (N, H) float32, their embeddings.
        slots: (N,) int64, whose they are.
        positions: (N,) int64.
        places: (N,) int64, where in the cache they are.
        ranks: (N,) each.
        table: (B, W) int32, the pages of the B requests.
        drawing: (B + E,) int64, slots.
        states: (B + E,) int64, of their random numbers.
        numbers: (B + E, 4) float32, see `sampling.numbers_of`.
    """

    x: Tensor
    slots: Tensor
    positions: Tensor
    places: Tensor
    ranks: Ranks
    table: Tensor
    drawing: Tensor
    states: Tensor
    numbers: Tensor


@triton.jit
def _open(
    OfSlots, AllNumbers, Table, Embedding, Inputs,
    X, Slots, Positions, Places, Starts, Counts, OwnTable, Drawing, States, Numbers,
    few, tokens, ends, S, W,
    H: tl.constexpr, BLOCK: tl.constexpr, PAGES: tl.constexpr, PAGE: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    if row < few + tokens:
        # As `cuda_graph_decoder.Inputs` lie: slots, and of prompts tokens, slots, positions.
        slot = tl.load(Inputs + tl.where(row < few, row, row + tokens))
        token = tl.load(tl.where(row < few, OfSlots + slot, Inputs + row))
        position = tl.load(tl.where(row < few, OfSlots + S + slot, Inputs + row + 2 * tokens))
        page = tl.load(Table + slot * W + position // PAGE).to(tl.int64)
        tl.store(Slots + row, slot)
        tl.store(Positions + row, position)
        tl.store(Places + row, page * PAGE + position % PAGE)
        tl.store(Starts + row, tl.load(OfSlots + 2 * S + slot))
        tl.store(Counts + row, tl.load(OfSlots + 3 * S + slot))
        h = tl.arange(0, BLOCK)
        x = tl.load(Embedding + token * H + h, mask=h < H, other=0.0)
        tl.store(X + row * H + h, x.to(tl.float32), mask=h < H)
    if row < few:
        for first in range(0, W, PAGES):
            w = first + tl.arange(0, PAGES)
            pages = tl.load(Table + tl.load(Inputs + row) * W + w, mask=w < W, other=0)
            tl.store(OwnTable + row * W + w, pages, mask=w < W)
    if (row < few) | (row >= few + tokens):
        drawer = tl.where(row < few, row, row - tokens)
        slot = tl.load(Inputs + tl.where(row < few, row, row + 2 * tokens + ends))
        tl.store(Drawing + drawer, slot)
        tl.store(States + drawer, tl.load(OfSlots + 4 * S + slot))
        four = tl.arange(0, 4)
        tl.store(Numbers + drawer * 4 + four, tl.load(AllNumbers + slot * 4 + four))


@triton.jit
def _close(OfSlots, Drawing, States, Found, rows, few, S, BLOCK: tl.constexpr):
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    real = row < rows
    slot = tl.load(Drawing + row, mask=real, other=0)
    tl.store(OfSlots + slot, tl.load(Found + row, mask=real, other=0), mask=real)
    state = tl.load(States + row, mask=real, other=0) + tl.full((), _STEP, tl.int64)
    tl.store(OfSlots + 4 * S + slot, state, mask=real)
    stepped = (row < few) & (slot < S - 1)  # the last slot is padding's
    stored = tl.load(OfSlots + S + slot, mask=stepped, other=0)
    tl.store(OfSlots + S + slot, stored + 1, mask=stepped)


def open_pass(
    of_slots: Tensor,
    numbers: Tensor,
    table: Tensor,
    embedding: Tensor,
    inputs: Tensor,
    *,
    few: int,
    tokens: int,
    ends: int,
) -> Pass:
    """Gather what a pass must know of its tokens.

    Args:
        of_slots: (5, S) int64, see `CudaGraphDecoder`; the last slot is padding's.
        numbers: (S, 4) float32, see `sampling.numbers_of`.
        table: (S, W) int32, the pages of each slot.
        embedding: (vocabulary, H).
        inputs: int64, `cuda_graph_decoder.Inputs` one after the other.
        few: B.
        tokens: P.
        ends: E.
    """
    device, width, hidden = table.device, table.shape[1], embedding.shape[1]

    def integers(rows: int) -> Tensor:
        return torch.empty(rows, dtype=torch.long, device=device)

    rows, drawing = few + tokens, few + ends
    opened = Pass(
        x=torch.empty(rows, hidden, device=device),
        slots=integers(rows),
        positions=integers(rows),
        places=integers(rows),
        ranks=Ranks(integers(rows), integers(rows)),
        table=torch.empty(few, width, dtype=torch.int32, device=device),
        drawing=integers(drawing),
        states=integers(drawing),
        numbers=torch.empty(drawing, 4, device=device),
    )
    first, ranks, rest = opened[:4], opened.ranks, opened[5:]
    _open[(rows + ends,)](
        of_slots, numbers, table, embedding, inputs,
        *first, *ranks, *rest,
        few, tokens, ends, of_slots.shape[1], width,
        H=hidden, BLOCK=triton.next_power_of_2(hidden),
        PAGES=min(1024, triton.next_power_of_2(width)), PAGE=PAGE,
    )  # fmt: skip
    return opened


def close_pass(of_slots: Tensor, done: Pass, found: Tensor, few: int) -> None:
    """Have each slot go on with the token that was found, and count it.

    Args:
        of_slots: As of `open_pass`, written to.
        done: The pass.
        found: (B + E,) int64, the tokens.
        few: B: their newest token is in the cache now.
    """
    _close[(triton.cdiv(len(found), 128),)](
        of_slots, done.drawing, done.states, found, len(found), few, of_slots.shape[1], BLOCK=128
    )
