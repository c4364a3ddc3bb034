"""Serve an adapter over HTTP: the command `serve`. Addresses and limits: serve/README.md."""

import ipaddress
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from fitbot.answers.engine import Engine, Sampling
from fitbot.answers.provenance import latest_adapter, provenance_of, sampling_of, serve_settings
from fitbot.command_line import SuggestingParser
from fitbot.errors import ConfigError
from fitbot.serve.board import Board
from fitbot.serve.keys import ENVIRONMENT, KeyRing, load_keys, make_key
from fitbot.serve.limits import Limits
from fitbot.serve.metrics import Metrics
from fitbot.serve.safety import Safety, health_layer
from fitbot.serve.server import FitbotServer
from fitbot.serve.spec import AnswerSpec
from fitbot.serve.worker import AnswerAPI

_REMOTE_KEY = "FITBOT_REMOTE_KEY"
_OF_ENGINE = ("slots", "context", "policy")  # options that the embedded engine takes
_HOSTS = ("0.0.0.0", "127.0.0.1", "::")  # the ones that LitServe binds


def main(args: list[str], open_engine: Callable[[], Engine] | None = None) -> int:
    """Run `fitbot serve`.

    Args:
        args: The command and its options, as typed.
        open_engine: Opens the engine in the worker process, so it must be picklable; by default
            fitbot's own, with the adapter that the options name.

    Returns:
        0, or 1 if the engine could not be kept alive.

    Raises:
        FitbotError: An option is wrong, or the engine did not start.
    """
    options = _parser().parse_args(args[1:])
    adapter = options.adapter
    if open_engine is None and adapter is None:
        adapter = latest_adapter(Path("checkpoints"))
        _say(f"no --adapter named: {adapter or 'the embedded model'} answers")
    recipe = serve_settings(adapter)
    host, port = options.host or recipe.host, options.port or recipe.port
    if recipe.endpoint not in ("/predict/", "/predict"):
        raise ConfigError(f"serve.endpoint {recipe.endpoint!r}: questions are taken at /predict/")
    given = {field.name: options[field.name] for field in fields(Limits)}
    if given["max_request_length"] is None:
        given["max_request_length"] = recipe.max_request_length
    limits = Limits(**given)
    keys = _keys(host, options.keys_file, insecure=options.insecure)
    if open_engine is None:
        chosen = {name: options[name] for name in _OF_ENGINE if options[name] is not None}
        open_engine = partial(_open_engine, adapter, chosen)
        if options.remote:
            more = _fields(options.remote_fields)
            open_engine = partial(_open_remote, options.remote, options.remote_model, adapter, more)
    # Threads that wait must not keep the cores from those that work; torch reads it when loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    server = make_server(
        open_engine,
        limits,
        keys,
        sampling=_sampling(adapter, limits),
        safety=health_layer(),
        only_local_names=_is_local(host) and not keys and not options.insecure,
    )
    _say(f"fitbot serves http://{host}:{port}/ (chat), /predict/ and /v1/ (API)")
    return server.serve(host, port)


def make_server(
    open_engine: Callable[[], Engine],
    limits: Limits,
    keys: KeyRing,
    *,
    sampling: Sampling,
    safety: Safety | None,
    only_local_names: bool,
) -> FitbotServer:
    """Put a server together; nothing runs yet.

    Args:
        open_engine: Opens the engine in the worker process; must be picklable.
        limits: Of requests.
        keys: Who may ask.
        sampling: How answers are drawn unless a request says otherwise.
        safety: The health layer, if any.
        only_local_names: Refuse requests for hosts other than localhost.
    """
    board = Board()
    metrics = Metrics(board)
    spec = AnswerSpec(board, limits, metrics, sampling, safety)
    api = AnswerAPI(open_engine, board, spec)
    return FitbotServer(api, spec, metrics, limits, keys, only_local_names=only_local_names)


def _parser() -> SuggestingParser:
    parser = SuggestingParser(prog="fitbot serve", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--adapter",
        type=Path,
        help="folder that fit exported; default: the latest run's in checkpoints/, or else the "
        "embedded model alone",
    )
    parser.add_argument(
        "--remote",
        help="let another server answer, any that speaks OpenAI's chat completions, such as "
        f"http://127.0.0.1:8001/v1; its key comes from ${_REMOTE_KEY}",
    )
    parser.add_argument(
        "--remote_fields",
        help="JSON, sent with every request to it, such as "
        '\'{"chat_template_kwargs": {"enable_thinking": false}}\'',
    )
    parser.add_argument("--remote_model", help="its model; default: all that it has")
    parser.add_argument("--host", choices=_HOSTS, help="address; default: the run's, 0.0.0.0")
    parser.add_argument("--port", type=int, help="from 1024; default: the run's, 8000")
    parser.add_argument(
        "--keys_file", type=Path, help=f"API keys, one a line; more come from ${ENVIRONMENT}"
    )
    parser.add_argument(
        "--insecure", action="store_true", help="let everybody ask who can reach the address"
    )
    parser.add_argument("--slots", type=int, help="answers written at once; default: the engine's")
    parser.add_argument(
        "--context", type=int, help="tokens of prompt and answer; default: the engine's"
    )
    parser.add_argument(
        "--policy",
        choices=["room", "published"],
        help="how many tokens an answer may have, see docs/serving.md; default: room",
    )
    parser.add_argument(
        "--max_request_length",
        type=int,
        help="characters of one question to /predict/; default: the run's, 1024",
    )
    parser.add_class_arguments(Limits, skip={"max_request_length"})
    return parser


def _keys(host: str, keys_file: Path | None, *, insecure: bool) -> KeyRing:
    """Collect the keys; make one when others could reach the server and there is none."""
    keys = load_keys(keys_file)
    if not keys and not insecure and not _is_local(host):
        keys = [make_key()]
        _say(
            f"API key, shown only once: {keys[0]}\n"
            f"({host} can be reached from outside. Set ${ENVIRONMENT} or --keys_file for keys that "
            "last, or --host 127.0.0.1; --insecure asks for none.)"
        )
    return KeyRing(keys)


def _is_local(host: str) -> bool:
    return ipaddress.ip_address(host).is_loopback


def _sampling(adapter: Path | None, limits: Limits) -> Sampling:
    """Return how the adapter's run says answers are drawn, within the limits."""
    sampling = sampling_of(adapter)
    return replace(sampling, max_new_tokens=min(sampling.max_new_tokens, limits.max_new_tokens))


def _open_engine(adapter: Path | None, options: dict[str, Any]) -> Engine:
    from fitbot.answers.loading import open_engine

    engine: Engine = open_engine(adapter, **options)
    return engine


def _fields(text: str | None) -> dict[str, Any]:
    try:
        fields = json.loads(text or "{}")
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise ConfigError(f"--remote_fields {text}: it must be a JSON object")
    return fields


def _open_remote(url: str, model: str | None, adapter: Path | None, more: dict[str, Any]) -> Engine:
    from fitbot.answers.remote import RemoteEngine

    return RemoteEngine(
        url,
        models=[model] if model else None,
        api_key=os.environ.get(_REMOTE_KEY),
        system_prompt=provenance_of(adapter)["data"]["system_prompt"],
        more=more,
    )


def _say(text: str) -> None:
    with suppress(OSError):  # a full disk must not keep the server from starting
        print(text, file=sys.stderr, flush=True)  # noqa: T201
