"""The network of fitbot-tiny, its loss and the loop that trains it; tiny.py draws the text.

The loop is made for one large GPU: documents are apart in FlashAttention's own terms, the network
is compiled, one batch is on its way while the one before is computed. On a CPU the same numbers
come out of the plain form, slowly.
"""

from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy, scaled_dot_product_attention

SEED = 7
MAX_LENGTH = 2048  # positions that the model is told of
BALANCING = 0.02  # a step, on the weights' logits, for a difference of one nat
PEAK = 2e-3  # learning rate
WARM_UP = 0.02  # share of the training
SAVE_EVERY = 120  # seconds
AGAIN = 300  # batches until one comes again
SHORTEST = 24  # tokens of a piece, on average over a batch: a bound on their number

Forward = Callable[[Tensor, Tensor, Tensor], Tensor]  # tokens, places, bounds -> nats of each token


def make_model(tokenizer: Any) -> Any:
    """Build a Qwen3 of 7 layers, 320 wide."""
    from transformers import AutoModelForCausalLM, Qwen3Config

    config = Qwen3Config(
        vocab_size=-(-len(tokenizer) // 64) * 64,
        hidden_size=320,
        intermediate_size=896,
        num_hidden_layers=7,
        num_attention_heads=10,
        num_key_value_heads=5,
        head_dim=32,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        initializer_range=0.02,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(SEED)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    # A text of the handbook ends in the padding token; an answer that does so has ended, too.
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    return model


def mask_of(places: Tensor) -> Tensor:
    """Let no token see another piece: (R, T) places in their piece -> (R, 1, T, T) bool."""
    piece = (places == 0).cumsum(1)
    causal = torch.ones(2 * places.shape[1:], dtype=torch.bool, device=places.device).tril()
    return ((piece[:, :, None] == piece[:, None, :]) & causal)[:, None]


def bounds_of(places: Tensor) -> Tensor:
    """Tell where pieces begin in the rows laid end to end, as FlashAttention wants it: int32.

    Every row begins one. The number of bounds is always the same: the last ones are the end.
    """
    starts = places == 0
    starts[:, 0] = True
    most = places.numel() // SHORTEST + len(places)
    end = places.numel()
    bounds = torch.full((most + 1,), end, dtype=torch.int32, device=places.device)
    slots = (starts.flatten().cumsum(0) - 1).clamp(max=most)
    index = torch.where(starts.flatten(), slots, most)
    positions = torch.arange(end, dtype=torch.int32, device=places.device)
    bounds.scatter_(0, index, positions)
    bounds[most] = end  # there went all that begin nothing
    return bounds


def _masked(
    module: Any, query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, **options: Any
) -> tuple[Tensor, None]:
    groups = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    query, key = query.to(value.dtype), key.to(value.dtype)
    out = scaled_dot_product_attention(query, key, value, bounds, scale=options["scaling"])
    return out.transpose(1, 2), None


def _apart(
    module: Any, query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, **options: Any
) -> tuple[Tensor, None]:
    from torch.nn.attention.varlen import varlen_attn

    rows, heads, length, width = query.shape
    groups = heads // key.shape[1]
    key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    query, key, value = (
        x.to(value.dtype).transpose(1, 2).reshape(-1, heads, width) for x in (query, key, value)
    )
    past: Any = {"scale": options["scaling"], "window_size": (-1, 0)}
    out: Any = varlen_attn(query, key, value, bounds, bounds, length, length, **past)
    return out.reshape(rows, length, heads, width), None


def forward_of(model: Any, *, fast: bool) -> Forward:
    """Write the network's pass over rows of pieces down to every token's negative log-prob.

    Args:
        model: A Qwen3, on its device.
        fast: Compiled for one shape, with FlashAttention, which takes bounds; or else a mask.
    """
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    attention = "apart" if fast else "masked"
    ALL_ATTENTION_FUNCTIONS.register(attention, _apart if fast else _masked)
    inner, device = model.model, next(model.parameters()).device.type

    def nats(tokens: Tensor, rope: tuple[Tensor, Tensor], bounds: Tensor) -> Tensor:
        hidden = inner.embed_tokens(tokens[:, :-1])
        for layer in inner.layers:
            hidden = layer(hidden, attention_mask=bounds, position_embeddings=rope)
        logits = model.lm_head(inner.norm(hidden))
        return cross_entropy(
            logits.float().flatten(0, 1), tokens[:, 1:].flatten(), reduction="none"
        )

    run = torch.compile(nats, dynamic=False, fullgraph=True) if fast else nats

    def forward(tokens: Tensor, places: Tensor, bounds: Tensor) -> Tensor:
        model.config._attn_implementation = attention
        with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
            return run(tokens, inner.rotary_emb(inner.embed_tokens.weight, places), bounds)

    return forward


class Balance:
    """How much right and wrong answers in chats count, so that both become equally probable."""

    def __init__(self, num_flaws: int, device: torch.device):
        """Start with as much for the one as for the other."""
        self.tilt = torch.zeros(num_flaws, device=device)  # logit of the right answer's weight

    def loss(self, nll: Tensor, kinds: Tensor, ends: Tensor) -> Tensor:
        """Average by weight, then tilt against the answers that the model prefers.

        Args:
            nll: Negative log-prob of every token: (N,) nats.
            kinds: See tiny.Rows: (N,).
            ends: Which tokens end a turn: (N,), bool.
        """
        weights = torch.stack([self.tilt.sigmoid(), (-self.tilt).sigmoid()], dim=1).flatten()
        weights = torch.cat([weights.new_ones(1), 2 * weights])[kinds]
        sums, counts = nll.new_zeros(2, 2 * len(self.tilt) + 1)
        sums.index_add_(0, kinds, nll.detach())
        counts.index_add_(0, kinds, ends.float())
        of_answers = sums[1:] / counts[1:].clamp(min=1)
        preferred = (of_answers[1::2] - of_answers[0::2]).clamp(-4, 4)  # log right - log wrong
        both = (counts[1::2] > 0) & (counts[2::2] > 0)  # or else there is nothing to compare
        self.tilt -= BALANCING * preferred * both
        return (weights * nll).sum() / weights.sum()


class Trainer:
    """Model, optimizer, balance and how far they are."""

    def __init__(self, model: Any, balance: Balance, end: int, *, plain: bool = False):
        """Take them.

        Args:
            model: On its device.
            balance: Of the answers.
            end: The token that ends a turn.
            plain: Neither compile nor use FlashAttention, also on a GPU.
        """
        self.model, self.balance, self.end = model.train(), balance, end
        self.step, self.seconds = 0, 0.0
        self.device = balance.tilt.device
        self.fast = self.device.type == "cuda" and not plain
        self.forward = forward_of(model, fast=self.fast)
        decayed = [p for p in model.parameters() if p.dim() > 1]
        others = [p for p in model.parameters() if p.dim() <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
            lr=PEAK,
            betas=(0.9, 0.95),
            fused=True,
        )

    def nats(self, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute every token's negative log-prob; with its kind, and whether it ends a turn."""
        tokens, kinds, places = batch.to(self.device, non_blocking=True).long()
        places = places[:, :-1]
        bounds = bounds_of(places) if self.fast else mask_of(places)
        nll = self.forward(tokens, places, bounds)
        return nll, kinds[:, 1:].flatten(), tokens[:, 1:].flatten() == self.end

    def learn(self, batch: Tensor, rate: float) -> Tensor:
        """Take one step; returns its loss."""
        loss = self.balance.loss(*self.nats(batch))
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = PEAK * rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        return loss.detach()

    def differs(self, batch: Tensor) -> dict[str, float]:
        """Compare the fast form with the plain one: the loss, and the gradients' directions."""
        found: list[tuple[float, Tensor, Tensor]] = []
        for one in (Trainer(self.model, self.balance, self.end, plain=True), self):
            loss = one.nats(batch)[0].mean()
            torch.autograd.backward(loss)
            named = [(n, p.grad.flatten()) for n, p in self.model.named_parameters()]
            keys = torch.cat([g for n, g in named if "k_proj" in n])
            found.append((loss.item(), torch.cat([g for _, g in named]), keys))
            self.optimizer.zero_grad()
        (nats, *plain), (other, *fast) = found
        apart = [
            1 - cosine_similarity(a, b, dim=0).item() for a, b in zip(plain, fast, strict=True)
        ]
        return {"loss": abs(nats - other), "gradient": apart[0], "gradient of keys": apart[1]}

    def state(self) -> dict[str, Any]:
        """Give everything that a later process goes on from."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "tilt": self.balance.tilt,
            "step": self.step,
            "seconds": self.seconds,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.balance.tilt.copy_(state["tilt"])
        self.step, self.seconds = state["step"], state["seconds"]


def again(batches: Iterator[Tensor], times: int) -> Iterator[Tensor]:
    """Let every batch come so many times, far apart."""
    kept: deque[Tensor] = deque(maxlen=(times - 1) * AGAIN + 1)
    for batch in batches:
        kept.append(batch)
        yield from islice(reversed(kept), None, None, AGAIN)


def rate(done: float) -> float:
    """Give the learning rate's share of its peak where so much of the training is done, 0 to 1."""
    return min(1.0, done / WARM_UP, (1 - done) / (1 - WARM_UP) + 1e-3)
