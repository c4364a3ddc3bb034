"""fitbot serve: options -> a server."""

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

from fitbot.base_model.provenance import answer_settings, latest_adapter, serve_settings
from fitbot.base_model.settings import LLAMA_SPINS
from fitbot.commands.command_line import SuggestingParser, add_engine_options
from fitbot.errors import ConfigError
from fitbot.generation.engine import Engine
from fitbot.generation.messages import Sampling
from fitbot.serving.engines import LOADER, REMOTE_KEY, open_local, open_remote
from fitbot.serving.keys import ADMIN_ENVIRONMENT, ENVIRONMENT, KeyRing, load_keys, make_key
from fitbot.serving.settings import AdapterLoader, AdminSettings, RequestLimits, ServerSettings

# Options that the embedded engine takes.
_OF_ENGINE = ("slots", "context", "policy", "more_adapters", "merged")
_MORE_ADAPTERS = 4  # that there is room for with --adapters
_MOST_ADAPTERS = 256
_HOSTS = ("0.0.0.0", "127.0.0.1", "::")  # the ones that LitServe binds


def main(
    args: list[str],
    open_engine: Callable[[], Engine] | None = None,
    loader: AdapterLoader = LOADER,
    *,
    health_layer: bool = True,
) -> int:
    """Run `fitbot serve`.

    Args:
        args: The command and its options, as typed.
        open_engine: Opens the engine in the worker process, so it must be picklable; by default
            fitbot's own, with the adapter that the options name.
        loader: How that engine takes further adapters; by default as fitbot's own does.
        health_layer: Check questions and filter answers; only benchmarks leave it out.

    Returns:
        0, or 1 if the engine could not be kept alive.

    Raises:
        FitbotError: An option is wrong, or the engine did not start.
    """
    options = _parser().parse_args(args[1:])
    adapter = options.adapter
    if open_engine is None and adapter is None:
        adapter = latest_adapter(Path("checkpoints"))
        _print(f"no --adapter named: {adapter or 'the embedded model'} answers")
    recipe = serve_settings(adapter)
    host, port = options.host or recipe.host, options.port or recipe.port
    if recipe.endpoint not in ("/predict/", "/predict"):
        raise ConfigError(f"serve.endpoint {recipe.endpoint!r}: questions are taken at /predict/")
    limits = _limits(options, recipe.max_request_length)
    if options.merged:
        _check_merged(options, adapter)
    keys = _keys(host, options.keys_file, insecure=options.insecure)
    admin = _admin(options, keys, loader)
    settings = ServerSettings(
        open_engine or _opener(options, adapter, takes_adapters=admin is not None),
        limits,
        keys,
        sampling=_sampling(adapter, limits),
        health_layer=health_layer,
        admin=admin,
        only_local_names=_is_local(host) and not keys and not options.insecure,
    )
    _set_environment(options.backend)
    from fitbot.serving.app import make_server  # not before: LitServe is slow to load

    server = make_server(settings)
    _print(f"fitbot serves http://{host}:{port}/ (chat), /predict/ and /v1/ (API)")
    return server.serve(host, port)


