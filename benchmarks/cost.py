"""Estimate a run on other GPUs, seconds and dollars, from a step measured and taken apart.

    python benchmarks/cost.py RESULT.json --steps 2625 --overhead 23

RESULT.json is `train.py`'s, with `parts_ms`. Matrix products scale with the GPU's
bf16 peak, everything else with its memory bandwidth; the start-up's seconds are taken as they are.
An estimate, not a measurement: it knows nothing of launch overheads, caches or clocks. GPUs without
bfloat16 (T4) run fitbot's eager engine, for which it says nothing.
"""

import argparse
import json
from pathlib import Path
from typing import NamedTuple


class Gpu(NamedTuple):
    """A GPU's dense bf16 peak and memory bandwidth by its data sheet, and an assumed price."""

    tflops: float
    terabytes_per_second: float
    dollars_per_hour: float  # assumed; rents differ by a factor of two


GPUS = {
    "H200": Gpu(989, 4.8, 3.50),
    "H100 SXM": Gpu(989, 3.35, 2.50),
    "A100 80 GB": Gpu(312, 2.04, 1.50),
    "RTX 4090": Gpu(165, 1.01, 0.50),
    "RTX 3090": Gpu(71, 0.94, 0.30),
    "L4": Gpu(121, 0.30, 0.70),
}
PRODUCTS = ("matrix products of the layers", "matrix products of the head")


def seconds_on(gpu: Gpu, measured: Gpu, parts: dict[str, float], step_ms: float) -> float:
    """Scale one step, seconds.

    Args:
        gpu: Where to.
        measured: Where it was measured.
        parts: Its kernels by kind, ms; some overlap, so they are scaled to the step's length.
        step_ms: How long it took.
    """
    kernels = {name: ms for name, ms in parts.items() if name not in ("wall", "idle")}
    products = sum(ms for name, ms in kernels.items() if name in PRODUCTS) / sum(kernels.values())
    return (step_ms / 1000) * (
        products * measured.tflops / gpu.tflops
        + (1 - products) * measured.terabytes_per_second / gpu.terabytes_per_second
    )


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("result", type=Path)
    parser.add_argument("--measured-on", default="H200", choices=list(GPUS))
    parser.add_argument("--steps", type=int, default=2625)
    parser.add_argument("--overhead", type=float, default=23, help="seconds besides the steps")
    args = parser.parse_args()
    run = json.loads(args.result.read_text(encoding="utf-8"))["results"]["fitbot"][-1]
    print("| GPU | ms a step | seconds a run | dollars a run, at |\n|---|---|---|---|")  # noqa: T201
    for name, gpu in GPUS.items():
        step = seconds_on(gpu, GPUS[args.measured_on], run["parts_ms"], run["median_ms"])
        total = args.steps * step + args.overhead
        dollars = total / 3600 * gpu.dollars_per_hour
        print(  # noqa: T201
            f"| {name} | {1000 * step:.0f} | {total:.0f} | "
            f"{dollars:.2f}, ${gpu.dollars_per_hour:.2f} an hour |"
        )


if __name__ == "__main__":
    main()
