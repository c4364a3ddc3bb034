"""What a fit says came of it: saturation where the curves show it, and one word with reasons."""

import itertools
import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import torch

from fitbot.__main__ import main
from fitbot.audit.rules import RuleScore, wilson_interval
from fitbot.dpo.callbacks import StepLog
from fitbot.dpo.losses import LOSSES, Objective
from fitbot.dpo.saturation import Curve, Saturation, saturated_at
from fitbot.dpo.verdict import Figures, Word, verdict_on
from fitbot.pairs import datamodule
from fitbot.pairs.formats import Message, PreferencePair
from tests.conftest import ROOT, make_module


def curves(**values: list[float]) -> dict[str, Curve]:
    """Log points every 50 steps."""
    names = {"margin": "rewards/margins", "accuracy": "rewards/accuracies", "norm": "grad_norm"}
    return {
        f"train/{names[name]}": [(50 * n + 50, value) for n, value in enumerate(series)]
        for name, series in values.items()
    }


# The first log points of configs/dpo.yaml on the published pairs: SmolLM2-135M-Instruct, NF4, H200.
PUBLISHED = curves(
    margin=[0.063, 0.454, 1.288, 2.646, 3.963, 4.761],
    accuracy=[0.7679, 1.0, 1.0, 1.0, 1.0, 1.0],
    norm=[7.2, 5.157, 2.201, 0.715, 0.187, 0.206],
)
# configs/dpo_v1_1.yaml on fitbot's pairs, likewise.
OURS = curves(
    margin=[0.0014, -0.0013, 0.0006, 0.0013, -0.0016, 0.0099],
    accuracy=[0.5102, 0.4825, 0.4875, 0.495, 0.5025, 0.555],
    norm=[2.186, 1.972, 1.851, 2.15, 2.944, 2.201],
)


SATURATED = curves(margin=[0.1, 1, 3], accuracy=[0.7, 0.99, 1.0], norm=[8, 5, 0.5])
TOLD_APART = curves(margin=[0.1, 1.0, 2.1], accuracy=[0.7, 0.99, 1.0], norm=[8, 5, 0.5])


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        (PUBLISHED, 200),
        (OURS, None),
        (SATURATED, 150),
        # Told apart, but not by much; by much, but not all; all by much, and the gradient is large.
        (TOLD_APART, None),
        (curves(margin=[0.1, 3, 4], accuracy=[0.7, 0.9, 0.98], norm=[8, 0.5, 0.5]), None),
        (curves(margin=[0.1, 3, 4], accuracy=[0.7, 1.0, 1.0], norm=[8, 5, 4]), None),
        ({}, None),
    ],
)
def test_saturation_is_where_nothing_is_left_to_learn(
    recorded: dict[str, Curve], expected: int | None
) -> None:
    assert saturated_at(recorded) == expected


def test_saturation_goes_by_what_the_objective_wants() -> None:
    hedged = curves(margin=[0.1, 0.4, 0.46], accuracy=[0.7, 1.0, 1.0], norm=[8, 0.5, 0.5])

    assert Objective(0.1).margin_sought == math.inf
    objectives = Objective(0.1, 0.1), Objective(0.1, 0.0, "ipo")
    smoothed, ipo = (objective.margin_sought or 0.0 for objective in objectives)
    assert saturated_at(TOLD_APART, sought=smoothed) == 150
    assert saturated_at(hedged, sought=smoothed) is None
    assert saturated_at(hedged, sought=ipo) == 150
    # Learning by heart has a gradient as long as it lasts.
    by_heart = curves(margin=[0.1, 1, 3], accuracy=[0.7, 0.99, 1.0], norm=[8, 5, 5])
    assert saturated_at(by_heart) is None
    assert saturated_at(by_heart, imitates=True) == 150


def test_a_step_that_the_loss_scale_skipped_tells_nothing_of_saturation() -> None:
    skipped = curves(margin=[0.1, 1, 3], accuracy=[0.7, 0.99, 1.0], norm=[8, math.inf, 5])

    assert saturated_at(skipped) is None


