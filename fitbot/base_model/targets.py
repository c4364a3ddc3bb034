"""Which layers of a base an adapter is put on: by name, or all linear layers of its blocks."""

import inspect
import logging
import re
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from fitbot.base_model.adapter_files import adapter_config
from fitbot.base_model.architecture import PROJECTIONS
from fitbot.base_model.settings import LoraSettings
from fitbot.errors import ConfigError

logger = logging.getLogger(__name__)

LINEAR = nn.Linear, Conv1D  # GPT-2's Conv1D is a linear layer whose weight is transposed
_NOT_MEANT = nn.Embedding, nn.Conv1d  # what `auto` does not mean


def linear_layers(base: Any) -> dict[str, nn.Module]:
    """Return the linear layers of a causal LM's decoder by their names; never the head.

    Those only that an adapter can be put on: that compute x W^T + b and nothing else, as a router
    may, whose block runs them and does not read their weights, and whose names PEFT leaves alone.
    """
    inside, head = set(base.get_decoder().modules()), base.get_output_embeddings()
    parents = {f"{name}." if name else "": module for name, module in base.named_modules()}
    found = {
        name: module
        for name, module in base.named_modules()
        if _is_linear(module) and module in inside and module is not head
    }
    ends = {name: name.rpartition(".")[2] for name in found}
    taken = _taken_for_experts(base, set(ends.values()))
    return {
        name: module
        for name, module in found.items()
        if ends[name] not in taken
        and not _reads(parents[name.removesuffix(ends[name])], ends[name])
    }


@torch.no_grad()
def _is_linear(module: nn.Module) -> bool:
    """Say whether a layer computes what its class says; a class of its own is tried out."""
    if not isinstance(module, LINEAR):
        return False
    own = type(module).forward
    if own in (kind.forward for kind in LINEAR) or not module.weight.is_floating_point():
        return True  # what is not floating point is held in 4 bits, by bitsandbytes' layer
    x = torch.linspace(-1, 1, module.in_features).to(module.weight)[None]
    try:
        return torch.allclose(module(x), nn.Linear.forward(module, x), rtol=1e-2, atol=1e-3)
    except (TypeError, AttributeError, RuntimeError):  # it returns more, or wants more
        return False


def _reads(block: nn.Module, name: str) -> bool:
    """Say whether a block's code hands on a layer's weight, as to a kernel: no adapter is seen."""
    try:
        source = inspect.getsource(type(block))
    except (OSError, TypeError):
        return False
    return re.search(rf"self\.{re.escape(name)}\.weight\b(?![.\[])", source) is not None


def _taken_for_experts(base: Any, names: set[str]) -> set[str]:
    """Return the names that PEFT gives to the experts' joint tensors, wherever they stand."""
    from peft.utils.transformers_weight_conversion import (
        convert_peft_config_for_transformers,
        get_model_conversion_mapping,
    )

    config = adapter_config(LoraSettings(target_modules=sorted(names)), "")
    conversions = get_model_conversion_mapping(base)
    convert_peft_config_for_transformers(config, model=base, conversions=conversions)
    return names.difference(config.target_modules or ())


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
        _say_frozen(base, linears.values())
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


def _say_frozen(base: Any, adapted: Iterable[nn.Module]) -> None:
    """Name a decoder's matrices that take no adapter; embeddings and convolutions are not meant."""
    done = {*adapted, base.get_input_embeddings(), base.get_output_embeddings()}
    left = {
        f"{name.rpartition('.')[2]}.{own}"
        for name, module in base.get_decoder().named_modules()
        if module not in done and not isinstance(module, _NOT_MEANT)
        for own, weight in module.named_parameters(recurse=False)
        if weight.dim() > 1
    }
    if left:
        logger.warning(
            "weights that take no adapter stay as they are, such as those of experts: %s",
            ", ".join(sorted(left)),
        )


def check_targets(base: Any, targets: Sequence[str]) -> None:
    """Demand that each name is that of linear layers; PEFT leaves out a name that none has.

    Raises:
        ConfigError: One is not, or is the head's, or there is none.
    """
    if "lm_head" in targets:
        raise ConfigError("lora.target_modules: lm_head cannot be adapted; the head stays frozen")
    linears = linear_layers(base)
    unknown = [
        target
        for target in targets
        if not any(f".{name}".endswith(f".{target}") for name in linears)
    ]
    if unknown or not targets:
        known = sorted({name.rpartition(".")[2] for name in linears})
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
            if layer is head or not _is_linear(adapted):
                raise ConfigError(
                    f"lora.target_modules: {name.removeprefix('base_model.model.')} cannot be "
                    f"adapted, it is {'the head' if layer is head else type(adapted).__name__}; "
                    "name linear layers of the decoder"
                )
