import gc
import logging
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from fitbot.base_model.gpu import Gpu
from fitbot.errors import ConfigError
from fitbot.generation.decoders import choice
from fitbot.generation.decoders.choice import open_decoder
from fitbot.generation.decoders.torch_decoder import TorchDecoder

GPU = torch.device("cuda")  # which the network is not really on
SIZE: dict[str, Any] = {"slots": 2, "context": 64, "precision": "float32"}


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """Have the decoder with graphs fail with the error that is put here."""
    module = pytest.importorskip("fitbot.generation.decoders.cuda_graph_decoder")
    errors: list[Exception] = []

    def warm_up(self: TorchDecoder) -> None:
        raise errors[0]

    monkeypatch.setattr(choice, "why_no_kernels", lambda device: None)
    monkeypatch.setattr(module.CudaGraphDecoder, "warm_up", warm_up)
    monkeypatch.setattr(logging.getLogger("fitbot"), "propagate", True)
    return errors


def load(base: str) -> Any:
    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("Failed to find C compiler.\nSet CC."), "Failed to find C compiler."),
        (ModuleNotFoundError("No module named 'triton.knobs'"), "No module named 'triton.knobs'"),
    ],
)
def test_where_kernels_fail_pytorch_answers_and_one_line_says_why(
    base: str, fails: list[Exception], error: Exception, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    fails.append(error)

    with caplog.at_level(logging.WARNING, "fitbot"):
        decoder = open_decoder(lambda: load(base), GPU, **SIZE)

    assert type(decoder) is TorchDecoder
    assert decoder.prefill(0, [1, 2, 3], None).isfinite().all()
    assert [record.getMessage() for record in caplog.records] == [
        f"answers: step by step in PyTorch, no CUDA graphs ({type(error).__name__}: {said})"
    ]
    gc.collect()


def test_memory_that_does_not_suffice_is_an_error_with_what_to_do(
    base: str, fails: list[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    fails.append(torch.OutOfMemoryError("CUDA out of memory"))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (2**29, 2**33))

    with pytest.raises(ConfigError, match=r"0\.5 of 8\.0 GiB .* ask for fewer slots"):
        open_decoder(lambda: load(base), GPU, **SIZE)


def test_a_cache_that_would_be_too_small_to_begin_with_is_refused(base: str) -> None:
    decoder = TorchDecoder(load(base), tokens=64, **SIZE)

    decoder.cache.fit(64 * decoder.cache.bytes_per_token, 64)
    with pytest.raises(ConfigError, match=r"a cache of 64 tokens takes .* smaller base"):
        decoder.cache.fit(63 * decoder.cache.bytes_per_token, 64)


def test_a_gpu_whose_torch_tells_no_shared_memory_is_taken_for_a_small_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from types import SimpleNamespace

    from fitbot.base_model import gpu

    found = SimpleNamespace(major=9, minor=4, multi_processor_count=304)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: found)

    assert gpu._gpu.__wrapped__(0) == Gpu((9, 4), 48 * 1024, 304)
