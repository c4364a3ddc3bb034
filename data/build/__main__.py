"""Build the fitness preference pairs: python data/build [FOLDER]

Writes fitness_train.json, fitness_val.json and fitness_test.json into the folder, data/ by default,
the same bytes in every run. See data/README.md.
"""

import json
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent.parent)]  # the checkout's fitbot

from categories import CATEGORIES, draw_one  # noqa: E402
from mirrors import Draw, Mirror, NothingToDraw, Side  # noqa: E402

from fitbot.audit.text import normalise  # noqa: E402
from fitbot.audit.text import sentences as sentences_of  # noqa: E402

SEED = 20261122
FIRST_TEST = "fitness_test_v1.json"  # frozen, for comparisons; nobody asks its questions again
MOST_USES = 12  # of an answer, over all files
MOST_USES_OF_A_WORD = 20
MOST_USES_OF_A_SENTENCE = 0.02  # share of the mirrors drawn together
TRIES = 300  # for each mirror, before a category counts as exhausted


def main(folder: Path) -> None:
    """Build, check and write."""
    first_version = json.loads((HERE.parent / FIRST_TEST).read_text(encoding="utf-8"))
    seen_questions = {normalise(pair["question"]) for pair in first_version}
    uses: Counter[str] = Counter()
    train = draw_mirrors("train", "train", seen_questions, uses)
    known = {key for mirror in train for key in mirror.keys}
    files = {"train": pairs_of(train, "train")}
    for split in ("val", "test"):
        files[split] = [
            pair
            for label, facts_pool, forms_pool in (
                ("seen facts", "train", "train"),
                ("unseen facts", split, "train"),
                ("unseen forms", "train", split),
            )
            for pair in pairs_of(
                draw_mirrors(
                    facts_pool, forms_pool, seen_questions, uses,
                    known=known if facts_pool == "train" else None, salt=split,
                ),
                label,
            )
        ]  # fmt: skip
    for split, pairs in files.items():
        random.Random(SEED).shuffle(pairs)
        path = folder / f"fitness_{split}.json"
        text = json.dumps(pairs, ensure_ascii=False, indent=1) + "\n"
        path.write_text(text, encoding="utf-8", newline="\n")
        print(f"{path.name}: {len(pairs)} pairs")  # noqa: T201


def draw_mirrors(
    facts_pool: str,
    forms_pool: str,
    seen: set[str],
    uses: Counter[str],
    *,
    known: set[str] | None = None,
    salt: str = "",
) -> list[Mirror]:
    """Draw mirrors that hold, with questions that nobody has asked and answers not used too often.

    Args:
        facts_pool: Whose facts.
        forms_pool: Whose wordings of questions.
        seen: Questions that were asked; grows.
        uses: How often each answer was used; grows.
        known: Facts that must have been trained on; None for no such demand.
        salt: The split, validation or test; "" for training.
    """
    mirrors: list[Mirror] = []
    sentences: Counter[str] = Counter()
    wanted = {c: c.held_out if salt else c.train for c in CATEGORIES}
    most = MOST_USES_OF_A_SENTENCE * sum(wanted.values())
    for category, count in wanted.items():
        name = category.kinds[0][0].__name__
        rng = random.Random(f"{SEED} {facts_pool} {forms_pool} {salt} {name}")
        drawn = len(mirrors)
        for _ in range(TRIES * count):
            if len(mirrors) == drawn + count:
                break
            try:
                mirror = draw_one(category, Draw(rng, facts_pool, forms_pool))
            except NothingToDraw:
                continue
            if known is not None and not mirror.keys <= known:
                continue
            sides = (mirror.one, mirror.other)
            questions = {normalise(side.conversation) for side in sides}
            if (
                len(questions) < 2
                or questions & seen
                or any(used_up(s.answer, uses) for s in sides)
            ):
                continue
            said = {sentence for side in sides for sentence in sentences_of(side.answer)}
            if any(sentences[sentence] + 1 > most for sentence in said) or not mirror.holds():
                continue
            sentences.update(said)
            seen |= questions
            uses.update(side.answer for side in sides)
            mirrors.append(mirror)
        if len(mirrors) < drawn + count:
            missing = drawn + count - len(mirrors)
            raise SystemExit(f"{name}: {missing} mirrors short ({facts_pool}, {forms_pool})")
    return mirrors


def used_up(answer: str, uses: Counter[str]) -> bool:
    """Say whether an answer has stood in as many mirrors as it may."""
    return uses[answer] >= (MOST_USES if " " in answer else MOST_USES_OF_A_WORD)


def pairs_of(mirrors: list[Mirror], split: str) -> list[dict[str, Any]]:
    """Turn every mirror into its two pairs."""

    def pair(side: Side, wrong: Side, category: str) -> dict[str, Any]:
        return {
            **asked(side),
            "chosen": side.answer,
            "rejected": wrong.answer,
            "category": category,
            "flaw": side.flaw,
            "facts": list(side.facts),
            "check": side.check,
            "split": split,
        }

    return [
        pair(*sides, mirror.category)
        for mirror in mirrors
        for sides in ((mirror.one, mirror.other), (mirror.other, mirror.one))
    ]


def asked(side: Side) -> dict[str, Any]:
    """Write what is asked: a question, or a prompt of several turns."""
    if not side.history:
        return {"question": side.question}
    turns = [*(text for exchange in side.history for text in exchange), side.question]
    roles = ("user", "assistant")
    return {"prompt": [{"role": roles[i % 2], "content": text} for i, text in enumerate(turns)]}


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent)
