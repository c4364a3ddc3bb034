"""The first step's gradient norm is that of a computation in float64 by definition.

It shares nothing with fitbot but the pairs' token ids and the adapter's first weights: one plain
forward pass a completion, the loss written out, LoRA as a sum of products.
"""

from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from transformers import AutoModelForCausalLM
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

from fitbot.base_model.settings import LoraSettings
from fitbot.pairs.batch import Layout
from fitbot.pairs.chat import EncodedPair
from tests.conftest import ROOT, adapter_of, make_data, make_module, make_trainer

TINY = ROOT / "checkpoints" / "fitbot-tiny"
PAIRS = ROOT / "data" / "fitness_train.json"
BETA, R, ALPHA, PAIRS_A_STEP = 0.1, 16, 64, 8


def norm_in_float64(pairs: list[EncodedPair], adapter: dict[str, Tensor]) -> float:
    """Return the L2 norm of the gradient of DPO's mean loss with respect to the adapter.

    Args:
        pairs: Of one step.
        adapter: Its weights before the step, under the names of a checkpoint.
    """
    model = AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float64)
    for name, norm in list(model.named_modules()):
        if isinstance(norm, Qwen3RMSNorm):  # computes in float32 whatever it is given
            exact = torch.nn.RMSNorm(norm.weight.shape, norm.variance_epsilon, dtype=torch.float64)
            exact.weight = norm.weight
            model.set_submodule(name, exact)
    frozen = {name: weight.detach() for name, weight in model.named_parameters()}
    trained = {name: weight.double().requires_grad_() for name, weight in adapter.items()}
    moved = dict(frozen)
    for name, a in trained.items():
        if ".lora_A." in name:
            b = trained[name.replace(".lora_A.", ".lora_B.")]
            layer = name.removeprefix("policy.network.base_model.model.")
            moved[layer.split(".lora_A.")[0] + ".weight"] += ALPHA / R * (b @ a)

    def logp(weights: dict[str, Tensor], prompt: list[int], completion: list[int]) -> Tensor:
        ids = torch.tensor([prompt + completion])
        logits: Tensor = functional_call(model, weights, (ids,)).logits[0, len(prompt) - 1 : -1]
        return logits.log_softmax(-1)[range(len(completion)), completion].sum()

    losses = []
    for pair in pairs:
        chosen, rejected = (
            logp(moved, pair.prompt, text) - logp(frozen, pair.prompt, text).detach()
            for text in (pair.chosen, pair.rejected)
        )
        losses.append(-torch.log(torch.sigmoid(BETA * (chosen - rejected))))
    gradients = torch.autograd.grad(torch.stack(losses).mean(), list(trained.values()))
    return float(torch.cat([gradient.flatten() for gradient in gradients]).norm())


class Gradient(lightning.Callback):
    """Keeps the gradient of the last step, as it was before clipping."""

    def on_before_optimizer_step(
        self, trainer: lightning.Trainer, pl_module: Any, optimizer: Any
    ) -> None:
        self.kept = pl_module.policy.adapter.grad.clone()


@pytest.mark.parametrize("layout", ["shared", "rows"])
def test_the_first_gradient_norm_is_float64s(layout: Layout, tmp_path: Path) -> None:
    settings = {"lora": LoraSettings(r=R, alpha=ALPHA, dropout=0.0), "beta": BETA}
    module, gradient = make_module(str(TINY), tmp_path, **settings), Gradient()
    module.configure_model()
    adapter = adapter_of(module)
    data = make_data(
        str(TINY),
        str(PAIRS),
        val_path=None,
        train_limit=PAIRS_A_STEP,
        layout=layout,
        max_tokens_per_pass=1024,  # in several passes
    )
    trainer = make_trainer(tmp_path, max_steps=1, log_every_n_steps=1, callbacks=[gradient])

    trainer.fit(module, data)

    norm = trainer.callback_metrics["train/grad_norm"].item()
    pairs = list(data.pairs["train"])
    assert len(pairs) == PAIRS_A_STEP
    # Of the same numbers; a sum in float32 is off by 1e-5 here.
    assert norm == pytest.approx(gradient.kept.double().norm().item(), rel=1e-7)
    # Of the exact gradient, of which float32 rounds each number by some 4e-6. Measured: up to
    # 1.2e-6, over five times eight pairs.
    assert norm == pytest.approx(norm_in_float64(pairs, adapter), rel=3e-6)
