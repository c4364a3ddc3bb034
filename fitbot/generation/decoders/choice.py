"""Which decoder answers here: CUDA graphs where its kernels run, PyTorch, or the network itself."""

import gc
import logging
from collections.abc import Callable
from typing import Any

import torch

from fitbot.base_model.architecture import longest_of
from fitbot.base_model.gpu import has_bfloat16, what_failed, why_no_kernels
from fitbot.errors import ConfigError
from fitbot.generation.decoders.plain_decoder import PlainDecoder
from fitbot.generation.decoders.torch_decoder import Precision, TorchDecoder, why_plain

logger = logging.getLogger(__name__)

CONTEXT = {"cpu": 2048, "cuda": 8192}  # tokens of prompt and answer together, unless asked for
SLOTS = {"cpu": 16, "cuda": 128}
_LARGE = 1_000_000_000  # parameters from which a CPU holds 16 bits, to save memory


def open_decoder(
    load: Callable[[], Any],
    device: torch.device,
    *,
    slots: int | None = None,
    context: int | None = None,
    precision: Precision | None = None,
    ranks: int = 0,
) -> TorchDecoder | PlainDecoder:
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

    def made(kind: type[TorchDecoder]) -> TorchDecoder | PlainDecoder:
        model = load()
        tokens = longest_of(model.config, context or CONTEXT[where], asked=context is not None)
        if reason := why_plain(model.config, tokens):
            return _plain(model, device, reason, context=tokens, precision=precision, ranks=ranks)
        decoder = kind(
            model,
            slots=slots or SLOTS[where],
            context=tokens,
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


def _plain(
    model: Any, device: torch.device, why: str, *, precision: Precision | None, **size: Any
) -> PlainDecoder:
    logger.warning(
        "answers: by transformers' own modules, one request at a time; fitbot's decoder is faster, "
        "but %s",
        why,
    )
    default = "float32" if device.type == "cpu" else precision_for(model, device)
    decoder = PlainDecoder(model, precision=precision or default, **size)
    decoder.warm_up()
    return decoder


def _does_not_fit() -> ConfigError:
    free, total = (number / 2**30 for number in torch.cuda.mem_get_info())
    return ConfigError(
        f"the model does not fit: {free:.1f} of {total:.1f} GiB of GPU memory were left when more "
        "was wanted; end what else uses the GPU, ask for fewer slots, or take a smaller base"
    )


def precision_for(model: Any, device: torch.device) -> Precision:
    """Return the precision that suits a model on a device."""
    if device.type == "cuda":
        return "bfloat16" if has_bfloat16(device) else "float16"
    # Packed, two numbers in 4 bits are one element.
    sizes = (w.numel() * (1 if w.is_floating_point() else 2) for w in model.parameters())
    return "bfloat16" if sum(sizes) >= _LARGE else "float32"
