"""What is pushed to the hub is an export's files and no others; what goes wrong is said plainly."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from fitbot.__main__ import main
from fitbot.errors import AdapterError, ConfigError
from fitbot.export.hub import files_of, push

EXPORT = {
    *("README.md", "fitbot.json", "adapter_config.json", "adapter_model.safetensors"),
    *("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "base.gguf", "Modelfile"),
    *("model-00001-of-00002.safetensors", "model.safetensors.index.json"),
}
OTHERS = {
    *("train.json", "pairs.csv", "fit.log", "last.ckpt", "events.out.tfevents.1", "optimizer.pt"),
    *("summary.json", "config.yaml", "metrics.csv", ".env", "serve_vllm.sh", "samples.txt"),
}


class FakeHub:
    """Stands for huggingface_hub's HfApi: keeps what it is told, or fails as the hub does."""

    def __init__(self, failure: Exception | None = None):
        self.failure = failure
        self.made: dict[str, Any] = {}
        self.uploaded: dict[str, Any] = {}

    def create_repo(self, name: str, **options: Any) -> str:
        if self.failure:
            raise self.failure
        self.made = {"name": name, **options}
        return f"https://hub/{name}"

    def upload_folder(self, **options: Any) -> None:
        self.uploaded = options


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An export with everything beside it that must not leave the machine."""
    monkeypatch.setenv("HF_TOKEN", "hf_not_a_real_one")
    for name in EXPORT | OTHERS:
        (tmp_path / name).write_text(name)
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "README.md").write_text("mine")
    (tmp_path / "fitbot.json").write_text(json.dumps({"base_model": "owner/base"}))
    return tmp_path


def refusal(status: int) -> HfHubHTTPError:
    request = httpx.Request("POST", "https://hub/api")
    return HfHubHTTPError("no\nsecond line", response=httpx.Response(status, request=request))


def test_an_exports_files_are_pushed_and_no_others(folder: Path) -> None:
    hub = FakeHub()

    address = push(folder, "ada/coach", private=True, api=hub)

    assert address == "https://hub/ada/coach"
    assert hub.made == {"name": "ada/coach", "private": True, "exist_ok": True}
    assert hub.uploaded["repo_id"] == "ada/coach"
    assert hub.uploaded["folder_path"] == folder
    assert set(hub.uploaded["allow_patterns"]) == EXPORT


def test_a_dry_run_lists_files_sizes_and_repository_without_a_network(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("fitbot.export.hub.push", lambda *_, **__: pytest.fail("it was pushed"))

    assert main(["export", str(folder), "--push", "ada/coach", "--private", "--dry_run"]) == 0

    head, *lines = capsys.readouterr().out.splitlines()
    sizes = {name: int(size) for size, name in (line.split() for line in lines)}
    assert sizes == {name: (folder / name).stat().st_size for name in EXPORT}
    assert f"{len(EXPORT)} files, {sum(sizes.values())} bytes" in head
    assert "ada/coach, private" in head


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (refusal(401), "the token is not valid"),
        (refusal(403), "may not write there"),
        (refusal(404), "no such owner"),
        (refusal(500), r"the hub refuses: 500: no$"),
        (OfflineModeIsEnabled(), "HF_HUB_OFFLINE is set"),
        (httpx.ConnectError("no route"), "cannot be reached: no route"),
        (ConnectionError(), "cannot be reached: ConnectionError"),
    ],
)
def test_what_goes_wrong_is_said_plainly(folder: Path, failure: Exception, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        push(folder, "ada/coach", private=False, api=FakeHub(failure))


def test_without_a_token_nothing_is_tried(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    hub = FakeHub()

    with pytest.raises(ConfigError, match="no token here; run hf auth login"):
        push(folder, "ada/coach", private=False, api=hub)
    assert not hub.made


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--push", "coach"], "must be owner/name"),
        (["--push", "ada/a b"], "--push ada/a b: "),
        (["--push", "a/b/c"], "--push a/b/c: "),
        (["--private"], "are of --push OWNER/NAME"),
        (["--dry_run"], "are of --push OWNER/NAME"),
    ],
)
def test_a_wrong_name_is_refused_before_anything_is_written(
    folder: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(folder), *options]) == 1

    assert message in capsys.readouterr().err


def test_a_folder_that_is_no_export_is_not_pushed(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text("[]")

    with pytest.raises(AdapterError, match=r"no fitbot\.json there"):
        files_of(tmp_path)


def test_an_adapter_whose_base_stays_here_is_warned_of(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files_of(folder)
    assert not caplog.records
    (folder / "fitbot.json").write_text(json.dumps({"base_model": "/models/own"}))

    files_of(folder)

    assert "nobody can load an adapter without its base" in caplog.text
