"""HTTP over an engine: who may ask, how much, and what comes back in which shape.

Three processes serve, and a fourth (LitServe's manager) carries messages between them:

    main      app.py, server.py   starts the others, replaces a dead worker, ends them all
    api       gate.py, spec.py    reads requests, refuses what must be refused, relays answers
    worker    worker.py           holds the engine, writes the answers
              adapters.py         adds adapters to it and takes them out
              transport.py        sends them to api, in bundles

Nothing here generates text: that is `fitbot.generation.engine.Engine`'s.
"""
