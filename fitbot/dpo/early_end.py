"""What a fit says that ends before its end: why, what is saved, and how to go on."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from fitbot.base_model.checkpoint_file import is_whole
from fitbot.dpo.losses import LOSSES
from fitbot.errors import NotFiniteError


def not_finite(
    what: str, settings: Mapping[str, Any], *, step: int, precision: str, bad_gradients: int
) -> NotFiniteError:
    """Say which number is infinite or NaN, and which settings to change.

    Args:
        what: Such as "train/loss is nan".
        settings: The module's.
        step: Optimizer steps that were done.
        precision: The trainer's.
        bad_gradients: Steps whose gradient was infinite or NaN.
    """
    counted = f"; the gradient was infinite or NaN in {bad_gradients:,} steps" * (bad_gradients > 0)
    clip, loss = settings["max_grad_norm"], settings["loss"]
    change = [
        f"a lower model.learning_rate than {settings['learning_rate']:g}",
        f"a lower model.max_grad_norm than {clip:g}" if clip else "model.max_grad_norm 1",
        f"another model.beta than {settings['beta']:g}",
    ]
    if precision != "32-true":
        change.append(f"trainer.precision 32-true instead of {precision}")
    if loss not in LOSSES:
        change.append(f"another model.loss than {loss}")
    already = "; trainer.precision is 32-true already" * (precision == "32-true")
    return NotFiniteError(
        f"after step {step:,} {what}, so the fit ends here{counted}. "
        f"Try {', '.join(change[:-1])} or {change[-1]}{already}"
    )


def saved(folder: Path | None) -> str:
    """Say from where a fit that ended early goes on; nothing if it has saved nothing."""
    last, best = (_checkpoint(folder, name) for name in ("last", "best"))
    if not (file := last or best):
        return ""
    named = "last" if last else shlex.quote(str(file))
    return f". Nothing saved is lost: the same command with --ckpt_path {named} goes on from {file}"


def kept_before(folder: Path | None) -> str:
    """Say what is left of a fit whose numbers are no longer finite."""
    found = [file for name in ("last", "best") if (file := _checkpoint(folder, name))]
    if not found:
        return ". Nothing was saved or exported"
    files = " and ".join(f"{file} of step {_step_of(file):,}" for file in found)
    # The best one was validated; weights of the last one may have been about to overflow.
    return (
        f". Nothing was exported. {files} from before that {'are' if found[1:] else 'is'} kept: "
        f"with other settings and --ckpt_path {shlex.quote(str(found[-1]))} the fit goes on there"
    )


def interrupted(args: Sequence[str], folder: Path | None, step: int) -> str:
    """Say when a fit was interrupted, what it has saved, and the command that goes on.

    Args:
        args: Of the command line, from `fit` on.
        folder: The run's, if there is one.
        step: Optimizer steps that were done.
    """
    when = f"after step {step:,}" if step else "before the first step was done"
    last = _checkpoint(folder, "last")
    if last is None:
        again = shlex.join(["fitbot", *args])
        return f" {when}: nothing was saved or exported. To start anew: {again}"
    again = shlex.join(["fitbot", *_without_checkpoint(args), "--ckpt_path", str(last)])
    return f" {when}: {last} is of step {_step_of(last):,}, nothing was exported. To go on: {again}"


def _without_checkpoint(args: Sequence[str]) -> list[str]:
    """Leave out --ckpt_path and its value, whether they are one word or two."""
    words: list[str] = []
    for word, before in zip(args, ["", *args], strict=False):
        if before != "--ckpt_path" and word.split("=")[0] != "--ckpt_path":
            words.append(word)
    return words


def _checkpoint(folder: Path | None, name: str) -> Path | None:
    """Find a checkpoint of the run; a damaged one is none that a fit could go on from."""
    file = folder and folder / f"{name}.ckpt"
    return file if file and file.is_file() and is_whole(file) else None


def _step_of(checkpoint: Path) -> int:
    content = torch.load(checkpoint, map_location="cpu", mmap=True, weights_only=True)
    return int(content["global_step"])
