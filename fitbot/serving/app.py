"""Serve an adapter over HTTP: the command `serve`. Addresses and limits: serve/README.md."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from fitbot.generation.engine import Engine
from fitbot.generation.messages import Sampling
from fitbot.serving.adapters import Loader, Shelf
from fitbot.serving.keys import KeyRing
from fitbot.serving.limits import Limits
from fitbot.serving.metrics import Metrics
from fitbot.serving.safety import Safety
from fitbot.serving.server import FitbotServer
from fitbot.serving.shared_state import Board
from fitbot.serving.spec import AnswerSpec
from fitbot.serving.worker import AnswerAPI


class Admin(NamedTuple):
    """Who may add adapters while the server answers, from where, and how the engine takes them."""

    keys: KeyRing
    directory: Path
    loader: Loader


def make_server(
    open_engine: Callable[[], Engine],
    limits: Limits,
    keys: KeyRing,
    *,
    sampling: Sampling,
    safety: Safety | None,
    admin: Admin | None,
    only_local_names: bool,
) -> FitbotServer:
    """Put a server together; nothing runs yet.

    Args:
        open_engine: Opens the engine in the worker process; must be picklable.
        limits: Of requests.
        keys: Who may ask.
        sampling: How answers are drawn unless a request says otherwise.
        safety: The health layer, if any.
        admin: Who may add adapters; None if nobody may.
        only_local_names: Refuse requests for hosts other than localhost.
    """
    board = Board()
    metrics = Metrics(board)
    spec = AnswerSpec(board, limits, metrics, sampling, safety, takes_adapters=admin is not None)
    shelf = Shelf(admin.directory, admin.loader, board) if admin else None
    api = AnswerAPI(open_engine, board, spec, shelf)
    admin_keys = admin.keys if admin else KeyRing([])
    return FitbotServer(
        api, spec, metrics, limits, keys, admin_keys, only_local_names=only_local_names
    )
