"""A formula for time and memory, fitted to measured steps, tried on others, and then believed.

    python benchmarks/cost.py                     # the tables of docs/explanation/scaling.md
    python benchmarks/cost.py --write             # put them there

A step takes so many seconds for each pass through a layer, for each FLOP of matrix products, for
each FLOP of attention, and for each number that other kernels read and write. The four constants
are fitted to small bases; what is said of larger bases, of real pairs of mixed lengths and of other
GPUs is extrapolated, and tables say which is which.
"""

import argparse
import json
import math
import re
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from work import Lengths, Shape, work_of

ROOT = Path(__file__).parent.parent
RESULTS = {
    "H200": (
        "scaling_h200_2026-11-23.json",
        "scaling_h200s_2026-11-28.json",
        "scaling_h200_large_2026-11-28.json",
    ),
    "H100": ("scaling_h100_2026-11-28.json",),
    "CPU": ("scaling_cpu_2026-11-23.json",),
}
# The way to hold a base that the formula is for.
WAY = {"H200": "compiled", "H100": "compiled", "CPU": "whole"}
FOLDER = ROOT / "benchmarks/results"
SHARES = FOLDER / "shares_2026-11-28.json"
SHARDED = FOLDER / "sharded_h200_2026-11-28.json"
WAYS = FOLDER / "ways_h200_2026-11-28.json"
DOCUMENT = ROOT / "docs/explanation/scaling.md"
GIB = 2**30
# The formula may look at these; all else is held out. An H100's constants are an H200's, by both
# data sheets.
FITTED: dict[str, tuple[str, ...]] = {"H200": ("0.6b", "1.7b"), "H100": (), "CPU": ("20m", "60m")}
PASS_TOKENS = 16_384  # of a forward pass, at most: fitbot's default on large GPUs
LENGTHS = {  # tokens of a pair: prompt + chosen + rejected, as benchmarks/scaling.py writes them
    "short, 134": Lengths(134.0, 52.0, 8_369.0),
    "medium, 534": Lengths(534.0, 302.0, 120_044.0),
    "long, 1,034": Lengths(1034.0, 602.0, 444_494.0),
}


class Gpu(NamedTuple):
    """A GPU by its data sheet, and an assumed price."""

    tflops: float  # dense, bf16
    terabytes_per_second: float  # of its memory
    gib: float
    dollars_per_hour: float  # assumed; rents differ by a factor of two


GPUS = {
    "H200": Gpu(989, 4.8, 139, 3.50),
    "H100": Gpu(989, 3.35, 79, 2.50),
    "A100 80 GB": Gpu(312, 2.04, 79, 1.50),
    "RTX 4090": Gpu(165, 1.01, 23.5, 0.50),
    "RTX 3090": Gpu(71, 0.94, 23.5, 0.30),
    "L4": Gpu(121, 0.30, 22.2, 0.70),
}


class Point(NamedTuple):
    """A measured combination."""

    file: str  # points of one file are of one host, or of two alike
    size: str
    pairs_of: str
    pairs: int  # a step
    processes: int
    shape: Shape
    pair: Lengths  # of a mean one
    passes: float  # a step and process
    seconds: float  # a step
    peak_gib: float | None

    @property
    def is_synthetic(self) -> bool:
        """Whether all its pairs are about as long."""
        return re.fullmatch(r"\d+x\d+x\d+", self.pairs_of) is not None

    def is_fitted(self, machine: str) -> bool:
        """Whether the formula may look at it."""
        return self.size in FITTED[machine] and self.is_synthetic and self.processes == 1

    def terms(self) -> NDArray[np.float64]:
        """Say what a step of one process has to do."""
        share = self.pair.times(self.pairs / self.processes)
        return time_terms(self.shape, share, self.passes)


