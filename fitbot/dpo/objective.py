"""The DPO objective as a pure function: log-probs → losses and rewards.

Nothing here knows about Lightning, devices, files or models. Notation follows Rafailov et al. 2023
(https://arxiv.org/abs/2305.18290); B = pairs.
"""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor


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
) -> DPOTerms:
    """Score how much more the policy prefers chosen over rejected than the reference does.

    Args:
        policy_logps: (B, 2) nats, chosen and rejected, with gradient.
        reference_logps: (B, 2) nats, chosen and rejected, without gradient.
        beta: Pull towards the reference, > 0; 0.1 is the usual start, lower lets go further.
        label_smoothing: Assumed share of flipped preferences, in [0, 0.5); 0 is plain DPO.

    Source: Eq. 7 of the DPO paper; label smoothing is Eq. 3 of https://ericmitchell.ai/cdpo.pdf.
    """
    chosen_logratios, rejected_logratios = (policy_logps - reference_logps).unbind(-1)  # (B,), (B,)
    margins = beta * (chosen_logratios - rejected_logratios)
    kept, flipped = F.logsigmoid(margins), F.logsigmoid(-margins)
    losses = -(1 - label_smoothing) * kept - label_smoothing * flipped
    return DPOTerms(
        losses, (beta * chosen_logratios).detach(), (beta * rejected_logratios).detach()
    )
