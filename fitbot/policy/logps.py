"""Hidden states → log-probabilities of the scored tokens, without ever holding all logits.

S scored tokens, H hidden size, V vocabulary. At V = 151,936 the logits of 1,000 tokens would take
0.6 GB in float32, their softmax as much again. The head is frozen, so the gradient with respect to
a hidden state, W[target] - sum_v p_v W[v], is computed in the forward pass, tile by tile, and
backward is one multiplication by the incoming gradient.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers.utils.import_utils import is_triton_available

from fitbot.platforms import as_float64
from fitbot.policy.compiled.launch import launch

# Elements of one float32 tile of logits: 16 M = 64 MiB, 110 tokens of Qwen3's vocabulary. Every
# tile reads the whole head, so larger ones are faster: the engine's are four times as large.
TILE_ELEMENTS = 1 << 24
LARGE_TILE_ELEMENTS = 1 << 26


class Head(NamedTuple):
    """A frozen head: logits = cap(hidden @ weight.T + bias), cap(x) = c tanh(x / c)."""

    weight: Tensor  # (V, H)
    bias: Tensor | None = None  # (V,)
    cap: float | None = None  # c; None: there is no cap

    def logits(self, hidden: Tensor) -> Tensor:
        """Return those of hidden states, (S, H) → (S, V) float32."""
        logits = _float32_product(hidden.to(self.weight.dtype), self.weight)
        if self.bias is not None:
            logits = logits + self.bias.float()
        return logits if self.cap is None else self.cap * torch.tanh(logits / self.cap)


def token_logps(hidden: Tensor, head: Head, targets: Tensor) -> Tensor:
    """Score one target token a hidden state through a frozen head.

    Equal to `log_softmax(head.logits(hidden))` gathered at the targets, in float32.

    Args:
        hidden: (S, H) last hidden states; the gradient flows back into them.
        head: The head.
        targets: (S,) token ids.

    Returns:
        (S,) float32 log-probabilities, nats.
    """
    result: Tensor = _FrozenHead.apply(hidden, head, targets)  # type: ignore[no-untyped-call]
    return result


def score_tile(
    logits: Tensor, targets: Tensor, dtype: torch.dtype | None
) -> tuple[Tensor, Tensor | None]:
    """Take log-probs and the softmax from logits.

    Args:
        logits: (S, V) float32; may be overwritten.
        targets: (S,) token ids.
        dtype: Of the softmax; None for none.

    Returns:
        (S,) float32 log-probs of the targets, and the softmax (S, V) or None.
    """
    if logits.is_cuda and is_triton_available():
        from fitbot.policy.compiled.pointwise_kernels import score_tile as kernel

        rows, vocabulary = logits.shape
        logps = torch.empty(rows, dtype=torch.float32, device=logits.device)
        probs = logps if dtype is None else torch.empty_like(logits, dtype=dtype)
        launch(
            kernel, (rows,), logits, targets, logps, probs, vocabulary,
            BLOCK=4096, WITH_PROBS=dtype is not None, num_warps=8,
        )  # fmt: skip
        return logps, None if dtype is None else probs
    normaliser = logits.logsumexp(-1, keepdim=True)
    logps = (logits.gather(-1, targets[:, None]) - normaliser).squeeze(-1)
    return logps, None if dtype is None else logits.sub_(normaliser).exp_().to(dtype)


def score_tokens(
    hidden: Tensor,
    head: Head,
    targets: Tensor,
    *,
    with_gradient: bool,
    tile_elements: int | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Do the work of `token_logps` without autograd.

    Args:
        hidden: (S, H) last hidden states.
        head: The head.
        targets: (S,) token ids.
        with_gradient: Whether to compute the gradient.
        tile_elements: Logits held at once; TILE_ELEMENTS by default.

    Returns:
        (S,) float32 log-probabilities, and each one's gradient with respect to its hidden state,
        (S, H) float32, or None.
    """
    weight = head.weight
    logps = torch.empty(hidden.shape[0], dtype=torch.float32, device=hidden.device)
    gradient = torch.empty_like(hidden, dtype=torch.float32) if with_gradient else None
    rows = max(1, (tile_elements or TILE_ELEMENTS) // weight.shape[0])
    with torch.autocast(hidden.device.type, enabled=False):
        for start in range(0, hidden.shape[0], rows):
            tile = slice(start, start + rows)
            logits = head.logits(hidden[tile])  # (rows, V)
            # How much of a change passes the cap; taken before the logits are overwritten.
            slope = 1 - (logits / head.cap).square() if with_gradient and head.cap else None
            dtype = weight.dtype if with_gradient else None
            logps[tile], probs = score_tile(logits, targets[tile], dtype)
            if gradient is not None and probs is not None:
                target = weight[targets[tile]].float()
                if slope is not None:
                    target *= slope.gather(-1, targets[tile, None])
                    probs = (probs * slope).to(weight.dtype)
                gradient[tile] = target - (probs @ weight).float()
            del logits, probs, slope  # or they would be held until the next tile has its own
    return logps, gradient


def divergence(hidden: Tensor, reference: Tensor, head: Head) -> tuple[Tensor, Tensor]:
    """Compare two models' next-token distributions at the same positions, over all tokens.

    With p and q the softmax of the head's logits of `hidden` and of `reference`.

    Args:
        hidden: (S, H) last hidden states of one model.
        reference: (S, H) those of the other.
        head: The head that they share.

    Returns:
        (S,) float32 nats each: the Kullback-Leibler divergence sum p (ln p - ln q), and the entropy
        - sum p ln p.
    """
    found = torch.empty(2, hidden.shape[0], dtype=torch.float32, device=hidden.device)
    rows = max(1, TILE_ELEMENTS // head.weight.shape[0])
    for start in range(0, hidden.shape[0], rows):
        tile = slice(start, start + rows)
        ours, theirs = (
            head.logits(states[tile]).log_softmax(-1)  # (rows, V)
            for states in (hidden, reference)
        )
        p = ours.exp()
        found[0, tile] = (p * (ours - theirs)).sum(-1)
        found[1, tile] = -(p * ours).sum(-1)
    return found[0], found[1]


def sum_by_owner(token_logps: Tensor, owner: Tensor, num_pairs: int) -> Tensor:
    """Sum token log-probs into completions: (S,), (S,) → (B, 2) nats: chosen, rejected.

    A sum, not a mean: DPO compares whole completions. Slot 2B collects the padding and is dropped.
    It is added up in float64: one after the other in float32, a long completion loses 5e-4 nats.
    """
    exact = as_float64(token_logps)
    sums = torch.zeros(2 * num_pairs + 1, dtype=torch.float64, device=exact.device)
    sums = sums.index_add(0, owner.to(exact.device), exact)
    return sums[:-1].view(num_pairs, 2).float().to(token_logps.device)


class _FrozenHead(torch.autograd.Function):
    """Log-probs forward, together with their gradient with respect to the hidden states."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Head, targets: Tensor) -> Tensor:
        logps, gradient = score_tokens(hidden, head, targets, with_gradient=ctx.needs_input_grad[0])
        ctx.save_for_backward(gradient)
        ctx.hidden_dtype = hidden.dtype
        return logps

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return (upstream[0][:, None] * gradient).to(ctx.hidden_dtype), None, None


def _float32_product(hidden: Tensor, weight: Tensor) -> Tensor:
    # Logits rounded to bf16 are off by up to 2^-9 of their size, which a sum over a completion
    # turns into tenths of a nat; CUDA returns the float32 accumulator at no cost.
    if hidden.is_cuda and weight.dtype != torch.float32:
        return torch.mm(hidden, weight.T, out_dtype=torch.float32)
    return (hidden @ weight.T).float()
