"""As much of OpenAI's chat completions as an engine of ours needs to be somewhere else."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from fitbot.errors import BusyError, FitbotError
from fitbot.generation.engine import Engine
from fitbot.generation.messages import Chunk, Sampling
from fitbot.pairs.formats import Message

NAMES = {
    "max_tokens": "max_new_tokens",
    "top_logprobs": "logprobs",
    "include_reasoning": "reasoning",
}
SAME = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "min_tokens",
    "seed",
)


@contextmanager
def serving(engine: Engine) -> Iterator[str]:
    """Serve an engine on a free port of this machine; gives the URL."""
    handler = type("Handler", (_Handler,), {"engine": engine})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    engine: Engine

    def do_GET(self) -> None:
        self._send(200, {"data": [{"id": name} for name in self.engine.models]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        wanted = {NAMES.get(k, k): v for k, v in body.items() if k in NAMES or k in SAME}
        sampling = Sampling(**wanted, stop=tuple(body.get("stop", ())))
        messages = [Message(turn["role"], turn["content"]) for turn in body["messages"]]
        try:
            stream = self.engine.submit(messages, sampling, model=body["model"])
        except FitbotError as error:
            self._send(429 if isinstance(error, BusyError) else 400, {"error": str(error)})
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        try:
            for chunk in stream:
                for event in events_of(chunk):
                    self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
                self.wfile.flush()
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:  # the client has left
            stream.cancel()

    def _send(self, status: int, body: Any) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def events_of(chunk: Chunk) -> Iterator[dict[str, Any]]:
    logprobs = [
        {
            "token": one.token,
            "logprob": one.logprob,
            "top_logprobs": [{"token": t, "logprob": logprob} for t, logprob in one.top],
        }
        for one in chunk.logprobs
    ]
    delta = {"content": chunk.text, "reasoning": chunk.reasoning}
    choice: dict[str, Any] = {"delta": delta, "logprobs": {"content": logprobs}}
    yield {"choices": [choice | {"finish_reason": chunk.finish_reason}]}
    if chunk.usage:
        usage = {
            "prompt_tokens": chunk.usage.prompt,
            "completion_tokens": chunk.usage.completion,
        }
        yield {"choices": [], "usage": usage}
