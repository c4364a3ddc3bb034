"""Write the reference pages that follow from the code: commands, settings, modules.

`make docs` writes them before the site is built; git does not keep them. `python
docs/reference_pages.py` writes them alone.
"""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from fitbot.__main__ import COMMANDS
from fitbot.commands.fit_help import SECTIONS, declared_in

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "docs" / "reference"
# Their options are `fitbot fit`'s.
FITS = ("fit", "validate", "test", "predict")


class Setting(NamedTuple):
    """One setting of `fitbot fit`."""

    name: str
    type: str
    default: str
    meaning: str


def settings_of(group: str) -> list[Setting]:
    """Return a group's settings, one that is a group of its own left out."""
    return [
        Setting(
            f"{group}.{one.name}",
            ast.unparse(one.type) if one.type else "",
            ast.unparse(one.default),
            one.meaning,
        )
        for one in declared_in(group)
        if f"{group}.{one.name}" not in SECTIONS
    ]


def settings_page() -> str:
    """Make the page of all settings of `fitbot fit`."""
    parts = [
        "# Settings of `fitbot fit`",
        "A setting is a key of a YAML file, or an option: `--model.beta 0.05`. Later files and "
        "options win. `trainer.*` are Lightning's Trainer arguments, and `seed_everything` is the "
        "seed of all that is random. This page is made from the code.",
    ]
    for group in SECTIONS:
        rows = [
            f"| `{one.name}` | `{_cell(_plain(one.type))}` | `{_cell(_plain(one.default))}` "
            f"| {_cell(one.meaning)} |"
            for one in settings_of(group)
        ]
        table = ["| setting | type | default | meaning |", "|---|---|---|---|", *rows]
        parts += [f"## {group}", "\n".join(table)]
    return "\n\n".join(parts) + "\n"


def _plain(code: str) -> str:
    """Write Literal['a', 'b'] as a, b, and a factory of defaults as what it makes."""
    code = re.sub(r"field\(default_factory=lambda: (.*)\)", r"\1", code)
    return re.sub(r"Literal\[(.*?)\]", lambda found: found[1].replace("'", ""), code)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def help_of(command: str) -> str:
    """Return what `fitbot COMMAND --help` prints."""
    wide = {**os.environ, "COLUMNS": "96", "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "fitbot", command, "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=wide,
    )
    return done.stdout.strip()


def commands_page() -> str:
    """Make the page of all commands."""
    parts = [
        "# Commands",
        "`fitbot COMMAND --help` prints the same. The exit status is 0 for success, 1 for an error "
        "that fitbot explains, 2 for a command line that it refuses. This page is made from the "
        "code.",
    ]
    for command, (_, what) in COMMANDS.items():
        parts += [f"## fitbot {command}", f"{what[0].upper()}{what[1:]}."]
        if command == "fit":
            parts.append(
                "| option | meaning |\n|---|---|\n"
                "| `--config NAME` or `FILE` | A [preset](presets.md) or YAML; the last wins. |\n"
                "| `--ckpt_path` | Go on from `last`, `best` or a file. |\n"
                "| `--print_config` | Print all settings and exit. |\n"
                "| `--help-all` | List all options, also Lightning's. |\n"
                "| any setting | See [settings](settings.md). |"
            )
        else:
            parts.append(f"```text\n{help_of(command)}\n```")
    return "\n\n".join(parts) + "\n"


def modules_page() -> str:
    """Make the page that says of every module what it does, by its first line."""
    parts = ["# Modules", "The first line of every module, by folder. This page is made from them."]
    folders: dict[Path, list[str]] = {}
    for path in sorted((ROOT / "fitbot").rglob("*.py")):
        first = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        line = f"| `{path.name}` | {_cell(first.splitlines()[0])} |"
        folders.setdefault(path.parent.relative_to(ROOT), []).append(line)
    for folder, lines in sorted(folders.items()):
        parts += [f"## {folder}", "\n".join(["| module | what it does |", "|---|---|", *lines])]
    return "\n\n".join(parts) + "\n"


PAGES = {"commands": commands_page, "settings": settings_page, "modules": modules_page}


def write_pages() -> None:
    """Write all of them."""
    for name, page in PAGES.items():
        (REFERENCE / f"{name}.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write_pages()
