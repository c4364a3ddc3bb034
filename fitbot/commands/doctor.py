"""fitbot doctor: a base → one block of text that says what works here, to paste into an issue."""

import sys

from fitbot.base_model.embedded import EMBEDDED
from fitbot.commands.command_line import SuggestingParser, announce, say


def main(args: list[str]) -> int:
    """Run `fitbot doctor`; the status is 1 if something failed that should work here."""
    parser = SuggestingParser(
        prog="fitbot doctor",
        usage="fitbot doctor [options]",
        description="Say what this machine is and which engine each command takes here, and why; "
        "really train ten steps and answer a question. Prints one block of text to paste into an "
        "issue, without secrets and user names, in under a minute. Status 1: something failed.",
    )
    parser.add_argument(
        "--base_model",
        default=EMBEDDED,
        help="what to train and ask: a hub id or a folder; default: the embedded model",
    )
    options = parser.parse_args(args[1:])
    announce("fitbot doctor: loading PyTorch")
    from fitbot.doctor.examine import examine

    def show(text: str) -> None:
        say(text)
        sys.stdout.flush()  # the next section may crash

    return 0 if examine(options.base_model, show) else 1
