"""What two_hosts.sh has left in a folder → JSON: who said what, after how long; what came of it."""

import argparse
import json
import os
import platform
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from train import describe_machine

FIGURES = ("steps", "train_loss", "mean_train_loss", "grad_norm", "val_loss", "val_margin")


def main() -> None:
    """Compare every run that lost something with the unbroken one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    runs = sorted(path.parent for path in args.folder.glob("*/lost_at"))
    result = {
        "what": "two hosts by torchrun, network namespaces; see benchmarks/two_hosts.sh",
        **where(),
        "unbroken": outcome(args.folder / "whole" / "quickstart"),
        "lost": {run.name: _lost(run, args.folder / "whole") for run in runs},
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def where() -> dict[str, Any]:
    """Say what was run on."""
    return {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} thread a process",
        "gpus_used": os.environ.get("GPUS"),
        **describe_machine(),
    }


def _lost(run: Path, whole: Path) -> dict[str, Any]:
    since = float((run / "lost_at").read_text())
    ours, theirs = run / "quickstart", whole / "quickstart"
    result = {
        "after_step": _checkpoint(run / "lost.ckpt")["global_step"],
        **_ends(run, "first", since),
        **compared(ours, theirs),
    }
    if (run / "apart.1.log").exists():
        result["resumed_without_shared_storage"] = _ends(run, "apart", None)
    return result


def _ends(run: Path, name: str, since: float | None) -> dict[str, Any]:
    """Say of both hosts how and when the command `name` ended, and what fitbot said."""
    ends = {}
    for number in (1, 2):
        status, at = (run / f"{name}.{number}.end").read_text().split()
        log = (run / f"{name}.{number}.log").read_text(errors="replace")
        ends[f"host {number}"] = {
            **({"seconds_until_its_end": round(float(at) - since, 1)} if since else {}),
            "exit_status": int(status),
            "fitbot_said": re.findall("^fitbot: .*", log, re.MULTILINE),
        }
    return ends


def compared(run: Path, whole: Path) -> dict[str, Any]:
    """Hold what a run's folder has against the unbroken run's."""
    file = Path("adapter") / "adapter_model.safetensors"
    ours, theirs = (load_file(folder / file) for folder in (run, whole))
    return {
        "figures_equal": outcome(run) == outcome(whole),
        "adapter_equal_bit_for_bit": (run / file).read_bytes() == (whole / file).read_bytes(),
        "adapter_differs_by_at_most": max(
            (weight - theirs[name]).abs().max().item() for name, weight in ours.items()
        ),
        "figures": outcome(run),
    }


def outcome(run: Path) -> dict[str, Any]:
    """Read a run's figures that must not depend on what was lost."""
    summary = json.loads((run / "summary.json").read_text())
    return {name: summary[name] for name in FIGURES}


def _checkpoint(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(path, weights_only=True)
    return found


if __name__ == "__main__":
    main()
