"""Log-probs → losses and rewards: every loss that a run can minimise, as a pure function.

Nothing here knows about Lightning, devices, files or models. B = pairs.

A loss sees two scores of each pair, that of its chosen and that of its rejected answer. A score is
log(policy / reference) of the answer, or log(policy) where the loss has no reference; in nats, or
in nats a token where it counts lengths. The reward of an answer is beta times its score, the margin
of a pair is the difference of its rewards.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

CHOSEN_CHANGE = "logratios/chosen"  # its name among the metrics

# A user's: (policy_logps, reference_logps, beta=beta), each (B, 2) nats, to (B,) losses.
OwnLoss = Callable[..., Tensor]


class DPOTerms(NamedTuple):
    """Per-pair results of the objective, each of shape (B,)."""

    losses: Tensor  # nats; differentiable
    chosen_rewards: Tensor  # beta times the score of the chosen completion; detached
    rejected_rewards: Tensor  # the same for the rejected completion; detached


def sigmoid(chosen: Tensor, rejected: Tensor, it: "Objective") -> Tensor:
    """Return DPO's loss; where a share of labels is taken for flipped, conservative DPO's.

    Source: Eq. 7 of https://arxiv.org/abs/2305.18290; Eq. 3 of https://ericmitchell.ai/cdpo.pdf.
    """
    margins = it.beta * (chosen - rejected)
    kept, flipped = F.logsigmoid(margins), F.logsigmoid(-margins)
    return -(1 - it.label_smoothing) * kept - it.label_smoothing * flipped


def robust(chosen: Tensor, rejected: Tensor, it: "Objective") -> Tensor:
    """Return a loss whose mean over labels, a share of them flipped, is DPO's on the right ones.

    Source: rDPO, https://arxiv.org/abs/2403.00409; label_smoothing is its epsilon.
    """
    margins, flips = it.beta * (chosen - rejected), it.label_smoothing
    kept, flipped = F.logsigmoid(margins), F.logsigmoid(-margins)
    return (flips * flipped - (1 - flips) * kept) / (1 - 2 * flips)


def hinge(chosen: Tensor, rejected: Tensor, it: "Objective") -> Tensor:
    """Return max(0, 1 - margin): SLiC's calibration with DPO's margin.

    Source: Eq. 1 of https://arxiv.org/abs/2305.10425, normalised by beta and the reference as in
    https://arxiv.org/abs/2309.06657.
    """
    return torch.relu(1 - it.beta * (chosen - rejected))


def ipo(chosen: Tensor, rejected: Tensor, it: "Objective") -> Tensor:
    """Pull the difference of scores to 1 / (2 beta) and no further; in nats².

    Source: Eq. 17 of https://arxiv.org/abs/2310.12036.
    """
    return (chosen - rejected - 1 / (2 * it.beta)) ** 2


def apo_zero(chosen: Tensor, rejected: Tensor, it: "Objective") -> Tensor:
    """Raise chosen answers and lower rejected ones, each by itself.

    Source: Eq. 7 of https://arxiv.org/abs/2408.06266.
    """
    return torch.sigmoid(-it.beta * chosen) + torch.sigmoid(it.beta * rejected)


def simpo(chosen: Tensor, rejected: Tensor, it: "Objective") -> Tensor:
    """Ask for a margin above gamma, of log-probs a token.

    Source: Eq. 6 of https://arxiv.org/abs/2405.14734.
    """
    return -F.logsigmoid(it.beta * (chosen - rejected) - it.gamma)


def orpo(chosen: Tensor, rejected: Tensor, it: "Objective") -> Tensor:
    """Return the chosen answer's NLL a token, and beta times -log sigmoid of the log odds ratio.

    Source: Eqs. 6 and 7 of https://arxiv.org/abs/2403.07691, whose lambda is beta.
    """
    # log(odds) = log p - log(1 - p); a p that is rounded to 1 would have infinite odds.
    c, r = (x.clamp(max=-1e-6) for x in (chosen, rejected))
    odds = (c - r) - (torch.log(-torch.expm1(c)) - torch.log(-torch.expm1(r)))
    return -chosen - it.beta * F.logsigmoid(odds)


def sft(chosen: Tensor, rejected: Tensor, it: "Objective") -> Tensor:
    """Return the chosen answer's negative log-likelihood a token: supervised fine-tuning."""
    return -chosen


def _no_end(it: "Objective") -> float:
    return math.inf


def _flips(it: "Objective") -> float:
    """Return the margin at which sigmoid(-margin) is the share of flipped labels."""
    flips = it.label_smoothing
    return math.log((1 - flips) / flips) if flips else math.inf


@dataclass(frozen=True)
class Loss:
    """What there is to know of a loss: an entry of LOSSES."""

    of: Callable[[Tensor, Tensor, "Objective"], Tensor]  # (B,) scores, (B,) scores → (B,)
    reads: tuple[str, ...] = ("length_normalised", "nll_weight")  # settings, besides beta
    has_reference: bool = True
    per_token: bool = False  # whatever length_normalised says
    imitates: bool = False  # learns chosen answers by heart
    # The margin at which a pair pulls no more; None if it is not margins that are sought.
    sought: Callable[["Objective"], float | None] = _no_end


