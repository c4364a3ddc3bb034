"""A fit that Python code asks for: in its own process, or in others if it takes several devices.

A notebook's kernel cannot be one of several processes, for Lightning starts the others by running
the program again. So they are all of another program, `python -m fitbot.commands.apart FILE`: its
words are passed on, and it leaves in the file what came of it.
"""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from fitbot import errors
from fitbot.cluster.launchers import launched_as
from fitbot.cluster.shutdown import end_lost
from fitbot.commands.fit import SeveralDevicesError, run_command
from fitbot.errors import FitbotError, LostError

_SECONDS_TO_END = 30.0


def fit_from_python(words: list[str]) -> Path:
    """Run a command line of `fitbot fit`; returns the run's folder.

    Raises:
        FitbotError: As `run_command` does; LostError where the other processes left no word.
    """
    try:
        folder = run_command(words, exits=False, alone=True)
    except SeveralDevicesError:
        folder = _fit_apart(words)
    assert folder is not None  # a fit has one
    return folder


def _fit_apart(words: list[str]) -> Path:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "result.json"
        status = _run([sys.executable, "-m", __name__, str(file), *words])
        found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if "folder" in found:
        return Path(found["folder"])
    if "error" in found:
        raise getattr(errors, found["error"])(found["message"])
    raise LostError(
        f"the processes of the fit have ended, the first with status {status}; their words above "
        "say why. With ckpt_path: last the same call goes on from the latest checkpoint"
    )


def _run(command: list[str]) -> int:
    """Run a program to its end, and say here what it says; whoever interrupts ends it, too."""
    where = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, where)), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    try:
        # Nothing is translated: a progress bar's lines end with a carriage return.
        with io.TextIOWrapper(process.stdout, "utf-8", errors="replace", newline="") as said:
            for line in said:
                sys.stderr.write(line)
                sys.stderr.flush()
        return process.wait()
    finally:
        if process.poll() is None:
            process.terminate()  # it hands that on to the processes that it has started
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_SECONDS_TO_END)
            process.kill()


def main(args: list[str]) -> int:
    """Be one of the processes; the first one writes what came of it.

    Args:
        args: The file to write, and the command line.
    """
    file, words = Path(args[0]), args[1:]
    is_first = launched_as() == 0
    try:
        found = {"folder": str(run_command(words, exits=False))}
    except FitbotError as error:
        found = {"error": type(error).__name__, "message": str(error)}
        if not is_first:
            sys.stderr.write(f"fitbot: process {launched_as()}: {error}\n")
    except KeyboardInterrupt:  # it has said what is saved; the caller has the same signal
        return 128 + signal.SIGINT
    if is_first:
        file.write_text(json.dumps(found), encoding="utf-8")
    if found.get("error") == "LostError":
        end_lost(LostError(found["message"]))
    return int("error" in found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