def read_points(machine: str) -> list[Point]:
    """Read what `scaling.py` measured."""
    return [
        Point(
            file,
            run["size"],
            run["pairs_of"],
            run["pairs_per_step"],
            run["processes"],
            Shape(**run["shape"]),
            Lengths(**run["of_a_pair"]),
            run["by_process"][0]["passes"],
            run["usual_ms"] / 1000,
            run["peak_gib_of_steps"][0],
        )
        for file in RESULTS[machine]
        for run in json.loads((FOLDER / file).read_text(encoding="utf-8"))["results"]
        if "failed" not in run and run["way"] == WAY[machine]
    ]


def fitted(machine: str, points: list[Point]) -> list[Point]:
    """Take the points that the formula may look at."""
    return [point for point in points if point.is_fitted(machine)]


def time_terms(shape: Shape, step: Lengths, passes: float) -> NDArray[np.float64]:
    """Count passes through layers, FLOP of products and attention, other kernels' numbers."""
    work = work_of(shape, step)
    products = work.products + work.head + work.adapter
    return np.array(
        [passes * shape.layers, products, work.attention, step.tokens * other_numbers(shape)]
    )


def other_numbers(shape: Shape) -> int:
    """Count what norms, rotary and SwiGLU read a token; what backward needs grows with it."""
    return shape.layers * (shape.hidden + shape.width + shape.intermediate)


def fit_time(points: list[Point]) -> NDArray[np.float64]:
    """Find the seconds of each term, none negative, with the least squares of relative errors."""
    rows = np.array([point.terms() / point.seconds for point in points])
    seconds, _ = nnls(rows, np.ones(len(points)))
    return np.asarray(seconds)


def time_constants(machine: str, measured: dict[str, list[Point]]) -> NDArray[np.float64]:
    """Find a machine's seconds of each term, by its own points or by an H200's."""
    if FITTED[machine]:
        return fit_time(fitted(machine, measured[machine]))
    return on_gpu(GPUS[machine], fit_time(fitted("H200", measured["H200"])))


def fit_memory(points: list[Point]) -> NDArray[np.float64]:
    """Find the bytes for each number kept, and those that are always needed, beside the weights."""
    rows, rest = [], []
    for point in points:
        assert point.peak_gib is not None
        peak = point.peak_gib * GIB
        rows.append(memory_terms(point.shape, pass_tokens(point)) / peak)
        rest.append((peak - base_bytes(point.shape)) / peak)
    found, _ = nnls(np.array(rows), np.array(rest))
    return np.asarray(found)


def memory_terms(shape: Shape, tokens: float) -> NDArray[np.float64]:
    """Count what a pass of so many tokens keeps, and one."""
    return np.array([tokens * other_numbers(shape), 1])


def base_bytes(shape: Shape) -> float:
    """Weigh a base in 16 bits, and its adapter: weights, two gradients, two moments in 8 bits."""
    return 2 * shape.weights + (4 + 8 + 2) * shape.adapter_weights()


def pass_tokens(point: Point) -> float:
    """Tokens of the largest forward pass."""
    return min(PASS_TOKENS, point.pair.tokens * point.pairs / point.processes)


def predicted(point: Point, seconds: NDArray[np.float64]) -> float:
    """Seconds of a step by the formula."""
    return float(point.terms() @ seconds)


def predicted_gib(point: Point, constants: NDArray[np.float64]) -> float:
    """Memory of a step by the formula, GiB."""
    kept = float(memory_terms(point.shape, pass_tokens(point)) @ constants)
    return (base_bytes(point.shape) + kept) / GIB


