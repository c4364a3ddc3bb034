"""Train with a loss of your own, which a setting names by its import path.

    python examples/own_loss.py
    cd examples && fitbot fit --config quickstart --model.loss own_loss.hinge

`hinge` stops pulling where a pair's margin is 1; DPO's own loss never stops. Prints both margins.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

import fitbot


def hinge(policy_logps: Tensor, reference_logps: Tensor, *, beta: float) -> Tensor:
    """Return max(0, 1 - margin) of each pair.

    Args:
        policy_logps: (B, 2) nats: chosen, rejected; with gradient.
        reference_logps: (B, 2) the same under the reference.
        beta: Of the run.

    Source: SLiC, https://arxiv.org/abs/2305.10425, with DPO's margin.
    """
    chosen, rejected = (policy_logps - reference_logps).unbind(-1)
    return torch.relu(1 - beta * (chosen - rejected))


def main() -> None:
    """Fit once with each loss."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=1600, help="to train on")
    parser.add_argument("--out", type=Path, default=Path("checkpoints"), help="folder of the runs")
    options = parser.parse_args()
    for loss in ("sigmoid", "own_loss.hinge"):
        run = fitbot.fit(
            "quickstart",
            {
                "model.loss": loss,
                "data.train_limit": options.pairs,
                "data.val_limit": 100,
                "run.root": options.out,
                "run.name": loss,
                "run.sample_every_n_steps": None,
            },
        )
        summary = run.summary
        print(f"{loss}: margin {summary['val_margin']:.3f}, accuracy {summary['val_accuracy']:.3f}")


if __name__ == "__main__":
    main()