@pytest.mark.parametrize("loss", [name for name, kind in LOSSES.items() if kind.has_reference])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_run_begins_at_the_loss_of_a_reference_that_prefers_nothing(
    loss: str, smoothing: float
) -> None:
    equal = torch.zeros(1, 2)
    objective = Objective(0.3, smoothing, loss)

    terms = objective.terms(equal, equal)

    known = {"ipo": 1 / 0.6**2, "hinge": 1.0, "apo_zero": 1.0}
    assert terms.losses.item() == pytest.approx(known.get(loss, math.log(2)))
    assert objective.untrained == pytest.approx(known.get(loss, math.log(2)))
    assert replace(objective, nll_weight=0.1).untrained is None
    assert replace(objective, loss="mine.hinge").untrained is None


@pytest.mark.parametrize("loss", ["simpo", "orpo", "sft"])
def test_without_a_reference_nothing_is_known_of_the_start(loss: str) -> None:
    assert Objective(2.0, loss=loss).untrained is None
    assert Objective(2.0, loss=loss).derived(1.0) == {}
    assert Objective(2.0, loss="hinge").derived(1.0) == {"logratios/chosen": 0.5}


def test_supervised_fine_tuning_seeks_no_margin_and_so_is_never_saturated_by_one() -> None:
    assert Objective(0.1, loss="sft").margin_sought is None
    assert Objective(0.1, loss="sft").imitates
    assert Objective(0.1, nll_weight=0.1).imitates
    assert not Objective(0.1).imitates


@pytest.mark.parametrize(
    ("loss", "smoothing"), [("sigmoid", 0.1), ("sigmoid", 0.3), ("ipo", 0.0), ("hinge", 0.0)]
)
def test_at_the_margin_sought_a_pair_pulls_no_more(loss: str, smoothing: float) -> None:
    objective = Objective(0.1, smoothing, loss)
    margin = objective.margin_sought
    assert margin is not None
    beyond = 1e-9 if loss == "hinge" else 0.0  # whose gradient jumps there
    score = margin / 0.1 + beyond
    logps = torch.tensor([[score, 0.0]], dtype=torch.float64, requires_grad=True)

    objective.terms(logps, torch.zeros_like(logps)).losses.sum().backward()

    assert logps.grad is not None
    assert logps.grad.abs().max() < 1e-12


def rule(name: str, accuracy: float, count: int = 600) -> RuleScore:
    return RuleScore(name, accuracy, *wilson_interval(accuracy, count), 0)


def test_displacement_is_among_the_reasons() -> None:
    fell = replace(LEARNED, chosen_change=-3.25)

    assert verdict_on(fell).startswith("learned: ")
    assert "chosen answers became less likely, too, by 3.25 nats (displacement)" in verdict_on(fell)
    assert "displacement" not in verdict_on(replace(LEARNED, chosen_change=0.5))
    assert "displacement" not in verdict_on(LEARNED)
    assert "fitbot evaluate says" in verdict_on(replace(LEARNED, has_reference=False))


CHANCE = RuleScore("longer", 0.51, 0.47, 0.55, 0)
LENGTH = RuleScore("the longer answer", 0.99, 0.97, 1.0, 0)
BAG = RuleScore("bag of words", 0.6, 0.56, 0.64, 0)
LEARNED = Figures(0.9, 2.0, 0.8, 1.5, [0.6, 0.5, 0.5], 600, None, 300, CHANCE, 400)
STILL = replace(LEARNED, train_accuracy=0.5, train_margin=0.01, val_accuracy=0.49, val_margin=0.01)
UNMEASURED = replace(LEARNED, val_accuracy=None, val_margin=None, val_losses=[], num_val=0)


