"""Triton kernels of `packed_attention`: forward, and backward of queries and keys in one launch.

Each program holds one block of rows (queries, or keys) and walks over the blocks of the other side
that it can see. T tokens, D head size; M rows of queries and N of keys are computed with at a time
(the sizes are the fastest of a few tried on an H200: docs/explanation/speed.md). Scores are kept in
base 2: exp2 is what the hardware computes.
"""

import triton
import triton.language as tl


@triton.jit
def _visible(rows, columns, pair_start, prompt_end, part_start):
    """Say which of the columns each row sees: (M, N)."""
    j = columns[None, :]
    in_prompt = (j >= pair_start[:, None]) & (j < prompt_end[:, None])
    return (j <= rows[:, None]) & (in_prompt | (j >= part_start[:, None]))


@triton.jit
def _key_blocks(row, last_row, T, PairStart, PromptEnd, PartStart, PartEnd, N: tl.constexpr):
    """Find the key blocks that queries row … last_row see: two runs of them, from, to, from, to.

    A block of queries that lies in one completion skips the hole between prompt and completion.
    """
    last_row = tl.minimum(last_row, T - 1)
    first, last = tl.load(PairStart + row), last_row + 1
    part_start = tl.load(PartStart + row)
    within_one_part = tl.load(PartEnd + row) > last_row
    prompt_end = tl.where(within_one_part, tl.load(PromptEnd + row), last)
    prompt_end = tl.minimum(prompt_end, last)
    part_start = tl.where(within_one_part, tl.maximum(part_start, prompt_end), last)
    return first, prompt_end, part_start, last


