"""The word `fitbot`: picks the command and imports nothing heavy, so that help answers at once."""

import difflib
import importlib
import os
import sys
import traceback

from fitbot.platforms import replace_unprintable
from fitbot.version import __version__

_TRACEBACK = "--traceback"  # an option of every command
# command → (module of fitbot.commands with main(args), what it does)
COMMANDS = {
    "audit": ("audit", "say what is wrong with pairs: fitbot audit TRAIN VAL"),
    "fit": ("trainer", "train an adapter with DPO: fitbot fit --config dpo"),
    "presets": ("presets", "list the settings that come with fitbot, for --config, or print them"),
    "ray": ("ray", "fit on a Ray cluster, or search settings: fitbot ray fit --workers 2"),
    "validate": ("trainer", "measure a checkpoint on the validation pairs"),
    "test": ("trainer", "measure a checkpoint on the test pairs"),
    "evaluate": ("evaluate", "say what adapters are worth, and what they say"),
    "compare": ("compare", "ask a person which of two models answers better, blindly"),
    "predict": ("trainer", "write log-probs, rewards and margin of every test pair"),
    "feedback": ("feedback", "list, export, import or forget what persons chose"),
    "chat": ("chat", "ask an adapter at the terminal: fitbot chat --adapter DIR"),
    "serve": ("serve", "serve an adapter over HTTP: fitbot serve --adapter DIR"),
    "export": ("export", "write a checkpoint's adapter, or merged weights"),
    "doctor": ("doctor", "say what works on this machine, to paste into an issue"),
}


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: What follows the word fitbot; the process's own arguments by default.

    Returns:
        The exit status: 0 success, 1 an error that fitbot explains, 2 a command line it refuses,
        130 where Ctrl-C ended it.
    """
    words = sys.argv[1:] if argv is None else argv
    args = [word for word in words if word != _TRACEBACK]
    replace_unprintable()
    if not args or args[0] in ("-h", "--help", "help"):
        print(_help())  # noqa: T201
        return 0
    if args[0] in ("-V", "--version"):
        print(f"fitbot {__version__}")  # noqa: T201
        return 0
    if args[0] not in COMMANDS:
        near = difflib.get_close_matches(args[0], COMMANDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"commands: {', '.join(COMMANDS)}"
        print(f"fitbot: no command {args[0]!r}; {hint}", file=sys.stderr)  # noqa: T201
        return 2
    from fitbot.errors import FitbotError

    try:
        module = importlib.import_module(f"fitbot.commands.{COMMANDS[args[0]][0]}")
        status = int(module.main(args))
        sys.stdout.flush()
        return status
    except KeyboardInterrupt as stop:
        if not stop.args:  # a fit has said by itself what is saved
            print("fitbot: interrupted", file=sys.stderr)  # noqa: T201
        return 130
    except BrokenPipeError:  # who reads has seen enough, as `| head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        from fitbot.commands.explain import explain, unexpected

        if _TRACEBACK in words:
            traceback.print_exception(error)
        own = str(error) if isinstance(error, FitbotError) else None
        print(f"fitbot: {own or explain(error) or unexpected(error)}", file=sys.stderr)  # noqa: T201
        return 1


def _help() -> str:
    lines = [f"  {name:<10} {what}" for name, (_, what) in COMMANDS.items()]
    last = (
        "fitbot COMMAND --help lists the command's options. With --traceback, any command shows\n"
        "where in the code an error was raised."
    )
    return "\n".join(["usage: fitbot COMMAND [options]", "", *lines, "", last])


if __name__ == "__main__":
    sys.exit(main())
