"""Every loss by hand and by its paper's formula, and the metrics against plain sums."""

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from fitbot.dpo.losses import LOSSES, DPOTerms, Objective
from fitbot.dpo.metrics import NAMES, PairMeans
from fitbot.pairs.batch import LAYOUTS, collate_pairs
from fitbot.pairs.chat import EncodedPair


def test_loss_is_log_two_and_rewards_are_zero_when_policy_is_reference() -> None:
    logps = torch.tensor([[-3.0, -5.0]])

    terms = Objective(beta=0.1).terms(logps, logps)

    assert terms.losses.item() == pytest.approx(math.log(2))
    assert terms.chosen_rewards.item() == terms.rejected_rewards.item() == 0


def test_loss_by_hand() -> None:
    # chosen gained 2 nats, rejected lost 1: margin = 0.5 · (2 + 1) = 1.5; loss = ln(1 + e^-1.5)
    policy, reference = torch.tensor([[-8.0, -11.0]]), torch.tensor([[-10.0, -10.0]])

    terms = Objective(beta=0.5).terms(policy, reference)

    assert terms.losses.item() == pytest.approx(math.log1p(math.exp(-1.5)))
    assert (terms.chosen_rewards.item(), terms.rejected_rewards.item()) == (1.0, -0.5)


def test_label_smoothing_by_hand() -> None:
    # margin 1.5 as above; a tenth of the pairs counts as flipped
    policy, reference = torch.tensor([[-8.0, -11.0]]), torch.tensor([[-10.0, -10.0]])

    terms = Objective(beta=0.5, label_smoothing=0.1).terms(policy, reference)

    expected = 0.9 * math.log1p(math.exp(-1.5)) + 0.1 * math.log1p(math.exp(1.5))
    assert terms.losses.item() == pytest.approx(expected)


def test_ipo_by_hand() -> None:
    # the difference of log-ratios is 3 nats, its goal 1 / (2 · 0.25) = 2: loss (3 - 2)² = 1
    policy, reference = torch.tensor([[-8.0, -11.0]]), torch.tensor([[-10.0, -10.0]])

    terms = Objective(beta=0.25, loss="ipo").terms(policy, reference)

    assert terms.losses.item() == pytest.approx(1.0)
    assert (terms.chosen_rewards.item(), terms.rejected_rewards.item()) == (0.5, -0.25)


def test_the_nll_of_chosen_answers_is_per_token_in_either_layout() -> None:
    a, b = list(range(5, 13)), list(range(7, 12))
    pairs = [EncodedPair(a, b, a[:3], 0, 0, 0, 0), EncodedPair(b, a, b[1:], 0, 0, 0, 1)]
    logps = torch.tensor([[-10.0, -3.0], [-16.0, -4.0]], requires_grad=True)

    for layout in LAYOUTS:
        batch = collate_pairs(pairs, layout=layout, pad_id=0)
        terms = Objective(0.1, nll_weight=0.5).terms(logps, logps.detach(), batch.score_owner)
        found = terms.losses - math.log(2)
        assert found.tolist() == pytest.approx([5 / len(b), 8 / len(a)], rel=1e-5)


def logistic(x: Tensor) -> Tensor:
    return 1 / (1 + (-x).exp())


# By the letter of each paper, of probabilities where it writes probabilities: log-probs of chosen
# and rejected under policy and reference, tokens of both; beta 0.7, epsilon 0.2, gamma 0.4.
FORMULAS: dict[str, Callable[..., Tensor]] = {
    "sigmoid": lambda c, r, qc, qr, n, m: (
        -0.8 * logistic(0.7 * (c - qc) - 0.7 * (r - qr)).log()
        - 0.2 * logistic(0.7 * (r - qr) - 0.7 * (c - qc)).log()
    ),
    "robust": lambda c, r, qc, qr, n, m: (
        (
            -0.8 * logistic(0.7 * (c - qc) - 0.7 * (r - qr)).log()
            + 0.2 * logistic(0.7 * (r - qr) - 0.7 * (c - qc)).log()
        )
        / (1 - 2 * 0.2)
    ),
    "hinge": lambda c, r, qc, qr, n, m: (1 - 0.7 * (c - qc - r + qr)).clamp(min=0),
    "ipo": lambda c, r, qc, qr, n, m: (
        (c.exp() * qr.exp() / (r.exp() * qc.exp())).log() - 1 / (2 * 0.7)
    ).square(),
    "apo_zero": lambda c, r, qc, qr, n, m: 1 - logistic(0.7 * (c - qc)) + logistic(0.7 * (r - qr)),
    "simpo": lambda c, r, qc, qr, n, m: -logistic(0.7 / n * c - 0.7 / m * r - 0.4).log(),
    "orpo": lambda c, r, qc, qr, n, m: (
        -c / n - 0.7 * logistic((odds((c / n).exp()) / odds((r / m).exp())).log()).log()
    ),
    "sft": lambda c, r, qc, qr, n, m: -c / n,
}


