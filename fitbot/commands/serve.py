"""fitbot serve: options -> a server."""

import ipaddress
import json
import os
import re
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fitbot.base_model.introduction import Introduction, introduce
from fitbot.base_model.provenance import answer_settings, latest_adapter, serve_settings
from fitbot.base_model.settings import PORTS, ServeSettings, check_ranges
from fitbot.commands.command_line import SuggestingParser, add_engine_options, announce
from fitbot.errors import ConfigError
from fitbot.generation.engine import Engine
from fitbot.generation.messages import BASE, TUNED, Sampling
from fitbot.health.layer import ENCODER_HELP, open_layer
from fitbot.platforms import take_from_environment
from fitbot.serving.engines import REMOTE_KEY, add_local, open_local, open_remote
from fitbot.serving.keys import ADMIN_ENVIRONMENT, ENVIRONMENT, KeyRing, load_keys
from fitbot.serving.settings import AddAdapter, AdminSettings, RequestLimits, ServerSettings

if TYPE_CHECKING:
    from fitbot.learning.side import LearningSide

# Options that the embedded engine takes.
_OF_ENGINE = ("slots", "context", "policy", "more_adapters", "merged", "quantize")
_HOSTS = ("0.0.0.0", "127.0.0.1", "::")  # the ones that LitServe binds
_MORE_ADAPTERS = 4  # that there is room for with --adapters
_MOST_ADAPTERS = 256
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?")


@dataclass
class ServeOptions:
    """Who may ask, and what answers.

    Args:
        host: Address; default: the run's, 0.0.0.0.
        port: From 1024; default: the run's, 8000.
        keys_file: API keys, one a line, read anew when it changes; more come from
            $FITBOT_API_KEYS.
        adapters: Directory whose folders may be added as adapters while the server answers, by who
            has an admin key, from $FITBOT_ADMIN_KEYS or --admin_keys_file.
        more_adapters: How many of them there is room for; default: 4.
        admin_keys_file: Admin keys, one a line.
        remote: Let another server answer, any that speaks OpenAI's chat completions, such as
            http://127.0.0.1:8001/v1; its key comes from $FITBOT_REMOTE_KEY.
        remote_fields: JSON, sent with every request to it, such as
            '{"chat_template_kwargs": {"enable_thinking": false}}'.
        remote_model: Its model; default: all that it has.
        slots: Answers written at once; default: the engine's.
        context: Tokens of prompt and answer; default: the engine's.
        policy: How many tokens an answer may have, see docs/explanation/serving.md; default: room.
        max_request_length: Characters of one question to /predict/; default: the run's, 1024.
        cors_origins: Web pages of other origins that may ask from a browser, such as
            '["https://app.example.com"]', or '["*"]' for all; default: none.
        learning_folder: Where --learn keeps answers, choices and versions.
    """

    host: Literal["0.0.0.0", "127.0.0.1", "::"] | None = None
    port: int | None = None
    keys_file: Path | None = None
    adapters: Path | None = None
    more_adapters: int | None = None
    admin_keys_file: Path | None = None
    remote: str | None = None
    remote_fields: str | None = None
    remote_model: str | None = None
    slots: int | None = None
    context: int | None = None
    policy: Literal["room", "published"] | None = None
    max_request_length: int | None = None
    cors_origins: list[str] | None = None
    learning_folder: Path = Path("checkpoints/learning")


