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

from categories import CATEGORIES  # noqa: E402
from mirrors import Draw, Mirror, NothingToDraw, Side  # noqa: E402

from fitbot.audit.text import sentences as sentences_of  # noqa: E402

SEED = 20261122
TRAIN_MIRRORS = 2800
HELD_OUT_MIRRORS = 110  # of each kind of split, in validation and in test
MOST_USES = 12  # of an answer, over all files
MOST_USES_OF_A_WORD = 20
MOST_USES_OF_A_SENTENCE = 0.02  # share of the mirrors drawn together
TRIES = 300  # for each mirror, before a category counts as exhausted


def main(folder: Path) -> None:
    """Build, check and write."""
    seen_questions: set[str] = set()
    uses: Counter[str] = Counter()
    train = draw_mirrors("train", "train", TRAIN_MIRRORS, seen_questions, uses)
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
                    facts_pool, forms_pool, HELD_OUT_MIRRORS, seen_questions, uses,
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
    count: int,
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
        count: How many, over all categories.
        seen: Questions that were asked; grows.
        uses: How often each answer was used; grows.
        known: Facts that must have been trained on; None for no such demand.
        salt: Sets this draw apart from another of the same pools.
    """
    mirrors: list[Mirror] = []
    sentences: Counter[str] = Counter()
    for kinds, share in CATEGORIES:
        rng = random.Random(f"{SEED} {facts_pool} {forms_pool} {salt} {kinds[0][0].__name__}")
        wanted = round(count * share)
        tries = TRIES * wanted
        while wanted:
            tries -= 1
            if not tries:
                name = kinds[0][0].__module__
                raise SystemExit(f"{name}: {wanted} mirrors short ({facts_pool}, {forms_pool})")
            (kind,) = rng.choices([k for k, _ in kinds], [w for _, w in kinds])
            draw = Draw(rng, facts_pool, forms_pool)
            try:
                mirror = kind(draw)
            except NothingToDraw:
                continue
            texts = (mirror.one.answer, mirror.other.answer)
            questions = {mirror.one.question.lower(), mirror.other.question.lower()}
            if known is not None and not mirror.keys <= known:
                continue
            if len(questions) < 2 or questions & seen or any(used_up(t, uses) for t in texts):
                continue
            said = {sentence for text in texts for sentence in sentences_of(text)}
            if any(sentences[sentence] + 1 > MOST_USES_OF_A_SENTENCE * count for sentence in said):
                continue
            if not mirror.holds():
                continue
            sentences.update(said)
            seen |= questions
            uses.update(texts)
            mirrors.append(mirror)
            wanted -= 1
    return mirrors


def used_up(answer: str, uses: Counter[str]) -> bool:
    """Say whether an answer has stood in as many mirrors as it may."""
    return uses[answer] >= (MOST_USES if " " in answer else MOST_USES_OF_A_WORD)


def pairs_of(mirrors: list[Mirror], split: str) -> list[dict[str, Any]]:
    """Turn every mirror into its two pairs."""

    def pair(side: Side, wrong: Side, category: str) -> dict[str, Any]:
        return {
            "question": side.question,
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


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent)