@pytest.mark.parametrize(
    ("figures", "word", "reason"),
    [
        (LEARNED, "learned", r"0\.800 \[0\.766, 0\.830\] on 600 validation pairs; .*\(best 0\.510"),
        (
            replace(LEARNED, question_rule=BAG),
            "learned",
            r"beyond rules .* \(best 0\.510\) and beyond what a bag of words learns \(0\.600\)",
        ),
        (replace(LEARNED, shortcut=LENGTH), "memorised a shortcut", "longer answer. reaches 0.990"),
        (
            replace(LEARNED, val_accuracy=1.0, shortcut=LENGTH, saturated_at=100),
            "memorised a shortcut",
            "saturated at step 100 of 300",
        ),
        # That the training pairs had no more to teach says nothing of what was learned.
        (replace(LEARNED, saturated_at=100), "learned", "saturated at step 100 of 300"),
        (replace(LEARNED, val_losses=[0.5, 0.4, 0.6]), "overfitted", "rose by 50%"),
        (STILL, "did not move", "margin 0.0100; not clearly better than chance$"),
        # Where training pairs are told apart, it did move.
        (
            replace(STILL, train_accuracy=0.9, train_margin=2.0),
            "not learned",
            r"not clearly better than chance; of the latest training pairs it has 0\.900",
        ),
        (replace(LEARNED, val_accuracy=0.51), "not learned", "not clearly better than chance"),
        (replace(LEARNED, val_accuracy=0.25), "worse than chance", r"0\.286\] on .* below 0\.5"),
        # The figures: 60 pairs, and nothing else is wrong.
        (
            replace(STILL, val_accuracy=0.3, num_val=60, val_margin=-0.01),
            "worse than chance",
            r"0\.300 \[0\.199, 0\.425\] on 60 validation pairs; the whole interval is below 0\.5$",
        ),
        # A length-biased fit: told apart in training, by length; saturated; it fails on validation.
        (
            replace(LEARNED, val_accuracy=0.433, saturated_at=9, train_shortcut=LENGTH),
            "worse than chance",
            r"longer answer\) reaches 0\.990 on the training pairs; saturated at step 9 of 300",
        ),
        (
            replace(LEARNED, val_accuracy=0.433, num_val=60, saturated_at=9),
            "not learned",
            r"\[0\.315, 0\.559\] .*not clearly better than chance; .*; saturated at step 9 of 300",
        ),
        (
            replace(LEARNED, val_losses=[3.1, 3.15]),
            "not learned",
            r"the loss, 3\.150, is above the 0\.693 it began with",
        ),
        (replace(LEARNED, val_margin=-1.5), "not learned", r"the mean margin, -1\.500, is below 0"),
        (replace(LEARNED, equal_pairs=20), "learned", "in 20 training pairs both answers are the"),
        (
            replace(LEARNED, val_losses=[0.70, 0.4, 3.15], val_accuracy=0.25),
            "worse than chance",
            r"rose by 687%.*; the loss, 3\.150, is above",
        ),
        (
            replace(LEARNED, val_losses=[0.70, 0.4, 3.15], val_accuracy=0.5),
            "overfitted",
            r"rose by 687%.*; not clearly better than chance; the loss, 3\.150, is above",
        ),
        # It has risen, but not from anything that was learned.
        (replace(LEARNED, val_losses=[0.69, 0.9]), "not learned", "0.900, is above"),
        (replace(LEARNED, val_losses=[20.0, 24.0], untrained_loss=25.0), "overfitted", "by 20%"),
        (replace(LEARNED, val_losses=[3.1, 3.15], untrained_loss=None), "learned", "best 0.510"),
        # Margins that cancel out are not the margins of a model that did not move.
        (
            replace(LEARNED, val_accuracy=0.5, val_margin=0.0, val_losses=[3.15]),
            "not learned",
            "not clearly better than chance; the loss, 3.150",
        ),
        (
            replace(LEARNED, shortcut=RuleScore("longer", 0.78, 0.51, 0.9, 0)),
            "not shown to beat the rule",
            r"\(longer\) reaches 0\.780, which is not below that interval",
        ),
        (
            replace(LEARNED, shortcut=RuleScore("longer", 0.9, 0.51, 1.0, 0), saturated_at=9),
            "not shown to beat the rule",
            "saturated at step 9",
        ),
        # The better of "longer" and "shorter" is above 0.5 by itself: chance is no reason.
        (
            replace(
                LEARNED,
                val_accuracy=0.62,
                num_val=100,
                shortcut=rule("the longer answer", 0.555, 100),
            ),
            "learned",
            r"above chance, as no rule .* clearly is \(best 0\.555 \[0\.457, 0\.649\]\)$",
        ),
        (
            replace(
                LEARNED,
                val_accuracy=0.62,
                num_val=100,
                shortcut=rule("the longer answer", 0.555, 100),
                question_rule=rule("bag of words", 0.6, 100),
            ),
            "no more than a bag of words",
            r"100 validation pairs; a bag of words that reads the question reaches 0\.600",
        ),
        (replace(LEARNED, shortcut=RuleScore("longer", 0.76, 0.7, 0.8, 0)), "learned", "0.760"),
        (
            replace(LEARNED, question_rule=RuleScore("bag of words", 0.772, 0.74, 0.8, 0)),
            "no more than a bag of words",
            "that reads the question reaches 0.772, which is not below that interval",
        ),
        # A rule explains no accuracy that is not above chance.
        (replace(LEARNED, val_accuracy=0.3, shortcut=LENGTH), "worse than chance", "below 0.5; of"),
        *(
            (
                replace(LEARNED, val_accuracy=share, num_val=8, val_losses=[0.4, loss]),
                "too few to say",
                "on 8 validation pairs; the interval is wider than 0.3",
            )
            for share, loss in ((1.0, 0.4), (0.5, 3.15), (0.25, 0.4))
        ),
        # Too few for a narrow interval, and enough for this.
        (replace(LEARNED, val_accuracy=0.0, num_val=8), "worse than chance", r"\[0\.000, 0\.324\]"),
        (replace(LEARNED, val_accuracy=0.75, num_val=39), "learned", "on 39 validation pairs"),
        # One question asked again and again says no more than asked once.
        (
            replace(LEARNED, num_questions=8),
            "too few to say",
            r"\[0\.455, 0\.950\] on 600 validation pairs of 8 questions; the interval is wider",
        ),
        (
            replace(LEARNED, val_accuracy=1.0, num_val=8, shortcut=LENGTH),
            "memorised a shortcut",
            "8",
        ),
        (UNMEASURED, "not measured", "set data.val_path.*; there were no validation pairs.* only$"),
        (
            replace(UNMEASURED, train_accuracy=0.52, train_margin=0.01),
            "did not move",
            r"0\.520 \[0\.471, 0\.569\] on the latest 400 training pairs; margin 0\.0100",
        ),
        (
            replace(UNMEASURED, train_accuracy=0.25, train_loss=3.15),
            "worse than chance",
            r"the loss, 3\.150, is above .* training pairs only",
        ),
        (replace(UNMEASURED, train_accuracy=0.49), "not learned", "not clearly better than chance"),
        (
            replace(UNMEASURED, train_accuracy=0.49, num_train=8),
            "not measured",
            "training pairs onl",
        ),
        (replace(UNMEASURED, train_loss=0.8), "not learned", "0.800, is above the 0.693"),
        (replace(UNMEASURED, shortcut=LENGTH), "memorised a shortcut", "of the training pairs onl"),
        (
            replace(UNMEASURED, saturated_at=9),
            "not measured",
            "training pairs only; saturated at st",
        ),
        # Nearly the rule's figure, and the rule's is no more than chance: learned little, but so.
        (replace(LEARNED, val_accuracy=0.56), "learned", "best 0.510"),
    ],
)
def test_the_verdict_is_drawn_from_figures(figures: Figures, word: str, reason: str) -> None:
    verdict = verdict_on(figures)

    assert verdict.startswith(f"{word}: ")
    assert re.search(reason, verdict), verdict


