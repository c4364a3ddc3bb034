"""What a fit says that ends before its end: why, what is saved, and how to go on."""

import math
import pickle
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from fitbot.base_model.checkpoint_file import is_whole
from fitbot.dpo.losses import LOSSES
from fitbot.dpo.run_name import CONFIG_FILE
from fitbot.errors import NotFiniteError


def check_finite(module: Any, values: Mapping[str, float]) -> None:
    """Refuse figures of a fit that are infinite or NaN.

    Args:
        module: The DPOModule that is fitted.
        values: Figures by name, such as train/loss.

    Raises:
        NotFiniteError: With the first of them, and settings to change.
    """
    for name, value in values.items():
        if not math.isfinite(value):
            raise not_finite(f"{name} is {value}", module)


def check_weights(module: Any) -> None:
    """Refuse an adapter of a DPOModule that has weights which are infinite or NaN.

    Raises:
        NotFiniteError: With settings to change.
    """
    if not module.policy.adapter.isfinite().all():
        raise not_finite("weights of the adapter are infinite or NaN", module)


def not_finite(what: str, module: Any) -> NotFiniteError:
    """Say which number is infinite or NaN, such as "train/loss is nan", and what to change."""
    settings, step = module.hparams, module.trainer.global_step
    precision, bad_gradients = str(module.trainer.precision), int(module.bad_gradients)
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
    """Say from where a fit goes on that an error has ended; nothing of one that had not begun."""
    last, best = (_checkpoint(folder, name) for name in ("last", "best"))
    if file := last or best:
        named = "last" if last else shlex.quote(str(file))
        again = f"the same command with --ckpt_path {named}"
        return f". Nothing saved is lost: {again} goes on from {file}"
    has_begun = folder and (folder / CONFIG_FILE).is_file()
    return ". Nothing was saved yet: the same command starts anew" if has_begun else ""


def kept_before(folder: Path | None) -> str:
    """Say what is left of a fit whose numbers are no longer finite."""
    found = [file for name in ("last", "best") if (file := _checkpoint(folder, name))]
    if not found:
        return ". Nothing was saved or exported"
    files = " and ".join(map(_with_step, found))
    # The best one was validated; weights of the last one may have been about to overflow.
    return (
        f". Nothing was exported. {files} from before that {'are' if found[1:] else 'is'} kept: "
        f"with other settings and --ckpt_path {shlex.quote(str(found[-1]))} the fit goes on there"
    )


def interrupted(args: Sequence[str], folder: Path | None, step: int) -> str:
    """Say when a fit was interrupted, what it has saved, and the command that goes on.

    The text follows a word that says how, such as "interrupted", and so begins with a space.

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
    return f" {when}: {_with_step(last)} is saved, nothing was exported. To go on: {again}"


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


def _with_step(checkpoint: Path) -> str:
    """Name a checkpoint and its step, which is not read out of one with objects of the user's."""
    try:
        content = torch.load(checkpoint, map_location="cpu", mmap=True, weights_only=True)
    except pickle.UnpicklingError:
        return str(checkpoint)
    return f"{checkpoint} of step {content['global_step']:,}"
