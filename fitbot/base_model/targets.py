"""Which layers of a base an adapter is put on: by name, or all linear layers of its blocks."""

import logging
from collections.abc import Sequence
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from fitbot.base_model.architecture import PROJECTIONS
from fitbot.errors import ConfigError

logger = logging.getLogger(__name__)

LINEAR = nn.Linear, Conv1D  # GPT-2's Conv1D is a linear layer whose weight is transposed


def linear_layers(base: Any) -> dict[str, nn.Module]:
    """Return the linear layers of a causal LM's decoder by their names; never the head."""
    inside, head = set(base.get_decoder().modules()), base.get_output_embeddings()
    return {
        name: module
        for name, module in base.named_modules()
        if isinstance(module, LINEAR) and module in inside and module is not head
    }


def choose_targets(base: Any, targets: Sequence[str] | str) -> list[str]:
    """Return the names of the layers to adapt.

    Args:
        base: transformers' causal LM.
        targets: Names of linear layers, of which each must be there. "auto", and the default list
            in its order, mean all linear layers of the blocks, whatever they are called here.

    Raises:
        ConfigError: No linear layer has a name.
    """
    linears = linear_layers(base)
    if targets == "auto" or list(targets) in (["auto"], list(PROJECTIONS)):
        found = list(dict.fromkeys(name.rpartition(".")[2] for name in linears))
        elsewhere = (name for name, _ in base.named_modules() if name not in linears)
        if not {name.rpartition(".")[2] for name in elsewhere}.isdisjoint(found):
            found = list(linears)  # in a part that reads images, say
        if found != list(PROJECTIONS):
            logger.info("the adapter is on all linear layers of the blocks: %s", ", ".join(found))
        return found
    check_targets(base, targets)
    ends = tuple(f".{target}" for target in targets)
    left = {name.rpartition(".")[2] for name in linears if not f".{name}".endswith(ends)}
    if left:
        logger.warning(
            "lora.target_modules leaves out linear layers of this base: %s; auto takes all",
            ", ".join(sorted(left)),
        )
    return list(targets)


def check_targets(base: nn.Module, targets: Sequence[str]) -> None:
    """Demand that each name is that of linear layers; PEFT leaves out a name that none has.

    Raises:
        ConfigError: One is not, or is the head's, or there is none.
    """
    if "lm_head" in targets:
        raise ConfigError("lora.target_modules: lm_head cannot be adapted; the head stays frozen")
    linears = {name for name, module in base.named_modules() if isinstance(module, LINEAR)}
    unknown = [
        target
        for target in targets
        if not any(f".{name}".endswith(f".{target}") for name in linears)
    ]
    if unknown or not targets:
        known = sorted({name.rpartition(".")[2] for name in linears} - {"lm_head"})
        what = f"no linear layer is called {', '.join(map(repr, unknown))}" if unknown else "empty"
        raise ConfigError(f"lora.target_modules: {what}; this base has {', '.join(known)}")


def check_layers(network: nn.Module, head: Any) -> None:
    """Refuse adapters of other than linear layers, and of the head: nothing here computes them.

    Raises:
        ConfigError: There is one.
    """
    from peft.tuners.lora import LoraLayer

    for name, layer in network.named_modules():
        if isinstance(layer, LoraLayer):
            adapted = layer.get_base_layer()
            if layer is head or not isinstance(adapted, LINEAR):
                raise ConfigError(
                    f"lora.target_modules: {name.removeprefix('base_model.model.')} cannot be "
                    f"adapted, it is {'the head' if layer is head else type(adapted).__name__}; "
                    "name linear layers of the decoder"
                )
