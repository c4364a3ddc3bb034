"""Real clients, each with its default settings, get what they ask for: `make clients`.

Each program of `programs/` takes the server's address and writes what its client understood, as
JSON. They run in the environment that FITBOT_CLIENTS names, with the versions of
`requirements.txt` and `package.json`; without it all but LiteLLM are skipped.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fitbot.base_model.embedded import EMBEDDED, resolve_base_model
from tests.serve_fixtures import Start
from tests.server_process import ServerProcess

PROGRAMS = Path(__file__).parent / "programs"
ENVIRONMENT = os.environ.get("FITBOT_CLIENTS")
CLIENTS = sorted(
    path.name for path in PROGRAMS.iterdir() if path.name.startswith("ask_") and path.is_file()
)
OWN = "ask_litellm.py"  # its client is among fitbot's own requirements
_OFFLINE = {"HF_HUB_OFFLINE": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}

by_make_clients = pytest.mark.skipif(not ENVIRONMENT, reason="run by make clients")


def run(program: str, *arguments: str) -> Any:
    """Run a program in the clients' environment; return what it wrote."""
    folder = Path(sys.prefix if program == OWN else ENVIRONMENT or "").resolve()
    interpreter = "node" if program.endswith(".mjs") else str(folder / "bin" / "python")
    file = PROGRAMS / program
    if program.endswith(".mjs"):  # node looks for packages beside the program
        file = folder / program
        file.write_bytes((PROGRAMS / program).read_bytes())
    done = subprocess.run(
        [interpreter, str(file), *arguments],
        env={**os.environ, **_OFFLINE, "OPENAI_API_KEY": "none"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_there_are_clients() -> None:
    assert len(CLIENTS) >= 6


@pytest.mark.parametrize(
    "program", [pytest.param(one, marks=[] if one == OWN else by_make_clients) for one in CLIENTS]
)
def test_a_client_gets_answers_whole_streamed_and_in_a_second_turn(
    server: ServerProcess, program: str
) -> None:
    found = run(program, f"{server.url}/v1")

    assert {name: text.strip() for name, text in found.items()} == {
        "whole": "one two three",
        "streamed": "one two three",
        "second": "four",
    }


@by_make_clients
def test_guidellm_measures_a_server(server: ServerProcess) -> None:
    folder = str(resolve_base_model(EMBEDDED))

    found = run("measure_guidellm.py", f"{server.url}/v1", folder)

    assert found == {"answers": ["one two three "] * 3, "others": []}


@by_make_clients
def test_lm_evaluation_harness_has_transformers_log_likelihoods(
    start: Start, tmp_path: Path
) -> None:
    from tests.serving.test_scoring import QUESTIONS, log_likelihoods

    server = start(program=("-m", "fitbot", "serve"), cwd=tmp_path)
    folder = str(resolve_base_model(EMBEDDED))

    found = run("score_lm_eval.py", f"{server.url}/v1", folder, json.dumps(QUESTIONS))

    assert found["texts"][0]
    expected = log_likelihoods()
    assert [one for one, _ in found["scores"]] == pytest.approx(
        [float(scores.sum()) for scores, _ in expected], abs=1e-3
    )
    greedy = [bool((scores == likeliest).all()) for scores, likeliest in expected]
    assert [is_greedy for _, is_greedy in found["scores"]] == greedy
