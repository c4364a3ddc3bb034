"""Other servers with the same model, asked what `fitbot serve` is asked; see `serve.py`.

Each is started as its own documentation says, with nothing tuned, and holds the base alone, which
is what fitbot's server is asked for beside them. llama.cpp's is that of the package xllamacpp, with
the base in 8 bits, as fitbot holds it on a CPU; as a program, this file starts it. All tell in the
usage that ends a stream how many tokens they wrote; its events are fewer, for a token may be part
of a letter.
"""

import json
import os
import shutil
import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serve_http import Client, Process, free_port

_CONTEXT = 2048  # what fitbot's server takes by default
_LLAMA_SLOTS = 4  # llama.cpp's own default


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
    "llama": Contender(sys.executable),
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
    if name == "llama":
        file = log.with_suffix(".gguf")
        _write_gguf(model, file)
        return Process([sys.executable, __file__, str(file), str(port)], port, log, ready="/health")
    command = [str(_program(name)), "serve", str(Path(model).resolve())]
    command += ["--host=127.0.0.1", f"--port={port}", *CONTENDERS[name].options]
    return Process(command, port, log, ready="/health")


def client_of(name: str, server: Process, question: str) -> Client:
    """Ask it with the prompt that fitbot makes of a question."""
    from fitbot.base_model.embedded import EMBEDDED_SYSTEM_PROMPT

    more = {"chat_template_kwargs": {"enable_thinking": False}} | CONTENDERS[name].more
    told = EMBEDDED_SYSTEM_PROMPT
    return Client(server.port, question, numbered=True, system_prompt=told, more=more)


def _write_gguf(model: str, file: Path) -> None:
    from transformers import AutoModelForCausalLM

    from fitbot.base_model.gguf_file import write_base
    from fitbot.pairs.chat import Chat, load_tokenizer

    chat = Chat(load_tokenizer(model))
    network = AutoModelForCausalLM.from_pretrained(model)
    write_base(file, network, chat.tokenizer, "q8_0", end_of_turn_id=chat.end_of_turn_id)


def _serve_by_llama(file: str, port: int) -> None:
    import xllamacpp

    options = xllamacpp.CommonParams()
    options.model.path, options.hostnames, options.port = file, ["127.0.0.1"], port
    options.n_parallel, options.n_ctx = _LLAMA_SLOTS, _LLAMA_SLOTS * _CONTEXT
    server = xllamacpp.Server(options)
    print(server.listening_address, flush=True)  # noqa: T201
    threading.Event().wait()


def _program(name: str) -> str | None:
    places = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    return shutil.which(CONTENDERS[name].program, path=os.pathsep.join(places))


if __name__ == "__main__":
    _serve_by_llama(sys.argv[1], int(sys.argv[2]))
