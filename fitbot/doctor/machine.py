"""What there is to work with: processor, memory, compiler, GPUs, the way to the hub."""

import os
import platform
import shutil
import subprocess
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import torch
from huggingface_hub import constants

from fitbot.base_model.gpu import gpu_of, has_bfloat16
from fitbot.doctor.block import Fact
from fitbot.platforms import cores

_GIB = 2**30
_HUB_SECONDS = 3.0


def machine() -> Iterator[Fact]:
    """Yield what computes."""
    features = _cpu_features()
    name = features.get("cpu_name") or platform.processor() or platform.machine()
    int8 = [one for one in features if features[one] is True and ("int8" in one or "vnni" in one)]
    yield (
        "CPU",
        f"{name}, {cores()} of {os.cpu_count()} cores usable, {torch.get_num_threads()} "
        f"threads, {torch.backends.cpu.get_cpu_capability()}",
    )
    yield "int8", ", ".join(sorted(int8)) or "no instructions for it are known"
    memory = psutil.virtual_memory()
    yield "memory", f"{memory.available / _GIB:.1f} of {memory.total / _GIB:.1f} GiB free"
    yield "compiler", _compiler()
    yield from _gpus()


def _cpu_features() -> dict[str, object]:
    """Ask torch for the processor's features; older versions know none."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)
    found: dict[str, object] = capabilities()
    return found


def _gpus() -> Iterator[Fact]:
    built = f"torch for CUDA {torch.version.cuda}" if torch.version.cuda else "torch without CUDA"
    if torch.version.hip:
        built = f"torch for ROCm {torch.version.hip}"
    if not torch.cuda.is_available():
        mps = "; MPS is there" if torch.backends.mps.is_available() else ""
        yield "GPU", f"none that torch can use ({built}, {_driver() or 'no NVIDIA driver'}){mps}"
        return
    yield "driver", f"{_driver() or 'of no known version'}, {built}"
    for index in range(torch.cuda.device_count()):
        device = torch.device("cuda", index)
        gpu, (free, total) = gpu_of(device), torch.cuda.mem_get_info(index)
        capability = ".".join(map(str, gpu.capability))
        with torch.cuda.device(index):
            native = "yes" if has_bfloat16(device) else "no"
        yield (
            f"GPU {index}",
            f"{torch.cuda.get_device_name(index)}, capability {capability}, "
            f"{free / _GIB:.1f} of {total / _GIB:.1f} GiB free, {gpu.shared // 1024} KiB of shared "
            f"memory, {gpu.processors} multiprocessors, bfloat16: {native}",
        )


def _driver() -> str | None:
    """Ask nvidia-smi for the driver's version."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    with suppress(OSError, subprocess.SubprocessError):
        asked = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
        return f"NVIDIA driver {asked.stdout.splitlines()[0].strip()}"
    return None


def _compiler() -> str:
    """Say whether Triton would find what it builds its launchers with."""
    named = os.environ.get("CC")
    found = shutil.which(named) if named else shutil.which("gcc") or shutil.which("clang")
    headers = Path(sysconfig.get_paths()["include"], "Python.h").is_file()
    missing = f"none at $CC, {named}" if named else "none"
    return f"{found or missing}; Python.h: {'found' if headers else 'not found'}"


def hub() -> Iterator[Fact]:
    """Yield where models come from, and whether they could."""
    cache = Path(constants.HF_HUB_CACHE)
    disk = next(folder for folder in (cache, *cache.parents) if folder.is_dir())
    yield "cache", f"{cache}, {shutil.disk_usage(disk).free / _GIB:.1f} GiB of disk free"
    if constants.HF_HUB_OFFLINE:
        yield "hub", "not asked, HF_HUB_OFFLINE is set"
    else:
        yield "hub", f"{constants.ENDPOINT}: {reach(constants.ENDPOINT, seconds=_HUB_SECONDS)}"
    if os.environ.get("HF_TOKEN"):
        yield "token", "HF_TOKEN is set"
    else:
        saved = Path(constants.HF_TOKEN_PATH).is_file()
        yield "token", "HF_TOKEN is not set, " + ("one is saved" if saved else "none is saved")


def reach(url: str, *, seconds: float) -> str:
    """Say whether a server answers in time: resolving its name has no limit of its own."""
    answer = [f"not reachable within {seconds:g} s"]

    def ask() -> None:
        try:
            found = httpx.head(url, timeout=seconds, follow_redirects=True)
            answer.append(f"reachable (status {found.status_code})")
        except Exception as error:  # httpx's, or of a proxy's settings
            answer.append(f"not reachable ({type(error).__name__})")

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(seconds)
    return answer[-1]
