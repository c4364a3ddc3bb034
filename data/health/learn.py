"""Train the classifier of the health layer: messages/*.jsonl → fitbot/health/words.safetensors.

    python data/health/learn.py

Each file of messages is of one author, and a line is {"kind", "text" or "turns", "lang"}.
`unseen.py` says what is found of authors that were not learned.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from fitbot.health.answer import Sentences, windows
from fitbot.health.classifier import (
    ABOUT,
    ANSWERS,
    BUCKETS,
    FILE,
    LANGUAGES,
    conversation,
    features,
)

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

HERE = Path(__file__).parent
OUT = HERE.parents[1] / "fitbot" / "health" / FILE
# As the files call them.
KINDS = {
    "self_harm": "self-harm",
    "eating": "eating disorder",
    "good_answer": "good",
    "bad_answer": "bad",
}
OF_QUESTIONS = {"ok": "harmless", "emergency": "emergency"}
OF_TOPICS = {
    "self-harm": "self-harm",
    "eating disorder": "eating disorder",
    "starvation": "eating disorder",
    "purging": "eating disorder",
    "drugs": "drugs",
}
STRENGTH = 10.0  # inverse of the weights' penalty


class Line(NamedTuple):
    """What somebody wrote, and what it is about."""

    author: str
    language: str
    text: str
    kind: str
    windows: tuple[str, ...] = ()  # of a bad answer: nobody said which of them is bad


def read_lines() -> list[Line]:
    """Read all messages; of a good answer each sentence, alone and after those before it."""
    lines = []
    for path in sorted((HERE / "messages").glob("*.jsonl")):
        for raw in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(raw)
            kind = KINDS.get(record["kind"], record["kind"])
            line = Line(path.stem, record.get("lang", "en"), _text_of(record), kind)
            if kind == "bad":
                line = line._replace(windows=tuple(windows(line.text)))
            lines += _in_windows(line) if kind == "good" else [line]
    return [*lines, *_of_questions(), *_of_fitness_data()]


def _in_windows(line: Line) -> list[Line]:
    sentences = Sentences()
    alone = [text.strip() for text in (*sentences.feed(line.text), sentences.finish())]
    texts = dict.fromkeys((*windows(line.text), *filter(None, alone)))
    return [line._replace(text=text) for text in texts]


def _of_questions() -> list[Line]:
    """Take the questions that the rules were developed with: the bluntest of all."""
    path = HERE.parents[1] / "tests" / "health" / "health_questions.json"
    found = []
    for record in json.loads(path.read_text(encoding="utf-8")):
        kind = OF_QUESTIONS.get(record["kind"], OF_TOPICS.get(record["topic"]))
        if record["split"] == "development" and record["kind"] != "refer" and kind:
            text = conversation([("user", turn) for turn in record["turns"]])
            found.append(Line("rules", "en", text, kind))
    return found


def _of_fitness_data() -> list[Line]:
    """Take questions and good answers of the fitness data, which nobody at risk has asked."""
    path = HERE.parent / "fitness_train.json"
    records = json.loads(path.read_text(encoding="utf-8"))
    ordinary = [record for record in records if record["category"] != "caution"][::3]
    asked = {record["question"] for record in ordinary if "question" in record}
    answered = {record["chosen"] for record in records[::2]}
    return [
        *(Line("fitness data", "en", text, "harmless") for text in sorted(asked)),
        *(
            line
            for text in sorted(answered)
            for line in _in_windows(Line("fitness data", "en", text, "good"))
        ),
    ]


def _text_of(record: dict[str, Any]) -> str:
    if "text" in record:
        return str(record["text"])
    roles = {"U": "user", "A": "assistant"}
    turns = [(roles[turn[0]], turn[2:].strip()) for turn in record["turns"]]
    return conversation(turns)


def fit(lines: Sequence[Line], classes: Sequence[str]) -> "LogisticRegression":
    """Learn to tell classes apart; from bad answers again with what was found worst of each."""
    known = _fit([(line.text, line.kind) for line in lines], classes)
    if not any(line.windows for line in lines):
        return known
    worst = worst_windows(lines, lambda texts: known.predict_proba(matrix(texts))[:, 1])
    return _fit([(line.text, line.kind) for line in (*lines, *worst)], classes)


def _fit(texts: Sequence[tuple[str, str]], classes: Sequence[str]) -> "LogisticRegression":
    from sklearn.linear_model import LogisticRegression

    found = LogisticRegression(C=STRENGTH, max_iter=300, tol=1e-3)
    wanted = [classes.index(kind) for _, kind in texts]
    return found.fit(matrix([text for text, _ in texts]), wanted)


def worst_windows(
    lines: Sequence[Line], likely: Callable[[Sequence[str]], NDArray[Any]]
) -> list[Line]:
    """Return of each bad answer the window that is most likely bad.

    Args:
        lines: All.
        likely: Says how likely each of some texts is bad.
    """
    answers = [line for line in lines if line.windows]
    found = iter(likely([text for line in answers for text in line.windows]))
    worst = []
    for line in answers:
        scores = [next(found) for _ in line.windows]
        worst.append(line._replace(text=line.windows[int(np.argmax(scores))]))
    return worst


def matrix(texts: Sequence[str]) -> Any:
    """Lay the features of texts out as a sparse matrix of ones: (texts, 2 x buckets)."""
    from scipy.sparse import csr_matrix

    held = [features(text) for text in texts]
    ends = np.cumsum([0, *map(len, held)])
    ones = np.ones(ends[-1], np.float32)
    return csr_matrix((ones, np.concatenate(held), ends), (len(texts), 2 * BUCKETS))


def main() -> None:
    """Train and write."""
    lines = read_lines()
    arrays: dict[str, NDArray[Any]] = {}
    sets = {
        "about": (ABOUT, [line for line in lines if line.kind in ABOUT]),
        "answers": (ANSWERS, [line for line in lines if line.kind in ANSWERS]),
        "language": (
            LANGUAGES,
            [
                line._replace(kind=line.language, windows=())
                for line in lines
                if line.author != "rules"  # some of these are in other languages
            ],
        ),
    }
    for name, (classes, own) in sets.items():
        print(f"{name}: {len(own):,} messages of {len({x.author for x in own})} authors")  # noqa: T201
        known = fit(own, classes)
        weights, bias = known.coef_, known.intercept_
        if len(classes) == 2:  # scikit-learn keeps the second class alone
            weights, bias = np.vstack([0 * weights, weights]), np.concatenate([0 * bias, bias])
        # By feature, as they are looked up; safetensors writes the memory as it lies.
        arrays[f"{name}.weights"] = np.ascontiguousarray(weights.T.astype(np.float16))
        arrays[f"{name}.bias"] = bias.astype(np.float32)
    save_file(arrays, OUT)


if __name__ == "__main__":
    main()
