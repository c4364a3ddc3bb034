"""The objective by hand, and the metrics against plain sums."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from fitbot.dpo.losses import DPOTerms, chosen_nll, dpo_loss
from fitbot.dpo.metrics import NAMES, PairMeans
from fitbot.pairs.batch import LAYOUTS, collate_pairs
from fitbot.pairs.chat import EncodedPair


def test_loss_is_log_two_and_rewards_are_zero_when_policy_is_reference() -> None:
    logps = torch.tensor([[-3.0, -5.0]])

    terms = dpo_loss(logps, logps, beta=0.1)

    assert terms.losses.item() == pytest.approx(math.log(2))
    assert terms.chosen_rewards.item() == terms.rejected_rewards.item() == 0


def test_loss_by_hand() -> None:
    # chosen gained 2 nats, rejected lost 1: margin = 0.5 · (2 + 1) = 1.5; loss = ln(1 + e^-1.5)
    policy, reference = torch.tensor([[-8.0, -11.0]]), torch.tensor([[-10.0, -10.0]])

    terms = dpo_loss(policy, reference, beta=0.5)

    assert terms.losses.item() == pytest.approx(math.log1p(math.exp(-1.5)))
    assert (terms.chosen_rewards.item(), terms.rejected_rewards.item()) == (1.0, -0.5)


def test_label_smoothing_by_hand() -> None:
    # margin 1.5 as above; a tenth of the pairs counts as flipped
    policy, reference = torch.tensor([[-8.0, -11.0]]), torch.tensor([[-10.0, -10.0]])

    terms = dpo_loss(policy, reference, beta=0.5, label_smoothing=0.1)

    expected = 0.9 * math.log1p(math.exp(-1.5)) + 0.1 * math.log1p(math.exp(1.5))
    assert terms.losses.item() == pytest.approx(expected)


def test_ipo_by_hand() -> None:
    # the difference of log-ratios is 3 nats, its goal 1 / (2 · 0.25) = 2: loss (3 - 2)² = 1
    policy, reference = torch.tensor([[-8.0, -11.0]]), torch.tensor([[-10.0, -10.0]])

    terms = dpo_loss(policy, reference, beta=0.25, loss="ipo")

    assert terms.losses.item() == pytest.approx(1.0)
    assert (terms.chosen_rewards.item(), terms.rejected_rewards.item()) == (0.5, -0.25)


def test_the_nll_of_chosen_answers_is_per_token_in_either_layout() -> None:
    a, b = list(range(5, 13)), list(range(7, 12))
    pairs = [EncodedPair(a, b, a[:3], 0, 0, 0, 0), EncodedPair(b, a, b[1:], 0, 0, 0, 1)]
    logps = torch.tensor([[-10.0, -3.0], [-16.0, -4.0]], requires_grad=True)

    for layout in LAYOUTS:
        batch = collate_pairs(pairs, layout=layout, pad_id=0)
        found = chosen_nll(logps, batch.score_owner)
        assert found.tolist() == pytest.approx([10 / len(b), 16 / len(a)])
    found.sum().backward()
    assert logps.grad is not None
    assert logps.grad[:, 1].tolist() == [0, 0]


def test_gradient_is_beta_times_the_probability_of_being_wrong() -> None:
    # Eq. 7 of the paper: d loss / d log-ratio = -beta · sigmoid(-margin) for chosen, + for rejected
    policy = torch.tensor([[-8.0, -11.0]], requires_grad=True)

    dpo_loss(policy, torch.tensor([[-10.0, -10.0]]), beta=0.5).losses.sum().backward()

    wrong = 1 / (1 + math.exp(1.5))
    assert policy.grad is not None
    assert policy.grad.tolist()[0] == pytest.approx([-0.5 * wrong, 0.5 * wrong])


def test_a_margin_of_thousands_stays_finite() -> None:
    policy = torch.tensor([[-9000.0, 0.0], [0.0, -9000.0]], requires_grad=True)

    losses = dpo_loss(policy, torch.zeros(2, 2), beta=1.0).losses
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