@triton.jit
def _keys_and_values(
    block, in_prompt, first, prompt_stop, own, last, K, V, k_row, v_row,
    D: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """Load one block of the two runs: which columns it has, which of them exist, keys, values."""
    d = tl.arange(0, D)
    start = tl.where(block < in_prompt, first + block * N, own + (block - in_prompt) * N)
    stop = tl.where(block < in_prompt, prompt_stop, last)
    columns = start + tl.arange(0, N)
    exists = columns < stop
    k = tl.load(K + columns[:, None] * k_row + d, mask=exists[:, None], other=0.0)
    v = tl.load(V + columns[:, None] * v_row + d, mask=exists[:, None], other=0.0)
    return columns, exists, k, v


@triton.jit(do_not_specialize=["T"])
def attend(
    Q, K, V, Out, Lse,
    PairStart, PromptEnd, PartStart, PartEnd,
    q_row, q_head, k_row, k_head, v_row, v_head, o_row, o_head,
    T, scale,
    GROUP: tl.constexpr, D: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """Take a block of queries of one head: `packed_attention.attend`."""
    row, head = tl.program_id(0) * M, tl.program_id(1)
    rows, d = row + tl.arange(0, M), tl.arange(0, D)
    inside = rows < T
    q = tl.load(Q + rows[:, None] * q_row + head * q_head + d, mask=inside[:, None], other=0.0)
    pair_start = tl.load(PairStart + rows, mask=inside, other=0)
    prompt_end = tl.load(PromptEnd + rows, mask=inside, other=0)
    part_start = tl.load(PartStart + rows, mask=inside, other=0)
    K += (head // GROUP) * k_head
    V += (head // GROUP) * v_head
    total = tl.zeros((M, D), tl.float32)
    peak = tl.full((M,), -1e30, tl.float32)  # finite: a row beyond T sees nothing
    norm = tl.zeros((M,), tl.float32)
    first, prompt_stop, own, last = _key_blocks(
        row, row + M - 1, T, PairStart, PromptEnd, PartStart, PartEnd, N
    )
    in_prompt = tl.cdiv(prompt_stop - first, N)
    for block in range(in_prompt + tl.cdiv(last - own, N)):
        columns, exists, k, v = _keys_and_values(
            block, in_prompt, first, prompt_stop, own, last, K, V, k_row, v_row, D, N
        )
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        seen = _visible(rows, columns, pair_start, prompt_end, part_start) & exists[None, :]
        scores = tl.where(seen, scores, -1e30)
        new_peak = tl.maximum(peak, tl.max(scores, 1))
        probs = tl.where(seen, tl.exp2(scores - new_peak[:, None]), 0.0)
        shrink = tl.exp2(peak - new_peak)
        norm = norm * shrink + tl.sum(probs, 1)
        total = total * shrink[:, None]
        total += tl.dot(probs.to(v.dtype), v, input_precision="ieee")
        peak = new_peak
    norm = tl.where(inside, norm, 1.0)
    total = total / norm[:, None]
    at = Out + rows[:, None] * o_row + head * o_head + d
    tl.store(at, total.to(Out.dtype.element_ty), mask=inside[:, None])
    tl.store(Lse + head * T + rows, peak + tl.log2(norm), mask=inside)


@triton.jit(do_not_specialize=["T"])
def delta(
    Out, DOut, Delta, o_row, o_head, do_row, do_head, T, D: tl.constexpr, M: tl.constexpr
):  # fmt: skip
    """Sum out · dout over every head's elements: what softmax's gradient takes off each row."""
    rows, head, d = tl.program_id(0) * M + tl.arange(0, M), tl.program_id(1), tl.arange(0, D)
    inside = rows < T
    at = Out + rows[:, None] * o_row + head * o_head + d
    o = tl.load(at, mask=inside[:, None], other=0.0).to(tl.float32)
    at = DOut + rows[:, None] * do_row + head * do_head + d
    do = tl.load(at, mask=inside[:, None], other=0.0).to(tl.float32)
    tl.store(Delta + head * T + rows, tl.sum(o * do, 1), mask=inside)


@triton.jit
def _gradient_of_queries(
    row, head, Q, K, V, DOut, DQ, Lse, Delta, PairStart, PromptEnd, PartStart, PartEnd,
    q_row, q_head, k_row, k_head, v_row, v_head, do_row, do_head, dq_row, dq_head,
    T, scale, log2_scale,
    GROUP: tl.constexpr, D: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    rows, d = row + tl.arange(0, M), tl.arange(0, D)
    inside = rows < T
    q = tl.load(Q + rows[:, None] * q_row + head * q_head + d, mask=inside[:, None], other=0.0)
    at = DOut + rows[:, None] * do_row + head * do_head + d
    do = tl.load(at, mask=inside[:, None], other=0.0)
    lse = tl.load(Lse + head * T + rows, mask=inside, other=0.0)
    delta = tl.load(Delta + head * T + rows, mask=inside, other=0.0)
    pair_start = tl.load(PairStart + rows, mask=inside, other=0)
    prompt_end = tl.load(PromptEnd + rows, mask=inside, other=0)
    part_start = tl.load(PartStart + rows, mask=inside, other=0)
    K += (head // GROUP) * k_head
    V += (head // GROUP) * v_head
    dq = tl.zeros((M, D), tl.float32)
    first, prompt_stop, own, last = _key_blocks(
        row, row + M - 1, T, PairStart, PromptEnd, PartStart, PartEnd, N
    )
    in_prompt = tl.cdiv(prompt_stop - first, N)
    for block in range(in_prompt + tl.cdiv(last - own, N)):
        columns, exists, k, v = _keys_and_values(
            block, in_prompt, first, prompt_stop, own, last, K, V, k_row, v_row, D, N
        )
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * log2_scale
        seen = _visible(rows, columns, pair_start, prompt_end, part_start) & exists[None, :]
        probs = tl.where(seen, tl.exp2(scores - lse[:, None]), 0.0)
        dprobs = tl.dot(do, tl.trans(v), input_precision="ieee")
        dscores = probs * (dprobs - delta[:, None])
        dq += tl.dot(dscores.to(k.dtype), k, input_precision="ieee")
    at = DQ + rows[:, None] * dq_row + head * dq_head + d
    tl.store(at, (dq * scale).to(DQ.dtype.element_ty), mask=inside[:, None])


@triton.jit
def _gradient_of_keys(
    column, key_head, Q, K, V, DOut, DK, DV, Lse, Delta,
    PairStart, PromptEnd, PartStart, PartEnd, PairEnd,
    q_row, q_head, k_row, k_head, v_row, v_head, do_row, do_head,
    dk_row, dk_head, dv_row, dv_head, T, scale, log2_scale,
    GROUP: tl.constexpr, D: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    columns, d = column + tl.arange(0, N), tl.arange(0, D)
    exists = columns < T
    own = columns[:, None] * k_row + key_head * k_head + d
    k = tl.load(K + own, mask=exists[:, None], other=0.0)
    own = columns[:, None] * v_row + key_head * v_head + d
    v = tl.load(V + own, mask=exists[:, None], other=0.0)
    dk = tl.zeros((N, D), tl.float32)
    dv = tl.zeros((N, D), tl.float32)
    # A completion's keys are seen to its own end, all others to the end of their pair.
    last_column = tl.minimum(column + N - 1, T - 1)
    within_one_part = tl.load(PartStart + last_column) <= column
    in_prompt = tl.load(PromptEnd + last_column) > last_column
    part_end, pair_end = tl.load(PartEnd + last_column), tl.load(PairEnd + last_column)
    stop = tl.where(within_one_part & (in_prompt == 0), part_end, pair_end)
    blocks = tl.cdiv(stop - column, M)
    for step in range(blocks * GROUP):
        head = key_head * GROUP + step // blocks
        rows = column + (step % blocks) * M + tl.arange(0, M)
        inside = rows < stop
        pair_start = tl.load(PairStart + rows, mask=inside, other=0)
        prompt_end = tl.load(PromptEnd + rows, mask=inside, other=0)
        part_start = tl.load(PartStart + rows, mask=inside, other=T)
        at = rows[:, None] * q_row + head * q_head + d
        q = tl.load(Q + at, mask=inside[:, None], other=0.0)
        at = rows[:, None] * do_row + head * do_head + d
        do = tl.load(DOut + at, mask=inside[:, None], other=0.0)
        delta = tl.load(Delta + head * T + rows, mask=inside, other=0.0)
        lse = tl.load(Lse + head * T + rows, mask=inside, other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * log2_scale
        seen = _visible(rows, columns, pair_start, prompt_end, part_start) & inside[:, None]
        probs = tl.where(seen, tl.exp2(scores - lse[:, None]), 0.0)
        dv += tl.dot(tl.trans(probs.to(do.dtype)), do, input_precision="ieee")
        dprobs = tl.dot(do, tl.trans(v), input_precision="ieee")
        dscores = probs * (dprobs - delta[:, None])
        dk += tl.dot(tl.trans(dscores.to(q.dtype)), q, input_precision="ieee")
    own = DK + columns[:, None] * dk_row + key_head * dk_head + d
    tl.store(own, (dk * scale).to(DK.dtype.element_ty), mask=exists[:, None])
    own = DV + columns[:, None] * dv_row + key_head * dv_head + d
    tl.store(own, dv.to(DV.dtype.element_ty), mask=exists[:, None])


@triton.jit(do_not_specialize=["T"])
def attend_backward(
    Q, K, V, DOut, DQ, DK, DV, Lse, Delta, PairStart, PromptEnd, PartStart, PartEnd, PairEnd,
    q_row, q_head, k_row, k_head, v_row, v_head, do_row, do_head,
    dq_row, dq_head, dk_row, dk_head, dv_row, dv_head, T, scale, log2_scale,
    HEADS: tl.constexpr, GROUP: tl.constexpr, D: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """Let some programs take blocks of keys and the others, at the same time, blocks of queries."""
    program = tl.program_id(0)
    of_keys = tl.cdiv(T, N) * (HEADS // GROUP)  # these take longer and start first
    if program < of_keys:
        _gradient_of_keys(
            (program // (HEADS // GROUP)) * N, program % (HEADS // GROUP),
            Q, K, V, DOut, DK, DV, Lse, Delta, PairStart, PromptEnd, PartStart, PartEnd, PairEnd,
            q_row, q_head, k_row, k_head, v_row, v_head, do_row, do_head,
            dk_row, dk_head, dv_row, dv_head, T, scale, log2_scale, GROUP, D, M, N,
        )  # fmt: skip
    else:
        program -= of_keys
        _gradient_of_queries(
            (program // HEADS) * M, program % HEADS,
            Q, K, V, DOut, DQ, Lse, Delta, PairStart, PromptEnd, PartStart, PartEnd,
            q_row, q_head, k_row, k_head, v_row, v_head, do_row, do_head,
            dq_row, dq_head, T, scale, log2_scale, GROUP, D, M, N,
        )  # fmt: skip
