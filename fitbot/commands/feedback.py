"""The command `fitbot feedback`: what persons chose: listed, exported, imported, forgotten."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jsonargparse import DefaultHelpFormatter

from fitbot.commands.command_line import (
    SuggestingParser,
    announce,
    check_at_least,
    say,
    write_file,
)
from fitbot.errors import ConfigError
from fitbot.learning.store import DEFAULT_STORE, Store

_FORMS = ("fitbot", "trl", "openai", "kto")
_PARTS = {"all": None, "train": False, "held-out": True}
_SHOWN = 12  # characters of an adapter's SHA-256
# The options that an action alone has.
_OPTIONS = {
    "list": ("last", "json"),
    "export": ("out", "format", "part"),
    "import": ("author",),
    "forget": ("yes",),
}
_WANTS = {"import": "a FILE", "forget": "an AUTHOR"}
_EPILOG = """actions
  list           how much there is, and the latest choices
  export         write pairs (or single answers, for KTO) as JSONL
  import FILE    add pairs, KTO's single answers, or Open WebUI's export of
                 feedback; what is there already is not added again
  forget AUTHOR  remove all of an author, as list names it; or of a user of Open
                 WebUI, by id"""


def main(args: list[str]) -> int:
    """List, export, import or forget; 1 if a record of an import was refused."""
    parser = _parser()
    options = parser.parse_args(args[1:])
    wanted = _WANTS.get(options.action)
    if bool(wanted) != (options.what is not None):
        parser.error(f"{options.action} takes {wanted or 'nothing but options'}")
    for action, names in _OPTIONS.items():
        for name in names if action != options.action else ():
            if options[name] != parser.get_default(name):
                parser.error(f"--{name} is an option of {action}, not of {options.action}")
    check_at_least(options, last=0)
    if not options.store.exists() and options.action != "import":
        raise ConfigError(
            f"{options.store}: there is no such file; choices are kept there by "
            "`fitbot feedback import`, or name another --store"
        )
    with Store(options.store) as store:
        run = {"list": _list, "export": _export, "import": _import, "forget": _forget}
        return run[options.action](store, options)


def _parser() -> SuggestingParser:
    parser = SuggestingParser(
        prog="fitbot feedback",
        usage="fitbot feedback ACTION [FILE or AUTHOR] [options]",
        description="What persons chose between answers, for fitbot to learn from.",
        epilog=_EPILOG,
        formatter_class=_LineKeeping,
    )
    add = parser.add_argument
    add("action", choices=list(_OPTIONS), metavar="ACTION", help=", ".join(_OPTIONS))
    add("what", nargs="?", metavar="FILE or AUTHOR", help="of import and forget")
    add("--store", type=Path, default=DEFAULT_STORE, help="the file of choices")
    add("--last", type=int, default=5, help="list: so many of the latest choices")
    add("--json", type=Path, help="list: write it as JSON, too")
    add("--out", type=Path, default=Path("feedback.jsonl"), help="export: file to write")
    add(
        "--format",
        choices=_FORMS,
        default="fitbot",
        help="export: whose; fit and audit read all but KTO's",
    )
    add(
        "--part",
        choices=list(_PARTS),
        default="all",
        help="export: held-out choices are those that fitbot never learns from",
    )
    add("--author", default="imported", help="import: of records that name none")
    add("--yes", action="store_true", help="forget: do not ask")
    return parser


class _LineKeeping(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the list of actions."""


def _some(count: int, what: str = "choice") -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


def _list(store: Store, options: Any) -> int:
    from fitbot.report.terminal import columns, shorten

    counts, latest = store.counts(), store.choices(limit=options.last)
    span = f", {counts.first[:10]} to {counts.last[:10]}" if counts.first and counts.last else ""
    say(f"{options.store}: {_some(counts.choices)}{span} (UTC)")
    say(
        f"  pairs    {counts.pairs:,} to learn from, {counts.held_out:,} held out\n"
        f"  answers  {counts.answers:,}"
    )
    if counts.not_usable:
        say(f"  never learned from, because of the health layer: {counts.not_usable:,}")
    for title in ("kinds", "authors", "versions"):
        for number, (name, count) in enumerate(getattr(counts, title).items()):
            name = name[:_SHOWN] if len(name) == 64 else name  # a hash
            say(f"  {'' if number else title:<9}{shorten(name, columns() - 24):<16} {count:,}")
    if counts.outdated:
        say(f"  learned from what was forgotten since: {', '.join(counts.outdated)}")
    for choice in latest:
        sides = [
            f"{sign} {' '.join(side.text.split())}"
            for sign, side in (("+", choice.chosen), ("-", choice.rejected))
            if side is not None
        ]
        marks = " held out" * choice.held_out + " not learned from" * (not choice.usable)
        say(f"\n{choice.id}  {choice.time[:19]}  {choice.kind}  {choice.author}{marks}")
        for text in (" ".join(choice.conversation[-1].content.split()), *sides):
            say(f"  {shorten(text, columns() - 2)}")
    if options.json:
        # Without texts: they are in the store, and in an export.
        named = [
            {
                **{name: getattr(choice, name) for name in ("id", "time", "kind", "author")},
                **{name: getattr(choice, name) for name in ("held_out", "usable")},
            }
            for choice in latest
        ]
        write_file(options.json, json.dumps({**asdict(counts), "latest": named}, indent=2) + "\n")
    return 0


def _export(store: Store, options: Any) -> int:
    from fitbot.learning.formats import export_records

    records = list(export_records(store, options.format, _PARTS[options.part]))
    if not records:
        raise ConfigError(f"{options.store}: there is nothing to export as {options.format}")
    lines = (json.dumps(record, ensure_ascii=False) for record in records)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.touch(mode=0o600)  # what persons asked about their health
    options.out.chmod(0o600)
    write_file(options.out, "".join(f"{line}\n" for line in lines))
    left = store.counts().not_usable
    more = f"; {_some(left)} left out, which the health layer touched" if left else ""
    say(f"{_some(len(records), 'record')}{more}")
    return 0


def _import(store: Store, options: Any) -> int:
    announce(f"fitbot feedback: reading {options.what}")
    from fitbot.health.layer import open_layer
    from fitbot.learning.importing import import_choices, touched_by

    is_touched = touched_by(open_layer())
    done = import_choices(store, options.what, author=options.author, is_touched=is_touched)
    for why in done.refused:
        announce(why)
    say(
        f"added {_some(done.added)}; {done.known:,} were there already; "
        f"{len(done.refused):,} could not be read"
    )
    if done.touched:
        say(f"{done.touched:,} of them are never learned from, because of the health layer")
    return 1 if done.refused else 0


def _forget(store: Store, options: Any) -> int:
    counts = store.counts().authors
    names = (options.what, store.pseudonym(options.what))
    author = next((name for name in names if name in counts), None)
    if author is None:
        raise ConfigError(
            f"{options.store} has nothing of {options.what!r}; `fitbot feedback list` names authors"
        )
    versions = store.versions_of(author)
    if not options.yes:
        announce(f"{_some(counts[author])} of {author}, and all that {author} asked")
        if versions:
            announce(f"learned from by {', '.join(versions)}")
        announce("Remove them from the store for ever? y or n")
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            announce("nothing was removed; --yes removes without asking")
            return 1
    store.forget(author)
    say(f"removed: {_some(counts[author])} of {author}, and all that {author} asked")
    if versions:
        say(
            f"These versions learned from them, and still know it: {', '.join(versions)}.\n"
            "Remove them, and have fitbot learn anew from what is left."
        )
    return 0
