"""The command `fitbot presets`: lists the settings that come with fitbot, or prints one preset."""

import re
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ActionConfigFile  # type: ignore[attr-defined]  # Lightning's, too

from fitbot.commands.command_line import SuggestingParser, say
from fitbot.errors import ConfigError
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
        """Add the settings of each file that is meant.

        Raises:
            ConfigError: There is none, or it holds no settings.
        """
        files = [values]
        if _NAME_OR_PATH.fullmatch(values):
            files = [str(file) for file in config_files(values, first=not cfg.get(self.dest))]
        for file in files:
            if Path(file).is_file():  # or it is a URL, or text
                _check_file(Path(file))
            self.apply_config(parser, cfg, self.dest, file)


def _check_file(file: Path) -> None:
    """Refuse a file that is no YAML mapping, or that names a setting twice: the last would win.

    Raises:
        ConfigError: With the line.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
        root = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except OSError as error:
        raise ConfigError(f"--config {file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"--config {file}: not UTF-8 at byte {error.start}; save it as UTF-8"
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"--config {file}: {_what_is_no_yaml(error, text)}") from error
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(
            f"--config {file}: it holds no mapping of settings; write them as in "
            "`fitbot presets quickstart`"
        )
    seen: set[yaml.Node] = set()
    left: list[Any] = [root]
    while left:
        node = left.pop()
        if node in seen or isinstance(node, yaml.ScalarNode):  # an anchor may hold itself
            continue
        seen.add(node)
        if not isinstance(node, yaml.MappingNode):
            left += node.value
            continue
        lines: dict[str, int] = {}
        for key, value in node.value:
            left.append(value)
            name, line = str(key.value), key.start_mark.line + 1
            if name in lines and name != "<<":
                raise ConfigError(
                    f"--config {file}: line {line}: {name!r} stands there already in line "
                    f"{lines[name]}; only one of them can hold"
                )
            lines[name] = line


def _what_is_no_yaml(error: yaml.YAMLError, text: str) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return f"no YAML: {str(error).splitlines()[0]}"
    lines = text.splitlines()
    has_tab = "\t" in "".join(lines[mark.line : mark.line + 1])
    tab = "; YAML is indented by spaces, not by tabs" if has_tab else ""
    parts = (getattr(error, name, None) for name in ("context", "problem"))
    said = ", ".join(part for part in parts if part)
    return f"line {mark.line + 1}, column {mark.column + 1}: no YAML: {said}{tab}"