def every_combination() -> Iterator[Figures]:
    """Accuracy, pairs, margin, losses, rules, saturation and training figures, all against all."""
    for accuracy, num_val, margin, losses, longest, bag, saturated, told_apart in itertools.product(
        (None, 0.0, 0.3, 0.433, 0.5, 0.53, 0.6, 0.8, 1.0),
        (8, 60, 600),
        (-1.0, 0.01, 1.5),
        ([], [0.5], [0.9], [0.5, 0.4, 0.6], [0.5, 0.4, 3.0]),
        (0.5, 0.535, 0.58, 0.99),
        (None, 0.55, 0.79),
        (None, 100),
        ((0.5, 0.0), (0.2, -1.0), (0.99, 3.0)),
    ):
        yield Figures(
            *told_apart,
            accuracy,
            margin if accuracy is not None else None,
            losses if accuracy is not None else [],
            num_val if accuracy is not None else 0,
            saturated,
            300,
            rule("the longer answer", longest),
            64,
            question_rule=None if bag is None else rule("bag of words", bag),
        )


def check_rules(reasons: str, low: float, shortcut: RuleScore, bag: RuleScore | None) -> None:
    """No rule reaches what is not above chance, and none is beaten that is."""
    if re.search(r"reaches [\d.]+(,|;|$)", reasons):
        assert low > 0.5, reasons
    if "beyond rules" in reasons:
        assert low > shortcut.accuracy, reasons
    if "above chance, as no rule" in reasons:
        assert shortcut.low <= 0.5 < low <= shortcut.accuracy, reasons
    if "beyond what a bag of words" in reasons:
        assert bag is not None, reasons
        assert low > bag.accuracy, reasons


