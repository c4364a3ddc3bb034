"""`fitbot serve --merged`: the tuned model and nothing else."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from fitbot.commands.serve import main
from fitbot.errors import ConfigError
from tests.serve_fixtures import Start
from tests.serving.test_real_engine import write_export


@pytest.mark.slow
def test_the_merged_model_alone_is_served_and_the_log_says_what_merging_kept(
    start: Start, tmp_path: Path
) -> None:
    write_export(tmp_path / "adapter")
    server = start(
        f"--adapter={tmp_path}/adapter", "--merged", program=("-m", "fitbot", "serve"), cwd=tmp_path
    )

    models = httpx.get(f"{server.url}/v1/models").json()["data"]

    assert [model["id"] for model in models] == ["fitbot"]
    assert server.predict("Is rice ok?").json()["response"]
    figures = [line["message"] for line in server.log() if "merged in" in line["message"]]
    assert len(figures) == 1
    assert "100.0 % of what the adapter changes is kept" in figures[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "there is no adapter; name one with --adapter"),
        (["--remote=http://x/v1"], "not with --remote"),
        (["--adapters=."], "not with --adapters"),
    ],
)
def test_what_cannot_be_merged_is_an_error_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: Any, message: Any
) -> None:
    monkeypatch.chdir(tmp_path)  # where no run has left an adapter

    with pytest.raises(ConfigError, match=f"--merged: {message}"):
        main(["serve", "--merged", *options])
