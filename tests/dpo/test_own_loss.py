"""A loss of the user's own, named by its import path."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fitbot.dpo.losses import Objective
from fitbot.dpo.own_loss import import_loss
from fitbot.errors import ConfigError
from fitbot.evaluation.models import Model
from fitbot.evaluation.preference import PairFigures
from tests.conftest import adapter_of, make_data, make_module, make_trainer

OWN = "tests.dpo.test_own_loss"
POLICY = torch.tensor([[-3.0, -5.0], [-9.0, -7.0]], requires_grad=True)
REFERENCE = torch.tensor([[-4.0, -4.0], [-8.0, -8.0]])


def plain(policy_logps: Tensor, reference_logps: Tensor, *, beta: float) -> Tensor:
    """DPO's own loss, written anew."""
    chosen, rejected = (policy_logps - reference_logps).unbind(-1)
    return -torch.nn.functional.logsigmoid(beta * (chosen - rejected))


def reversed_pairs(policy_logps: Tensor, reference_logps: Tensor, *, beta: float) -> Tensor:
    return plain(policy_logps.flip(-1), reference_logps.flip(-1), beta=beta)


def mean(policy_logps: Tensor, reference_logps: Tensor, *, beta: float) -> Tensor:
    return plain(policy_logps, reference_logps, beta=beta).mean()


def blocked(policy_logps: Tensor, reference_logps: Tensor, *, beta: float) -> Tensor:
    return plain(policy_logps, reference_logps, beta=beta).detach()


def nothing(policy_logps: Tensor, reference_logps: Tensor, *, beta: float) -> None:
    return None


def without_beta(policy_logps: Tensor, reference_logps: Tensor) -> Tensor:
    return policy_logps[:, 0]


def test_it_takes_the_place_of_the_losses_and_the_rewards_stay() -> None:
    path = f"{OWN}.reversed_pairs"
    objective = Objective(0.5, loss=path, own=import_loss(path, beta=0.5))

    terms = objective.terms(POLICY, REFERENCE)

    expected = Objective(beta=0.5).terms(POLICY, REFERENCE)
    flipped = Objective(beta=0.5).terms(POLICY.flip(-1), REFERENCE.flip(-1))
    assert torch.equal(terms.losses, flipped.losses)
    assert torch.equal(terms.chosen_rewards, expected.chosen_rewards)
    assert torch.equal(terms.rejected_rewards, expected.rejected_rewards)
    assert objective.margin_sought == float("inf")
    assert import_loss("ipo", beta=0.5) is None


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("ipp", "must be one of sigmoid, robust, .*, or the import path .*; did you mean 'ipo'"),
        ("nowhere.hinge", "cannot be imported: ModuleNotFoundError"),
        (f"{OWN}.hinge", "cannot be imported: AttributeError"),
        (f"{OWN}.mean", r"returned a tensor of shape \(\) for two pairs"),
        (f"{OWN}.blocked", "returned a tensor without gradient"),
        (f"{OWN}.nothing", "returned None for two pairs"),
        (f"{OWN}.without_beta", r"failed on two pairs: TypeError.*must return \(B,\) losses"),
        (f"{OWN}.OWN", "failed on two pairs: TypeError"),
    ],
)
def test_what_is_no_loss_is_refused_before_anything_is_loaded(
    base: str, tmp_path: Path, path: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make_module(base, tmp_path, loss=path)


def test_label_smoothing_which_it_does_not_get_is_refused(base: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.label_smoothing 0\.1: set it to 0"):
        make_module(base, tmp_path, loss=f"{OWN}.plain", label_smoothing=0.1)


def test_a_module_in_the_working_directory_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "def twice(policy_logps, reference_logps, *, beta):\n    return 2 * policy_logps[:, 0]\n"
    (tmp_path / "losses_of_this_folder.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [])

    own = import_loss("losses_of_this_folder.twice", beta=0.1)

    assert own is not None
    assert own(POLICY, REFERENCE, beta=0.1).tolist() == [-6.0, -18.0]


def fit(base: str, pairs_file: str, folder: Path, **settings: Any) -> dict[str, Tensor]:
    torch.manual_seed(3)
    module = make_module(base, folder, **settings)
    make_trainer(folder).fit(module, make_data(base, pairs_file))
    json.dumps(dict(module.hparams))  # so that fitbot.json can say what it was
    return adapter_of(module)


def test_the_same_loss_by_its_import_path_trains_the_same_weights(
    base: str, pairs_file: str, tmp_path: Path
) -> None:
    ours = fit(base, pairs_file, tmp_path / "a")
    own = fit(base, pairs_file, tmp_path / "b", loss=f"{OWN}.plain")
    other = fit(base, pairs_file, tmp_path / "c", loss=f"{OWN}.reversed_pairs")

    for name, weight in ours.items():
        assert torch.equal(own[name], weight), name
    assert any(not torch.equal(other[name], weight) for name, weight in ours.items())


def test_an_evaluation_runs_no_loss_that_an_adapter_names() -> None:
    model = Model("tuned", "x", None, Objective(0.5, 0.0, "nowhere.hinge", 0.0))

    found = PairFigures(model, POLICY.detach().double(), REFERENCE.double(), _LENGTHS)

    assert "loss" not in found.columns
    assert found.columns["rewards/margins"].tolist() == [1.0, -1.0]


_LENGTHS = torch.full((2, 2), 5).numpy()