def _parser() -> SuggestingParser:
    parser = SuggestingParser(prog="fitbot serve", description=__doc__, allow_abbrev=False)
    add_engine_options(parser)
    _add_remote_options(parser)
    _add_access_options(parser)
    parser.add_argument(
        "--merged",
        action="store_true",
        help="add the adapter to the weights and answer with nothing else; refused where rounding "
        "them would lose it, see docs/serving.md",
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
    parser.add_class_arguments(RequestLimits, skip={"max_request_length"})
    return parser


def _add_remote_options(parser: SuggestingParser) -> None:
    parser.add_argument(
        "--remote",
        help="let another server answer, any that speaks OpenAI's chat completions, such as "
        f"http://127.0.0.1:8001/v1; its key comes from ${REMOTE_KEY}",
    )
    parser.add_argument(
        "--remote_fields",
        help="JSON, sent with every request to it, such as "
        '\'{"chat_template_kwargs": {"enable_thinking": false}}\'',
    )
    parser.add_argument("--remote_model", help="its model; default: all that it has")


def _add_access_options(parser: SuggestingParser) -> None:
    parser.add_argument("--host", choices=_HOSTS, help="address; default: the run's, 0.0.0.0")
    parser.add_argument("--port", type=int, help="from 1024; default: the run's, 8000")
    parser.add_argument(
        "--keys_file", type=Path, help=f"API keys, one a line; more come from ${ENVIRONMENT}"
    )
    parser.add_argument(
        "--adapters",
        type=Path,
        help="directory whose folders may be added as adapters while the server answers, by who "
        f"has an admin key, from ${ADMIN_ENVIRONMENT} or --admin_keys_file",
    )
    parser.add_argument(
        "--more_adapters",
        type=int,
        help=f"how many of them there is room for; default: {_MORE_ADAPTERS}",
    )
    parser.add_argument("--admin_keys_file", type=Path, help="admin keys, one a line")
    parser.add_argument(
        "--insecure", action="store_true", help="let everybody ask who can reach the address"
    )


def _limits(options: Any, max_request_length: int) -> RequestLimits:
    given = {field.name: options[field.name] for field in fields(RequestLimits)}
    if given["max_request_length"] is None:
        given["max_request_length"] = max_request_length
    return RequestLimits(**given)


def _keys(host: str, keys_file: Path | None, *, insecure: bool) -> KeyRing:
    """Collect the keys; make one when others could reach the server and there is none."""
    keys = load_keys(keys_file)
    if not keys and not insecure and not _is_local(host):
        keys = [make_key()]
        _print(
            f"API key, shown only once: {keys[0]}\n"
            f"({host} can be reached from outside. Set ${ENVIRONMENT} or --keys_file for keys that "
            "last, or --host 127.0.0.1; --insecure asks for none.)"
        )
    return KeyRing(keys)


def _admin(options: Any, keys: KeyRing, loader: AdapterLoader) -> AdminSettings | None:
    """Return who may add adapters, if anybody may; contradicting options are errors."""
    named = f"${ADMIN_ENVIRONMENT} or --admin_keys_file"
    found = load_keys(
        options.admin_keys_file, environment=ADMIN_ENVIRONMENT, option="--admin_keys_file"
    )
    ring, directory, room = KeyRing(found, "admin_key"), options.adapters, options.more_adapters
    for wrong, message in (
        (ring and not directory, f"{named} opens nothing without --adapters DIR"),
        (room is not None and not directory, "--more_adapters: only with --adapters DIR"),
        (directory and not ring, f"--adapters {directory}: nobody may add one without {named}"),
        (directory and options.remote, "--adapters: not with --remote, whose engine it is"),
        (directory and not directory.is_dir(), f"--adapters {directory}: no such directory"),
        (ring.shares(keys), f"{named} has a key that is an API key as well; make one of its own"),
        (
            room is not None and not 0 < room <= _MOST_ADAPTERS,
            f"--more_adapters {room}: must be from 1 to {_MOST_ADAPTERS}",
        ),
    ):
        if wrong:
            raise ConfigError(message)
    return AdminSettings(ring, directory, loader) if directory else None


def _check_merged(options: Any, adapter: Path | None) -> None:
    for wrong, message in (
        (options.remote, "--merged: not with --remote, whose engine it is"),
        (options.adapters, "--merged: not with --adapters, which are for the unmerged base"),
        (options.backend == "llama", "--merged: not with --backend llama, which merges nothing"),
        (adapter is None, "--merged: there is no adapter; name one with --adapter"),
    ):
        if wrong:
            raise ConfigError(message)


def _is_local(host: str) -> bool:
    return ipaddress.ip_address(host).is_loopback


def _sampling(adapter: Path | None, limits: RequestLimits) -> Sampling:
    """Return how the adapter's run says answers are drawn, within the limits."""
    sampling = Sampling.from_settings(answer_settings(adapter))
    return replace(sampling, max_new_tokens=min(sampling.max_new_tokens, limits.max_new_tokens))


def _opener(options: Any, adapter: Path | None, *, takes_adapters: bool) -> Callable[[], Engine]:
    """Choose the engine that the options want; it is opened in the worker process."""
    if options.remote:
        if options.backend != "torch":
            raise ConfigError("--backend: not with --remote, whose engine it is")
        more = _json_object(options.remote_fields)
        return partial(open_remote, options.remote, options.remote_model, adapter, more)
    chosen = {name: options[name] for name in _OF_ENGINE if options[name] is not None}
    if takes_adapters:
        chosen.setdefault("more_adapters", _MORE_ADAPTERS)
    if options.backend == "llama":
        del chosen["merged"]
    return partial(open_local, options.backend, adapter, chosen)


def _json_object(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ConfigError(f"--remote_fields {text}: it must be a JSON object")
    return found


def _set_environment(backend: str) -> None:
    """Set what the worker's libraries read when they are loaded."""
    # Threads that wait must not keep the cores from those that work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if backend == "llama":
        os.environ.setdefault("GOMP_SPINCOUNT", LLAMA_SPINS)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def _print(text: str) -> None:
    with suppress(OSError):  # a full disk must not keep the server from starting
        print(text, file=sys.stderr, flush=True)  # noqa: T201
