"""Turn data of your own into pairs, then audit, train, and ask before and after.

    python examples/own_data.py

Here the data are answers with ratings, as a spreadsheet has them: question, answer, stars. Of each
question the best answer is preferred to the worst. To have some, the example makes the sheet of the
pairs that come with fitbot; put your own file in its place.
"""

import argparse
import csv
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import fitbot
from fitbot.audit.terminal import show_audit
from fitbot.pairs.preferences import load_pairs


def pairs_of(rows: Iterable[dict[str, str]]) -> Iterator[dict[str, str]]:
    """Pair the best answer to each question with the worst; yield none where all are alike.

    Args:
        rows: With the keys question, answer and stars.
    """
    answers = defaultdict(list)
    for row in rows:
        answers[row["question"]].append((int(row["stars"]), row["answer"]))
    for question, rated in answers.items():
        worst, best = min(rated), max(rated)
        if best[0] > worst[0]:
            yield {"question": question, "chosen": best[1], "rejected": worst[1]}


def main() -> None:
    """Go all the way."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=1600, help="to begin with")
    parser.add_argument("--out", type=Path, default=Path("checkpoints/own_data"), help="folder")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    sheet = options.out / "ratings.csv"
    with sheet.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "answer", "stars"])
        for pair in load_pairs("data/fitness_train.json", limit=options.pairs).pairs:
            writer.writerow([pair.prompt[-1].content, pair.chosen, 5])
            writer.writerow([pair.prompt[-1].content, pair.rejected, 1])

    with sheet.open(newline="", encoding="utf-8") as file:
        pairs = list(pairs_of(csv.DictReader(file)))
    # Every tenth pair is held out: nothing is learned from it.
    files = {"train": options.out / "train.jsonl", "val": options.out / "held_out.jsonl"}
    for name, file in files.items():
        kept = [pair for n, pair in enumerate(pairs) if (n % 10 == 0) == (name == "val")]
        file.write_text("".join(json.dumps(pair) + "\n" for pair in kept), encoding="utf-8")

    print(show_audit(fitbot.audit_pairs(list(files.values()))))
    run = fitbot.fit(
        "quickstart",
        {
            "data.train_path": files["train"],
            "data.val_path": files["val"],
            "data.train_limit": None,
            "run.root": options.out,
            "run.sample_every_n_steps": None,
        },
    )
    question = pairs[0]["question"]
    with fitbot.load(run.adapter) as bot:
        print(f"question: {question}")
        print(f"before:   {bot.answer(question, base=True, max_new_tokens=60)}")
        print(f"after:    {bot.answer(question, max_new_tokens=60)}")


if __name__ == "__main__":
    main()
