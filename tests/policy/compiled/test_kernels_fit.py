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
# Bytes that a thread of a launch keeps in memory, for lack of registers: at most these.
SPILLS: dict[int, dict[str, int]] = {
    75: {"choice_kernel._choose BLOCK=4096": 16},
    80: {"step_kernels._multiply BLOCK_O=128 BLOCK_N=64 BLOCK_K=64": 8},
    86: {},
    89: {},
    90: {"choice_kernel._choose BLOCK=4096": 8},
    100: {
        "attention_kernels.attend GROUP=2 D=32 M=64 N=32": 8,
        "attention_kernels.attend GROUP=2 D=128 M=16 N=16": 24,  # in float32, as the next
        "attention_kernels.attend GROUP=4 D=128 M=16 N=16": 24,
        "choice_kernel._choose BLOCK=4096": 24,
    },
    120: {
        "attention_kernels.attend GROUP=2 D=128 M=16 N=16": 8,
        "attention_kernels.attend GROUP=4 D=128 M=16 N=16": 8,
        "step_kernels._multiply BLOCK_O=64 BLOCK_N=32 BLOCK_K=64": 8,
    },
}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_on_consumer_gpus_every_launch_fits_and_spills_nothing(tmp_path: Path) -> None:
    launches = compiled(86, ["qwen3-0.6b"], tmp_path)

    assert kernels_in_source() == {one.launch.split()[0] for one in launches}
    assert [(one.launch, one.shared) for one in launches if not one.fits(86)] == []
    assert [(one.launch, one.spilled) for one in launches if one.spilled] == []


@pytest.mark.slow
@pytest.mark.timeout(1800)  # 75 alone takes two minutes of CPU
# 80 (more memory than 86) and 89 (the same) are in `python -m tests.kernels_fit` only.
@pytest.mark.parametrize("capability", [one for one in GPUS if one not in (80, 89)])
def test_every_launch_fits_and_hot_ones_spill_nothing(capability: int, tmp_path: Path) -> None:
    shapes = SHAPES[:2] if capability == 75 else SHAPES  # a T4's 16 GB do not hold the third
    launches = compiled(capability, shapes, tmp_path)
    spilled: dict[str, int] = defaultdict(int)
    for one in launches:
        if one.spilled:
            spilled[one.launch] = max(spilled[one.launch], one.spilled)
    limits = SPILLS[capability]

    assert kernels_in_source() == {one.launch.split()[0] for one in launches}
    assert [(one.launch, one.shared) for one in launches if not one.fits(capability)] == []
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
