"""What must always hold of a fit: exact first loss, splits, resume, checkpoints, metrics."""

import gc
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning
import pytest
import torch
from torch import Tensor
from transformers import AutoTokenizer

from fitbot.__main__ import main
from fitbot.base_model.provenance import provenance_of
from fitbot.base_model.settings import LoraSettings
from fitbot.dpo import callbacks
from fitbot.dpo.callbacks import RandomState, StepLog
from fitbot.dpo.metrics import means_of
from fitbot.dpo.module import DPOModule
from fitbot.dpo.run import LastCheckpoint
from fitbot.errors import AdapterError, ConfigError, NoMemoryError
from fitbot.generation.loading import chat_of
from fitbot.pairs import template
from fitbot.pairs.batch import PairBatch, collate_pairs
from fitbot.pairs.formats import Message
from fitbot.policy.policy import Policy
from fitbot.policy.reference import ReferenceCache
from tests.conftest import adapter_of, make_data, make_module, make_trainer
from tests.tiny_model import write_tiny_model


class Recorder(lightning.Callback):
    """Keeps what every step computed."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.norms: list[float] = []
        self.records: list[list[int]] = []

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert pl_module.policy.training  # Lightning keeps from_pretrained's eval mode otherwise
        sums = pl_module.train_means.total + pl_module.train_means.sums
        total, count = sums[0].item(), sums[-1].item()
        self.losses.append(total / count)
        self.norms.append(pl_module.grad_norm.item())
        self.records.append([i for part in batch for i in part.records.tolist()])


def fit(
    base: str, pairs_file: str, tmp_path: Path, *, data: dict[str, Any] | None = None, **model: Any
) -> tuple[DPOModule, Recorder]:
    module, recorder = make_module(base, tmp_path, **model), Recorder()
    trainer = make_trainer(tmp_path, callbacks=[recorder])
    trainer.fit(module, make_data(base, pairs_file, **(data or {})))
    return module, recorder


def assert_same_fit(one: tuple[DPOModule, Recorder], other: tuple[DPOModule, Recorder]) -> None:
    assert one[1].losses == pytest.approx(other[1].losses, abs=1e-4)
    assert one[1].norms == pytest.approx(other[1].norms, rel=1e-3)
    weights, expected = adapter_of(one[0]), adapter_of(other[0])
    for name, weight in weights.items():
        torch.testing.assert_close(weight, expected[name], atol=2e-4, rtol=1e-3)


def test_the_first_loss_is_log_two_and_training_lowers_it(
    base: str, pairs_file: str, tmp_path: Path
) -> None:
    _, recorder = fit(base, pairs_file, tmp_path)

    assert recorder.losses[0] == pytest.approx(math.log(2), abs=1e-5)
    assert recorder.losses[-1] < 0.6
    assert len(recorder.losses) == 4  # ten pairs, eight a step, two epochs


@pytest.mark.parametrize("max_tokens", [1, 400], ids=["1 pair a pass", "a few a pass"])
def test_eight_pairs_at_once_are_any_split_of_them(
    base: str, pairs_file: str, tmp_path: Path, max_tokens: int
) -> None:
    dropout_off = {"lora": {"r": 4, "alpha": 8, "dropout": 0.0}}

    whole = fit(base, pairs_file, tmp_path / "a", data={"max_tokens_per_pass": 9999}, **dropout_off)
    split = fit(
        base, pairs_file, tmp_path / "b", data={"max_tokens_per_pass": max_tokens}, **dropout_off
    )

    assert_same_fit(split, whole)


def test_two_times_four_is_one_times_eight_is_eight_times_one(
    base: str, pairs_file: str, tmp_path: Path
) -> None:
    dropout_off = {"lora": {"r": 4, "alpha": 8, "dropout": 0.0}}

    fits = [
        fit(
            base,
            pairs_file,
            tmp_path / str(batch),
            data={"batch_size": batch, "accumulate_batches": 8 // batch},
            **dropout_off,
        )
        for batch in (1, 2, 8)
    ]

    assert_same_fit(fits[0], fits[2])
    assert_same_fit(fits[1], fits[2])


def test_rows_and_shared_train_alike_and_so_do_cached_and_online_references(
    base: str, pairs_file: str, tmp_path: Path
) -> None:
    dropout_off = {"lora": {"r": 4, "alpha": 8, "dropout": 0.0}}

    online = fit(base, pairs_file, tmp_path / "a", reference="online", **dropout_off)
    cached = fit(base, pairs_file, tmp_path / "b", reference="cached", **dropout_off)
    rows = fit(base, pairs_file, tmp_path / "c", data={"layout": "rows"}, **dropout_off)

    assert list((tmp_path / "b" / "reference").iterdir())
    assert not (tmp_path / "a" / "reference").exists()
    assert_same_fit(cached, online)
    assert_same_fit(rows, online)


def test_the_reference_is_the_untouched_base_after_training(
    base: str, pairs_file: str, tmp_path: Path
) -> None:
    module, _ = fit(base, pairs_file, tmp_path, load_in_4bit=True, expand_4bit=False)
    data = make_data(base, pairs_file)
    data.setup("fit")
    batch = collate_pairs(data.pairs["train"], layout="shared", pad_id=0)
    fresh = make_module(base, tmp_path, load_in_4bit=True, expand_4bit=False)
    fresh.configure_model()
    assert module.policy is not None
    assert fresh.policy is not None

    assert torch.equal(module.policy.reference_logps(batch), fresh.policy.logps(batch))
    assert (module.policy.logps(batch) - fresh.policy.logps(batch)).abs().max() > 0.5


def test_validation_means_are_exact_and_leave_dropout_on(
    base: str, pairs_file: str, tmp_path: Path
) -> None:
    module = make_module(base, tmp_path)
    trainer = make_trainer(tmp_path)
    data = make_data(base, pairs_file, batch_size=3, accumulate_batches=1)
    trainer.fit(module, data)
    assert module.policy is not None

    batch = collate_pairs(data.pairs["val"], layout="rows", pad_id=0)
    module.policy.eval()
    with torch.no_grad():
        ratios = 0.1 * (module.policy.logps(batch) - module.policy.reference_logps(batch))
    margins = ratios[:, 0] - ratios[:, 1]
    logged = trainer.callback_metrics
    assert logged["val/rewards/margins"].item() == pytest.approx(margins.mean().item(), abs=1e-4)
    assert logged["val/loss"].item() == pytest.approx(
        -torch.nn.functional.logsigmoid(margins).mean().item(), abs=1e-5
    )
    assert logged["val/rewards/accuracies"].item() == pytest.approx(
        (margins > 0).float().mean().item()
    )


def test_every_epoch_sees_every_pair_once_in_another_order_that_the_seed_decides(
    base: str, pairs_file: str, tmp_path: Path
) -> None:
    _, one = fit(base, pairs_file, tmp_path)
    _, same = fit(base, pairs_file, tmp_path)
    _, other = fit(base, pairs_file, tmp_path, data={"seed": 7})

    first, second = one.records[0] + one.records[1], one.records[2] + one.records[3]
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert same.records == one.records
    assert other.records != one.records


# -- resume ---------------------------------------------------------------------------------------


def run_in_parts(
    base: str, pairs_file: str, folder: Path, stops: list[dict[str, Any]], **model: Any
) -> tuple[dict[str, Tensor], list[float], dict[str, Any]]:
    """Fit in as many parts as there are stops, each resumed from last.ckpt with dropout on."""
    folder.mkdir()
    losses: list[float] = []
    for number, stop in enumerate(stops):
        lightning.seed_everything(number, verbose=False)  # a resumed process starts elsewhere
        if number == 0:
            torch.manual_seed(3)
        module, recorder = make_module(base, folder, **model), Recorder()
        trainer = make_trainer(
            folder, callbacks=[recorder, RandomState(), LastCheckpoint(folder, 1)], **stop
        )
        checkpoint = folder / "last.ckpt"
        trainer.fit(
            module,
            make_data(base, pairs_file, batch_size=2, accumulate_batches=1),
            ckpt_path=checkpoint if checkpoint.exists() else None,
            weights_only=True,
        )
        losses += recorder.losses
    state = torch.load(folder / "last.ckpt", weights_only=True)["optimizer_states"]
    return adapter_of(module), losses, state[0]["state"]


@pytest.mark.parametrize("first_stop", [3, 5, 7], ids=["mid-epoch", "at its end", "in the second"])
@pytest.mark.parametrize("optimizer", ["adamw", "adamw_8bit"])
def test_a_resumed_run_is_the_unbroken_run_bit_for_bit(
    base: str, pairs_file: str, tmp_path: Path, first_stop: int, optimizer: str
) -> None:
    model: dict[str, Any] = {"optimizer": optimizer, "reference": "cached"}
    unbroken = run_in_parts(base, pairs_file, tmp_path / "a", [{"max_steps": 10}], **model)

    stops = [{"max_steps": first_stop}, {"max_steps": 10}]
    resumed = run_in_parts(base, pairs_file, tmp_path / "b", stops, **model)

    assert resumed[1] == unbroken[1]
    for name, weight in unbroken[0].items():
        assert torch.equal(resumed[0][name], weight), name
    for key, moments in unbroken[2].items():
        for name, moment in moments.items():
            if isinstance(moment, Tensor):
                assert torch.equal(resumed[2][key][name], moment), name


def test_a_checkpoint_holds_the_adapter_and_never_the_base(
    base: str, pairs_file: str, tmp_path: Path
) -> None:
    run_in_parts(base, pairs_file, tmp_path / "a", [{"max_steps": 2}])

    checkpoint = torch.load(tmp_path / "a" / "last.ckpt", weights_only=True)

    assert len(checkpoint["state_dict"]) == 2 * 7 * 2  # A and B of seven layers, two blocks
    assert all(".lora_" in name for name in checkpoint["state_dict"])
    assert {"RandomState"} <= set(checkpoint["callbacks"])
    assert checkpoint["hyper_parameters"]["lora"]["r"] == 4


def test_resuming_onto_other_data_is_refused(base: str, pairs_file: str, tmp_path: Path) -> None:
    run_in_parts(base, pairs_file, tmp_path / "a", [{"max_steps": 2}])
    changed = Path(pairs_file).with_name("changed.json")
    changed.write_text(Path(pairs_file).read_text().replace("Yes", "Yeah"), encoding="utf-8")

    for file, settings, message in (
        (changed, {}, "cannot resume: data.train_path .*changed.json has other pairs than "),
        (
            pairs_file,
            {"system_prompt": "Be brief."},
            "data.system_prompt was .* and is 'Be brief.'",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            make_trainer(tmp_path).fit(
                make_module(base, tmp_path),
                make_data(base, str(file), batch_size=2, accumulate_batches=1, **settings),
                ckpt_path=tmp_path / "a" / "last.ckpt",
                weights_only=True,
            )


def test_pairs_that_are_equal_once_cut_change_nothing_unless_they_are_kept(
    base: str, pairs_file: str, tmp_path: Path
) -> None:
    records = json.loads(Path(pairs_file).read_text())
    equal = {"question": "Q?", "chosen": "a" * 800 + "b", "rejected": "a" * 800}
    among = tmp_path / "among.json"
    among.write_text(json.dumps([equal, *records[:4], equal, *records[4:]]))
    val = {"val_path": pairs_file}

    still: dict[str, Any] = {"lora": LoraSettings(r=4, alpha=8)}  # no dropout

    lightning.seed_everything(1, verbose=False)
    alone = fit(base, pairs_file, tmp_path, **still)
    lightning.seed_everything(1, verbose=False)
    left_out = fit(base, str(among), tmp_path, data=val, **still)
    kept = fit(base, str(among), tmp_path, data=val | {"keep_equal_pairs": True}, **still)

    assert left_out[1].records == alone[1].records
    assert left_out[1].losses == alone[1].losses
    assert sorted(sum(kept[1].records[:2], [])) == list(range(12))


def test_a_run_that_is_resumed_on_another_day_renders_the_day_it_began(
    base: str, pairs_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_day = tmp_path / "with_day"
    shutil.copytree(base, with_day)
    tokenizer: Any = AutoTokenizer.from_pretrained(with_day)
    tokenizer.chat_template = (
        "{{ strftime_now('%d %b %Y') }}{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"
    )
    tokenizer.save_pretrained(with_day, save_jinja_files=False)
    days = iter(["2026-11-30", "2026-12-01"])
    monkeypatch.setattr(template, "today", lambda: next(days))
    stops = [{"max_steps": 3}, {"max_steps": 4}]

    run_in_parts(str(with_day), pairs_file, tmp_path / "a", stops)

    assert next(days, None) is None
    saved = torch.load(tmp_path / "a" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 4
    assert saved["PreferenceDataModule"]["provenance"]["date"] == "2026-11-30"
    out = tmp_path / "out"
    assert main(["export", str(tmp_path / "a" / "last.ckpt"), "--out", str(out)]) == 0
    asked = chat_of(provenance_of(out))
    assert asked.date == "2026-11-30"
    ids, _ = asked.encode_prompt([Message("user", "Q?")], 300)
    assert asked.tokenizer.decode(ids).startswith("30 Nov 2026")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lora": {"r": 4, "target_modules": ["q_proj"]}}, "other layers than this run's"),
        ({"adapter": "elsewhere"}, "elsewhere"),
    ],
)
def test_a_checkpoint_of_another_adapter_or_reference_is_refused(
    base: str, pairs_file: str, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    # strict_loading is off, and would load nothing of it without a word
    run_in_parts(base, pairs_file, tmp_path / "a", [{"max_steps": 2}])

    with pytest.raises(AdapterError, match=message):
        make_trainer(tmp_path).fit(
            make_module(base, tmp_path, **settings),
            make_data(base, pairs_file, batch_size=2, accumulate_batches=1),
            ckpt_path=tmp_path / "a" / "last.ckpt",
            weights_only=True,
        )


def test_a_module_loads_from_its_checkpoint_alone(
    base: str, pairs_file: str, tmp_path: Path
) -> None:
    weights, _, _ = run_in_parts(base, pairs_file, tmp_path / "a", [{"max_steps": 2}])

    module = DPOModule.load_from_checkpoint(tmp_path / "a" / "last.ckpt", weights_only=True)

    for name, weight in adapter_of(module).items():
        assert torch.equal(weight, weights[name])


# -- what stops a run -----------------------------------------------------------------------------


def test_a_cache_of_another_model_stops_the_run_before_the_first_step(
    base: str, pairs_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(base, pairs_file, tmp_path, reference="cached")
    original = ReferenceCache.lookup
    monkeypatch.setattr(
        ReferenceCache,
        "lookup",
        lambda self, pairs: original(self, pairs) + torch.tensor([0.0, 5.0]),
    )
    recorder = Recorder()

    with pytest.raises(AdapterError, match=r"first loss is 0\.4\d+ and must be ln 2"):
        make_trainer(tmp_path, callbacks=[recorder]).fit(
            make_module(base, tmp_path, reference="cached"), make_data(base, pairs_file)
        )
    assert recorder.losses == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beta": 0.0}, r"model\.beta must be > 0, got 0\.0"),
        ({"label_smoothing": 0.5}, r"model\.label_smoothing must be in \[0, 0\.5\)"),
        ({"warmup_ratio": 2.0}, r"model\.warmup_ratio must be in \[0, 1\]"),
        ({"lora": {"dropout": 1.0}}, r"model\.lora\.dropout must be in \[0, 1\)"),
        ({"max_grad_norm": -1.0}, r"model\.max_grad_norm must be >= 0, got -1\.0"),
        ({"learning_rate": math.inf}, r"model\.learning_rate must be > 0, got inf"),
        ({"weight_decay": math.nan}, r"model\.weight_decay must be >= 0, got nan"),
        ({"learning_rate": "1e-3"}, r"model\.learning_rate must be > 0, got 1e-3"),
        ({"lora": {"r": True}}, r"model\.lora\.r must be >= 1, got True"),
        ({"loss": "ipo", "label_smoothing": 0.1}, "0.1: set it to 0, for the loss ipo does not"),
    ],
)
def test_values_out_of_range_are_refused(
    base: str, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make_module(base, tmp_path, **settings)


@pytest.mark.parametrize("most", [0.0, 0.01])
def test_a_gradients_norm_is_exact_and_0_clips_nothing(
    most: float, base: str, tmp_path: Path
) -> None:
    module = make_module(base, tmp_path, max_grad_norm=most)
    adapter = torch.nn.Parameter(torch.zeros(4_000_000))
    module.policy = SimpleNamespace(adapter=adapter)  # type: ignore[assignment]
    module.trainer = make_trainer(tmp_path)
    gradient = torch.randn(adapter.shape, generator=torch.Generator().manual_seed(0))
    adapter.grad = gradient.clone()

    module.on_before_optimizer_step(torch.optim.AdamW([adapter], lr=0.125))

    norm = gradient.double().norm().item()
    assert module.grad_norm.item() == pytest.approx(norm, rel=1e-7)
    assert module.step_rate == 0.125
    clipped = gradient * (most / norm) if most else gradient
    torch.testing.assert_close(adapter.grad, clipped, rtol=1e-5, atol=0)


def test_the_learning_rate_of_a_log_point_is_the_steps_own(
    base: str, pairs_file: str, tmp_path: Path
) -> None:
    rates: list[float] = []

    class Rates(lightning.Callback):
        def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
            rates.append(trainer.callback_metrics["train/learning_rate"].item())

    schedule = {"lr_schedule": "linear", "warmup_ratio": 0.25, "learning_rate": 0.003}
    trainer = make_trainer(tmp_path, callbacks=[StepLog(), Rates()], log_every_n_steps=1)
    trainer.fit(make_module(base, tmp_path, **schedule), make_data(base, pairs_file))

    assert rates == pytest.approx([0.0, 0.003, 0.002, 0.001])


def test_a_precision_that_would_round_adapter_and_metrics_is_refused(
    base: str, pairs_file: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="bf16-true is not supported"):
        make_trainer(tmp_path, precision="bf16-true").fit(
            make_module(base, tmp_path), make_data(base, pairs_file)
        )


def test_bf16_mixed_trains_with_float32_adapter_weights(
    base: str, pairs_file: str, tmp_path: Path
) -> None:
    module, recorder = make_module(base, tmp_path), Recorder()

    make_trainer(tmp_path, precision="bf16-mixed", callbacks=[recorder]).fit(
        module, make_data(base, pairs_file)
    )

    assert recorder.losses[0] == pytest.approx(math.log(2), abs=0.02)
    assert recorder.losses[-1] < 0.65
    assert {weight.dtype for weight in adapter_of(module).values()} == {torch.float32}


def test_the_base_stays_where_it_is_when_a_fit_is_over(
    base: str, pairs_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refuse(lightning.Callback):
        def on_train_end(self, *_: Any) -> None:
            monkeypatch.setattr(Policy, "_apply", lambda *_: pytest.fail("the base is moved"))

    trainer, data = make_trainer(tmp_path, callbacks=[Refuse()]), make_data(base, pairs_file)

    trainer.fit(module := make_module(base, tmp_path), data)

    with pytest.raises(pytest.fail.Exception, match="the base is moved"):
        module.to(torch.device("cpu"))  # as Lightning does at a start, and would at an end


# -- log points -----------------------------------------------------------------------------------


def test_log_points_are_the_first_step_every_nth_and_the_last_and_cover_every_pair(
    base: str, pairs_file: str, tmp_path: Path
) -> None:
    class Sink(lightning.pytorch.loggers.CSVLogger):
        rows: list[tuple[int, dict[str, float]]] = []

        def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
            if "train/loss" in metrics:
                self.rows.append((step or 0, metrics))

    module, sink = make_module(base, tmp_path), Sink(tmp_path)
    trainer = make_trainer(
        tmp_path, logger=sink, log_every_n_steps=4, max_steps=6, callbacks=[StepLog()]
    )

    trainer.fit(module, make_data(base, pairs_file, batch_size=2, accumulate_batches=1))

    # windows 1, 2-4 and 5-6: weighted by their pairs they make the mean over the run
    assert [step for step, _ in sink.rows] == [1, 4, 6]
    losses = [row["train/loss"] for _, row in sink.rows]
    expected = means_of(module.train_means.total)["loss"].item()
    assert (losses[0] + 3 * losses[1] + 2 * losses[2]) / 6 == pytest.approx(expected, abs=1e-6)
    assert losses[0] == pytest.approx(math.log(2), abs=1e-5)
    assert sink.rows[0][1].keys() >= {
        "train/rewards/accuracies",
        "train/rewards/margins",
        "train/logps/chosen",
        "train/grad_norm",
        "train/learning_rate",
        "train/pairs_per_second",
    }


@pytest.mark.parametrize(
    ("seconds", "steps", "said"),
    [
        (lambda _: 1.0, 105, ["1000 ms a step: about 1 min 35 s for the 95 steps that are left"]),
        # As with CUDA graphs: a size of batch is slow until it is captured.
        pytest.param(
            lambda step: 0.1 if step < 50 else 0.02,
            105,
            ["20 ms a step: about 0 min 00 s for the 5 steps that are left"],
            marks=pytest.mark.slow,
        ),
        pytest.param(lambda _: 0.02, 100, [], marks=pytest.mark.slow),  # by then it is over
    ],
)
def test_once_it_is_known_a_run_says_how_long_it_takes(
    seconds: Callable[[int], float],
    steps: int,
    said: list[str],
    base: str,
    pairs_file: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Clock(lightning.Callback):
        now = 0.0

        def on_train_batch_end(self, trainer: lightning.Trainer, *args: Any) -> None:
            self.now += seconds(trainer.global_step)

    clock, data = Clock(), make_data(base, pairs_file, batch_size=2, accumulate_batches=1)
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    caplog.set_level("INFO", logger="fitbot")

    make_trainer(
        tmp_path,
        max_epochs=-1,
        max_steps=steps,
        log_every_n_steps=105,
        callbacks=[clock, StepLog()],
    ).fit(make_module(base, tmp_path), data)

    assert [text for text in caplog.messages if "ms a step" in text] == said


def test_predict_scores_every_pair(base: str, pairs_file: str, tmp_path: Path) -> None:
    module = make_module(base, tmp_path)

    batches: Any = make_trainer(tmp_path).predict(
        module, make_data(base, pairs_file, test_path=pairs_file)
    )

    rows = [row for batch in batches for row in batch]
    assert [row["pair"] for row in rows] == list(range(10))
    assert all(row["margin"] == 0 and row["logps/chosen"] < -10 for row in rows)
    json.dumps(rows)


# -- memory ---------------------------------------------------------------------------------------


def out_of_memory_above(
    tokens: int, monkeypatch: pytest.MonkeyPatch, *, measuring: bool = False
) -> list[int]:
    """Let passes of more tokens fail as a GPU's do; returns the sizes that were tried.

    Training passes, or with `measuring` those without gradient: reference, checks, validation.
    """
    tried: list[int] = []
    original = Policy.logps

    def limited(self: Policy, batch: PairBatch) -> Tensor:
        if torch.is_grad_enabled() != measuring:
            tried.append(batch.input_ids.numel())
            if tried[-1] > tokens:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return original(self, batch)

    monkeypatch.setattr(Policy, "logps", limited)
    return tried


@pytest.mark.parametrize("reference", ["cached", "online"])
@pytest.mark.parametrize("measuring", [False, True])
def test_where_memory_runs_out_passes_get_smaller_and_nothing_else_changes(
    base: str,
    pairs_file: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    measuring: bool,
    reference: str,
) -> None:
    results = []
    for limit in (10**9, 500):
        tried = out_of_memory_above(limit, monkeypatch, measuring=measuring)
        module = make_module(
            base,
            tmp_path / str(limit),
            lora=LoraSettings(r=4, alpha=8, dropout=0.0),
            reference=reference,
        )
        trainer = make_trainer(tmp_path, max_epochs=2)
        trainer.fit(module, make_data(base, pairs_file))
        loss = means_of(module.train_means.total)["loss"]
        val_loss = trainer.callback_metrics["val/loss"]
        results.append((adapter_of(module), [loss.item(), val_loss.item()], tried))
        monkeypatch.undo()

    (expected, expected_loss, whole), (actual, losses, smaller) = results
    assert max(whole) > 500 > max(smaller[-4:])
    assert sum(size > 500 for size in smaller) <= 2  # the lower budget is kept
    assert losses == pytest.approx(expected_loss, rel=1e-4)
    for name, weight in expected.items():
        assert (actual[name] - weight).abs().max() < 2e-4, name


@pytest.mark.parametrize(
    ("limit", "settings", "said"),
    [
        (0, {}, "in a forward pass of 112 tokens. Less is needed with any of these: model.load_in"),
        (500, {"max_tokens_per_pass": 4000}, "of 896 tokens. .*: data.max_tokens_per_pass: 448, m"),
    ],
)
def test_where_passes_cannot_be_smaller_the_run_stops_and_says_what_would_help(
    base: str,
    pairs_file: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limit: int,
    settings: dict[str, int],
    said: str,
) -> None:
    out_of_memory_above(limit, monkeypatch)

    with pytest.raises(NoMemoryError, match=f"out of memory .*{said}"):
        make_trainer(tmp_path).fit(
            make_module(base, tmp_path), make_data(base, pairs_file, **settings)
        )


def test_where_single_pairs_do_not_fit_activations_are_recomputed(
    base: str,
    pairs_file: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    still, single = {"lora": LoraSettings(r=4, alpha=8, dropout=0.0)}, {"max_tokens_per_pass": 1}
    plain, _ = fit(base, pairs_file, tmp_path / "a", data=single, **still)
    original = Policy.logps

    def limited(self: Policy, batch: PairBatch) -> Tensor:
        if torch.is_grad_enabled() and not self.recomputes and self.measured:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return original(self, batch)

    class Measured(lightning.Callback):
        def on_train_start(self, *_: Any) -> None:
            Policy.measured = True  # type: ignore[attr-defined]

    monkeypatch.setattr(Policy, "measured", False, raising=False)
    monkeypatch.setattr(Policy, "logps", limited)
    caplog.set_level("WARNING", logger="fitbot")
    module = make_module(base, tmp_path / "b", **still)
    trainer = make_trainer(tmp_path, callbacks=[Measured()])
    trainer.fit(module, make_data(base, pairs_file, **single))

    assert [text for text in caplog.messages if "recomputed in backward" in text]
    expected = adapter_of(plain)
    for name, weight in adapter_of(module).items():
        assert torch.equal(weight, expected[name]), name
    monkeypatch.setattr(Policy, "measured", False)
    with pytest.raises(NoMemoryError, match="gradient_checkpointing: true"):
        make_trainer(tmp_path, callbacks=[Measured()]).fit(
            make_module(base, tmp_path / "c", gradient_checkpointing=False),
            make_data(base, pairs_file, **single),
        )


@pytest.mark.gpu
def test_however_little_memory_a_gpu_has_the_result_is_the_same(tmp_path: Path) -> None:
    # So large that cuBLAS's workspaces, 32 MiB for each stream, are a small part of what it needs.
    base = str(write_tiny_model(tmp_path / "base", hidden_size=512, num_layers=4))
    answers = ("yes " * 100, "no, " * 90)
    records = [
        {"question": f"{n}? " * 40, "chosen": answers[n % 2], "rejected": answers[(n + 1) % 2]}
        for n in range(14)
    ]
    path = tmp_path / "long.json"
    path.write_text(json.dumps(records), encoding="utf-8")
    device = torch.cuda.current_device()
    total = torch.cuda.get_device_properties(device).total_memory

    def fit_within(num_bytes: int) -> tuple[Tensor, dict[str, float], int]:
        gc.collect()  # trainer and module refer to each other: the last one's memory is held
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.set_per_process_memory_fraction(min(1.0, num_bytes / total))
        lora = LoraSettings(r=4, alpha=8, dropout=0.0)
        module = make_module(base, tmp_path, lora=lora, engine="compiled", learning_rate=1e-3)
        # The pass is launched in the first epoch, captured in the second, replayed in the third.
        trainer = make_trainer(tmp_path, max_epochs=3, accelerator="gpu", devices=1)
        data = make_data(base, str(path), batch_size=14, accumulate_batches=1)
        trainer.fit(module, data)
        means = means_of(module.train_means.total) | trainer.callback_metrics
        figures = {
            name: means[name].item() for name in ("loss", "rewards/margins", "val/rewards/margins")
        }
        adapter = torch.cat([weight.flatten().cpu() for weight in adapter_of(module).values()])
        return adapter, figures, data.token_budget

    try:
        expected, figures, budget = fit_within(total)
        peak = torch.cuda.max_memory_reserved()
        budgets = []
        for share in (0.9, 0.7, 0.5, 0.35):
            actual, others, left = fit_within(int(share * peak))
            budgets.append(left)
            assert others == pytest.approx(figures, rel=0.01), share
            # Adam gives a gradient of nothing but rounding as large a step as any other.
            assert (actual - expected).norm() < 0.05 * expected.norm(), share
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert budgets[-1] < budget, budgets
