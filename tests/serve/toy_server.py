"""`fitbot serve`, with the toy engine in the worker: python toy_server.py --port 8000 ..."""

import sys

from toy_engine import ToyEngine, open_toy

from fitbot.errors import FitbotError
from fitbot.serve.adapters import Loader
from fitbot.serve.app import main

if __name__ == "__main__":
    try:
        status = main(["serve", *sys.argv[1:]], open_toy, Loader(ToyEngine.add, ToyEngine.remove))
    except FitbotError as error:
        sys.stderr.write(f"fitbot: {error}\n")
        status = 1
    sys.exit(status)
