"""The server's application: `python serve/app.py --adapter DIR` is `fitbot serve --adapter DIR`.

Its parts are put together in fitbot/serving/app.py, its options are in fitbot/commands/serve.py.
"""

import sys

from fitbot.__main__ import main
from fitbot.serving.app import make_server

__all__ = ["make_server"]

if __name__ == "__main__":
    sys.exit(main(["serve", *sys.argv[1:]]))
