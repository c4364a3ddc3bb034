"""The DPO objective as a pure function: log-probs → losses and rewards.

Nothing here knows about Lightning, devices, files or models. Notation follows Rafailov et al. 2023
(https://arxiv.org/abs/2305.18290); B = pairs.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Literal["sigmoid", "ipo"]
LOSSES: tuple[Loss, ...] = get_args(Loss)
# A user's: (policy_logps, reference_logps, beta=beta) as of `dpo_loss`, to (B,) losses.
OwnLoss = Callable[..., Tensor]


class DPOTerms(NamedTuple):
    """Per-pair results of the objective, each of shape (B,)."""

    losses: Tensor  # nats; differentiable
    chosen_rewards: Tensor  # beta · log(policy / reference) of the chosen completion; detached
    rejected_rewards: Tensor  # the same for the rejected completion; detached


def dpo_loss(
    policy_logps: Tensor,
    reference_logps: Tensor,
    *,
    beta: float,
    label_smoothing: float = 0.0,
    loss: Loss = "sigmoid",
) -> DPOTerms:
    """Score how much more the policy prefers chosen over rejected than the reference does.

    Args:
        policy_logps: (B, 2) nats, chosen and rejected, with gradient.
        reference_logps: (B, 2) nats, chosen and rejected, without gradient.
        beta: Pull towards the reference, > 0; 0.1 is the usual start, lower lets go further.
        label_smoothing: Assumed share of flipped preferences, in [0, 0.5); 0 is plain DPO.
        loss: "sigmoid" is DPO; "ipo" pulls the difference of log-ratios to 1 / (2 beta) nats and no
            further, so that pairs which are told apart stop pulling. Its losses are in nats².

    Source: Eq. 7 of the DPO paper; label smoothing is Eq. 3 of https://ericmitchell.ai/cdpo.pdf;
    IPO is Eq. 17 of https://arxiv.org/abs/2310.12036.
    """
    chosen_logratios, rejected_logratios = (policy_logps - reference_logps).unbind(-1)  # (B,), (B,)
    difference = chosen_logratios - rejected_logratios
    if loss == "ipo":
        losses = (difference - 1 / (2 * beta)) ** 2
    else:
        margins = beta * difference
        kept, flipped = F.logsigmoid(margins), F.logsigmoid(-margins)
        losses = -(1 - label_smoothing) * kept - label_smoothing * flipped
    return DPOTerms(
        losses, (beta * chosen_logratios).detach(), (beta * rejected_logratios).detach()
    )


@dataclass(frozen=True)
class Objective:
    """What a run minimises; named as in its config, see `dpo_loss` and `chosen_nll`."""

    beta: float
    label_smoothing: float
    loss: str  # one of LOSSES, or the import path of `own`
    nll_weight: float
    own: OwnLoss | None = None  # takes the place of DPO's losses; the rewards stay DPO's

    @property
    def untrained(self) -> float | None:
        """The loss of the reference itself, at which every run begins.

        ln 2 nats, or what IPO has at margin 0; None where it depends on the pairs or is an own
        loss's.
        """
        if self.nll_weight or self.loss not in LOSSES:
            return None
        return 1 / (2 * self.beta) ** 2 if self.loss == "ipo" else math.log(2)

    def terms(self, policy_logps: Tensor, reference_logps: Tensor, score_owner: Tensor) -> DPOTerms:
        """Compute the objective of B pairs.

        Args:
            policy_logps: (B, 2) nats, chosen and rejected, with gradient.
            reference_logps: (B, 2) nats, chosen and rejected, without gradient.
            score_owner: As of `chosen_nll`; not looked at where nll_weight is 0.
        """
        terms = dpo_loss(
            policy_logps,
            reference_logps,
            beta=self.beta,
            label_smoothing=self.label_smoothing,
            loss="ipo" if self.loss == "ipo" else "sigmoid",
        )
        if self.own:
            terms = terms._replace(losses=self.own(policy_logps, reference_logps, beta=self.beta))
        if not self.nll_weight:
            return terms
        nll = self.nll_weight * chosen_nll(policy_logps, score_owner)
        return terms._replace(losses=terms.losses + nll)


def margin_sought(loss: str, label_smoothing: float) -> float:
    """Return the margin at which a pair stops pulling: infinite for plain DPO.

    Args:
        loss: As of `Objective`; IPO stops at beta / (2 beta), an own loss nowhere that is known.
        label_smoothing: Likewise; where a share s is taken for flipped, s = sigmoid(-margin) is all
            that a pair can say.
    """
    if loss == "ipo":
        return 0.5
    return math.log((1 - label_smoothing) / label_smoothing) if label_smoothing else math.inf


def chosen_nll(policy_logps: Tensor, score_owner: Tensor) -> Tensor:
    """Return the negative log-likelihood a token of each pair's chosen completion, (B,) nats.

    Added to the loss with a small weight, it keeps right answers likely while wrong ones become
    less so: the NLL term of https://arxiv.org/abs/2404.19733, Eq. 1.

    Args:
        policy_logps: (B, 2) nats, chosen and rejected, with gradient.
        score_owner: (S,) 2 * pair + (0 chosen, 1 rejected) of every scored token; 2B is padding.
    """
    counts = torch.zeros(policy_logps.numel() + 1, device=policy_logps.device)
    counts.index_add_(0, score_owner.long(), torch.ones_like(score_owner, dtype=counts.dtype))
    return -policy_logps[:, 0] / counts[:-1:2]
