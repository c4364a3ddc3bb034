"""`fitbot serve --learn` with a toy engine and a toy learner: python -m tests.learning.toy_server

The learner makes a version of every new choice, whatever was chosen, and every third one is
refused. "kill me" in a choice's question kills it, each time that it meets it.
"""

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

from fitbot.commands.serve import main
from fitbot.errors import FitbotError
from fitbot.learning.gate import NOT_WORSE, REFUSED
from fitbot.learning.status import say
from fitbot.learning.store import Store
from fitbot.learning.versions import Version, Versions
from tests.serving.toy_engine import ToyEngine, open_toy

SECONDS = 0.2  # of a lesson


def learn(folder: Path) -> None:
    versions = Versions(folder)
    versions.sweep()
    with Store(folder / "feedback.sqlite") as store:
        say(folder, "waiting")
        while True:
            tried = {i for one in versions.all() for i in one.choices}
            new = [one for one in store.pairs(held_out=False) if one.id not in tried]
            if any("kill me" in one.conversation[-1].content for one in new):
                os.kill(os.getpid(), signal.SIGKILL)
            if new:
                teach(versions, store, [one.id for one in new])
                say(folder, "waiting")
            time.sleep(0.05)


def teach(versions: Versions, store: Store, choices: list[int]) -> None:
    folder, number = versions.folder.parent, max(versions.numbers(), default=0) + 1
    say(folder, "learning", number=number, choices=len(choices), begun=time.time())
    time.sleep(SECONDS)
    with versions.writing(number) as adapter:
        adapter.mkdir()
        (adapter / "fitbot.json").write_text("well")
        (adapter / "adapter_model.safetensors").write_bytes(bytes([number % 256]))
        store.learned(f"fitbot@{number}", choices)
        state = NOT_WORSE if number % 3 else REFUSED
        version = Version(number, versions.current, state, "Said by a toy.", tuple(choices))
        versions.add(version, {}, answers=state == NOT_WORSE)


if __name__ == "__main__":
    folder = Path(
        next(one for one in sys.argv if one.startswith("--learning_folder=")).split("=")[1]
    )
    options = ["serve", "--health_encoder=none", "--learn", *sys.argv[1:]]
    try:
        status = main(options, open_toy, ToyEngine.add, learn=partial(learn, folder))
    except FitbotError as error:
        sys.stderr.write(f"fitbot: {error}\n")
        status = 1
    sys.exit(status)
