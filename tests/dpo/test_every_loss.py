"""Every loss through a whole fit: both engines, with and without a reference, SFT and then DPO."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fitbot.dpo.losses import LOSSES, Objective
from fitbot.dpo.module import DPOModule
from fitbot.errors import ConfigError, DataError
from fitbot.export.adapter import export_adapter
from fitbot.pairs.batch import PairBatch, collate_pairs
from fitbot.pairs.chat import EncodedPair
from fitbot.pairs.datamodule import PreferenceDataModule
from fitbot.policy.engine_choice import accelerate
from fitbot.policy.policy import Policy
from tests.conftest import adapter_of, make_data, make_module, make_policy, make_trainer

# Losses, each once as it is and once with all that it can have beside it.
SETTINGS: list[dict[str, Any]] = [
    *({"loss": name} for name in LOSSES),
    *(
        {"loss": name, **{x: {"length_normalised": True}.get(x, 0.2) for x in kind.reads}}
        for name, kind in LOSSES.items()
        if kind.reads
    ),
]
WITHOUT = [name for name, kind in LOSSES.items() if not kind.has_reference]


def name_of(settings: dict[str, Any]) -> str:
    return "-".join(map(str, settings.values()))


@pytest.mark.parametrize("settings", SETTINGS, ids=name_of)
def test_both_engines_minimise_it_alike(
    settings: dict[str, Any], base: str, pairs: list[EncodedPair]
) -> None:
    objective = Objective(0.3, **settings)
    policy = make_policy(base)
    batch = collate_pairs(pairs[:4], layout="shared", pad_id=0)

    def gradient() -> tuple[Tensor, Tensor]:
        logps, reference = policy.both_logps(batch, with_reference=objective.kind.has_reference)
        losses = objective.terms(logps, reference, batch.score_owner).losses
        return losses.detach(), torch.autograd.grad(losses.sum(), policy.adapter)[0]

    eager_losses, eager = gradient()
    accelerate(policy, capture=False)
    compiled_losses, compiled = gradient()

    torch.testing.assert_close(compiled_losses, eager_losses, rtol=1e-4, atol=1e-5)
    assert eager.norm() > 0
    assert (compiled - eager).norm() < 1e-4 * eager.norm()


@pytest.mark.parametrize("loss", LOSSES)
def test_a_fit_lowers_it(loss: str, base: str, pairs_file: str, tmp_path: Path) -> None:
    # ipo wants 1 / (2 beta) nats and no more: with the others' beta a step goes beyond that
    settings = {"loss": loss, "beta": 0.02 if loss == "ipo" else 0.3}
    module, trainer = make_module(base, tmp_path, **settings), make_trainer(tmp_path, max_epochs=3)
    data = make_data(base, pairs_file)

    trainer.validate(make_module(base, tmp_path, **settings), data, verbose=False)
    before = trainer.callback_metrics["val/loss"].item()
    trainer.fit(module, data)

    assert trainer.callback_metrics["val/loss"].item() < 0.97 * before
    has_change = "val/logratios/chosen" in trainer.callback_metrics
    assert has_change == LOSSES[loss].has_reference


@pytest.mark.parametrize("loss", WITHOUT)
def test_without_a_reference_none_is_computed_kept_or_looked_at(
    loss: str, base: str, pairs_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        pytest.fail("the reference is asked")

    monkeypatch.setattr(Policy, "reference_logps", refuse)
    # layout rows: a shared one is tried on made-up pairs first, of the model as it is loaded
    module, data = make_module(base, tmp_path, loss=loss), make_data(base, pairs_file)
    data.layout = "rows"

    make_trainer(tmp_path).fit(module, data)
    assert not (tmp_path / "reference").exists()
    predicted: Any = make_trainer(tmp_path).predict(module, predicting(base, pairs_file))

    assert set(predicted[0][0]) == {
        *("pair", "logps/chosen", "logps/rejected"),
        *("rewards/chosen", "rewards/rejected", "margin"),
    }


def predicting(base: str, path: str) -> PreferenceDataModule:
    return make_data(base, path, test_path=path, layout="rows")


def exported(module: DPOModule, data: PreferenceDataModule, folder: Path) -> str:
    told = {"data": data.provenance()}
    return str(export_adapter(folder, module.state_dict(), dict(module.hparams), training=told))


@pytest.fixture
def fine_tuned(base: str, pairs_file: str, tmp_path: Path) -> tuple[DPOModule, str]:
    """A module of loss sft after its fit, and the folder of its adapter."""
    module, data = make_module(base, tmp_path, loss="sft"), make_data(base, pairs_file)
    make_trainer(tmp_path).fit(module, data)
    return module, exported(module, data, tmp_path / "sft")


def logps_of(
    of: Callable[[PairBatch], Tensor], data: PreferenceDataModule, policy: Policy
) -> Tensor:
    with policy.without_dropout(), torch.no_grad():
        return torch.cat([of(part) for part in data.collate("val", range(10))])


def test_after_supervised_fine_tuning_its_model_is_the_reference(
    fine_tuned: tuple[DPOModule, str], base: str, pairs_file: str, tmp_path: Path
) -> None:
    (first, folder), data = fine_tuned, make_data(base, pairs_file)
    second = make_module(base, tmp_path, adapter=folder, loss="sigmoid", reference="cached")
    assert first.policy is not None
    trainer = make_trainer(tmp_path, max_epochs=3)

    trainer.fit(second, data)

    policy = second.policy
    assert policy is not None
    sft = logps_of(first.policy.logps, data, first.policy)
    plain = logps_of(first.policy.reference_logps, data, first.policy)
    assert (sft - plain).abs().max() > 0.5  # nats: two models
    torch.testing.assert_close(logps_of(policy.reference_logps, data, policy), sft)
    torch.testing.assert_close(data.reference_logps["val"], sft)
    # The policy began there, and has gone on.
    assert second.train_means.total[-1] == 30
    assert trainer.callback_metrics["val/loss"].item() < 0.6 < math.log(2)
    trained = logps_of(policy.logps, data, policy)
    change = trainer.callback_metrics["val/logratios/chosen"].item()
    assert change == pytest.approx((trained - sft)[:, 0].mean().item(), abs=1e-4)


def test_a_loss_without_a_reference_goes_on_from_an_adapter_and_loads_it_once(
    fine_tuned: tuple[DPOModule, str], base: str, pairs_file: str, tmp_path: Path
) -> None:
    (first, folder) = fine_tuned
    module = make_module(base, tmp_path, adapter=folder, loss="simpo", beta=2.0, gamma=0.5)

    module.configure_model()

    assert module.policy is not None
    assert list(module.policy.network.peft_config) == ["default"]
    for name, weight in adapter_of(module).items():
        assert torch.equal(weight, first.state_dict()[name])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"loss": "hinge", "label_smoothing": 0.1},
            r"label_smoothing 0\.1: set it to 0, for the loss hinge does not get it; these do: "
            "sigmoid, robust$",
        ),
        ({"gamma": 0.5}, r"model\.gamma 0\.5: set it to 0, .* sigmoid .* these do: simpo$"),
        ({"loss": "simpo", "gamma": -1.0}, r"model\.gamma must be >= 0"),
        (
            {"loss": "simpo", "length_normalised": True},
            r"model\.length_normalised True: set it to false, .*: sigmoid, robust, hinge, ipo, apo",
        ),
        ({"loss": "sft", "nll_weight": 0.1}, r"model\.nll_weight 0\.1: set it to 0, .* loss sft"),
        ({"loss": "orpo", "reference": "cached"}, "the loss orpo has no reference"),
    ],
)
def test_a_setting_that_a_loss_does_not_read_is_refused(
    settings: dict[str, Any], message: str, base: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        make_module(base, tmp_path, **settings)


# -- weights of pairs -----------------------------------------------------------------------------


def weighted_file(folder: Path, weights: list[Any], key: str = "weight") -> str:
    records: list[dict[str, Any]] = [
        {"question": f"Is {n} sets enough?", "chosen": f"Yes, {n} sets.", "rejected": f"No, {n}!!"}
        for n in range(len(weights))
    ]
    for record, weight in zip(records, weights, strict=True):
        if weight is not None:
            record[key] = weight
    path = folder / "weighted.json"
    path.write_text(json.dumps(records), encoding="utf-8")
    return str(path)


def test_a_pairs_weight_multiplies_its_gradient(base: str, tmp_path: Path) -> None:
    path = weighted_file(tmp_path, [0, 2, None, "0.5"])
    gradients, losses = [], []
    for column in ("weight", None):
        data = make_data(base, path if column else plain_copy(path), weight_column=column)
        data.setup("fit")
        policy = make_policy(base)
        (part,) = data.collate("train", range(4))
        terms = Objective(0.3).terms(*policy.both_logps(part, with_reference=True), None)
        if column:
            assert part.weights is not None
            assert part.weights.tolist() == [0, 2, 1, 0.5]
            (validated,) = data.collate("val", range(4))
            assert validated.weights is None
            weighted = Objective(0.3).terms(
                *policy.both_logps(part, with_reference=True), None, part.weights
            )
            gradients.append(torch.autograd.grad(weighted.losses.sum(), policy.adapter)[0])
        else:
            assert part.weights is None
            by_hand = 2 * terms.losses[1] + terms.losses[2] + 0.5 * terms.losses[3]
            gradients.append(torch.autograd.grad(by_hand, policy.adapter)[0])
        losses.append(terms.losses.detach())

    torch.testing.assert_close(gradients[0], gradients[1])
    assert gradients[0].norm() > 0
    torch.testing.assert_close(losses[0], losses[1])


def plain_copy(path: str) -> str:
    records = json.loads(Path(path).read_text("utf-8"))
    for record in records:
        record.pop("weight", None)
    copy = Path(path).with_name("plain.json")
    copy.write_text(json.dumps(records), encoding="utf-8")
    return str(copy)


def test_a_fit_goes_by_the_weights(base: str, tmp_path: Path) -> None:
    # A pair of weight 0 teaches nothing: with all the others of weight 1 it may as well lack.
    def fit(weights: list[Any]) -> dict[str, Tensor]:
        torch.manual_seed(3)
        module = make_module(base, tmp_path)
        data = make_data(base, weighted_file(tmp_path, weights), weight_column="weight")
        make_trainer(tmp_path, max_epochs=1).fit(module, data)
        return adapter_of(module)

    some, others, none = fit([1, 1, 0, 0]), fit([2, 2, 0, 0]), fit([0, 0, 0, 0])

    moved = [name for name, weight in some.items() if not torch.equal(weight, none[name])]
    assert moved
    # AdamW's first step is as long for any scale of the gradient, if it is clipped or not.
    for name, weight in some.items():
        torch.testing.assert_close(weight, others[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("weights", "key", "error", "message"),
    [
        ([1, -1], "weight", DataError, r"'weight' must be a number >= 0, .*got -1"),
        ([1, "much"], "weight", DataError, "got 'much'"),
        ([1, math.inf], "weight", DataError, "got inf"),
        ([1, 2], "importance", ConfigError, r"data\.weight_column weight: no record of .* has"),
    ],
)
def test_a_weight_that_is_none_is_refused(
    weights: list[Any], key: str, error: type[Exception], message: str, base: str, tmp_path: Path
) -> None:
    data = make_data(base, weighted_file(tmp_path, weights, key), weight_column="weight")
    with pytest.raises(error, match=message):
        data.setup("fit")