def odds(p: Tensor) -> Tensor:
    return p / (1 - p)


def drawn(pairs: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw log-probs of policy and reference, (B, 2) float64, lengths (B, 2), owner (S,)."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 9, (pairs, 2), generator=generator).double()
    policy, reference = (
        -torch.rand(pairs, 2, generator=generator, dtype=torch.float64) * lengths for _ in range(2)
    )
    owner = torch.arange(2 * pairs).repeat_interleave(lengths.flatten().long())
    return policy, reference, lengths, torch.cat([owner, torch.full((3,), 2 * pairs)])


@pytest.mark.parametrize("length_normalised", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_losses_are_those_of_their_papers(loss: str, length_normalised: bool) -> None:
    policy, reference, lengths, owner = drawn(50)
    objective = Objective(0.7, 0.2, loss, gamma=0.4, length_normalised=length_normalised)
    if length_normalised and "length_normalised" not in LOSSES[loss].reads:
        pytest.skip("it is anyway")

    found = objective.terms(policy.requires_grad_(), reference, owner)

    by = lengths if length_normalised else torch.ones_like(lengths)
    columns = (*(policy / by).unbind(-1), *(reference / by).unbind(-1), *(lengths / by).unbind(-1))
    expected = FORMULAS[loss](*columns)
    torch.testing.assert_close(found.losses, expected, rtol=1e-12, atol=1e-12)
    ours, theirs = (torch.autograd.grad(x.sum(), policy)[0] for x in (found.losses, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_rewards_are_beta_times_what_the_loss_compares(loss: str) -> None:
    policy, reference, lengths, owner = drawn(9)

    terms = Objective(0.7, loss=loss).terms(policy, reference, owner)

    scores = policy - reference if LOSSES[loss].has_reference else policy / lengths
    found = torch.stack([terms.chosen_rewards, terms.rejected_rewards], -1)
    torch.testing.assert_close(found, 0.7 * scores, rtol=1e-12, atol=0)
    against = Objective(0.7, loss=loss).with_reference().terms(policy, reference, owner)
    expected = 0.7 * (policy - reference)
    torch.testing.assert_close(against.chosen_rewards, expected[:, 0], rtol=1e-12, atol=0)


def test_an_answer_of_probability_1_has_finite_odds() -> None:
    logps = torch.tensor([[0.0, -3.0], [-3.0, 0.0], [-900.0, -900.0]], requires_grad=True)

    losses = Objective(0.1, loss="orpo").terms(logps, None, torch.arange(6)).losses
    losses.sum().backward()

    assert losses.isfinite().all()
    assert logps.grad is not None
    assert logps.grad.isfinite().all()


def test_odds_and_simpo_are_those_of_trl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    from trl.experimental.cpo import CPOTrainer
    from trl.experimental.orpo import ORPOTrainer

    policy, _, lengths, owner = drawn(20)
    a_token = (policy / lengths).float().unbind(-1)
    accelerator = SimpleNamespace(device=torch.device("cpu"))
    orpo = SimpleNamespace(beta=0.7, accelerator=accelerator)
    simpo = SimpleNamespace(
        **vars(orpo), loss_type="simpo", simpo_gamma=0.4, label_smoothing=0.0, alpha=0.0
    )

    ratio_loss: Any = ORPOTrainer.odds_ratio_loss  # unbound: of all a trainer has, it reads two
    simpo_loss: Any = CPOTrainer.cpo_loss
    ratio, theirs = ratio_loss(orpo, *a_token)[0], simpo_loss(simpo, *a_token)[0]

    ours = Objective(0.7, loss="orpo").terms(policy, None, owner).losses + (policy / lengths)[:, 0]
    torch.testing.assert_close(ours.float(), -ratio, rtol=1e-5, atol=1e-6)
    ours = Objective(0.7, loss="simpo", gamma=0.4).terms(policy, None, owner).losses
    torch.testing.assert_close(ours.float(), theirs, rtol=1e-5, atol=1e-6)


def test_weights_multiply_losses_and_leave_rewards_alone() -> None:
    policy, reference, _, owner = drawn(3)
    objective, weights = Objective(0.7, nll_weight=0.3), torch.tensor([0.0, 1.0, 2.5])

    plain = objective.terms(policy, reference, owner)
    weighted = objective.terms(policy, reference, owner, weights)

    assert torch.equal(weighted.losses, weights * plain.losses)
    assert torch.equal(weighted.chosen_rewards, plain.chosen_rewards)


def test_gradient_is_beta_times_the_probability_of_being_wrong() -> None:
    # Eq. 7 of the paper: d loss / d log-ratio = -beta · sigmoid(-margin) for chosen, + for rejected
    policy = torch.tensor([[-8.0, -11.0]], requires_grad=True)

    Objective(beta=0.5).terms(policy, torch.tensor([[-10.0, -10.0]])).losses.sum().backward()

    wrong = 1 / (1 + math.exp(1.5))
    assert policy.grad is not None
    assert policy.grad.tolist()[0] == pytest.approx([-0.5 * wrong, 0.5 * wrong])


def test_a_margin_of_thousands_stays_finite() -> None:
    policy = torch.tensor([[-9000.0, 0.0], [0.0, -9000.0]], requires_grad=True)

    losses = Objective(beta=1.0).terms(policy, torch.zeros(2, 2)).losses
    losses.sum().backward()

    assert losses.tolist() == [9000.0, 0.0]
    assert policy.grad is not None
    assert policy.grad.isfinite().all()


def test_means_are_sums_over_pairs_whatever_the_batches() -> None:
    torch.manual_seed(0)
    terms = DPOTerms(torch.rand(11), torch.randn(11), torch.randn(11))
    logps = torch.randn(11, 2)
    at_once, in_parts = PairMeans(), PairMeans()

    at_once.update(terms, logps)
    for part in (slice(0, 1), slice(1, 9), slice(9, 11)):
        in_parts.update(DPOTerms(*(column[part] for column in terms)), logps[part])

    margins = terms.chosen_rewards - terms.rejected_rewards
    expected = (
        terms.losses.mean(),
        terms.chosen_rewards.mean(),
        terms.rejected_rewards.mean(),
        margins.mean(),
        (margins > 0).float().mean(),
        *logps.mean(0),
    )
    for means in (at_once.compute(), in_parts.compute()):
        assert [means[name].item() for name in NAMES] == pytest.approx([e.item() for e in expected])


def test_accuracy_and_margin_stay_apart_after_a_step_where_both_were_zero() -> None:
    # torchmetrics merges metrics of equal state: accuracy and margin were one for ever after.
    means, zero = PairMeans(), torch.zeros(4)
    means.update(DPOTerms(torch.ones(4), zero, zero), torch.zeros(4, 2))
    means.compute()

    means.update(DPOTerms(torch.ones(4), torch.full((4,), 3.0), zero), torch.zeros(4, 2))

    result = means.compute()
    assert result["rewards/accuracies"].item() == 0.75  # four ties, each one half
    assert result["rewards/margins"].item() == 1.5


def test_sums_do_not_saturate() -> None:
    means = PairMeans()
    for _ in range(400):  # a bf16 state stops at 256
        means.update(
            DPOTerms(torch.ones(1), torch.ones(1), torch.zeros(1)), torch.full((1, 2), -1e4)
        )

    assert means.compute()["rewards/accuracies"].item() == 1.0
    assert means.compute()["logps/chosen"].item() == -1e4


def means_of_rank(rank: int, store: str, queue: Any) -> None:
    """Be one of two processes with uneven shares of eleven pairs."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=2
    )
    generator = torch.Generator().manual_seed(0)
    columns = [torch.randn(11, generator=generator) for _ in range(3)]
    share = slice(0, 4) if rank == 0 else slice(4, 11)
    means = PairMeans()
    means.update(DPOTerms(*(column[share] for column in columns)), torch.zeros(11, 2)[share])
    queue.put({name: value.item() for name, value in means.compute().items()})
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_means_count_every_pair_once_over_two_processes_with_uneven_shares(tmp_path: Path) -> None:
    # Lightning's own averaging over processes was 7/6 too large here
    context = torch.multiprocessing.get_context("spawn")
    queue = context.Queue()
    processes = [
        context.Process(target=means_of_rank, args=(rank, str(tmp_path / "store"), queue))
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    results = [queue.get(timeout=120) for _ in processes]
    for process in processes:
        process.join(timeout=60)

    generator = torch.Generator().manual_seed(0)
    losses, chosen, rejected = (torch.randn(11, generator=generator) for _ in range(3))
    for result in results:
        assert result["loss"] == pytest.approx(losses.mean().item(), abs=1e-6)
        margin = (chosen - rejected).mean().item()
        assert result["rewards/margins"] == pytest.approx(margin, abs=1e-6)
