"""macOS and Windows, imitated: no module relies on Linux, and commands do what they do there."""

import ast
import io
import os
import re
import signal
import sys
import threading
from pathlib import Path

import pytest
import torch

from fitbot import platforms
from tests.conftest import ROOT
from tests.imitation import environment, run
from tests.serve_fixtures import Start
from tests.server_process import alive, until

SOURCES = sorted(
    path
    for name in ("fitbot", "serve", "data", "notebooks")
    for path in (ROOT / name).rglob("*.py")
)
BOTH = ["win32", "darwin"]

# What a name of the standard library is not, or is not the same, on all three.
NOT_EVERYWHERE = re.compile(
    r"os\.(name|uname|fork|forkpty|sched_\w+|killpg|setsid|get(uid|euid|gid|pgid|sid)|nice|pipe2|symlink|link|replace)"
    r"|signal\.(SIG(?!TERM|INT|_)\w+|alarm|setitimer|pthread_\w+)"
    r"|sys\.(platform|getwindowsversion)"
    r"|platform\.(system|uname|mac_ver|win32_ver)"
    r"|socket\.AF_UNIX|\w+\.(symlink_to|hardlink_to)"
    r"|ctypes\.(CDLL|cdll|windll|util)|(fcntl|resource|pwd|grp|termios|msvcrt|winreg)(\.\w+)?"
)


def names_in(tree: ast.Module) -> set[str]:
    """Return modules imported and dotted names used, as written."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute):
            of = node.value
            found.add(f"{of.id if isinstance(of, ast.Name) else '_'}.{node.attr}")
    return found


def test_one_module_alone_knows_which_platform_it_is_on() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in SOURCES}
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path, text in texts.items()
        for name in names_in(ast.parse(text))
        if NOT_EVERYWHERE.fullmatch(name)
    }

    assert {name for name in found if name.startswith("fitbot/platforms.py: ")} >= {
        "fitbot/platforms.py: sys.platform",
        "fitbot/platforms.py: signal.SIGKILL",
        "fitbot/platforms.py: os.sched_getaffinity",
    }
    assert [name for name in found if not name.startswith("fitbot/platforms.py: ")] == []
    paths = re.compile(r"[\"'](fork|/proc|/dev/|/tmp)")
    assert [path for path, text in texts.items() if paths.search(text)] == [
        ROOT / "fitbot/platforms.py"
    ]


def test_every_text_file_is_opened_in_an_encoding_that_is_named() -> None:
    unnamed = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and opens_as_the_country_does(node)
    ]

    assert unnamed == []


def opens_as_the_country_does(call: ast.Call) -> bool:
    of = call.func
    name = of.attr if isinstance(of, ast.Attribute) else getattr(of, "id", "")
    if any(word.arg in ("encoding", None) for word in call.keywords):
        return False
    words = [word.value for word in call.args if isinstance(word, ast.Constant)]
    if name in ("read_text", "write_text"):
        return "utf-8" not in words
    # A mode is the last word of `open`, or its only one: others are methods of our own.
    return name == "open" and bool(words) and words[-1] in ("r", "w", "a", "x")


def test_a_file_is_replaced_once_windows_lets_go_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    new.write_text("new", encoding="utf-8")
    tries = []

    def replace(self: Path, target: Path) -> None:
        tries.append(self)
        if len(tries) < 3:
            raise PermissionError(13, "used by another process")
        self.rename(target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(PermissionError):  # Linux means it
        platforms.replace_file(new, old)
    monkeypatch.setattr(platforms, "_WINDOWS", True)
    platforms.replace_file(new, old)

    assert old.read_text(encoding="utf-8") == "new"
    assert len(tries) == 3


def test_a_file_that_stays_open_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(13, "used by another process")

    monkeypatch.setattr(Path, "replace", refuse)
    monkeypatch.setattr(platforms, "_WINDOWS", True)
    monkeypatch.setattr(platforms, "_REPLACE_SECONDS", 0.1)

    with pytest.raises(PermissionError):
        platforms.replace_file(tmp_path / "new", tmp_path / "old")


@pytest.mark.parametrize("refused", [(), ("symlink_to",), ("symlink_to", "hardlink_to")], ids=len)
def test_a_file_is_found_by_another_path_whatever_links_there_are(
    refused: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_bytes(b"bytes")

    def refuse(*_: object) -> None:
        raise OSError(22, "A required privilege is not held by the client")

    for name in refused:
        monkeypatch.setattr(Path, name, refuse)
    if refused:
        with pytest.raises(OSError, match="privilege"):  # Linux means it
            platforms.link_file(link, file)
        monkeypatch.setattr(platforms, "_WINDOWS", True)
    platforms.link_file(link, file)

    assert link.read_bytes() == b"bytes"
    assert link.is_symlink() is not bool(refused)
    assert link.samefile(file) is (len(refused) < 2)


def test_windows_has_no_more_workers_than_it_can_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(128))
    assert platforms.workers() == 128
    monkeypatch.setattr(platforms, "_WINDOWS", True)
    assert platforms.workers() == 61
    assert platforms.cores() == 128


def test_modes_of_files_say_nothing_on_windows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    file.touch()
    file.chmod(0o640)
    assert platforms.mode_for_others(file) == "0640"
    monkeypatch.setattr(platforms, "_WINDOWS", True)
    assert platforms.mode_for_others(file) == ""


def test_what_a_pipe_cannot_take_is_printed_as_a_question_mark(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipe = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", pipe)

    platforms.replace_unprintable()
    print("grün → ✓", flush=True)  # noqa: T201

    pipe.seek(0)
    assert pipe.read() == "grün ? ?\n"


def test_a_child_without_linux_kernel_waits_for_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    ended, gone = threading.Event(), threading.Event()
    parent = type("Parent", (), {"join": lambda _: gone.wait(10), "pid": os.getppid()})()
    monkeypatch.setattr("multiprocessing.parent_process", lambda: parent)
    monkeypatch.setattr(platforms, "_LINUX", False)
    monkeypatch.setattr(os, "_exit", lambda status: ended.set())

    platforms.die_with_parent()

    assert not ended.wait(0.1)
    gone.set()
    assert ended.wait(10)


@pytest.mark.parametrize(
    ("cuda", "mps", "reason", "chosen"),
    [
        (True, True, None, "cuda"),
        (False, True, None, "mps"),
        (False, True, "no float64", "cpu"),
        (False, False, None, "cpu"),
    ],
)
def test_a_gpu_is_taken_if_it_can_be_used(
    cuda: bool,
    mps: bool,
    reason: str | None,
    chosen: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr("logging.Logger.propagate", True, raising=False)
    caplog.set_level("INFO", "fitbot.platforms")

    assert platforms.choose_device(lambda device: reason).type == chosen
    said = [record.message for record in caplog.records]
    assert len(said) == (mps and not cuda)
    assert not reason or said == [
        f"device: cpu, because Apple's GPU (MPS) cannot be used: {reason}"
    ]
    assert platforms.choose_device().type == ("cuda" if cuda else "cpu")


# -- commands, in a process that is on another platform --------------------------------------------

PROMPT = "Où est le café? 你好"

# One process, because each of them would load torch.
COMMANDS = """
import json, sys
from pathlib import Path
from fitbot import platforms
from fitbot.__main__ import main

