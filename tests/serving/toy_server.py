"""`fitbot serve`, with the toy engine in the worker: python -m tests.serving.toy_server"""

import sys

from fitbot.commands.serve import main
from fitbot.errors import FitbotError
from tests.serving.toy_engine import ToyEngine, open_toy

if __name__ == "__main__":
    try:
        status = main(["serve", *sys.argv[1:]], open_toy, ToyEngine.add)
    except FitbotError as error:
        sys.stderr.write(f"fitbot: {error}\n")
        status = 1
    sys.exit(status)
