"""Every Triton launch of fitbot, compiled for a GPU that this machine need not have.

No launch is listed here. The training engine and the decoder run on tensors that have a shape but
no memory, on PyTorch's device "meta", and Triton hands over what it would compile for each launch.
Triton's compiler and ptxas need no GPU; the machine code says what a launch takes.

    TRITON_INTERPRET=0 python -m tests.kernels_fit 86 embedded qwen3-0.6b
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import MagicMock, patch

import torch
import triton
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, Qwen3Config
from triton.backends.compiler import GPUTarget

from fitbot.base_model.embedded import resolve_base_model
from fitbot.base_model.gpu import Gpu
from fitbot.base_model.loading import add_adapter
from fitbot.base_model.lora import POLICY_ADAPTER
from fitbot.base_model.settings import LoraSettings
from fitbot.generation.decoders import cache_kernels, step_kernels
from fitbot.generation.decoders.cuda_graph_decoder import CudaGraphDecoder
from fitbot.pairs.batch import collate_pairs
from fitbot.pairs.chat import EncodedPair
from fitbot.policy.adapter_vector import AdapterVector
from fitbot.policy.compiled import packed_attention
from fitbot.policy.compiled.passes import CompiledEngine
from fitbot.policy.policy import to_device

META = torch.device("meta")
CUOBJDUMP = str(Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump")


KIB = 1024
# Shared memory that one block may have: "Compute Capabilities" in
# https://docs.nvidia.com/cuda/cuda-programming-guide. Multiprocessors: a card's data sheet.
GPUS = {
    75: Gpu((7, 5), 64 * KIB, 40),  # T4
    80: Gpu((8, 0), 163 * KIB, 108),  # A100
    86: Gpu((8, 6), 99 * KIB, 84),  # A40
    89: Gpu((8, 9), 99 * KIB, 58),  # L4
    90: Gpu((9, 0), 227 * KIB, 132),  # H100, H200
    100: Gpu((10, 0), 227 * KIB, 148),  # B200
    120: Gpu((12, 0), 99 * KIB, 170),  # RTX 5090
}
TENSOR_MEMORY_COLUMNS = 512  # that a block may have, where there is any: PTX ISA, tcgen05.alloc


class Usage(NamedTuple):
    """What one launch takes.

    Args:
        launch: Kernel and constants; several that differ in their arguments only may share them.
        shape: Name of the base model that it was first seen with.
        shared: Bytes of shared memory.
        tensor_columns: Columns of tensor memory.
        registers: Of a thread.
        spilled: Bytes of a thread that its registers do not hold.
    """

    launch: str
    shape: str
    shared: int
    tensor_columns: int
    registers: int
    spilled: int

    def fits(self, capability: int) -> bool:
        """Say whether a GPU would run it."""
        return (
            self.shared <= GPUS[capability].shared and self.tensor_columns <= TENSOR_MEMORY_COLUMNS
        )


class Launch(NamedTuple):
    """What Triton compiles a launch from."""

    kernel: Any
    constants: dict[tuple[int, ...], Any]
    shape: str

    @property
    def name(self) -> str:
        """Module, kernel and what it is compiled for."""
        module, names = self.kernel.module.rsplit(".", 1)[-1], self.kernel.arg_names
        sizes = [f"{names[i]}={self.constants[i,]}" for i in self.kernel.constexprs]
        return " ".join([f"{module}.{self.kernel.__name__}", *sizes])


def usage_of_all_launches(capability: int, shapes: list[str]) -> list[Usage]:
    """Compile what training and answering launch with the base models of some shapes."""
    target = GPUTarget("cuda", capability, 32)
    triton.runtime.driver.set_active(
        SimpleNamespace(
            get_current_target=lambda: target,
            get_current_device=lambda: 0,
            get_current_stream=lambda device: 0,
        )
    )
    launches: dict[str, Launch] = {}
    gpu = GPUS[capability]
    dtype = torch.float16 if capability < 80 else torch.bfloat16  # which a T4 has not
    for shape in shapes:
        with _recorded(launches, gpu, shape):
            _train(shape, dtype, dropout=0.0)
            _train(shape, dtype, dropout=0.05)
            _train(shape, torch.float32, dropout=0.0)
            _answer(shape, dtype)
    return [_compile(launch, code) for code, launch in launches.items()]


@contextmanager
def _recorded(launches: dict[str, Launch], gpu: Gpu, shape: str) -> Iterator[None]:
    """Note launches, each once, and neither compile nor run them."""

    def note(*, fn: Any, compile: dict[str, Any], **_: Any) -> bool:
        launch = Launch(fn.jit_function, compile["constants"], shape)
        launches.setdefault(compile["specialization_data"], launch)
        return True  # Triton takes it for compiled elsewhere

    with ExitStack() as stack:
        for owner, name, value in (
            (triton.knobs.runtime, "jit_cache_hook", note),
            (Tensor, "is_cuda", property(lambda tensor: tensor.device.type == "meta")),
            (packed_attention, "gpu_of", lambda device: gpu),
            (step_kernels, "gpu_of", lambda device: gpu),
            (cache_kernels, "gpu_of", lambda device: gpu),
            (torch, "autocast", lambda *_, **__: nullcontext()),  # there is none on "meta"
            (torch.cuda, "graph", MagicMock()),
            (torch.cuda, "graph_pool_handle", MagicMock()),
            (torch.cuda, "CUDAGraph", MagicMock()),
        ):
            stack.enter_context(patch.object(owner, name, value))
        yield


def _train(shape: str, dtype: torch.dtype, *, dropout: float) -> None:
    """Run passes forward and backward over a short row and a long one."""
    network = add_adapter(_model(shape, dtype), LoraSettings(dropout=dropout), None)
    weights = AdapterVector(network, POLICY_ADAPTER)
    with torch.no_grad():
        engine = CompiledEngine(network.get_base_model(), weights, dtype=dtype)
        for length in (9, 350):
            pair = EncodedPair([1] * length, [2] * length, [3] * (length + 5), 0, 0, 0, 0)
            batch = collate_pairs([pair] * 3, layout="shared", pad_id=0)
            engine.compile_kernels(to_device(batch, META))


def _answer(shape: str, dtype: torch.dtype) -> None:
    """Read prompts of all sizes that there are graphs for, and take steps of 1 to 128 slots."""
    precision: Any = str(dtype).removeprefix("torch.")
    model = _model(shape, dtype)
    decoder = CudaGraphDecoder(model, slots=128, context=2048, precision=precision, ranks=16)
    decoder.warm_up()


def _model(shape: str, dtype: torch.dtype) -> Any:
    """Make a causal LM of two layers, without memory."""
    common = {"num_hidden_layers": 2, "num_key_value_heads": 8, "head_dim": 128}
    if shape == "embedded":
        config = AutoConfig.from_pretrained(resolve_base_model("embedded"), num_hidden_layers=2)
    elif shape == "qwen3-0.6b":
        config = Qwen3Config(
            vocab_size=151936, hidden_size=1024, intermediate_size=3072, num_attention_heads=16,
            tie_word_embeddings=True, **common,
        )  # fmt: skip
    else:
        config = LlamaConfig(
            vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_attention_heads=32,
            **common,
        )  # fmt: skip
    config.name_or_path = shape  # PEFT warns of a base without a name
    with META:
        return AutoModelForCausalLM.from_config(config, dtype=dtype)


def _compile(launch: Launch, code: str) -> Usage:
    try:
        compiled = launch.kernel.preload(code)
    except Exception as error:
        error.add_note(launch.name)
        raise
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        command = [CUOBJDUMP, "--dump-resource-usage", file.name]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = dict(re.findall(r"(REG|STACK):(\d+)", said))
    metadata = compiled.metadata
    columns = getattr(metadata, "tmem_size", 0)
    return Usage(
        launch.name, launch.shape, metadata.shared, columns, int(found["REG"]), int(found["STACK"])
    )


if __name__ == "__main__":
    sys.stdout.write(json.dumps(usage_of_all_launches(int(sys.argv[1]), sys.argv[2:])))
