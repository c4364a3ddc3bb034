"""What slurm_jobs.sh has left in a folder → JSON: how often jobs were started, what came of it."""

import argparse
import json
import re
import subprocess
from pathlib import Path

from two_hosts import compared, outcome, where


def main() -> None:
    """Compare every job that was broken with the unbroken one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    whole = args.folder / "runs" / "unbroken"
    jobs = {}
    for file in sorted(args.folder.glob("*.job")):
        about, log = file.read_text(), file.with_suffix(".log").read_text(errors="replace")
        state = re.findall(r"JobState=(\w+)", about)[0]
        jobs[file.stem] = {
            "state": state,
            "restarts": int(re.findall(r"Restarts=(\d+)", about)[0]),
            "the_script_said": re.findall(r"^.*: queueing the job again$", log, re.MULTILINE),
            **(compared(args.folder / "runs" / file.stem, whole) if state == "COMPLETED" else {}),
        }
    result = {
        "what": "docs/how-to/slurm.sh on two nodes that are one machine; see slurm_jobs.sh",
        "slurm": subprocess.check_output(["sinfo", "--version"], text=True).strip(),
        **where(),
        "unbroken": outcome(whole),
        "jobs": jobs,
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