_USUAL = Loss.reads
LOSSES: dict[str, Loss] = {
    "sigmoid": Loss(sigmoid, ("label_smoothing", *_USUAL), sought=_flips),
    "robust": Loss(robust, ("label_smoothing", *_USUAL)),
    "hinge": Loss(hinge, sought=lambda it: 1.0),
    "ipo": Loss(ipo, sought=lambda it: 0.5),  # beta / (2 beta)
    "apo_zero": Loss(apo_zero),
    "simpo": Loss(simpo, ("gamma", "nll_weight"), has_reference=False, per_token=True),
    "orpo": Loss(orpo, (), has_reference=False, per_token=True, imitates=True),
    "sft": Loss(
        sft, (), has_reference=False, per_token=True, imitates=True, sought=lambda it: None
    ),
}
_OWN = Loss(sigmoid, ("nll_weight",))  # a user's takes the place of the function


def kind_of(loss: str) -> Loss:
    """Say what there is to know of a loss, by its name or an import path."""
    return LOSSES.get(loss, _OWN)


@dataclass(frozen=True)
class Objective:
    """What a run minimises; named as in its config."""

    beta: float  # > 0: times a score it is a reward; the pull towards the reference
    label_smoothing: float = 0.0  # assumed share of flipped preferences, in [0, 0.5)
    loss: str = "sigmoid"  # one of LOSSES, or the import path of `own`
    nll_weight: float = 0.0
    own: OwnLoss | None = None  # takes the place of DPO's losses; the rewards stay DPO's
    length_normalised: bool = False
    gamma: float = 0.0

    @classmethod
    def of(cls, settings: Mapping[str, Any], own: OwnLoss | None = None) -> "Objective":
        """Take it from a run's settings, which may be from before there was a choice."""
        names = {field.name for field in fields(cls)} & settings.keys()
        return cls(**{name: settings[name] for name in names}, own=own)

    @property
    def kind(self) -> Loss:
        """What there is to know of its loss."""
        return kind_of(self.loss)

    @property
    def per_token(self) -> bool:
        """Whether scores are in nats a token."""
        return self.length_normalised or self.kind.per_token

    @property
    def imitates(self) -> bool:
        """Whether chosen answers are also learned by heart, for which there is always a pull."""
        return self.kind.imitates or self.nll_weight > 0

    @property
    def untrained(self) -> float | None:
        """The loss of the reference itself, at which every run begins, such as ln 2 nats.

        None where it depends on the pairs or is an own loss's.
        """
        if self.nll_weight or self.loss not in LOSSES or not self.kind.has_reference:
            return None
        nothing = torch.zeros(1, dtype=torch.float64)
        return self.kind.of(nothing, nothing, self).item()

    @property
    def margin_sought(self) -> float | None:
        """The margin at which a pair stops pulling: infinite if none is known, as of plain DPO.

        None if the loss is not about margins.
        """
        return self.kind.sought(self)

    def derived(self, chosen_reward: float) -> dict[str, float]:
        """Return the change of the chosen answers' log-probs behind their mean reward.

        In nats, or nats a token; nothing without a reference. Below 0 it is called displacement:
        https://arxiv.org/abs/2410.08847.
        """
        return {CHOSEN_CHANGE: chosen_reward / self.beta} if self.kind.has_reference else {}

    def terms(
        self,
        policy_logps: Tensor,
        reference_logps: Tensor | None,
        score_owner: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> DPOTerms:
        """Compute the objective of B pairs.

        Args:
            policy_logps: (B, 2) nats, chosen and rejected, with gradient.
            reference_logps: (B, 2) nats, chosen and rejected, without gradient; None for a loss
                that has no reference.
            score_owner: As of `answer_lengths`; not looked at where no length counts.
            weights: (B,) of the pairs in the mean loss; None for 1 each.
        """
        scores = policy_logps
        if self.kind.has_reference:
            assert reference_logps is not None
            scores = policy_logps - reference_logps
        if self.per_token or self.nll_weight:
            assert score_owner is not None
            lengths = answer_lengths(score_owner, len(policy_logps))
            scores = scores / lengths if self.per_token else scores
        chosen, rejected = scores.unbind(-1)  # (B,), (B,)
        if self.own:
            losses = self.own(policy_logps, reference_logps, beta=self.beta)
        else:
            losses = self.kind.of(chosen, rejected, self)
        if self.nll_weight:  # Eq. 1 of https://arxiv.org/abs/2404.19733: keeps right answers likely
            losses = losses + self.nll_weight * (-policy_logps[:, 0] / lengths[:, 0])
        if weights is not None:
            losses = weights * losses
        return DPOTerms(losses, (self.beta * chosen).detach(), (self.beta * rejected).detach())

    def with_reference(self) -> "Objective":
        """Return one with the same rewards but that they are always against a reference: DPO's."""
        return self if self.kind.has_reference else Objective(self.beta)


def answer_lengths(score_owner: Tensor, num_pairs: int) -> Tensor:
    """Count the scored tokens of every answer: (B, 2), chosen and rejected.

    Args:
        score_owner: (S,) 2 * pair + (0 chosen, 1 rejected) of every scored token; 2B is padding.
        num_pairs: B.
    """
    counts = torch.zeros(2 * num_pairs + 1, device=score_owner.device)
    counts.index_add_(0, score_owner.long(), torch.ones_like(score_owner, dtype=counts.dtype))
    return counts[:-1].view(num_pairs, 2)