def main(
    args: list[str],
    open_engine: Callable[[], Engine] | None = None,
    add_adapter: AddAdapter = add_local,
    *,
    health_layer: bool = True,
    learn: Callable[[], None] | None = None,
) -> int:
    """Run `fitbot serve`.

    Args:
        args: As every command's.
        open_engine: Opens the engine in the worker process, so it must be picklable; by default
            fitbot's own, with the adapter that the options name.
        add_adapter: Adds a further adapter to that engine; by default to fitbot's own.
        health_layer: Check questions and filter answers; only benchmarks leave it out.
        learn: What the process that learns does with --learn; by default, learn.

    Returns:
        0.

    Raises:
        FitbotError: An option is wrong, or the engine did not start or could not be kept alive.
    """
    options = _parser().parse_args(args[1:])
    announce("fitbot serve: loading")
    adapter = options.adapter
    if open_engine is None and adapter is None:
        adapter = _default_adapter(options)
        announce(f"no --adapter named: {adapter or 'the embedded model'} answers")
    recipe = serve_settings(adapter)
    host, port = _address(options, recipe)
    options.max_request_length = options.max_request_length or recipe.max_request_length
    limits = RequestLimits(**{field.name: options[field.name] for field in fields(RequestLimits)})
    keys = _keys(host, options.keys_file, insecure=options.insecure)
    admin_file = options.admin_keys_file
    admin_keys = KeyRing(load_keys(admin_file, admin=True), keys_file=admin_file, admin=True)
    _refuse_contradictions(options, adapter, keys, admin_keys)
    admin = AdminSettings(admin_keys, shelf, add_adapter) if (shelf := options.adapters) else None
    health = open_layer(options.health_texts, options.health_encoder) if health_layer else None
    announce(f"health layer: {health.described if health else 'off'}")
    settings = ServerSettings(
        open_engine or _opener(options, adapter),
        limits,
        keys,
        sampling=_sampling(adapter, limits),
        health=health,
        admin=admin,
        only_local_names=_is_local(host) and not keys and not options.insecure,
        cors_origins=_cors_origins(options.cors_origins or [], keys),
        introductions={} if options.remote else _introductions(adapter),
    )
    # What the worker's libraries read: threads that wait must not keep the cores from the others.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from fitbot.serving.app import make_server  # not before: LitServe is slow to load

    side = _learning_side(options, adapter, settings, add_adapter, learn) if options.learn else None
    make_server(settings, side).serve(host, port, on_ready=partial(_announce_url, host, port))
    return 0


def _parser() -> SuggestingParser:
    parser = SuggestingParser(
        prog="fitbot serve", usage="fitbot serve [options]", description=__doc__
    )
    add_engine_options(parser)
    parser.add_class_arguments(ServeOptions)
    parser.add_argument(
        "--merged",
        action="store_true",
        help="add the adapter to the weights and answer with nothing else; refused where rounding "
        "them would lose it, see docs/explanation/serving.md",
    )
    parser.add_argument(
        "--learn",
        action="store_true",
        help="keep answers and the choices between them, and learn from them while serving: for "
        "one person, on one machine; see docs/how-to/learn-from-clicks.md",
    )
    parser.add_argument(
        "--insecure", action="store_true", help="let everybody ask who can reach the address"
    )
    parser.add_argument(
        "--health_texts",
        type=Path,
        help="the health layer's texts and numbers, where they are your own",
    )
    parser.add_argument("--health_encoder", default="auto", help=ENCODER_HELP)
    parser.add_class_arguments(RequestLimits, skip={"max_request_length"})
    return parser


def _keys(host: str, keys_file: Path | None, *, insecure: bool) -> KeyRing:
    """Collect the keys; make one when others could reach the server and there is none."""
    keys = load_keys(keys_file)
    if not keys and not insecure and not _is_local(host):
        keys = [secrets.token_urlsafe(24)]
        announce(
            f"API key, shown only once: {keys[0]}\n"
            f"({host} can be reached from outside. Set ${ENVIRONMENT} or --keys_file for keys that "
            "last, or --host 127.0.0.1; --insecure asks for none.)"
        )
    return KeyRing(keys, keys_file=keys_file)


def _refuse_contradictions(
    options: Any, adapter: Path | None, keys: KeyRing, admin_keys: KeyRing
) -> None:
    named = f"${ADMIN_ENVIRONMENT} or --admin_keys_file"
    merged, directory, room = options.merged, options.adapters, options.more_adapters
    is_llama = options.backend == "llama"
    for wrong, message in (
        (merged and options.remote, "--merged: not with --remote, whose engine it is"),
        (merged and directory, "--merged: not with --adapters, which are for the unmerged base"),
        (merged and is_llama, "--merged: not with --backend llama, which merges nothing"),
        (merged and not adapter, "--merged: there is no adapter; name one with --adapter"),
        (admin_keys and not directory, f"{named} opens nothing without --adapters DIR"),
        (room is not None and not directory, "--more_adapters: only with --adapters DIR"),
        (
            directory and not admin_keys,
            f"--adapters {directory}: nobody may add one without {named}",
        ),
        (directory and options.remote, "--adapters: not with --remote, whose engine it is"),
        (directory and not directory.is_dir(), f"--adapters {directory}: no such directory"),
        (
            admin_keys.shares(keys),
            f"{named} has a key that is an API key as well; make one of its own",
        ),
        (
            room is not None and not 0 < room <= _MOST_ADAPTERS,
            f"--more_adapters {room}: must be from 1 to {_MOST_ADAPTERS}",
        ),
        (options.remote and is_llama, "--backend: not with --remote, whose engine it is"),
        *_against_learning(options),
    ):
        if wrong:
            raise ConfigError(message)


