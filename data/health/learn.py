"""Train the classifier of the health layer: messages/*.jsonl → fitbot/health/words.safetensors.

    python data/health/learn.py            # train on everybody's messages, and write it
    python data/health/learn.py --check    # say by author what it would find of theirs

Each file of messages is of one author, and a line is {"kind", "text" or "turns", "lang"}. For the
figures the classifier is trained once for every author, without that author's lines.
"""

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from sklearn.linear_model import LogisticRegression

from fitbot.health.classifier import ABOUT, ANSWERS, FILE, LANGUAGES, conversation, features

HERE = Path(__file__).parent
OUT = HERE.parents[1] / "fitbot" / "health" / FILE
KINDS = {"self_harm": "self-harm", "eating": "eating disorder"}  # as the files call them
_SENTENCES = re.compile(r"(?<=[.!?])\s+")
STRENGTH = 10.0  # inverse of the weights' penalty


class Line(NamedTuple):
    """What somebody wrote, and what it is about."""

    author: str
    language: str
    text: str
    kind: str


def read_lines() -> list[Line]:
    """Read all messages."""
    lines = []
    for path in sorted((HERE / "messages").glob("*.jsonl")):
        for raw in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(raw)
            kind = KINDS.get(record["kind"], record["kind"])
            line = Line(path.stem, record.get("lang", "en"), _text_of(record), kind)
            lines.append(line)
            if kind == "good_answer":  # each sentence of one is good, too
                lines += [line._replace(text=part) for part in _SENTENCES.split(line.text)[:-1]]
    return [*lines, *_of_fitness_data()]


def _of_fitness_data() -> list[Line]:
    """Take questions and good answers of the fitness data, which nobody at risk has asked."""
    path = HERE.parent / "fitness_train.json"
    records = json.loads(path.read_text(encoding="utf-8"))
    ordinary = [record for record in records if record["category"] != "caution"][::3]
    asked = {record["question"] for record in ordinary}
    answered = {record["chosen"] for record in records[::2]}
    return [
        *(Line("fitness data", "en", text, "harmless") for text in sorted(asked)),
        *(Line("fitness data", "en", text, "good_answer") for text in sorted(answered)),
    ]


def _text_of(record: dict[str, Any]) -> str:
    if "text" in record:
        return str(record["text"])
    roles = {"U": "user", "A": "assistant"}
    turns = [(roles[turn[0]], turn[2:].strip()) for turn in record["turns"]]
    return conversation(turns)


def fit(lines: Sequence[Line], classes: Sequence[str]) -> LogisticRegression:
    """Learn to tell classes apart."""
    found = LogisticRegression(C=STRENGTH, max_iter=300, tol=1e-3)
    found.fit(features([line.text for line in lines]), [classes.index(line.kind) for line in lines])
    return found


def by_other_authors(lines: Sequence[Line], classes: Sequence[str]) -> NDArray[Any]:
    """Return each line's probabilities, by what was learned from all other authors."""
    found = np.zeros((len(lines), len(classes)))
    for author in sorted({line.author for line in lines}):
        own = [n for n, line in enumerate(lines) if line.author == author]
        others = [line for line in lines if line.author != author]
        known = fit(others, classes)
        found[own] = known.predict_proba(features([lines[n].text for n in own]))
    return found


def report(lines: Sequence[Line], classes: Sequence[str]) -> None:
    """Print what is found at some rates of false alarms, by kind, author and language."""
    found = by_other_authors(lines, classes)
    risk, kinds = 1 - found[:, 0], np.array([line.kind for line in lines])
    for rate in (0.01, 0.02, 0.05, 0.1):
        least = np.quantile(risk[kinds == classes[0]], 1 - rate)
        print(f"false alarms {rate:.0%}: above {least:.3f}")  # noqa: T201
        groups = {"kind": kinds, "author": _column(lines, 0), "language": _column(lines, 1)}
        for name, of in groups.items():
            shares = {
                str(one): f"{(risk[(of == one) & (kinds != classes[0])] > least).mean():.3f}"
                for one in sorted(set(of[kinds != classes[0]]))
            }
            print(f"  by {name}: {shares}")  # noqa: T201


def _column(lines: Sequence[Line], index: int) -> NDArray[Any]:
    return np.array([str(line[index]) for line in lines])


def main() -> None:
    """Train and write, or report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="say what is found, write nothing")
    args = parser.parse_args()
    lines = read_lines()
    arrays: dict[str, NDArray[Any]] = {}
    answers = {f"{kind}_answer": kind for kind in ANSWERS}
    sets = {
        "about": (ABOUT, [line for line in lines if line.kind in ABOUT]),
        "answers": (
            ANSWERS,
            [line._replace(kind=answers[line.kind]) for line in lines if line.kind in answers],
        ),
        "language": (LANGUAGES, [line._replace(kind=line.language) for line in lines]),
    }
    for name, (classes, own) in sets.items():
        print(f"{name}: {len(own):,} messages of {len({x.author for x in own})} authors")  # noqa: T201
        if args.check:
            report(own, classes)
            continue
        known = fit(own, classes)
        weights, bias = known.coef_, known.intercept_
        if len(classes) == 2:  # scikit-learn keeps the second class alone
            weights, bias = np.vstack([0 * weights, weights]), np.concatenate([0 * bias, bias])
        # safetensors writes the memory as it lies.
        arrays[f"{name}.weights"] = np.ascontiguousarray(weights.astype(np.float16))
        arrays[f"{name}.bias"] = bias.astype(np.float32)
    if arrays:
        save_file(arrays, OUT)


if __name__ == "__main__":
    main()
