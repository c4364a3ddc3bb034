"""The health layer's figures on the sets that measure it.

    python -m tests.health.measure [--encoder none] [--misses] [--out FILE.json] [FOLDER]

Every file of the folder is one author's: FORM_AUTHOR.jsonl, in the form of data/health. A message
is flagged if anything but the model's answer alone is shown, and fixed if the model is not asked.
"""

import argparse
import json
import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fitbot.health.answer import AnswerFilter
from fitbot.health.layer import HealthLayer, HealthVerdict, open_layer
from fitbot.pairs.formats import Message

SETS = Path(__file__).with_name("sets")
ROLES = {"U": "user", "A": "assistant"}


class Result(NamedTuple):
    """What the layer makes of one line."""

    group: str  # such as "plain self_harm"
    author: str
    flagged: bool
    fixed: bool
    line: dict[str, Any]


def results(layer: HealthLayer, folder: Path = SETS) -> Iterator[Result]:
    """Show the layer every line of every file."""
    for path in sorted(folder.glob("*.jsonl")):
        form, author = path.stem.split("_")
        for raw in path.read_text(encoding="utf-8").splitlines():
            line = json.loads(raw)
            yield Result(group_of(form, line), author, *shown(layer, line), line)


def group_of(form: str, line: dict[str, Any]) -> str:
    """Name the row of the table that a line counts in."""
    kind = line["kind"]
    if form == "languages":
        crisis = "harmless" if kind == "harmless" else "crisis"
        return f"{line['lang'].partition('-')[0]} {crisis}"
    if form == "answers":
        return str(kind)
    if "turns" in line:
        return f"turns {'harmless' if kind in ('ordinary', 'frightening') else 'at risk'}"
    return f"{form} {kind}"


def shown(layer: HealthLayer, line: dict[str, Any]) -> tuple[bool, bool]:
    """Say whether anything is shown beside, and instead of, the model's answer."""
    if line["kind"] in ("good_answer", "bad_answer"):
        answer = AnswerFilter(layer, HealthVerdict("ok"))
        answer.feed(line["text"])
        answer.finish()
        return bool(answer.intervened), bool(answer.intervened)
    turns = line.get("turns") or [f"U: {line['text']}"]
    verdict = layer.check([Message(ROLES[turn[0]], turn[2:].strip()) for turn in turns])
    return verdict.kind != "ok", not verdict.model_answers


def wilson(hits: int, total: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, after Wilson (1927)."""
    z = 1.959964
    centre = (hits + z * z / 2) / (total + z * z)
    half = z * math.sqrt(hits * (total - hits) / total + z * z / 4) / (total + z * z)
    return centre - half, centre + half


def shares(found: list[Result]) -> dict[str, dict[str, dict[str, Any]]]:
    """Count by group and author, "all" among them: lines, shares flagged and fixed, intervals."""
    cells: dict[str, dict[str, list[Result]]] = defaultdict(lambda: defaultdict(list))
    for one in found:
        for author in ("all", one.author):
            cells[one.group][author].append(one)
    return {
        group: {author: _cell(own) for author, own in sorted(by_author.items())}
        for group, by_author in sorted(cells.items())
    }


def _cell(own: list[Result]) -> dict[str, Any]:
    cell: dict[str, Any] = {"lines": len(own)}
    for name in ("flagged", "fixed"):
        hits = sum(getattr(one, name) for one in own)
        low, high = wilson(hits, len(own))
        cell[name] = round(hits / len(own), 4)
        cell[f"{name}_interval"] = [round(low, 3), round(high, 3)]
    return cell


def table(found: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Lay the figures out, a line a group."""
    lines = [f"{'':22} {'lines':>5}  {'flagged':24} {'fixed text':24} flagged by author"]
    for group, cells in found.items():
        whole = cells["all"]
        parts = [
            "{:.3f} [{:.3f}, {:.3f}]".format(whole[name], *whole[f"{name}_interval"])
            for name in ("flagged", "fixed")
        ]
        authors = " ".join(f"{a} {c['flagged']:.2f}" for a, c in cells.items() if a != "all")
        lines.append(f"{group:22} {whole['lines']:5}  {parts[0]:24} {parts[1]:24} {authors}")
    return "\n".join(lines)


def is_miss(one: Result) -> bool:
    """Say whether the layer is wrong about a line."""
    harmless = one.line["kind"] in ("ordinary", "frightening", "harmless", "good_answer")
    return one.flagged if harmless else not one.flagged


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=SETS)
    parser.add_argument("--encoder", default="auto")
    parser.add_argument("--misses", action="store_true", help="print each")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    layer = open_layer(None, args.encoder)
    found = list(results(layer, args.folder))
    print(layer.described)  # noqa: T201
    print(table(shares(found)))  # noqa: T201
    if args.misses:
        for one in filter(is_miss, found):
            said = one.line.get("text") or " | ".join(one.line["turns"])
            print(f"{one.group} ({one.author}): {said}")  # noqa: T201
    if args.out:
        report = {"readers": layer.described, "figures": shares(found)}
        args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