def on_gpu(gpu: Gpu, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Carry an H200's constants to another GPU: FLOP by its peak, other numbers by its memory."""
    h200 = GPUS["H200"]
    compute = h200.tflops / gpu.tflops
    memory = h200.terabytes_per_second / gpu.terabytes_per_second
    return seconds * np.array([1, compute, compute, memory])


def seconds_a_step(
    shape: Shape, pair: Lengths, pairs: int, seconds: NDArray[np.float64], tokens: float
) -> float:
    """Seconds of a step of so many pairs on one GPU, in passes of so many tokens at most."""
    step = pair.times(pairs)
    passes = math.ceil(step.tokens / max(tokens, pair.tokens))
    return float(time_terms(shape, step, passes) @ seconds)


def tokens_that_fit(shape: Shape, gpu: Gpu, constants: NDArray[np.float64]) -> int:
    """Tokens of a forward pass for which a GPU has memory, with a tenth of it left over."""
    a_token, always = constants[0] * other_numbers(shape), constants[1]
    free = 0.9 * gpu.gib * GIB - base_bytes(shape) - always
    return min(PASS_TOKENS, int(free / a_token)) if free > 0 else 0


def error_table(machine: str, measured: dict[str, list[Point]]) -> str:
    """Compare formula and measurement, point by point; of a CPU only how steps compare."""
    points, seconds = measured[machine], time_constants(machine, measured)
    unit = min(p.seconds for p in points) if machine == "CPU" else 1e-3
    name = "times the shortest" if machine == "CPU" else "ms"
    lines = [
        f"| base | pairs | a step | processes | {name}, measured | by the formula | off |",
        "|---|---|---|---|---|---|---|",
    ]
    order = {size: number for number, size in enumerate(dict.fromkeys(p.size for p in points))}
    for point in sorted(points, key=lambda p: (not p.is_fitted(machine), order[p.size])):
        found = predicted(point, seconds)
        held_out = "" if point.is_fitted(machine) else "**"
        lines.append(
            f"| {held_out}{point.size}{held_out} | {point.pairs_of} | {point.pairs} | "
            f"{point.processes} | {point.seconds / unit:,.1f} | {found / unit:,.1f} | "
            f"{found / point.seconds - 1:+.1%} |"
        )
    return "\n".join(lines)


def error_line(name: str, ratios: list[float]) -> str:
    """Sum up how far off the formula is."""
    errors = [abs(ratio - 1) for ratio in ratios]
    return (
        f"| {name} | {len(errors)} | {sum(errors) / len(errors):.1%} | {max(errors):.1%} | "
        f"{sum(ratios) / len(ratios) - 1:+.1%} |"
    )


def summary(measured: dict[str, list[Point]]) -> str:
    """Say how far off the formula is, where it was fitted and where it was not."""
    lines = ["| | points | mean error | largest | bias |", "|---|---|---|---|---|"]
    for machine, points in measured.items():
        seconds = time_constants(machine, measured)
        kinds: dict[str, list[float]] = {}
        for p in points:
            if p.is_fitted(machine):
                kind = "fitted"
            elif p.processes > 1:
                kind = "**held out: several processes**"
            elif p.is_synthetic:
                kind = "**held out: larger bases**"
            else:
                kind = "**held out: real pairs**"
            kinds.setdefault(kind, []).append(predicted(p, seconds) / p.seconds)
        lines += [error_line(f"{machine}, time, {kind}", ratios) for kind, ratios in kinds.items()]
    gpu = [p for p in measured["H200"] if p.is_synthetic]
    known = fitted("H200", gpu)
    constants = fit_memory(known)
    for kind, some in (
        ("fitted", known),
        ("**held out: larger bases**", [p for p in gpu if p not in known]),
    ):
        ratios = [predicted_gib(p, constants) / (p.peak_gib or 1) for p in some]
        lines.append(error_line(f"H200, peak memory, {kind}", ratios))
    return "\n".join(lines)


def processes_table(measured: dict[str, list[Point]]) -> str:
    """Compare several processes with one: of the same step, and of each one's share of it."""
    lines = [
        "| machine, base | pairs | processes | pairs each | times as fast as one, same step "
        "| efficiency | efficiency, as many pairs each |",
        "|---|---|---|---|---|---|---|",
    ]
    for machine, points in measured.items():
        speed = {
            (p.file, p.size, p.pairs_of, p.pairs, p.processes): p.pairs / p.seconds for p in points
        }
        for (file, size, pairs_of, pairs, n), rate in speed.items():
            each = pairs // n
            same, share = (speed.get((file, size, pairs_of, count, 1)) for count in (pairs, each))
            if n == 1 or not (same or share):
                continue
            cells = [
                f"{rate / same:.2f}" if same else "",
                f"{rate / same / n:.2f}" if same else "",
                f"{rate / share / n:.2f}" if share else "",
            ]
            lines.append(f"| {machine}, {size} | {pairs_of} | {n} | {each} | {' | '.join(cells)} |")
    return "\n".join(lines)


def shares_table() -> str:
    """Say how much longer the busiest process is busy than all are, and how often sizes are new."""
    lines = [
        "| pairs | tokens, mean ± standard deviation | processes | pairs each | as they come | "
        "by length | steps that meet a size: each pads its own | as the largest |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for run in json.loads(SHARES.read_text(encoding="utf-8"))["results"]:
        mean, deviation = run["tokens"].values()
        cells = [f"{ratio - 1:+.1%}" for ratio in run["busiest_over_mean"].values()]
        cells += [str(count) for count in run["steps_that_meet_a_size"].values()]
        lines.append(
            f"| {run['pairs_of']} | {mean:.0f} ± {deviation:.0f} | {run['processes']} | "
            f"{run['pairs_each']} | {' | '.join(cells)} |"
        )
    return "\n".join(lines)


def constants_table(constants: NDArray[np.float64]) -> str:
    """Say what was fitted, in units that can be compared with data sheets."""
    rows = [
        ("a pass through a layer", f"{1e6 * constants[0]:,.0f} µs"),
        ("matrix products", f"{1e-12 / constants[1]:,.0f} TFLOP/s"),
        ("attention", f"{1e-12 / constants[2]:,.0f} TFLOP/s"),
        ("other kernels, a number", f"{1e12 * constants[3]:,.3g} ps"),
    ]
    lines = ["| | H200 |", "|---|---|"]
    return "\n".join(lines + [f"| {name} | {value} |" for name, value in rows])


def speed_table(seconds: NDArray[np.float64], memory: NDArray[np.float64]) -> str:
    """Pairs a second of one GPU by base and lengths, 32 pairs a step."""
    lines = [
        f"| base | weights, GiB | MB a token | {' | '.join(LENGTHS)} |",
        "|---|---|---|" + "---|" * len(LENGTHS),
    ]
    for size, shape in sizes().items():
        room = tokens_that_fit(shape, GPUS["H200"], memory)
        cells = []
        for pair in LENGTHS.values():
            if room < pair.tokens:
                cells.append("does not fit")
                continue
            step = seconds_a_step(shape, pair, 32, seconds, room)
            cells.append(three_digits(32 / step))
        a_token = memory[0] * other_numbers(shape) / 1e6
        lines.append(
            f"| {size} | {base_bytes(shape) / GIB:.1f} | {a_token:.1f} | {' | '.join(cells)} |"
        )
    return "\n".join(lines)


def gpu_table(seconds: NDArray[np.float64], memory: NDArray[np.float64]) -> str:
    """The published run on other GPUs: 2,625 steps of 8 short pairs of a 0.6B base."""
    shape, pair = sizes()["0.6b"], LENGTHS["short, 134"]
    lines = ["| GPU | ms a step | seconds a run | dollars, at |", "|---|---|---|---|"]
    for name, gpu in GPUS.items():
        room = tokens_that_fit(shape, gpu, memory)
        step = seconds_a_step(shape, pair, 8, on_gpu(gpu, seconds), room)
        total = START_SECONDS + 2625 * step
        lines.append(
            f"| {name} | {1000 * step:.0f} | {total:,.0f} | "
            f"{total / 3600 * gpu.dollars_per_hour:.2f}, ${gpu.dollars_per_hour:.2f} an hour |"
        )
    return "\n".join(lines)


# From the shell's prompt to the first step, and from the last to the prompt, of a first run on a
# machine (docs/explanation/speed.md, "The whole run").
START_SECONDS = 25
# Of a step: forward without backward is half of the products.
REFERENCE_SHARE = 0.5
LINK = 450e9  # bytes a second into a GPU over NVLink, by the H200's data sheet
EFFICIENCY = 0.9  # of data parallelism, assumed: 0.93 to 0.99 on one host, more are not measured


def run_table(seconds: NDArray[np.float64], memory: NDArray[np.float64]) -> str:
    """Whole runs on H200s: one epoch of medium pairs, 32 a GPU and step."""
    gpu, pair = GPUS["H200"], LENGTHS["medium, 534"]
    lines = ["| base | pairs | 1 GPU | 8 GPUs | 64 GPUs | dollars |", "|---|---|---|---|---|---|"]
    for size in ("0.6b", "4b", "8b", "32b"):
        shape = sizes()[size]
        room = tokens_that_fit(shape, gpu, memory)
        for count in (10_000, 1_000_000, 1_000_000_000):
            step = seconds_a_step(shape, pair, 32, seconds, room)
            training = (1 + REFERENCE_SHARE) * count / 32 * step
            cells = []
            for gpus in (1, 8, 64):
                share = training / gpus / (1 if gpus == 1 else EFFICIENCY)
                cells.append(duration(START_SECONDS + share))
            dollars = (START_SECONDS + training) / 3600 * gpu.dollars_per_hour
            lines.append(f"| {size} | {count:,} | {' | '.join(cells)} | {money(dollars)} |")
    return "\n".join(lines)


def parts_table(seconds: NDArray[np.float64], memory: NDArray[np.float64]) -> str:
    """Bases spread over H200s, activations recomputed: medium pairs, 32 a GPU and step, at best."""
    pair, gpu = LENGTHS["medium, 534"], GPUS["H200"]
    lines = [
        "| base | GPUs | GiB of it on each | tokens a pass | pairs/s | 1,000,000 pairs | dollars |",
        "|---|---|---|---|---|---|---|",
    ]
    for size, gpus in ((size, gpus) for size in ("32b", "70b") for gpus in (2, 4, 8)):
        shape = sizes()[size]
        layers = 2 * shape.layer_weights
        # Two layers are whole at a time; embedding, head and adapter always.
        held = base_bytes(shape) - layers * (1 - 1 / gpus - 2 / shape.layers)
        # Kept are the layers' inputs, and one layer's numbers while it is computed again.
        a_token = 2 * shape.hidden * shape.layers + memory[0] * other_numbers(shape) / shape.layers
        tokens = min(PASS_TOKENS, int((0.9 * gpu.gib * GIB - held - memory[1]) / a_token))
        computed = 1.5 * seconds_a_step(shape, pair, 32, seconds, tokens)
        passes = math.ceil(32 * pair.tokens / tokens)
        gathered = 3 * passes * layers * (1 - 1 / gpus) / LINK
        rate = 32 * gpus / max(computed, gathered)
        run = START_SECONDS + 1e6 / rate * (1 + REFERENCE_SHARE / 1.5)
        dollars = run / 3600 * gpus * gpu.dollars_per_hour
        lines.append(
            f"| {size} | {gpus} | {held / GIB:.0f} | {tokens:,} | {three_digits(rate)} | "
            f"{duration(run)} | {money(dollars)} |"
        )
    return "\n".join(lines)


def ways_table() -> str:
    """Say what each way to hold an 8B base on two GPUs takes, and what it has learned."""
    names = {
        "compiled": "NF4 expanded, whole on each, compiled engine",
        "whole": "16 bits, whole on each",
        "in parts": "16 bits, in parts",
        "nf4 in parts": "NF4, in parts",
    }
    lines = [
        "| held | ms a step | pairs/s | GiB on each: loaded | at most | mean loss of the steps |",
        "|---|---|---|---|---|---|",
    ]
    for run in json.loads(SHARDED.read_text(encoding="utf-8"))["results"]:
        loaded, peak = (max(run[name]) for name in ("gib_after_loading", "peak_gib_of_steps"))
        lines.append(
            f"| {names[run['way']]} | {run['usual_ms']:,.0f} | {run['pairs_per_second']:.1f} | "
            f"{loaded:.1f} | {peak:.1f} | {run['loss']:.4f} |"
        )
    return "\n".join(lines)


def engines_table() -> str:
    """Compare network and engine where the base is not there whole in 16 bits, call by call."""
    lines = [
        "| base | pairs, a step | held | ms a step: the network's modules | the engine "
        "| times as fast | GiB at most: the network's modules | the engine |",
        "|---|---|---|---|---|---|---|---|",
    ]
    runs = json.loads(WAYS.read_text(encoding="utf-8"))["results"]
    by_engine = {
        (run["call"], run["size"], run["way"].replace(", compiled", "")): run
        for run in runs
        if run["engine"] == "compiled"
    }
    for run in runs:
        other = by_engine.get((run["call"], run["size"], run["way"]))
        if run["engine"] == "compiled" or other is None:
            continue
        way = run["way"].replace("nf4", "NF4").replace("in parts", "16 bits, gathered from itself")
        lines.append(
            f"| {run['size']} | {run['pairs_of']}, {run['pairs_per_step']} | {way} | "
            f"{run['usual_ms']:,.0f} | {other['usual_ms']:,.0f} | "
            f"{run['usual_ms'] / other['usual_ms']:.1f} | {run['peak_gib_of_steps'][0]:.1f} | "
            f"{other['peak_gib_of_steps'][0]:.1f} |"
        )
    return "\n".join(lines)


def three_digits(value: float) -> str:
    """Write a number of any size to three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def money(dollars: float) -> str:
    """Write dollars, with cents where they matter."""
    return f"{dollars:,.0f}" if dollars >= 100 else f"{dollars:.2f}"


def duration(seconds: float) -> str:
    """Say seconds as a person would."""
    for unit, size in (("years", 31_557_600), ("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.3g} {unit}"
    return f"{seconds:.0f} s"


def sizes() -> dict[str, Shape]:
    """Name the bases of the tables."""
    from scaling import SIZES

    names = ("0.6b", "1.7b", "4b", "8b", "14b", "32b", "70b")
    return {name: SIZES[name] for name in names}


def tables() -> dict[str, str]:
    """Make every table of the document."""
    measured = {machine: read_points(machine) for machine in RESULTS}
    known = fitted("H200", measured["H200"])
    seconds, memory = fit_time(known), fit_memory(known)
    made = {
        "summary": summary(measured),
        "constants": constants_table(seconds),
        "processes": processes_table(measured),
        "shares": shares_table(),
        "speed": speed_table(seconds, memory),
        "runs": run_table(seconds, memory),
        "parts": parts_table(seconds, memory),
        "ways": ways_table(),
        "engines": engines_table(),
        "gpus": gpu_table(seconds, memory),
    }
    for machine in measured:
        made[f"points {machine}"] = error_table(machine, measured)
    return made


def fill(text: str, made: dict[str, str]) -> str:
    """Put tables between their marks in a document."""
    for name, table in made.items():
        mark = re.escape(name)
        pattern = rf"(<!-- {mark} -->\n).*?(<!-- end -->)"
        text, count = re.subn(pattern, lambda m, t=table: f"{m[1]}{t}\n{m[2]}", text, flags=re.S)
        if count != 1:
            raise ValueError(f"{DOCUMENT}: {count} places for {name!r}, expected one")
    return text


def main() -> None:
    """Print the tables, or write them where they belong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="to docs/explanation/scaling.md")
    args = parser.parse_args()
    made = tables()
    if args.write:
        DOCUMENT.write_text(fill(DOCUMENT.read_text(encoding="utf-8"), made), encoding="utf-8")
        return
    for name, table in made.items():
        sys.stdout.write(f"{name}\n\n{table}\n\n")


if __name__ == "__main__":
    main()
