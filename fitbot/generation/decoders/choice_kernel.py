"""`sampling.choose` on a GPU, in Triton: nothing is sorted, and nothing waits for the CPU.

One program a request. It passes over its row of logits once for the largest, once for the sum,
and twice for each attempt; nine in ten requests need one attempt where top_p is 0.9.
"""

import triton
import triton.language as tl
from torch import Tensor

from fitbot.generation.random_numbers import ATTEMPT_STEP, MIX

_BLOCK = 8192  # logits that are looked at at once
_ATTEMPT = tl.constexpr(ATTEMPT_STEP)
_MIX_1, _MIX_2 = (tl.constexpr(factor) for factor in MIX)


@triton.jit
def _uniform(state):
    z = state.to(tl.uint64, bitcast=True)
    z = (z ^ (z >> 30)) * tl.full((), _MIX_1, tl.uint64)
    z = (z ^ (z >> 27)) * tl.full((), _MIX_2, tl.uint64)
    z = z ^ (z >> 31)
    return (z >> 11).to(tl.float64) / 9007199254740992.0


@triton.jit
def _kth(Row, V, k, peak, BLOCK: tl.constexpr):
    """Find the k-th largest logit by bisection, between logits that there are."""
    v = tl.arange(0, BLOCK)
    low, high = float("-inf"), peak
    middle = peak - 16.0
    while low < high:
        seen = tl.zeros((BLOCK,), tl.int32)
        least = tl.full((BLOCK,), float("inf"), tl.float32)
        greatest = tl.full((BLOCK,), float("-inf"), tl.float32)
        for start in range(0, V, BLOCK):
            x = tl.load(Row + start + v, mask=start + v < V, other=float("-inf")).to(tl.float32)
            above = x >= middle
            seen += above.to(tl.int32)
            least = tl.minimum(least, tl.where(above, x, float("inf")))
            greatest = tl.maximum(greatest, tl.where(above, float("-inf"), x))
        if tl.sum(seen) >= k:
            low = tl.min(least)
        else:
            high = tl.max(greatest)
        middle = low + (high - low) / 2
        # Above the lower bound, or the search would not get on; and finite.
        middle = tl.where(middle > low, middle, high)
        middle = tl.where(low == float("-inf"), high - 16.0, middle)
    return high


@triton.jit
def _weights(Row, at, V, least, peak, temperature, floor):
    """Return exp of the logits over the likeliest, of those that are at least and above."""
    x = tl.load(Row + at, mask=at < V, other=float("-inf")).to(tl.float32)
    weights = tl.where(x >= least, tl.exp((x - peak) / temperature), 0.0)
    return tl.where(weights > floor, weights, 0.0)


@triton.jit
def _sum(Row, V, least, peak, temperature, floor, BLOCK: tl.constexpr):
    v = tl.arange(0, BLOCK)
    sums = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, V, BLOCK):
        sums += _weights(Row, start + v, V, least, peak, temperature, floor)
    return tl.sum(sums)


@triton.jit
def _find(Row, V, least, peak, temperature, floor, goal, best, BLOCK: tl.constexpr):
    """Find the token at which the weights before and its own pass the goal."""
    v = tl.arange(0, BLOCK)
    # Should rounding put the goal beyond the last of them, it is the likeliest.
    token, own, passed, start = best, 1.0, 0.0, 0
    while start < V:
        weights = _weights(Row, start + v, V, least, peak, temperature, floor)
        block = tl.sum(weights)
        if passed + block > goal:
            here = (passed + tl.cumsum(weights) > goal) & (weights > 0)
            first = tl.min(tl.where(here, v, BLOCK))
            if first < BLOCK:
                token = start + first
                own = tl.sum(tl.where(v == first, weights, 0.0))
            start = V
        passed += block
        start += BLOCK
    return token, own


@triton.jit
def _choose(Logits, Numbers, States, Found, V, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    Row = Logits + row * V
    temperature = tl.load(Numbers + row * 4)
    top_p = tl.load(Numbers + row * 4 + 1)
    top_k = tl.load(Numbers + row * 4 + 2)
    min_p = tl.load(Numbers + row * 4 + 3)
    v = tl.arange(0, BLOCK)
    peaks = tl.full((BLOCK,), float("-inf"), tl.float32)
    places = tl.zeros((BLOCK,), tl.int32)
    for start in range(0, V, BLOCK):
        x = tl.load(Row + start + v, mask=start + v < V, other=float("-inf")).to(tl.float32)
        places = tl.where(x > peaks, start + v, places)
        peaks = tl.maximum(peaks, x)
    peak = tl.max(peaks)
    best = tl.min(tl.where(peaks == peak, places, V))
    if temperature > 0:
        least = float("-inf")
        if (top_k > 0) & (top_k < V):
            least = _kth(Row, V, top_k, peak, BLOCK)
        whole = _sum(Row, V, least, peak, temperature, 0.0, BLOCK)
        left, floor = whole, 0.0  # of the tokens that may still be drawn, those above the floor
        state = tl.load(States + row)
        token, searching = best, 1
        while searching == 1:
            goal = (left.to(tl.float64) * _uniform(state)).to(tl.float32)
            token, floor = _find(Row, V, least, peak, temperature, floor, goal, best, BLOCK)
            left = _sum(Row, V, least, peak, temperature, floor, BLOCK)
            if (left < top_p * whole) & (floor >= min_p):
                searching = 0
            state += _ATTEMPT
        best = token
    tl.store(Found + row, best.to(tl.int64))


def choose_rows(logits: Tensor, numbers: Tensor, states: Tensor, found: Tensor) -> None:
    """Draw a token from each row.

    Args:
        logits: (B, V), rows side by side.
        numbers: (B, 4) float32, see `sampling.numbers_of`.
        states: (B,) int64, see `sampling.state_of`.
        found: (B,) int64, written to.
    """
    rows, size = logits.shape
    block = min(_BLOCK, triton.next_power_of_2(size))
    _choose[(rows,)](
        logits, numbers, states, found, size,
        BLOCK=block, num_warps=min(16, max(1, block // 256)),
    )  # fmt: skip