def test_no_word_of_a_verdict_contradicts_its_figures() -> None:
    words = set()
    for figures in every_combination():
        verdict = verdict_on(figures)
        word, reasons = verdict.split(": ", 1)
        words.add(word)
        validated = figures.val_accuracy is not None
        accuracy = figures.val_accuracy if validated else figures.train_accuracy
        assert accuracy is not None
        low, high = wilson_interval(accuracy, figures.num_val if validated else 64)
        loss = figures.val_losses[-1] if figures.val_losses else None
        # What is below chance is called so, and nothing else is.
        assert (word == "worse than chance") == (high < 0.5), verdict
        assert ("below 0.5" in reasons) == (high < 0.5), verdict
        assert ("not clearly better than chance" not in reasons) or low <= 0.5 <= high, verdict
        check_rules(reasons, low, figures.shortcut, figures.question_rule)
        if word == "learned":
            assert validated, verdict
            assert low > 0.5, verdict
            assert high - low <= 0.3, verdict
            assert loss is None or loss <= math.log(2), verdict
            assert (figures.val_margin or 0.0) > -0.02, verdict
        if word == "did not move":
            assert low <= 0.5 <= high, verdict
            assert abs(figures.train_margin) < 0.02, verdict
        if word in ("memorised a shortcut", "not shown to beat the rule"):
            assert 0.5 < low <= figures.shortcut.accuracy + 0.02, verdict
            assert figures.shortcut.low > 0.5, verdict
        if word == "no more than a bag of words":
            assert figures.question_rule is not None, verdict
            assert 0.5 < low <= figures.question_rule.accuracy, verdict
        if word == "overfitted":
            assert loss is not None, verdict
            assert loss > 1.05 * min(figures.val_losses), verdict
        if word == "too few to say":
            assert high - low > 0.3, verdict
        # Saturation is said and is no verdict; so is a loss above its start.
        assert ("saturated at step 100 of 300" in reasons) == (figures.saturated_at is not None)
        assert ("is above the 0.693" in reasons) == (loss is not None and loss > math.log(2))
        assert reasons.count("no validation pairs") == (not validated)

    assert words == set(get_args(Word))


def write_pairs(path: Path, count: int) -> None:
    """Every chosen answer is a long yes, every rejected one a short no."""
    rows = [
        {
            "question": f"Is food number {n} good for me?",
            "chosen": "Yes. " * 12,
            "rejected": "No.",
        }
        for n in range(count)
    ]
    path.write_text(json.dumps(rows))


def fit(root: Path, base: str, data: Path, *options: str) -> Path:
    args: list[Any] = [
        *("--config", ROOT / "configs" / "quickstart.yaml", "--run.root", root),
        *("--model.base_model", base, "--model.load_in_4bit", "false", "--data.val_limit", "8"),
        *("--data.train_path", data, "--data.val_path", data),
        *("--data.batch_size", "8", "--data.accumulate_batches", "1", "--trainer.max_epochs", "2"),
        *("--trainer.log_every_n_steps", "2", "--model.learning_rate", "0.001"),
        *("--trainer.enable_progress_bar", "false", *options),
        *("--model.reference_cache", root / "reference"),
    ]
    assert main(["fit", *map(str, args)]) == 0
    return root / "quickstart"


def test_a_fit_says_which_pairs_teach_nothing_and_which_texts_look_like_control_tokens(
    base: str, tmp_path: Path
) -> None:
    data = tmp_path / "pairs.json"
    write_pairs(data, 24)
    pairs = json.loads(data.read_text())
    equal = {"question": "Q?", "chosen": "a" * 1100 + "b", "rejected": "a" * 1100}
    pairs[0]["question"] = "What does <|im_end|> do?"
    pairs[0]["chosen"] = "<think>Hm.</think>It ends a turn."
    data.write_text(json.dumps([*pairs, *[equal] * 8]))

    run = fit(tmp_path, base, data)

    summary = json.loads((run / "summary.json").read_text())
    log = (run / "fit.log").read_text()
    assert (summary["equal_pairs"], summary["steps"]) == (8, 6)
    assert "in 8 training pairs both answers are the same tokens" in summary["verdict"]
    assert "in 8 of 32 pairs both answers are the same tokens" in log
    assert "left out; data.keep_equal_pairs keeps them" in log
    assert "What does [plain text <|im_end|>] do?<|im_end|>" in log
    assert "scored] <think>Hm.</think>It ends a turn.<|im_end|>" in log
    assert re.search(r"of training pairs hold control strings .*<\|im_end\|> in 1 \(first in", log)


