"""Every Triton launch compiles for every generation of GPU, and is known to fit it or not."""

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

pytest.importorskip("triton")

from tests.conftest import ROOT
from tests.kernels_fit import GPUS, Usage

SHAPES = ["embedded", "qwen3-0.6b", "llama-8b"]
# Bytes of shared memory of the launches that do not fit.
KNOWN: dict[int, dict[str, int]] = {
    75: {
        "attention_kernels.attend_backward HEADS=16 GROUP=2 D=128 M=64 N=64": 131_072,
    },
    80: {},
    86: {
        "step_kernels._multiply BLOCK_O=128 BLOCK_N=128 BLOCK_K=64": 131_072,
    },
    89: {
        "step_kernels._multiply BLOCK_O=128 BLOCK_N=128 BLOCK_K=64": 131_072,
    },
    90: {},
    100: {},
    120: {
        "step_kernels._multiply BLOCK_O=128 BLOCK_N=128 BLOCK_K=64": 131_072,
    },
}
# Bytes that a thread of a launch keeps in memory, for lack of registers: at most these.
SPILLS: dict[int, dict[str, int]] = {
    75: {
        "attention_kernels.attend GROUP=2 D=128 M=64 N=32": 4_736,
        "attention_kernels.attend_backward HEADS=10 GROUP=2 D=32 M=64 N=64": 944,
        "attention_kernels.attend_backward HEADS=16 GROUP=2 D=128 M=64 N=64": 10_752,
        "choice_kernel._choose BLOCK=4096": 16,
        "step_kernels._attend_chunk KEY_HEADS=8 GROUP=2 PADDED=16 D=128 CHUNK=128 BLOCK=64": 680,
        "step_kernels._multiply BLOCK_O=128 BLOCK_N=128 BLOCK_K=64": 14_976,
        "step_kernels._multiply BLOCK_O=128 BLOCK_N=16 BLOCK_K=64": 216,
        "step_kernels._multiply BLOCK_O=128 BLOCK_N=32 BLOCK_K=64": 3_032,
        "step_kernels._multiply BLOCK_O=128 BLOCK_N=64 BLOCK_K=64": 7_168,
        "step_kernels._multiply BLOCK_O=64 BLOCK_N=128 BLOCK_K=64": 8_048,
        "step_kernels._multiply BLOCK_O=64 BLOCK_N=16 BLOCK_K=64": 152,
        "step_kernels._multiply BLOCK_O=64 BLOCK_N=32 BLOCK_K=64": 232,
        "step_kernels._multiply BLOCK_O=64 BLOCK_N=64 BLOCK_K=64": 2_896,
    },
    80: {
        "attention_kernels.attend_backward HEADS=16 GROUP=2 D=128 M=64 N=64": 448,
        "attention_kernels.attend_backward HEADS=32 GROUP=4 D=128 M=64 N=64": 448,
        "step_kernels._multiply BLOCK_O=128 BLOCK_N=128 BLOCK_K=64": 40,
        "step_kernels._multiply BLOCK_O=128 BLOCK_N=32 BLOCK_K=64": 8,
        "step_kernels._multiply BLOCK_O=64 BLOCK_N=64 BLOCK_K=64": 8,
    },
    86: {
        "attention_kernels.attend_backward HEADS=16 GROUP=2 D=128 M=64 N=64": 440,
        "attention_kernels.attend_backward HEADS=32 GROUP=4 D=128 M=64 N=64": 440,
        "step_kernels._multiply BLOCK_O=128 BLOCK_N=128 BLOCK_K=64": 48,
    },
    89: {
        "attention_kernels.attend_backward HEADS=16 GROUP=2 D=128 M=64 N=64": 440,
        "attention_kernels.attend_backward HEADS=32 GROUP=4 D=128 M=64 N=64": 440,
        "step_kernels._multiply BLOCK_O=128 BLOCK_N=128 BLOCK_K=64": 48,
    },
    90: {
        "choice_kernel._choose BLOCK=4096": 8,
    },
    100: {
        "attention_kernels.attend GROUP=2 D=32 M=64 N=32": 8,
        "choice_kernel._choose BLOCK=4096": 24,
    },
    120: {
        "attention_kernels.attend_backward HEADS=16 GROUP=2 D=128 M=64 N=64": 480,
        "attention_kernels.attend_backward HEADS=32 GROUP=4 D=128 M=64 N=64": 480,
        "step_kernels._multiply BLOCK_O=128 BLOCK_N=128 BLOCK_K=64": 72,
        "step_kernels._multiply BLOCK_O=64 BLOCK_N=128 BLOCK_K=64": 8,
        "step_kernels._multiply BLOCK_O=64 BLOCK_N=32 BLOCK_K=64": 8,
    },
}


@pytest.mark.slow
@pytest.mark.timeout(1800)  # 75 alone takes two minutes of CPU
@pytest.mark.parametrize("capability", GPUS)
def test_a_launch_fits_or_is_known_not_to(capability: int, tmp_path: Path) -> None:
    shapes = SHAPES[:2] if capability == 75 else SHAPES  # a T4's 16 GB do not hold the third
    launches = compiled(capability, shapes, tmp_path)
    shared: dict[str, int] = defaultdict(int)
    spilled: dict[str, int] = defaultdict(int)
    for one in launches:
        if not one.fits(capability):
            shared[one.launch] = max(shared[one.launch], one.shared)
        if one.spilled:
            spilled[one.launch] = max(spilled[one.launch], one.spilled)
    limits = SPILLS[capability]

    assert kernels_in_source() == {one.launch.split()[0] for one in launches}
    assert shared == KNOWN[capability]
    assert {name: size for name, size in spilled.items() if size > limits.get(name, 0)} == {}
    assert limits.keys() - spilled.keys() == set()  # these spill no more


def compiled(capability: int, shapes: list[str], cache: Path) -> list[Usage]:
    """Compile in a process of its own: in this one Triton may be interpreting."""
    # Nor is it worth tracing for the coverage.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_PROCESS")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.kernels_fit", str(capability), *shapes],
        cwd=ROOT,
        env=environment | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(cache)},
        stdout=subprocess.PIPE,
        check=True,
    )
    return [Usage(*fields) for fields in json.loads(done.stdout)]


def kernels_in_source() -> set[str]:
    """Name the kernels that no other kernel calls: those are launched."""
    found = set()
    for file in (ROOT / "fitbot").rglob("*.py"):
        source = file.read_text(encoding="utf-8")
        for name in re.findall(r"^@triton\.jit.*\ndef (\w+)", source, re.MULTILINE):
            if len(re.findall(rf"\b{name}\(", source)) == 1:
                found.add(f"{file.stem}.{name}")
    return found
