"""Per-pair terms → means over pairs, exact whatever the batch size and the number of processes.

What is measured of a pair is said once, in `pair_figures`: fit, validate, test and evaluate show
means of these figures and no others.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import Module
from torchmetrics import Metric

from fitbot.cluster.processes import rank, sum_over_processes
from fitbot.dpo.losses import DPOTerms
from fitbot.platforms import as_float64, is_apple

# Spelt as TRL and the original implementation spell them, so that any DPO reader knows the plots.
NAMES = (
    "loss",
    "rewards/chosen",
    "rewards/rejected",
    "rewards/margins",
    "rewards/accuracies",
    "logps/chosen",
    "logps/rejected",
)


def pair_figures(terms: DPOTerms, policy_logps: Tensor) -> Tensor:
    """List everything that is measured of each pair.

    Args:
        terms: The objective's, of B pairs.
        policy_logps: (B, 2) nats: chosen, rejected.

    Returns:
        (len(NAMES), B) float64 without gradient, in the order of NAMES; on the terms' device, or
        the host where that has no float64.
    """
    margins = terms.chosen_rewards - terms.rejected_rewards
    wins = (1 + margins.sign()) / 2  # a tie, as of every pair at the first step, is a guess: 1/2
    figures = (
        terms.losses,
        terms.chosen_rewards,
        terms.rejected_rewards,
        margins,
        torch.where(margins.isnan(), margins, wins),  # NaN is no tie, though its sign is 0
        policy_logps[:, 0],
        policy_logps[:, 1],
    )
    return as_float64(torch.stack(figures).detach())


def prediction_rows(
    records: Tensor, terms: DPOTerms, policy_logps: Tensor, reference_logps: Tensor | None
) -> list[dict[str, float]]:
    """List what `predict` writes of each of B pairs.

    Args:
        records: (B,) index of each pair in its file.
        terms: The objective's.
        policy_logps: (B, 2) nats: chosen, rejected.
        reference_logps: (B, 2) the same under the reference, if the objective has one.
    """
    columns = {
        "pair": records,
        "logps/chosen": policy_logps[:, 0],
        "logps/rejected": policy_logps[:, 1],
    }
    if reference_logps is not None:
        columns["reference_logps/chosen"] = reference_logps[:, 0]
        columns["reference_logps/rejected"] = reference_logps[:, 1]
    columns |= {
        "rewards/chosen": terms.chosen_rewards,
        "rewards/rejected": terms.rejected_rewards,
        "margin": terms.chosen_rewards - terms.rejected_rewards,
    }
    values = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in values]


class PairMeans(Metric):
    """Running means over pairs of everything that is logged, as one vector of float64 sums.

    One vector and not a metric each: torchmetrics merges metrics whose states happen to be equal,
    and at DPO's first step, where every reward is 0, accuracy and margin are. Nothing here
    synchronises with the host until `compute`.
    """

    full_state_update = False
    sums: Tensor  # (len(NAMES) + 1,) float64: a sum over pairs for each name, then their count

    def __init__(self) -> None:
        super().__init__()
        self.add_state(
            "sums", torch.zeros(len(NAMES) + 1, dtype=torch.float64), dist_reduce_fx="sum"
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> Module:
        """Move to another device, unless that has no float64."""
        if is_apple(fn(torch.zeros(1)).device):
            return self
        return super()._apply(fn, exclude_state)

    def update(self, terms: DPOTerms, policy_logps: Tensor) -> None:
        """Add B pairs: the objective's terms, and the policy's (B, 2) log-probs in nats."""
        figures = pair_figures(terms, policy_logps)
        self.sums += torch.cat([figures, torch.ones_like(figures[:1])]).sum(-1)

    def compute(self) -> dict[str, Tensor]:
        """Divide by the number of pairs; NaN when there was none."""
        return means_of(self.sums)


class TrainMeans(PairMeans):
    """Means over the pairs since the last log point, and the sums of the whole run."""

    def __init__(self) -> None:
        super().__init__()
        # Over all processes, as far as the last log point; of the whole run once that is reached.
        self.total = torch.zeros_like(self.sums)

    def close_window(self) -> tuple[dict[str, float], int]:
        """Return the means over the pairs since the last log point and their number; start anew."""
        sums = sum_over_processes(self.sums)
        self.total = self.total.to(sums.device) + sums
        self.reset()
        return {name: mean.item() for name, mean in means_of(sums).items()}, int(sums[-1])

    def saved(self) -> list[Tensor]:
        """Return what a checkpoint keeps: sums since the last log point, and those before it."""
        return [sum_over_processes(self.sums), self.total]

    def restore(self, window: Tensor, total: Tensor) -> None:
        """Take back what `saved` returned; the sums are over all processes, so one takes them."""
        if rank() == 0:
            self.sums = window.to(self.sums.device)
        self.total = total


def means_of(sums: Tensor) -> dict[str, Tensor]:
    """Divide sums as `PairMeans` keeps them, (len(NAMES) + 1,), by the number of pairs."""
    return dict(zip(NAMES, (sums[:-1] / sums[-1]).float(), strict=True))
