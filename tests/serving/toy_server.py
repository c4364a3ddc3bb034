"""`fitbot serve`, with the toy engine in the worker: python -m tests.serving.toy_server

Without the health layer's encoder, which takes ten seconds of a core to load; tests/health has it.
"""

import os
import sys

from fitbot.commands.serve import main
from fitbot.errors import FitbotError
from tests.serving.toy_engine import ToyEngine, open_toy

if __name__ == "__main__":
    if "FITBOT_HUNG" in os.environ:  # seconds; a minute would be long for a test
        from fitbot.serving import server

        server._HUNG_SECONDS = float(os.environ["FITBOT_HUNG"])
    try:
        status = main(["serve", "--health_encoder=none", *sys.argv[1:]], open_toy, ToyEngine.add)
    except FitbotError as error:
        sys.stderr.write(f"fitbot: {error}\n")
        status = 1
    sys.exit(status)
