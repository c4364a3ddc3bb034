"""NF4 layers: quantise linear layers, expand them to ordinary ones, keep them in parts."""

import sys
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from fitbot.errors import ConfigError


class ExpandedLinear(nn.Linear):
    """A linear layer with the weights that an NF4 layer stood for."""


def check_installed() -> None:
    """Demand what holds weights in 4 bits.

    Raises:
        ConfigError: It is not there.
    """
    if find_spec("bitsandbytes") is None:
        raise ConfigError(
            "model.load_in_4bit is true, but bitsandbytes, which holds weights in 4 bits, is not "
            "installed; run pip install bitsandbytes, or set model.load_in_4bit: false and name an "
            "unquantised base"
        )


def count_4bit(network: nn.Module) -> tuple[int, int]:
    """Number of 4-bit linear layers: those held as NF4, and those expanded once."""
    bnb: Any = sys.modules.get("bitsandbytes")  # who made such a layer has imported it
    kept = [module for module in network.modules() if bnb and isinstance(module, bnb.nn.Linear4bit)]
    return len(kept), sum(isinstance(module, ExpandedLinear) for module in network.modules())


def expand_4bit(model: nn.Module, dtype: torch.dtype) -> None:
    """Replace every NF4 layer by an ordinary one with the very weights that it stands for."""
    expand_linears(model, dtype)
    # Otherwise PEFT and transformers would go on treating the model as quantised.
    model.is_loaded_in_4bit = model.is_quantized = False  # type: ignore[assignment]
    model.hf_quantizer = None  # type: ignore[assignment]
    model.quantization_method = None  # type: ignore[assignment]
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config


def expand_linears(model: nn.Module, dtype: torch.dtype) -> None:
    """Replace the NF4 layers inside a module by ordinary ones; see `expand_4bit`."""
    import bitsandbytes as bnb

    for name, module in list(model.named_modules()):
        if isinstance(module, bnb.nn.Linear4bit):
            weight = bnb.functional.dequantize_4bit(module.weight.data, module.weight.quant_state)
            linear = ExpandedLinear(
                module.in_features, module.out_features, bias=module.bias is not None, device="meta"
            )
            linear.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
            if module.bias is not None:
                linear.bias = nn.Parameter(module.bias.data.to(dtype), requires_grad=False)
            model.set_submodule(name, linear)
            # A weight that was stored in 4 bits refers to its module, so that both would stay until
            # Python looks for cycles: 15 GiB of a 32B base's, all through the run.
            module.weight = None


def quantise_linears(layer: nn.Module, dtype: torch.dtype) -> None:
    """Hold a decoder layer's own linear layers as NF4, as transformers does while it loads."""
    import bitsandbytes as bnb

    for name, module in list(layer.named_modules()):
        if isinstance(module, nn.Linear) and ".lora_" not in name:
            sizes = module.in_features, module.out_features
            nf4 = bnb.nn.Linear4bit(*sizes, compute_dtype=dtype, quant_type="nf4", device="meta")
            weight = bnb.nn.Params4bit(module.weight.data, requires_grad=False, quant_type="nf4")
            nf4.weight, nf4.bias = weight.to(module.weight.device), module.bias
            _compute_in(nf4, dtype)
            layer.set_submodule(name, nf4)


def detach_quant_states(layer: nn.Module) -> None:
    """Leave NF4 weights as plain bytes beside what says how to read them.

    FSDP2 knows no subclasses of a parameter: it would hand back the bytes alone. And torch 2.11's
    takes floating point numbers only, so the bytes pass for some; bitsandbytes reads them as bytes.
    """
    import bitsandbytes as bnb

    for module in layer.modules():
        if isinstance(module, bnb.nn.Linear4bit):
            module.quant_state = module.weight.quant_state
            data = module.weight.data.as_subclass(torch.Tensor)
            data = data.reshape(-1).view(torch.bfloat16).unsqueeze(1)
            module.weight = nn.Parameter(data, requires_grad=False)


def prepare_4bit(model: nn.Module, compute_dtype: torch.dtype) -> None:
    """Have a 4-bit model's layers compute, and its other weights be, in one dtype.

    Raises:
        ConfigError: No layer is 4-bit.
    """
    import bitsandbytes as bnb

    layers = [module for module in model.modules() if isinstance(module, bnb.nn.Linear4bit)]
    if not layers:
        raise ConfigError("load_in_4bit is true, but no layer of the base model became 4-bit")
    for layer in layers:
        _compute_in(layer, compute_dtype)
    for parameter in model.parameters():
        if parameter.is_floating_point():  # a checkpoint's own dtype wins over dtype= otherwise
            parameter.data = parameter.data.to(compute_dtype)


def _compute_in(layer: Any, dtype: torch.dtype) -> None:
    """Have a Linear4bit compute, and dequantise, in a dtype."""
    # A pre-quantised checkpoint brings dtypes of its own; the run's precision decides. Both are
    # set, or weights dequantised on the fly and expanded once would be rounded differently.
    layer.compute_dtype = layer.weight.quant_state.dtype = dtype
    layer.compute_type_is_set = True
    # On CPUs with AVX512-BF16 the first eval forward would repack the weights for a kernel
    # that has no gradient: later LoRA gradients come out wrong, with a mere warning.
    layer.support_avx512bf16_for_cpu = False