def run(words, *more):
    assert main([*words.split(), *more]) == 0, words

base, pairs = sys.argv[1:]
Path("base.yaml").write_text(f"data: {{system_prompt: {PROMPT!r}}}", "utf-8")
settings = {
    "run.root": "runs", "run.name": "run", "run.sample_every_n_steps": 1, "data.batch_size": 1,
    "data.train_path": pairs, "data.val_path": pairs, "data.pair_cache": "pairs",
    "model.base_model": base, "model.load_in_4bit": "false", "model.reference_cache": "reference",
    "trainer.accelerator": "cpu", "trainer.enable_progress_bar": "false",
}
options = ["--config", "base.yaml", *(f"--{name}={value}" for name, value in settings.items())]
adapter = "runs/run/adapter"

run("audit --html audit.html", pairs)
if platforms.can_fork():  # psutil has no figure of Windows' here
    run("doctor")
run("fit --trainer.max_steps 2", *options)
told = json.loads(Path(adapter, "fitbot.json").read_text("utf-8"))
assert told["data"]["system_prompt"] == PROMPT
run("fit --trainer.max_steps 3 --ckpt_path last", *options)
run("validate --ckpt_path last", *options)
run("export runs/run --out exported")
run("export runs/run --merge --drift_pairs 2 --out merged")
run(f"evaluate {adapter} --questions 1 --max_new_tokens 2 --pairs", pairs)
run(f"chat --adapter {adapter} --max_new_tokens 2 --ask", PROMPT)
assert "triton" not in sys.modules
print("all done")
"""


@pytest.mark.slow
@pytest.mark.parametrize("system", BOTH)
def test_commands_run_on_it(system: str, base: str, pairs_file: str, tmp_path: Path) -> None:
    code = f"PROMPT = {PROMPT!r}\n{COMMANDS}"
    (tmp_path / "commands.py").write_text(code, encoding="utf-8")

    assert "all done" in run(system, tmp_path, "commands.py", base, pairs_file)


@pytest.mark.parametrize(("system", "forks"), [("win32", False), ("darwin", True)])
def test_fitbot_sees_the_platform_and_others_do_not(
    system: str, forks: bool, tmp_path: Path
) -> None:
    code = """
