"""HTTP over an engine: who may ask, how much, and what comes back in which shape.

`app.py` puts the parts together and follows a request through them. Three processes serve, and a
fourth (LitServe's manager) carries messages between them:

    main      server.py           starts the others, replaces a dead worker, ends them all
    api       middleware.py       ids, keys, sizes; headers, metrics and log of every request
              routes.py           page, health, models, metrics, documentation
              answer_routes.py    questions: checked, sent to the worker, answered through the
                                  health layer
              jobs.py             what is under way in the worker
    worker    worker.py           holds the engine, does the jobs
              engines.py          opens it
              adapters.py         adds adapters to it and takes them out
              transport.py        sends chunks to api, in bundles

What they share: `settings.py`, `jobs.py` (messages between api and worker), `shared_state.py`,
`http_errors.py`, `logs.py`. What api uses: `request_schemas.py`, `openai_format.py`, `keys.py`,
`limits.py`, `metrics.py`, `page/`.

Nothing here generates text: that is `fitbot.generation.engine.Engine`'s.
"""
