"""What a fit says of itself: at the start what it is about to do, at the end what came of it."""

import csv
import logging
import math
import re
import shlex
import sys
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from fitbot.audit.rules import count_questions
from fitbot.audit.shortcuts import (
    best_question_rule,
    best_quick_rule,
    length_rule,
    quick_audit,
)
from fitbot.base_model.nf4 import count_4bit
from fitbot.cluster.processes import num_processes
from fitbot.dpo.callbacks import StepLog
from fitbot.dpo.losses import CHOSEN_CHANGE, LOSSES, Objective
from fitbot.dpo.metrics import means_of
from fitbot.dpo.module import DPOModule
from fitbot.dpo.saturation import Curve, Saturation
from fitbot.dpo.verdict import Figures, verdict_on
from fitbot.pairs.batch import CHOSEN, PROMPT, REJECTED, collate_pairs
from fitbot.pairs.chat import EncodedPair
from fitbot.pairs.datamodule import PreferenceDataModule

logger = logging.getLogger(__name__)

_PROMPT, _SCORED, _UNSCORED, _PLAIN = "\033[36m", "\033[32m", "\033[90m", "\033[0m"


class StartReport(Callback):
    """Shows one pair as the model sees it, what the pairs give away, and what the run will take."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, DPOModule)
        data = trainer.datamodule  # type: ignore[attr-defined]
        logger.info("%s", show_pair(data, data.pairs["train"][0], colours=sys.stderr.isatty()))
        texts = data.some_texts("train")
        for line in quick_audit(texts, data.some_texts("val")):
            logger.info("%s", line)
        if len(texts) < len(data.pairs["train"]):
            looked = f"{len(texts):,} of the {len(data.pairs['train']):,}"
            logger.info("audit: it looked at %s training pairs; fitbot audit takes all", looked)
        logger.info("%s", _describe_model(pl_module))
        assert (memory := pl_module.memory) is not None
        measured = data.largest_pass("val") if "val" in data.pairs else 0
        on_gpu = pl_module.device.type == "cuda"
        so_far = torch.cuda.max_memory_allocated(pl_module.device) if on_gpu else 0
        logger.info("%s", memory.text(data.largest_pass("train"), measured, so_far))
        logger.info(
            "%s steps of %d pairs, at most %s tokens a forward pass (%s layout)",
            f"{int(trainer.estimated_stepping_batches):,}",
            data.pairs_per_step,
            f"{data.token_budget:,}",
            data.layout,
        )


def show_pair(data: PreferenceDataModule, pair: EncodedPair, *, colours: bool) -> str:
    """Decode one pair from its batch: prompt, scored tokens, and tokens that are not scored.

    What is scored is read from the batch that the model gets, so that a wrong index shows. What is
    only spelled like a control token says that it is plain text.
    """
    batch = collate_pairs([pair], layout="shared", pad_id=data.pad_id)
    assert batch.part is not None
    assert batch.pair_index is not None
    lines = ["the first pair, as the model sees it:"]
    for name, part in (("prompt", PROMPT), ("chosen", CHOSEN), ("rejected", REJECTED)):
        ids = batch.input_ids[0, (batch.part == part) & (batch.pair_index == 0)].tolist()
        scored = batch.score_ids[batch.score_owner == part - CHOSEN].tolist() if part else []
        rest = ids[len(scored) :] if ids[: len(scored)] == scored else ids
        spans = [(_SCORED, ids[: len(ids) - len(rest)])]
        spans += [(_UNSCORED if part else _PROMPT, rest)]
        texts = [(colour, _spell(data.chat.tokenizer, span)) for colour, span in spans if span]
        text = "".join(f"{c}{t}{_PLAIN}" if colours else t for c, t in texts)
        lines.append(f"[{name}: {len(ids)} tokens, {len(ids) - len(rest)} scored] {text}")
    return "\n".join(lines)


def _spell(tokenizer: Any, ids: list[int]) -> str:
    controls = tokenizer.get_added_vocab()
    named = re.compile("|".join(map(re.escape, sorted(controls, key=len, reverse=True))) or "(?!)")
    text = str(tokenizer.decode(ids))
    if len(named.findall(text)) == sum(id in controls.values() for id in ids):
        return text
    runs = groupby(ids, key=set(controls.values()).__contains__)
    spelled = [(is_control, str(tokenizer.decode(list(run)))) for is_control, run in runs]
    return "".join(
        text if is_control else named.sub(r"[plain text \g<0>]", text)
        for is_control, text in spelled
    )


@dataclass
class RunReport:
    """What came of a fit, drawn from what it logged."""

    folder: Path  # the run's
    trainer: Trainer  # after fit, as the module
    module: DPOModule
    step_log: StepLog  # the callback that logged its steps
    saturation: Saturation  # the callback that watched them

    @cached_property
    def curves(self) -> dict[str, Curve]:
        return read_metrics(self.folder)

    def summary(self, *, runtime_seconds: float) -> dict[str, Any]:
        """Collect the run's figures; None where the run has no such figure, or not a finite one.

        `train_loss` is the mean over the pairs since the log point before the last,
        `mean_train_loss` that over the whole run. `chosen_change` is by how much the chosen
        answers' log-probs rose against the reference.
        """
        skipped = self.step_log.loss_scale.skipped
        equal = self.trainer.datamodule.pairs["train"].cut.equal  # type: ignore[attr-defined]
        return {
            # Lightning's own count has one that was cut short as whole.
            "epochs": self.trainer.global_step / max(1, self.trainer.num_training_batches),
            "steps": self.trainer.global_step,
            "first_loss": self.module.first_loss,
            "train_loss": self._last("train/loss"),
            "mean_train_loss": means_of(self.module.train_means.total)["loss"].item(),
            "grad_norm": self._last("train/grad_norm"),
            "learning_rate": self._last("train/learning_rate"),
            "train_accuracy": self._last("train/rewards/accuracies"),
            "train_margin": self._last("train/rewards/margins"),
            "val_loss": self._last("val/loss"),
            "val_accuracy": self._last("val/rewards/accuracies"),
            "val_margin": self._last("val/rewards/margins"),
            "chosen_change": self._chosen_change(),
            "saturated_at": self.saturation.at,
            "verdict": self.verdict(),
            "pairs_per_second": self._last("train/pairs_per_second"),
            "runtime_seconds": round(runtime_seconds, 1),
            "peak_gpu_memory_gib": self.step_log.peak_memory_gib,
            **(
                {"bad_gradients": self.step_log.bad_gradients}
                if skipped is None
                else {"skipped_steps": skipped}
            ),
            **({"equal_pairs": equal} if equal else {}),
        }

    def verdict(self) -> str:
        """Judge what came of it."""
        data: PreferenceDataModule = self.trainer.datamodule  # type: ignore[attr-defined]
        train, val = data.some_texts("train"), data.some_texts("val")
        return verdict_on(
            Figures(
                train_accuracy=self._last("train/rewards/accuracies") or 0.0,
                train_margin=self._last("train/rewards/margins") or 0.0,
                val_accuracy=self._last("val/rewards/accuracies"),
                val_margin=self._last("val/rewards/margins"),
                val_losses=[loss for _, loss in self.curves.get("val/loss", [])],
                num_val=self.module.validated_pairs,
                # A share, where val is not all of them or not all of them were measured.
                num_questions=round(self.module.validated_pairs * count_questions(val) / len(val))
                if val
                else None,
                saturated_at=self.saturation.at,
                steps=self.trainer.global_step,
                shortcut=best_quick_rule(train, val),
                num_train=self._latest_pairs(data),
                equal_pairs=data.pairs["train"].cut.equal,
                train_loss=self._last("train/loss"),
                untrained_loss=self.module.objective.untrained,
                chosen_change=self._chosen_change(),
                has_reference=self.module.objective.kind.has_reference,
                question_rule=best_question_rule(train, val) if val else None,
                train_shortcut=length_rule(train),
            )
        )

    def _chosen_change(self) -> float | None:
        """Return it for validation pairs, or else for the latest training pairs."""
        found = self._last(f"val/{CHOSEN_CHANGE}")
        return self._last(f"train/{CHOSEN_CHANGE}") if found is None else found

    def _latest_pairs(self, data: PreferenceDataModule) -> int:
        """Count the training pairs since the log point before the last, whose figures are last."""
        logged = [0, *(step for step, _ in self.curves.get("train/loss", []))]
        steps = max(1, logged[-1] - logged[-2]) if len(logged) > 1 else 1
        return min(steps * data.pairs_per_step, len(data.pairs["train"]))

    def draw(self) -> None:
        """Draw curves.png into the run's folder."""
        path, objective = self.folder / "curves.png", self.module.objective
        draw_curves(self.curves, path, title=self.folder.name, objective=objective)

    def text(self, summary: dict[str, Any], adapter: Path) -> str:
        """Say it to a person: a table, and where everything is."""
        rows = [
            (name.replace("_", " "), f"{value:,.6g}" if isinstance(value, float) else f"{value}")
            for name, value in summary.items()
            if value is not None and name != "verdict"
        ]
        width = max(len(name) for name, _ in rows)
        measured = "there were no validation pairs"
        if summary["val_loss"] is not None:
            measured = (
                f"on validation pairs the chosen answer is preferred in "
                f"{summary['val_accuracy']:.1%}, with a mean margin of {summary['val_margin']:.3f}"
            )
        return "\n".join(
            [
                "",
                *(f"  {name:<{width}}  {value}" for name, value in rows),
                "",
                f"  loss went from {summary['first_loss']:.4f} to {summary['train_loss']:.4f}; "
                + measured,
                f"  verdict: {summary['verdict']}",
                "",
                f"  run      {self.folder} (summary.json, curves.png, fit.log)",
                f"  adapter  {adapter}",
                f"  chat     fitbot chat --adapter {shlex.quote(str(adapter))}",
                "",
            ]
        )

    def _last(self, name: str) -> float | None:
        curve = self.curves.get(name)
        return curve[-1][1] if curve and math.isfinite(curve[-1][1]) else None


