"""A GPU, and the sizes of kernel launches that follow from it: for training and answering alike.

A launch must fit the GPU's shared memory, and its threads' numbers their registers; what does not
fit there is spilled to memory, which is slow. `tests/kernels_fit.py` compiles all launches for each
generation of GPUs and reads both.
"""

from functools import lru_cache
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch

# Words of errors that are no torch.OutOfMemoryError: the CUDA driver's, cuBLAS's, a CPU's.
_NO_MEMORY = (
    *("out of memory", "CUBLAS_STATUS_ALLOC_FAILED"),
    *("can't allocate memory", "not enough memory"),
)
OLDEST = (7, 5)  # compute capability that kernels are compiled for in tests


class Gpu(NamedTuple):
    """What launches depend on.

    Args:
        capability: Compute capability, such as (8, 6).
        shared: Bytes of shared memory that one block may have.
        processors: Number of multiprocessors.
    """

    capability: tuple[int, int]
    shared: int
    processors: int


class Sizes(NamedTuple):
    """Of one launch: its tile's rows and columns, the depth of a product's sum, warps, stages."""

    m: int
    n: int
    depth: int
    warps: int
    stages: int


@lru_cache
def _gpu(index: int) -> Gpu:
    found: Any = torch.cuda.get_device_properties(index)
    shared = getattr(found, "shared_memory_per_block_optin", 48 * 1024)  # ROCm's torch has none
    return Gpu((found.major, found.minor), shared, found.multi_processor_count)


def gpu_of(device: torch.device) -> Gpu:
    """Return what a device is; without a GPU, what Triton's interpreter is to take it for."""
    if device.type != "cuda":
        return Gpu((8, 0), 163 * 1024, 1)
    return _gpu(torch.cuda.current_device() if device.index is None else device.index)


def has_bfloat16(device: torch.device) -> bool:
    """Say whether a device computes in bfloat16 by itself: a CPU does, a GPU before Ampere not."""
    return device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)


def compute_dtype_on(device: torch.device) -> torch.dtype:
    """Choose what a network's matrix products run in: what it was trained in there."""
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if has_bfloat16(device) else torch.float16


def why_no_kernels(device: torch.device) -> str | None:
    """Return the reason why Triton's kernels cannot run on a device; None if they should."""
    if device.type != "cuda":
        return f"it needs a CUDA GPU, this is a {device.type}"
    if gpu_of(device).capability < OLDEST:
        return "it is written for GPUs from NVIDIA's Turing on (T4, RTX 20)"
    if find_spec("triton") is None:
        return "Triton is not installed"
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that the memory of a GPU or of the host did not suffice."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)


def what_failed(error: Exception) -> str:
    """Say in one line why kernels did not compile or fit: the first that the error says."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:160]}".rstrip(": ")


def attention_sizes(gpu: Gpu, dtype: torch.dtype) -> Sizes:
    """Queries (m) and keys (n) at once in `policy.compiled.attention_kernels.attend`."""
    return Sizes(64, 32, 0, 4, 3) if has_tensor_cores(gpu, dtype) else Sizes(16, 16, 0, 4, 1)


def attention_backward_sizes(gpu: Gpu, dtype: torch.dtype) -> Sizes:
    """Queries (m) and keys (n) at once in `policy.compiled.attention_kernels.attend_backward`."""
    if not has_tensor_cores(gpu, dtype):
        return Sizes(16, 16, 0, 8, 1)
    return Sizes(64, 64, 0, 4, 2) if _is_large(gpu) else Sizes(32, 64, 0, 8, 2)


def product_sizes(gpu: Gpu, dtype: torch.dtype, outputs: int, rows: int) -> Sizes:
    """Outputs (m) and rows (n) at once in `generation.decoders.step_kernels.multiply`.

    The depth, which a row's sum depends on, does not depend on the number of rows.
    """
    m = 64 if outputs < 16_384 else 128  # more of them where there are many
    n = max(16, 1 << (rows - 1).bit_length())
    if not has_tensor_cores(gpu, dtype):
        return Sizes(32, min(64, n), 32, 8, 1)
    n = min(128, n)
    if _is_large(gpu):
        return Sizes(m, n, 64, 4, 5)
    return Sizes(m, n, 64, 8 if m * n >= 64 * 64 else 4, 4)


def step_attention_sizes(gpu: Gpu, dtype: torch.dtype) -> Sizes:
    """Keys (n) at once in `generation.decoders.cache_kernels.attend`, for each of m heads."""
    return Sizes(16, 64, 0, 4, 3) if has_tensor_cores(gpu, dtype) else Sizes(16, 32, 0, 8, 1)


def prompt_attention_sizes(gpu: Gpu, dtype: torch.dtype) -> Sizes:
    """Rows (m) and keys (n) at once in `generation.decoders.cache_kernels.attend_prompts`."""
    return Sizes(32, 64, 0, 4, 3) if has_tensor_cores(gpu, dtype) else Sizes(16, 32, 0, 8, 1)


def has_tensor_cores(gpu: Gpu, dtype: torch.dtype) -> bool:
    """Say whether Triton multiplies by tensor cores: a T4's it does not use, float32 has none."""
    return gpu.capability >= (8, 0) and dtype != torch.float32


def _is_large(gpu: Gpu) -> bool:
    """Say whether it is one of a data centre, with more shared memory than an A100."""
    return gpu.shared > 200 * 1024
