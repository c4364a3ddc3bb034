"""The machine as it is, and other machines by imitation."""

import socket
import time
from types import SimpleNamespace

import psutil
import pytest
import torch
from huggingface_hub import constants

from fitbot.base_model import gpu
from fitbot.doctor import machine
from fitbot.doctor.software import software
from fitbot.platforms import peak_memory

NO_CUDA = not torch.cuda.is_available()


def test_versions_are_those_of_what_is_installed() -> None:
    found = dict(software())

    assert f"torch {torch.__version__}" in found["packages"]
    assert "unsloth" in found["packages"] + found["without"]


@pytest.mark.skipif(not NO_CUDA, reason="there is a GPU")
def test_a_machine_without_a_gpu_says_why() -> None:
    found = dict(machine.machine())

    assert found["GPU"].startswith("none that torch can use (torch ")
    assert f"{torch.get_num_threads()} threads" in found["CPU"]
    assert "Python.h" in found["compiler"]


def test_every_gpu_is_told_with_what_its_kernels_depend_on(monkeypatch: pytest.MonkeyPatch) -> None:
    # Kaggle's two T4s, as torch describes them.
    t4 = SimpleNamespace(
        major=7, minor=5, shared_memory_per_block_optin=65_536, multi_processor_count=40
    )
    for name, value in {
        "is_available": lambda: True,
        "device_count": lambda: 2,
        "get_device_properties": lambda index: t4,
        "get_device_name": lambda index: "Tesla T4",
        "mem_get_info": lambda index: (14 * 2**30, 15 * 2**30),
        "device": lambda index: torch.autograd.profiler.record_function("nothing"),
        "is_bf16_supported": lambda including_emulation: False,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(machine, "_driver", lambda: "NVIDIA driver 550.54")
    gpu._gpu.cache_clear()

    found = dict(machine.machine())
    gpu._gpu.cache_clear()

    assert found["driver"].startswith("NVIDIA driver 550.54, torch ")
    assert found["GPU 0"] == found["GPU 1"]
    assert found["GPU 0"] == (
        "Tesla T4, capability 7.5, 14.0 of 15.0 GiB free, 64 KiB of shared memory, "
        "40 multiprocessors, bfloat16: no"
    )


def test_a_missing_compiler_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")

    assert dict(machine.machine())["compiler"].startswith("none at $CC, no-such-compiler; Python.h")


def test_a_hub_that_does_not_answer_costs_no_more_than_the_time_given() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.perf_counter()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"

        assert machine.reach(url, seconds=0.3).startswith("not reachable")
        assert time.perf_counter() - started < 3
    assert machine.reach("http://127.0.0.1:9", seconds=3) == "not reachable (ConnectError)"
    assert machine.reach("no url", seconds=3).startswith("not reachable (")


def test_offline_asks_nobody_and_a_token_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(machine, "reach", lambda *_, **__: pytest.fail("it was asked"))
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefGHIJKL0123")

    found = dict(machine.hub())

    assert found["hub"] == "not asked, HF_HUB_OFFLINE is set"
    assert found["token"] == "HF_TOKEN is set"


def test_peak_memory_is_at_least_what_this_process_has_now() -> None:
    now = psutil.Process().memory_info().rss

    assert 0.99 * now < peak_memory() < psutil.virtual_memory().total
