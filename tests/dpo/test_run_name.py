"""A name finds its own run, whatever is in it, and one process writes a run."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fitbot.dpo import run_name
from fitbot.dpo.run import (
    RunSettings,
    folder_of,
    new_run_folder,
    remove_if_refused,
    resolve_checkpoint,
)
from fitbot.dpo.run_name import CONFIG_FILE, LOCK_FILE, lock_run, name_of, refuse_running
from fitbot.errors import ConfigError


def trained(root: Path, name: str) -> Path:
    """Make a run's folder with a checkpoint."""
    folder = new_run_folder(RunSettings(name=name, root=str(root)))
    (folder / CONFIG_FILE).write_text(f'run:\n  name: "{name}"\n', encoding="utf-8")
    torch.save({"hyper_parameters": {"base_model": ""}}, folder / "last.ckpt")
    return folder


def last_of(root: Path, name: str) -> Path | None:
    found = resolve_checkpoint(RunSettings(name=name, root=str(root)), "last")
    return found and found.parent


@pytest.mark.parametrize("name", ["exp", "team/exp1", "a*[b]?", "exp-2", "C++ (1)", "1e3", "ä ö"])
def test_a_name_finds_its_own_run_whatever_is_in_it(tmp_path: Path, name: str) -> None:
    folder = trained(tmp_path, name)

    assert folder == tmp_path / name
    assert last_of(tmp_path, name) == folder
    assert trained(tmp_path, name) == tmp_path / f"{name}-2"
    assert last_of(tmp_path, name) == tmp_path / f"{name}-2"


def test_a_name_that_looks_like_anothers_second_run_is_not_taken_for_it(tmp_path: Path) -> None:
    first, other = trained(tmp_path, "exp"), trained(tmp_path, "exp-2")

    assert last_of(tmp_path, "exp") == first
    assert last_of(tmp_path, "exp-2") == other
    second = trained(tmp_path, "exp")
    assert second.name == "exp-3"
    assert last_of(tmp_path, "exp") == second


def test_a_checkpoint_of_another_run_is_gone_on_from_in_a_folder_of_its_own(tmp_path: Path) -> None:
    checkpoint = trained(tmp_path, "exp") / "last.ckpt"

    assert folder_of(checkpoint, RunSettings(name="exp")) == tmp_path / "exp"
    assert folder_of(checkpoint, RunSettings(name="longer")) is None


def test_a_folder_that_has_lost_its_record_is_not_guessed_at(tmp_path: Path) -> None:
    (trained(tmp_path, "exp") / CONFIG_FILE).unlink()

    with pytest.raises(ConfigError, match=r"exp has a last\.ckpt, but no config\.yaml"):
        last_of(tmp_path, "exp")


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../exp", "a/../b", "/exp", "exp/", "a//b", "./exp", "a\nb", "a\0", "a::b"],
)
def test_a_name_that_can_be_no_folder_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"run\.name .* cannot be a folder below run\.root"):
        RunSettings(name=name)


def test_a_run_may_not_lie_in_the_folder_of_another(tmp_path: Path) -> None:
    trained(tmp_path, "team")

    with pytest.raises(ConfigError, match="team is a run itself; take another name"):
        new_run_folder(RunSettings(name="team/adapter", root=str(tmp_path)))


def test_a_root_that_cannot_hold_runs_is_refused_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    cases = {
        "file": "exp",
        "file/below": "exp",
        "link": "exp",
        "loop": "exp",
        "long": "x" * 300,
        "deep": "team/" + "x" * 300,
    }

    for root, name in cases.items():
        run = RunSettings(name=name, root=str(tmp_path / root))
        with pytest.raises(ConfigError, match=r"^run\.root \S+: \S+ cannot be made: .*another$"):
            new_run_folder(run)
        if root != "loop":
            assert resolve_checkpoint(run, "last") is None
    assert last_of(tmp_path / "none", "exp") is None


def test_a_refused_run_takes_its_folders_away_and_no_others(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    folder = new_run_folder(RunSettings(name="team/exp", root=str(root)))
    lock_run(folder, "team/exp").close()

    remove_if_refused(folder, root)

    assert not root.exists()
    assert tmp_path.exists()


def test_a_second_process_on_a_run_is_refused_until_the_first_is_gone_however_it_went(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_name, "_PATIENCE", 0.0)
    folder = new_run_folder(RunSettings(name="exp", root=str(tmp_path)))
    holds = (
        "import sys, time, pathlib\n"
        "from fitbot.dpo.run_name import lock_run\n"
        "lock = lock_run(pathlib.Path(sys.argv[1]), 'exp')\n"
        "print('locked', flush=True)\n"
        "time.sleep(60)\n"
    )
    first = subprocess.Popen([sys.executable, "-c", holds, folder], stdout=subprocess.PIPE)
    assert first.stdout is not None
    assert first.stdout.readline().strip() == b"locked"

    for refused in (
        lambda: lock_run(folder, "exp"),
        lambda: refuse_running(tmp_path, "exp"),  # it has no checkpoint yet
    ):
        with pytest.raises(ConfigError, match=rf"run exp: process {first.pid} on .* is writing"):
            refused()
    assert name_of(folder) == "exp"
    refuse_running(tmp_path, "exp-2")
    first.send_signal(signal.SIGKILL)
    first.wait()
    first.stdout.close()

    refuse_running(tmp_path, "exp")
    lock_run(folder, "exp").close()


def test_a_file_system_without_locks_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unknown(file: object) -> bool:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(run_name, "lock_file", unknown)
    caplog.set_level("WARNING", logger="fitbot")

    lock_run(tmp_path, "exp").close()

    assert "has no locks (Operation not supported)" in caplog.text
    assert (tmp_path / LOCK_FILE).read_text().endswith("\nexp\n")
