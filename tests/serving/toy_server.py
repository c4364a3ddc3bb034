"""`fitbot serve`, with the toy engine in the worker: python -m tests.serving.toy_server"""

import sys

from fitbot.commands.serve import main
from fitbot.errors import FitbotError
from fitbot.serving.settings import AdapterLoader
from tests.serving.toy_engine import ToyEngine, open_toy

if __name__ == "__main__":
    try:
        loader = AdapterLoader(ToyEngine.add, ToyEngine.remove)
        status = main(["serve", *sys.argv[1:]], open_toy, loader)
    except FitbotError as error:
        sys.stderr.write(f"fitbot: {error}\n")
        status = 1
    sys.exit(status)
