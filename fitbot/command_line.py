"""A command line that refuses what it does not know in a few lines, and says what was meant."""

import difflib
import re
from typing import Any, NoReturn

from jsonargparse import ArgumentParser


class SuggestingParser(ArgumentParser):
    """A parser that names the nearest known option to one that it refuses."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print usage and message and exit with status 2."""
        unknown = re.search(r"(?:option|arguments?:|key) ['\"]?-*([\w.]+)", message)
        if unknown:
            # "Subcommand 'fit' does not accept option 'data.nn'": the options are the subcommand's.
            known = [action.dest for parser in _parsers(self) for action in parser._actions]
            near = difflib.get_close_matches(unknown[1], known, n=1)
            message += f"\ndid you mean {near[0]!r}?" if near else ""
        super().error(message, ex)
        raise AssertionError  # the parser has exited


def _parsers(parser: Any) -> list[Any]:
    children = (action for action in parser._actions if isinstance(action.choices, dict))
    return [parser, *(child for action in children for child in action.choices.values())]
