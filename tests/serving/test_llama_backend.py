"""`fitbot serve --backend llama`: llama.cpp behind all that the server promises."""

from pathlib import Path

import httpx
import pytest

from fitbot.__main__ import main
from tests.serve_fixtures import Start
from tests.serving.test_real_engine import write_export

pytest.importorskip("xllamacpp")


@pytest.mark.slow
def test_the_files_of_an_export_are_served_by_llama_cpp(start: Start, tmp_path: Path) -> None:
    write_export(tmp_path / "adapter")
    assert main(["export", f"{tmp_path}/adapter", "--gguf", "f32"]) == 0
    ask = {"messages": [{"role": "user", "content": "Is rice ok?"}], "temperature": 0, "seed": 1}

    said = []
    for backend in ("llama", "torch"):
        options = (f"--adapter={tmp_path}/adapter", f"--backend={backend}")
        server = start(*options, program=("-m", "fitbot", "serve"), cwd=tmp_path)
        models = httpx.get(f"{server.url}/v1/models").json()["data"]
        assert [model["id"] for model in models] == ["fitbot", "base"]
        for name in ("fitbot", "base"):
            answer = httpx.post(
                f"{server.url}/v1/chat/completions",
                json=ask | {"model": name, "max_tokens": 16},
                timeout=60,
            )
            said.append(answer.json()["choices"][0]["message"]["content"])

    assert said[:2] == said[2:]
    assert said[0]
