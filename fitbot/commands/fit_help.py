"""The help of `fitbot fit`: its own settings, read from the source.

Importing the classes would take seconds. What Lightning adds, and all words, are in
`--help-all`.
"""

import ast
import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from docstring_parser import parse

_WIDTH, _COLUMN, _LONG = 80, 28, 56  # characters of a line, and of an option before its text
# section → (file, class, arguments that are no options)
SECTIONS = {
    "data": ("pairs/datamodule.py", "PreferenceDataModule", {"base_model", "seed"}),
    "model": ("dpo/module.py", "DPOModule", {"lora"}),
    "model.lora": ("base_model/settings.py", "LoraSettings", set[str]()),
    "run": ("dpo/run.py", "RunSettings", set[str]()),
    "answers": ("base_model/settings.py", "AnswerSettings", set[str]()),
    "serve": ("base_model/settings.py", "ServeSettings", set[str]()),
}
_TITLES = {
    "data": "pairs to learn from, and how they are read",
    "model": "base, adapter and objective",
    "model.lora": "shape of the adapter",
    "run": "where results go",
    "answers": "how the adapter is asked later",
    "serve": "where it is served later",
    "trainer": "how long, and on what; Lightning's, all others with --help-all",
}
# Of Lightning's: what a config sets, in words for who has never seen Lightning.
TRAINER = {
    "max_epochs": ("null", "Times that every pair is seen."),
    "max_steps": ("-1", "Optimizer steps; -1: as many as max_epochs says."),
    "precision": ("null", "auto, 32-true, bf16-mixed or 16-mixed."),
    "accelerator": ("auto", "cpu, gpu, mps or auto."),
    "devices": ("auto", "GPUs, or processes on a CPU."),
    "strategy": ("auto", "ddp, or sharded for a base that one GPU cannot hold."),
    "val_check_interval": ("null", "Steps from validation to validation."),
    "log_every_n_steps": ("50", "Steps between two points of the curves."),
    "enable_progress_bar": ("null", "Show how far it is; false: no."),
}
_GENERAL = {
    "-c, --config NAME or FILE": "Preset (see `fitbot presets`) or YAML; the last wins.",
    "--ckpt_path CHECKPOINT": "Go on from it: a .ckpt file, `last` or `best`.",
    "--seed_everything 42": "Of the weights, the order of pairs and dropout.",
    "--print_config": "Print all settings as YAML, and exit.",
    "-h, --help": "This page.",
    "--help-all": "All options in full, also Lightning's.",
}
_USAGE = """\
usage: fitbot fit --config CONFIG [options]

Train an adapter on preference pairs. Options are settings of the YAML file, and
win over it: --model.beta 0.2 is "beta: 0.2" below "model:". [Default], or null.
"""


class Declared(NamedTuple):
    """A setting as its class declares it."""

    name: str
    type: ast.expr | None
    default: ast.expr
    meaning: str


def help_of_fit() -> str:
    """Return the page, at most 120 lines of 80 characters."""
    lines = [_USAGE]
    for option, text in _GENERAL.items():
        lines += _option(option, text)
    for section, title in _TITLES.items():
        lines += ["", f"{section}: {title}"]
        for name, (default, text) in settings_of(section).items():
            lines += _option(f"--{section}.{name}", text, default)
    return "\n".join(lines)


def settings_of(section: str) -> dict[str, tuple[str, str]]:
    """Read a section's settings from the source: name → default as YAML writes it, and summary."""
    if section == "trainer":
        return TRAINER
    hidden = SECTIONS[section][2]
    return {
        one.name: (_as_yaml(one.default), _summary(one.meaning))
        for one in declared_in(section)
        if one.name not in hidden
    }


def declared_in(section: str) -> list[Declared]:
    """Read what a section's class declares from its source, without importing it."""
    file, name, _ = SECTIONS[section]
    tree = ast.parse((Path(__file__).parents[1] / file).read_text(encoding="utf-8"))
    (found,) = (x for x in tree.body if isinstance(x, ast.ClassDef) and x.name == name)
    meanings = {
        param.arg_name: " ".join((param.description or "").split())
        for param in parse(ast.get_docstring(found) or "").params
    }
    return [Declared(arg, kind, value, meanings[arg]) for arg, kind, value in _fields(found)]


def _fields(found: ast.ClassDef) -> Iterator[tuple[str, ast.expr | None, ast.expr]]:
    """Yield a class's arguments, or a dataclass's fields: name, type and default."""
    for node in found.body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            args = node.args.args[-len(node.args.defaults) :]
            for arg, value in zip(args, node.args.defaults, strict=True):
                yield arg.arg, arg.annotation, value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            assert node.value is not None
            yield node.target.id, node.annotation, node.value


def _as_yaml(value: ast.expr) -> str:
    if not isinstance(value, ast.Constant):
        return "all"  # list(PROJECTIONS)
    return value.value if isinstance(value.value, str) else json.dumps(value.value)


def _summary(text: str) -> str:
    """Take the first sentence, of a long one its beginning; without brackets and addresses."""
    text = re.sub(r" \([^)]*\)|, https:\S+", "", text)
    first = re.split(r"(?<=\.) +", text)[0]
    return first if len(first) <= _LONG else re.split("[:;] ", first)[0]


def _option(option: str, text: str, default: str = "null") -> list[str]:
    head, below = f"  {option} ".ljust(_COLUMN), " " * _COLUMN
    text = text.rstrip(".") if default == "null" else f"{text.rstrip('.')} [{default}]"
    if len(head) > _COLUMN and len(head + text) > _WIDTH:
        return [
            head.rstrip(),
            *textwrap.wrap(text, _WIDTH, initial_indent=below, subsequent_indent=below),
        ]
    return textwrap.wrap(
        text, _WIDTH, initial_indent=head, subsequent_indent=below, break_on_hyphens=False
    )
