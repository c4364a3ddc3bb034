"""The command `fitbot presets`: lists the settings that come with fitbot, or prints one preset."""

import re
from typing import Any

from jsonargparse import ActionConfigFile  # type: ignore[attr-defined]  # Lightning's, too

from fitbot.commands.command_line import SuggestingParser, say
from fitbot.shipped import config_files, preset, presets

# What is text of YAML, or a URL, is not looked up.
_NAME_OR_PATH = re.compile(r"[\w./\\~-]+")


def main(args: list[str]) -> int:
    """List the presets, or print the file of one."""
    parser = SuggestingParser(
        prog="fitbot presets",
        usage="fitbot presets [NAME]",
        description="List the settings that come with fitbot, or print those of one preset, as a "
        "file to edit: fitbot presets dpo_v2 > mine.yaml. All commands that take --config take a "
        "preset's name there.",
    )
    parser.add_argument("name", nargs="?", help="the preset to print")
    name = parser.parse_args(args[1:]).name
    if name is not None:
        say(preset(name).read_text(encoding="utf-8").rstrip("\n"))
        return 0
    for name, file in presets().items():
        with file.open(encoding="utf-8") as lines:
            say(f"{name:<11} {next(lines).removeprefix('# ').rstrip()}")
    say("\nfitbot fit --config NAME trains with one; fitbot presets NAME > mine.yaml copies it.")
    return 0


class PresetOrFile(ActionConfigFile):
    """A --config that takes a preset's name, too."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: Any = None) -> None:
        """Add the settings of each file that is meant; raises ConfigError where there is none."""
        files = [values]
        if _NAME_OR_PATH.fullmatch(values):
            files = [str(file) for file in config_files(values, first=not cfg.get(self.dest))]
        for file in files:
            self.apply_config(parser, cfg, self.dest, file)