def _against_learning(options: Any) -> list[tuple[bool, str]]:
    """Pair what --learn does not go with, with what is said of it."""
    same = "what answers, by PyTorch, and what learns must have the same weights"
    reasons = {
        "remote": "that server's weights cannot be trained here",
        "merged": "versions are adapters beside the base",
        "adapters": "the room for adapters is for versions",
        "quantize": same,
    }
    found = {name: bool(options[name]) for name in reasons}
    reasons["backend llama"], found["backend llama"] = same, options.backend == "llama"
    return [
        (options.learn and found[name], f"--{name}: not with --learn: {why}")
        for name, why in reasons.items()
    ]


def _default_adapter(options: Any) -> Path | None:
    """Return the adapter that answers where none is named."""
    from fitbot.learning.origin import recorded_origin

    origin = recorded_origin(options.learning_folder) if options.learn else None
    if origin is None:
        return latest_adapter(Path("checkpoints"))
    return Path(origin.adapter) if origin.adapter else None


def _learning_side(
    options: Any,
    adapter: Path | None,
    settings: ServerSettings,
    add_adapter: AddAdapter,
    learn: Callable[[], None] | None,
) -> "LearningSide":
    from fitbot.learning.origin import Origin
    from fitbot.learning.side import LearningSide, SideSettings

    folder = options.learning_folder
    announce(
        f"--learn: questions, answers and choices are kept in {folder}, readable by this user "
        "alone; fitbot answers by PyTorch, and learns in a process beside it"
    )
    return LearningSide(
        SideSettings(
            folder,
            Origin.of(adapter),
            dict(settings.introductions),
            add_adapter,
            bool(settings.keys),
            settings.health,
            learn,
        )
    )


def _cors_origins(origins: list[str], keys: KeyRing) -> tuple[str, ...]:
    for origin in origins:
        if not (origin == "*" or _ORIGIN.fullmatch(origin)):
            raise ConfigError(
                f"--cors_origins {origin!r}: no origin; write it as browsers do, such as "
                "https://app.example.com or http://localhost:3000, without a path"
            )
    if "*" in origins and not keys:
        raise ConfigError(
            f"--cors_origins '*': every web page could ask; set ${ENVIRONMENT} or --keys_file first"
        )
    return tuple(origins)


def _announce_url(host: str, port: int) -> None:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # what a browser takes
    announce(f"fitbot serves http://{shown}:{port}/ (chat), /predict/ and /v1/ (API)")


def _address(options: Any, recipe: ServeSettings) -> tuple[str, int]:
    """Return host and port, the options' or the run's; the server can be had there."""
    host, port = options.host or recipe.host, options.port or recipe.port
    if recipe.endpoint not in ("/predict/", "/predict"):
        raise ConfigError(f"serve.endpoint {recipe.endpoint!r}: questions are taken at /predict/")
    if host not in _HOSTS:
        raise ConfigError(f"serve.host {host!r}: must be {', '.join(_HOSTS)}; name one by --host")
    check_ranges("serve", {"port": port}, {"port": PORTS})
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as uvicorn does
        try:
            trial.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"--port {port}: cannot listen there on {host}: {error.strerror}; take another"
            ) from error
    return host, port


def _is_local(host: str) -> bool:
    return ipaddress.ip_address(host).is_loopback


def _introductions(adapter: Path | None) -> dict[str, Introduction]:
    return {TUNED: introduce(adapter), BASE: introduce(adapter, tuned=False)}


def _sampling(adapter: Path | None, limits: RequestLimits) -> Sampling:
    """Return how the adapter's run says answers are drawn, within the limits."""
    sampling = Sampling.from_settings(answer_settings(adapter))
    return replace(sampling, max_new_tokens=min(sampling.max_new_tokens, limits.max_new_tokens))


def _opener(options: Any, adapter: Path | None) -> Callable[[], Engine]:
    """Choose the engine that the options want; it is opened in the worker process."""
    if options.remote:
        more, key = _json_object(options.remote_fields), take_from_environment(REMOTE_KEY)
        model = options.remote_model
        return partial(open_remote, options.remote, model, adapter, more, key or None)
    chosen = {name: options[name] for name in _OF_ENGINE if options[name] is not None}
    if options.adapters:
        chosen.setdefault("more_adapters", _MORE_ADAPTERS)
    if options.learn:
        from fitbot.learning.live import LOADED

        chosen["more_adapters"] = LOADED
    if options.backend == "llama":
        del chosen["merged"]
    backend = "torch" if options.learn else options.backend
    return partial(open_local, backend, adapter, chosen)


def _json_object(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ConfigError(f"--remote_fields {text}: it must be a JSON object")
    return found
