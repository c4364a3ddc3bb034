"""The server, put together: settings -> a LitServe application (docs/reference/server.md).

A request's way through it:

1. uvicorn reads its headers, strictly and not for long (`ClientProtocol`). Where connections
   are too many, the longest idle is closed (`Connections`).
2. `RequestContext` gives it an id, and writes metrics and one log line when it is over.
3. `Auth` checks the key, or the host where there is none. Many wrong keys are answered slowly.
4. `BodyLimit` reads the body, within limits of size and time.
5. A route of `AnswerRoutes` checks rate and fields, and has `Admission` count it.
6. The health layer looks at the question: an emergency gets a fixed text, and no engine is asked.
   Others wait their turn in `Admission`, client by client.
7. `Dispatcher` puts a job into LitServe's queue, with a deadline.
8. In the worker, `EngineAPI` takes the job and submits it to the engine.
9. The engine's chunks come back through `BundlingTransport`, several in one message.
10. `ChunkFilter` holds each sentence back until the health layer lets it through;
    `measured_answer` counts and times it.
11. The route sends JSON, or server-sent events. If the client leaves, the job is cancelled.
"""

from fitbot.serving.adapters import AdapterRegistry
from fitbot.serving.answer_routes import AnswerRoutes
from fitbot.serving.jobs import Dispatcher
from fitbot.serving.learning_side import Learning
from fitbot.serving.metrics import Metrics
from fitbot.serving.middleware import Auth, BodyLimit, Cors, RequestContext
from fitbot.serving.routes import PATHS, add_routes
from fitbot.serving.server import FitbotServer
from fitbot.serving.settings import ServerSettings
from fitbot.serving.shared_state import SharedState
from fitbot.serving.worker import EngineAPI


def make_server(settings: ServerSettings, learning: Learning | None = None) -> FitbotServer:
    """Put a server together; nothing runs yet. Its `serve` runs it, its `app` is FastAPI's.

    With `learning`, it keeps answers and learns from choices between them.
    """
    limits, admin = settings.limits, settings.admin

    # What the processes know of each other, and what the API process counts.
    shared = SharedState()
    metrics = Metrics(shared)

    # In the API process: routes that ask the engine, and what sends their jobs to the worker.
    dispatcher = Dispatcher(shared, metrics)
    routes = AnswerRoutes(settings, dispatcher, shared, metrics, learning)

    # In the worker process: the engine in a LitAPI, and the adapters that come and go.
    registry = AdapterRegistry(admin.directory, admin.add_adapter, shared) if admin else None
    if learning:
        registry = AdapterRegistry(learning.directory, learning.add_adapter, shared)
    api = EngineAPI(settings.open_engine, shared, routes, registry)

    # In the main process: the LitServer, which starts the other two.
    server = FitbotServer(api, dispatcher, shared, limits, learning)
    more = learning.routes(routes, dispatcher, shared) if learning else []
    add_routes(server.app, routes.by_path, shared, metrics, settings, learning, more)

    paths = PATHS | {route.path for route in more}

    # What every request passes before the routes. The last one added is the outermost.
    server.app.add_middleware(BodyLimit, limits=limits)
    server.app.add_middleware(Auth, settings=settings)
    if settings.cors_origins:
        server.app.add_middleware(Cors, origins=settings.cors_origins)
    server.app.add_middleware(RequestContext, limits=limits, metrics=metrics, paths=paths)
    return server
