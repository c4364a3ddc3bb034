"""Other servers with the same model, asked what `fitbot serve` is asked; see `serve.py`.

Each is started as its own documentation says, with nothing tuned, and holds the base alone, which
is what fitbot's server is asked for beside them. All tell in the usage that ends a stream how many
tokens they wrote; its events are fewer, for a token may be part of a letter.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serve_http import Client, Process, free_port

_CONTEXT = 2048  # what fitbot's server takes by default


@dataclass(frozen=True)
class Contender:
    """How a server is started and asked.

    Args:
        program: What has to be installed.
        options: Of its command `serve`, which takes the model's folder, --host and --port.
        more: Fields of every request.
    """

    program: str
    options: tuple[str, ...] = ()
    more: dict[str, Any] = field(default_factory=dict)


# Without this it decodes greedily, whatever temperature it is asked for. With it, continuous
# batching does not know the end token any more, and writes as many tokens as it may.
_SAMPLED = {"generation_config": json.dumps({"do_sample": True})}

CONTENDERS = {
    "transformers": Contender("transformers", more=_SAMPLED),
    "transformers-continuous": Contender("transformers", ("--continuous-batching",), _SAMPLED),
    "vllm": Contender("vllm", (f"--max-model-len={_CONTEXT}", "--generation-config=vllm")),
}


def check_installed(names: Iterable[str]) -> None:
    """Refuse to begin what could not be finished."""
    for name in names:
        if _program(name) is None:
            raise SystemExit(
                f"--beside {name}: no program {CONTENDERS[name].program} beside {sys.executable} "
                "or on PATH; put it there, or leave it out"
            )


def start(name: str, model: str, log: Path) -> Process:
    """Start a contender and wait until it is ready."""
    port = free_port()
    command = [str(_program(name)), "serve", str(Path(model).resolve())]
    command += ["--host=127.0.0.1", f"--port={port}", *CONTENDERS[name].options]
    return Process(command, port, log, ready="/health")


def client_of(name: str, server: Process, question: str) -> Client:
    """Ask it with the prompt that fitbot makes of a question."""
    from fitbot.base_model.embedded import EMBEDDED_SYSTEM_PROMPT

    more = {"chat_template_kwargs": {"enable_thinking": False}} | CONTENDERS[name].more
    told = EMBEDDED_SYSTEM_PROMPT
    return Client(server.port, question, numbered=True, system_prompt=told, more=more)


def _program(name: str) -> str | None:
    places = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    return shutil.which(CONTENDERS[name].program, path=os.pathsep.join(places))