def read_metrics(folder: Path) -> dict[str, Curve]:
    """Read everything a run has logged, its resumed parts included.

    A run that was resumed from step n wrote another file from there on; what the file before it
    says of later steps was undone by resuming.

    Args:
        folder: The run's folder.

    Returns:
        For every metric its values by step, ascending.
    """
    curves: dict[str, dict[int, float]] = {}
    files = (folder / "metrics").glob("version_*/metrics.csv")
    for file in sorted(files, key=lambda path: int(path.parent.name.removeprefix("version_"))):
        with file.open(newline="", encoding="utf-8") as lines:
            # A process that was killed may have left half a row.
            rows = [row for row in csv.DictReader(lines) if None not in row.values()]
        if not rows:
            continue
        # What was logged at that step itself may come from before the checkpoint.
        first = min(int(row["step"]) for row in rows)
        curves = {n: {s: x for s, x in old.items() if s <= first} for n, old in curves.items()}
        for row in rows:
            for name, text in row.items():
                if text and name != "step":
                    curves.setdefault(name, {})[int(row["step"])] = float(text)
    return {name: sorted(curve.items()) for name, curve in curves.items()}


def draw_curves(curves: dict[str, Curve], path: Path, *, title: str, objective: Objective) -> None:
    """Draw loss, accuracy, margin and displacement of train and validation over steps, as PNG.

    A dotted line is where a model lies that has learned nothing, as far as that is known.
    """
    from matplotlib.figure import Figure

    unit = {"ipo": " (nats²)"}.get(objective.loss, " (nats)" if objective.loss in LOSSES else "")
    panels: list[tuple[str, str, float | None, str]] = [
        ("loss", f"loss{unit}", objective.untrained, "untrained"),
        ("rewards/accuracies", "reward accuracy", 0.5, "chance"),
        ("rewards/margins", "reward margin", 0.0, ""),
    ]
    if objective.kind.has_reference:
        label = f"chosen log-prob, change (nats{' a token' * objective.per_token})"
        panels.append((CHOSEN_CHANGE, label, 0.0, "reference"))
    figure = Figure(figsize=(4 * len(panels), 3.8), layout="constrained")
    figure.suptitle(title)
    for axes, panel in zip(figure.subplots(1, len(panels)), panels, strict=True):
        name, label, level, called = panel
        if level is not None:
            axes.axhline(level, color="0.4", linewidth=0.8, linestyle=":")
            beside = axes.get_yaxis_transform()
            axes.text(1, level, called, transform=beside, ha="right", va="bottom")
        for stage, style in (("train", "-"), ("val", "o-")):
            curve = curves.get(f"{stage}/{name}", [])
            if curve:
                axes.plot(*zip(*curve, strict=True), style, label=stage, markersize=5)
        axes.set_xlabel("optimizer step")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
        if name == "rewards/accuracies":
            axes.set_ylim(-0.03, 1.03)
    figure.savefig(path, dpi=120)


def _describe_model(module: DPOModule) -> str:
    assert module.policy is not None
    trainable = module.policy.adapter.numel()
    total = sum(p.numel() for p in module.policy.network.parameters())
    kept, expanded = count_4bit(module.policy)
    held = f"{kept} linear layers held as NF4" if kept else "no 4-bit layers"
    if expanded:
        held = f"{expanded} 4-bit linear layers, expanded once to the compute dtype"
    if module.policy.is_sharded:
        count = num_processes()
        held += f", in parts over {count} process{'es' if count > 1 else ''}"
    return (
        f"{module.base.base_model}: {held}, {trainable:,} trainable of {total:,} stored weights, "
        f"computing in {str(module.compute_dtype).removeprefix('torch.')} on {module.device}"
    )