import sys
from fitbot import platforms
from fitbot.serving import app  # knows many of Linux's ways
print(sys.platform, platforms.signal.SIGTERM in platforms.ENDING_SIGNALS, platforms.can_fork())
print([hasattr(platforms.signal, "SIGHUP"), hasattr(platforms.os, "sched_getaffinity")])
"""
    seen = run(system, tmp_path, "-c", code).splitlines()

    assert seen == [f"{sys.platform} True {forks}", str([forks, False])]


def test_a_config_is_read_as_utf8_whatever_the_country_has(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"text: {PROMPT!r}", encoding="utf-8")
    code = """
from fitbot.commands.command_line import SuggestingParser
parser = SuggestingParser()
parser.add_argument("--config", action="config")
parser.add_argument("--text")
print(ascii(parser.parse_args(["--config", "config.yaml"]).text))
"""

    assert run("win32", tmp_path, "-c", code).strip() == ascii(PROMPT)


# Kernels, and what launches them, are for Linux.
KERNELS = {
    *("attention_kernels.py", "pointwise_kernels.py", "step_kernels.py", "choice_kernel.py"),
    *("cuda_graph_decoder.py", "cache_kernels.py", "pass_kernels.py"),
}


@pytest.mark.slow
@pytest.mark.parametrize("system", BOTH)
def test_every_module_can_be_imported(system: str, tmp_path: Path) -> None:
    files = [path for path in (ROOT / "fitbot").rglob("*.py") if path.name not in KERNELS]
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files]
    code = f"import importlib\nfor name in {modules!r}: importlib.import_module(name)"

    run(system, tmp_path, "-c", code)


@pytest.mark.slow
def test_text_of_many_pairs_is_encoded_by_processes_that_are_spawned(
    base: str, tmp_path: Path
) -> None:
    code = """
import json, sys
from pathlib import Path
from fitbot.pairs import store
from fitbot.pairs.chat import Chat, LengthLimits, load_tokenizer

if __name__ == "__main__":
    store.SHARD = 8
    record = {"question": "Où?", "chosen": "Là.", "rejected": "Ici."}
    Path("pairs.json").write_text(json.dumps([record] * 20), "utf-8")
    chat = Chat(load_tokenizer(sys.argv[1]), system_prompt=None)
    found = store.open_pairs("pairs.json", chat, LengthLimits(100, 200), cache=Path("cache"))
    print(len(found), found.texts[19].chosen.encode("unicode_escape"))
"""
    (tmp_path / "encode.py").write_text(code, encoding="utf-8")

    assert "20 b'L\\\\xe0.'" in run("win32", tmp_path, "encode.py", base)


@pytest.mark.slow
@pytest.mark.parametrize("system", BOTH)
@pytest.mark.parametrize("ending", ["ctrl-c", "killed"])
def test_a_server_answers_replaces_its_worker_and_leaves_nothing(
    system: str, ending: str, start: Start, tmp_path: Path
) -> None:
    server = start(**environment(system, tmp_path))
    assert server.predict("say yes").json()["response"] == "yes "
    os.kill(server.worker, signal.SIGKILL)
    until(lambda: server.status("/readyz") == 503, 3)
    server.wait_ready()
    assert server.predict("say yes").json()["response"] == "yes "
    processes = server.processes()
    # On Windows the API is a thread of main, elsewhere a process of its own.
    assert len(processes) == (4 if system == "win32" else 5)

    if ending == "ctrl-c":  # it comes to the whole group
        os.killpg(server.process.pid, signal.SIGINT)
    else:
        server.process.kill()

    assert server.process.wait(20) == (0 if ending == "ctrl-c" else -signal.SIGKILL)
    until(lambda: not alive(processes), 10)
