"""The import path of a function → the loss that a run minimises instead of DPO's."""

import difflib
import importlib
import sys
from pathlib import Path

import torch
from torch import Tensor

from fitbot.dpo.losses import LOSSES, OwnLoss
from fitbot.errors import ConfigError

_CONTRACT = (
    "it is called as loss(policy_logps, reference_logps, beta=beta) with (B, 2) log-probs in nats, "
    "chosen and rejected, and must return (B,) losses"
)


def import_loss(path: str, *, beta: float) -> OwnLoss | None:
    """Import the function that model.loss names, and try it on two pairs.

    Modules in the working directory are found, too.

    Args:
        path: One of LOSSES, or an import path such as my_losses.hinge.
        beta: That it will be called with.

    Returns:
        The function; None where the loss is one of fitbot's.

    Raises:
        ConfigError: There is no such function, or it returns no losses that can be minimised.
    """
    if path in LOSSES:
        return None
    found = _import(path)
    logps = torch.tensor([[-3.0, -4.0], [-9.0, -7.0]], requires_grad=True)
    reference = torch.tensor([[-4.0, -4.0], [-8.0, -8.0]])
    try:
        with torch.enable_grad():
            losses: object = found(logps, reference, beta=beta)
    except Exception as error:  # of whatever kind, it is the function's own
        raise ConfigError(
            f"model.loss {path} failed on two pairs: {type(error).__name__}: {error}; {_CONTRACT}"
        ) from error
    wrong = ""
    if not isinstance(losses, Tensor):
        wrong = repr(losses)
    elif losses.shape != (2,):
        wrong = f"a tensor of shape {tuple(losses.shape)}"
    elif not losses.requires_grad:
        wrong = "a tensor without gradient"
    if wrong:
        raise ConfigError(f"model.loss {path} returned {wrong} for two pairs; {_CONTRACT}")
    return found


def _import(path: str) -> OwnLoss:
    module, _, name = path.rpartition(".")
    if not module:
        near = difflib.get_close_matches(path, LOSSES, n=1)
        raise ConfigError(
            f"model.loss {path!r}: must be one of {', '.join(LOSSES)}, or the import path of a "
            "function, such as my_losses.hinge" + (f"; did you mean {near[0]!r}?" if near else "")
        )
    here = str(Path.cwd())  # where the word `fitbot` does not look by itself
    if here not in sys.path:
        sys.path.append(here)
    try:
        found: OwnLoss = getattr(importlib.import_module(module), name)
    except Exception as error:  # a module may fail in any way
        raise ConfigError(
            f"model.loss {path}: cannot be imported: {type(error).__name__}: {error}"
        ) from error
    return found
