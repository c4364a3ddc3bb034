"""Which decoder answers here: one with CUDA graphs where its kernels run, else one in PyTorch."""

import gc
import logging
from collections.abc import Callable
from typing import Any

import torch

from fitbot.base_model.gpu import has_bfloat16, what_failed, why_no_kernels
from fitbot.errors import ConfigError
from fitbot.generation.decoders.torch_decoder import Precision, TorchDecoder

logger = logging.getLogger(__name__)

CONTEXT = {"cpu": 2048, "cuda": 8192}  # tokens of prompt and answer together, unless asked for
SLOTS = {"cpu": 16, "cuda": 128}
_SMALL = 100_000_000  # parameters below which 8 bits save no time


def open_decoder(
    load: Callable[[], Any],
    device: torch.device,
    *,
    slots: int | None = None,
    context: int | None = None,
    precision: Precision | None = None,
    ranks: int = 0,
) -> TorchDecoder:
    """Load a network and get the fastest decoder ready that runs here.

    Args:
        load: Returns transformers' causal LM, of which the decoder takes the weights. It is called
            again if a decoder fails.
        device: Where it loads it.
        slots: Requests answered at once; 16 on a CPU, 128 on a GPU by default.
        context: Tokens that a request may have, of prompt and answer together; by default 2,048 on
            a CPU and 8,192 on a GPU. Never more than the network or the cache takes.
        precision: Of the products; by default that of `precision_for`.
        ranks: The room for adapters.

    Raises:
        ConfigError: The network is of another shape, or does not fit the memory.
    """

    where = "cuda" if device.type == "cuda" else "cpu"

    def made(kind: type[TorchDecoder]) -> TorchDecoder:
        model = load()
        decoder = kind(
            model,
            slots=slots or SLOTS[where],
            context=min(context or CONTEXT[where], model.config.max_position_embeddings),
            precision=precision or precision_for(model, device),
            ranks=ranks,
            takes=True,
        )
        del model  # its weights must be gone before the rest of the memory becomes the cache
        decoder.warm_up()
        return decoder

    try:
        if device.type == "cuda":
            reason = why_no_kernels(device)
            if reason is None:
                try:
                    from fitbot.generation.decoders.cuda_graph_decoder import CudaGraphDecoder

                    return made(CudaGraphDecoder)
                except (torch.OutOfMemoryError, ConfigError):
                    raise
                except Exception as error:  # Triton's, ptxas's, or of a C compiler that is missing
                    reason = what_failed(error)
                gc.collect()  # the decoder's graphs refer to it: its weights would be held
            logger.warning("answers: step by step in PyTorch, no CUDA graphs (%s)", reason)
        return made(TorchDecoder)
    except torch.OutOfMemoryError as error:
        raise _does_not_fit() from error


def _does_not_fit() -> ConfigError:
    free, total = (number / 2**30 for number in torch.cuda.mem_get_info())
    return ConfigError(
        f"the model does not fit: {free:.1f} of {total:.1f} GiB of GPU memory were left when more "
        "was wanted; end what else uses the GPU, ask for fewer slots, or take a smaller base"
    )


def precision_for(model: Any, device: torch.device) -> Precision:
    """Return the precision that is fastest for a model on a device."""
    if device.type == "cuda":
        return "bfloat16" if has_bfloat16(device) else "float16"
    # Packed, two numbers in 4 bits are one element.
    sizes = (w.numel() * (1 if w.is_floating_point() else 2) for w in model.parameters())
    has_int8 = "fbgemm" in torch.backends.quantized.supported_engines
    return "int8" if sum(sizes) >= _SMALL and has_int8 else "float32"