def test_the_verdict_counts_what_was_measured_and_each_question_once(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datamodule, "PAIRS_MEASURED_AT_ONCE", 8)
    train, val = tmp_path / "train.json", tmp_path / "val.json"
    write_pairs(train, 24)
    write_pairs(val, 4)
    val.write_text(json.dumps(3 * json.loads(val.read_text())))

    files = ("--data.val_path", str(val), "--data.val_limit", "12")
    run = fit(tmp_path, base, train, *files, "--trainer.max_epochs", "1")
    part = fit(tmp_path / "part", base, train, *files, "--trainer.limit_val_batches", "0.5")

    verdicts = [json.loads((x / "summary.json").read_text())["verdict"] for x in (run, part)]
    assert "on 12 validation pairs of 4 questions" in verdicts[0]
    assert "on 8 validation pairs of 3 questions" in verdicts[1]


@pytest.mark.parametrize(("total", "left"), [(300, ["the other 150 steps"]), (150, [])])
def test_saturated_at_the_last_step_there_is_nothing_to_leave_out(
    total: int, left: list[str], base: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="fitbot")
    log, module = StepLog(), make_module(base, tmp_path)
    trainer: Any = SimpleNamespace(
        estimated_stepping_batches=total,
        datamodule=SimpleNamespace(
            some_texts=lambda _: [
                PreferencePair((Message("user", "Is it good?"),), "Yes. " * 12, "No.", n)
                for n in range(8)
            ]
        ),
        should_stop=False,
        global_step=0,
    )
    saturation = Saturation(log, stop=False)
    log.on_train_start(trainer, module)

    for n, step in enumerate((50, 100, 150)):
        trainer.global_step = log.last_step = step
        log.last = {name: curve[n][1] for name, curve in SATURATED.items()}
        saturation.on_train_batch_end(trainer, module, None, None, 0)

    assert caplog.messages[0].startswith(f"saturated at step 150 of {total}")
    assert [text[: len("the other 150 steps")] for text in caplog.messages[1:]] == left


@pytest.mark.slow
def test_a_saturated_fit_says_when_why_and_what_the_rest_costs_and_may_stop_there(
    base: str, tmp_path: Path
) -> None:
    data = tmp_path / "pairs.json"
    write_pairs(data, 80)

    whole = fit(tmp_path / "whole", base, data)
    samples = ("--run.sample_every_n_steps", "2")
    cut = fit(tmp_path / "cut", base, data, "--run.stop_when_saturated", "true", *samples)

    complete, stopped = (json.loads((run / "summary.json").read_text()) for run in (whole, cut))
    at = complete["saturated_at"]
    assert 2 <= at < 20
    assert stopped["saturated_at"] == stopped["steps"] == at
    assert complete["steps"] == 20
    assert complete["verdict"].startswith("memorised a shortcut: ")
    assert f"saturated at step {at} of 20" in complete["verdict"]
    log = (whole / "fit.log").read_text()
    assert f"saturated at step {at} of 20" in log
    assert "The data is the reason: the longer answer alone is right in 100.0%" in log
    assert f"the other {20 - at} steps" in log
    assert "they are left out" in (cut / "fit.log").read_text()
    # What was learned until then is kept, and looking at answers on the way changed nothing.
    last = torch.load(cut / "last.ckpt", weights_only=True)
    assert last["global_step"] == at
    assert math.isclose(
        json.loads((whole / "summary.json").read_text())["first_loss"], stopped["first_loss"]
    )
    text = (cut / "samples.txt").read_text()
    assert [line for line in text.splitlines() if line.startswith("step")] == [
        f"step {step}" for step in range(0, at + 1, 2)
    ]
    assert "Is food number 0 good for me?" in text


def test_looking_at_samples_changes_nothing(base: str, tmp_path: Path) -> None:
    data = tmp_path / "pairs.json"
    write_pairs(data, 24)
    short = ("--trainer.max_epochs", "1", "--data.train_limit", "24")

    plain = fit(tmp_path / "a", base, data, *short)
    watched = fit(tmp_path / "b", base, data, *short, "--run.sample_every_n_steps", "1")

    one, other = (
        torch.load(run / "last.ckpt", weights_only=True)["state_dict"] for run in (plain, watched)
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (watched / "samples.txt").read_text().count("step ") == 4
