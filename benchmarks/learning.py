"""A simulated person teaches by clicks: right answers against clicks, beside DPO on as many pairs.

    python benchmarks/learning.py --out benchmarks/results/learning.json
    python benchmarks/learning.py --clicks 40 --seeds 1 --out /tmp/rehearsal.json   # two cores
    python benchmarks/learning.py --device cuda --at-once 9 --out ...               # an H200

Each arm is a process. The person is asked a question of the training pairs, sees two sampled
answers, and clicks the one that the pair's own check calls right; where both are right or both
wrong there is no click. One click of ten is wrong. After every --lesson clicks there is a lesson,
as the learner takes it. No shipped pair is repeated in a lesson: what is gained, clicks have
brought. Right answers are counted on pairs that neither lessons nor the gate see.

| arm | |
|---|---|
| chosen | of 64 questions the 32 whose two answers differ and are most nearly as likely |
| random | any question |
| no gate | as chosen; every version is taken |
| offline | DPO on as many pairs of the file at once, 10 % flipped |
| harmful | clicks what is wrong, whenever there is something wrong |
| style | clicks the shorter answer |
"""

import argparse
import json
import multiprocessing
import os
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ARMS = ("chosen", "random", "no gate", "offline", "harmful", "style")
WRONG = 0.1  # share of clicks
POINTS = 0.10  # gain whose clicks are counted
_TEMPERATURE, _MOST_TOKENS = 0.9, 48
_ASKED_AT_ONCE = 64  # questions that two answers are sampled to


@dataclass(frozen=True)
class Click:
    """A choice as the store would give it."""

    id: int
    conversation: tuple[Any, ...]
    chosen: str
    rejected: str


class Memory:
    """The store, in memory; one click of five is held out."""

    def __init__(self) -> None:
        self.clicks: list[Click] = []

    def pairs(self, held_out: bool | None = None) -> list[Click]:
        """Return clicks, oldest first."""
        return [one for one in self.clicks if held_out is None or (one.id % 5 == 0) == held_out]

    def learned(self, version: str, choice_ids: Any) -> list[int]:
        """Nobody takes a click back."""
        return []


class Person:
    """Clicks by the pairs' own checks."""

    def __init__(self, arm: str, cases: list[Any], teacher: Any, seed: int):
        self.arm, self.cases, self.teacher = arm, cases, teacher
        self.chance = random.Random(f"{arm} {seed}")
        self.asked = 0

    def clicks(self) -> Iterator[Click]:
        """Ask and click for ever."""
        while True:
            some = self.chance.sample(self.cases, _ASKED_AT_ONCE)
            prompts = [pair.prompt for pair in self.teacher.encode([c.pair for c in some])]
            texts = _answers(self.teacher, [*prompts, *prompts], _MOST_TOKENS, _TEMPERATURE)
            found = list(zip(some, texts[: len(some)], texts[len(some) :], strict=True))
            if self.arm in ("chosen", "no gate"):
                found = self._least_certain(found)
            for case, one, other in found:
                self.asked += 1
                if (picked := self._pick(case, one, other)) is not None:
                    yield Click(self.asked, case.pair.prompt, *picked)

    def _least_certain(self, found: list[Any]) -> list[Any]:
        """Keep the half of the questions whose two answers differ and are about as likely."""
        from fitbot.pairs.formats import PreferencePair

        differ = [one for one in found if one[1] and one[2] and one[1] != one[2]]
        if not differ:
            return []
        pairs = [PreferencePair(c.pair.prompt, one, two, 0) for c, one, two in differ]
        margins = [abs(margin) for margin in self.teacher.margins(self.teacher.encode(pairs))]
        order = sorted(range(len(differ)), key=margins.__getitem__)
        return [differ[i] for i in order[: max(1, len(found) // 2)]]

    def _pick(self, case: Any, one: str, other: str) -> tuple[str, str] | None:
        from fitbot.evaluation.checks import passes

        if not one or not other or one == other:
            return None
        if self.arm == "style":
            return tuple(sorted((one, other), key=len)) if len(one) != len(other) else None  # type: ignore[return-value]
        right = [passes(text, case.check) for text in (one, other)]
        if right[0] == right[1]:
            return None
        picked = (one, other) if right[0] else (other, one)
        wrong = self.arm == "harmful" or self.chance.random() < WRONG
        return picked[::-1] if wrong else picked


def teach(arm: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Run one arm."""
    import torch

    from fitbot.evaluation.cases import load_cases
    from fitbot.evaluation.scoring import hush_libraries
    from fitbot.learning.examiner import GateSettings
    from fitbot.learning.gate import NOT_WORSE
    from fitbot.learning.learner import Learner, LearnerSettings
    from fitbot.learning.lesson import LessonSettings

    torch.set_num_threads(options.threads)
    hush_libraries()
    lesson = LessonSettings(
        base_model=options.model,
        system_prompt="You are a helpful AI fitness assistant for gym-goers and vegetarians.",
        shipped=None,
        seed=seed,
    )
    cases, held_out = (load_cases(path) for path in (options.train, options.questions))
    held_out = random.Random(0).sample(held_out, min(options.measured, len(held_out)))
    memory, started = Memory(), time.perf_counter()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        gate = GateSettings(pairs=tuple(options.gate))
        settings = LearnerSettings(Path(folder), lesson, gate, options.device)
        if arm == "offline":
            steps = 3 * -(-options.clicks // lesson.pairs_per_step)
            lesson = replace(lesson, steps=steps, repeats=3, old_share=0.0)
            settings = replace(settings, lesson=lesson)
        learner = Learner(settings, memory)
        teacher = learner.teacher

        def measure(clicks: int, version: Any = None) -> None:
            if version is not None and learner.versions.current == rows[-1]["version"]:
                right, words = rows[-1]["right"], rows[-1]["words"]  # as before, so not again
            else:
                right, words = _right(teacher, held_out)
            row = {"clicks": clicks, "right": right, "words": words}
            row["version"] = learner.versions.current
            if version is not None:
                row |= {"state": version.state, "reason": version.reason}
                row |= {"seconds": version.seconds, "drift": version.drift}
            rows.append(row)
            shown = {**row, "right": statistics.mean(right)}
            print(arm, seed, shown, flush=True)  # noqa: T201

        teacher.be(None)
        measure(0)
        if arm == "offline":
            chance = random.Random(seed)
            pairs = [c.pair for c in chance.sample(cases, options.clicks)]
            flips = [chance.random() < WRONG for _ in pairs]
            clicks = [
                Click(i, p.prompt, *((p.rejected, p.chosen) if flip else (p.chosen, p.rejected)))
                for i, (p, flip) in enumerate(zip(pairs, flips, strict=True))
            ]
            teacher.learn(clicks, [], number=1)
            measure(options.clicks)
        else:
            person = Person(arm, cases, teacher, seed).clicks()
            while len(memory.clicks) < options.clicks:
                teacher.be(learner.versions.adapter(learner.versions.current))
                memory.clicks += [next(person) for _ in range(options.lesson)]
                version = learner.learn_once()
                if version is None:  # all of these clicks are held out
                    continue
                if arm == "no gate" and learner.versions.current != version.number:
                    version = replace(version, state=NOT_WORSE)
                    learner.versions.make_current(version.number)
                teacher.be(learner.versions.adapter(learner.versions.current))
                measure(len(memory.clicks), version)
    seconds = round(time.perf_counter() - started, 1)
    return {"arm": arm, "seed": seed, "rows": rows, "seconds": seconds}


def _right(teacher: Any, cases: list[Any]) -> tuple[list[int], float]:
    """Answer greedily; → whether each answer is right, and words an answer."""
    from fitbot.evaluation.checks import passes

    prompts = [pair.prompt for pair in teacher.encode([case.pair for case in cases])]
    texts = _answers(teacher, prompts, 64)
    right = [int(passes(text, c.check)) for text, c in zip(texts, cases, strict=True)]
    return right, statistics.mean(len(text.split()) for text in texts)


def _answers(
    teacher: Any, prompts: list[list[int]], most: int, temperature: float = 0.0
) -> list[str]:
    from fitbot.learning.reader import Question

    replies = teacher.reader.read([Question(ids) for ids in prompts], most, temperature)
    decode = teacher.chat.tokenizer.decode
    return [decode(reply.answer, skip_special_tokens=True).strip() for reply in replies]


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return each arm's gain in points with its interval, a seed, and clicks needed for +10."""
    from fitbot.evaluation.intervals import estimate_mean

    found: dict[str, Any] = {}
    for run in runs:
        rows = run["rows"]
        first, last = rows[0]["right"], rows[-1]["right"]
        gains = [after - before for before, after in zip(first, last, strict=True)]
        gain = estimate_mean(gains, range(len(gains)))
        reached = [
            row["clicks"]
            for row in rows
            if statistics.mean(row["right"]) - statistics.mean(first) >= POINTS
        ]
        states = [row["state"] for row in rows if "state" in row]
        found.setdefault(run["arm"], []).append(
            {
                "seed": run["seed"],
                "before": statistics.mean(first),
                "gain": gain.value,
                "interval": [gain.low, gain.high],
                "clicks for +10 points": min(reached, default=None),
                "versions": {state: states.count(state) for state in sorted(set(states))},
                "words": [rows[0]["words"], rows[-1]["words"]],
            }
        )
    return found


def draw(runs: list[dict[str, Any]], file: Path) -> None:
    """Draw right answers against clicks, a line for each run."""
    from fitbot.report.plots import BLUE, GREEN, GREY, INK, ORANGE, new_figure

    colours = dict(zip(ARMS, (BLUE, ORANGE, GREEN, INK, "#b03a48", GREY), strict=True))
    figure, axes = new_figure(height=3.2, xlabel="clicks", ylabel="right answers, %")
    named: set[str] = set()
    for run in runs:
        clicks = [row["clicks"] for row in run["rows"]]
        right = [100 * statistics.mean(row["right"]) for row in run["rows"]]
        label = None if run["arm"] in named else run["arm"]
        named.add(run["arm"])
        style = "o--" if run["arm"] == "offline" else "-"
        axes.plot(clicks, right, style, color=colours[run["arm"]], label=label, linewidth=1.2)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(file, dpi=200)


def _work(job: tuple[str, int, argparse.Namespace]) -> dict[str, Any]:
    return teach(*job)


def main() -> None:
    """Run the arms, several at a time, and write what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--train", default="data/fitness_train.json", help="asked about")
    parser.add_argument("--gate", nargs="+", default=["data/fitness_test.json"])
    parser.add_argument("--questions", default="data/fitness_val.json", help="measured on")
    parser.add_argument("--measured", type=int, default=300, help="questions")
    parser.add_argument("--clicks", type=int, default=300)
    parser.add_argument("--lesson", type=int, default=20, help="clicks a lesson")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--at-once", type=int, default=1, help="processes")
    parser.add_argument("--threads", type=int, default=1, help="of a process")
    parser.add_argument("--out", type=Path, required=True, help="JSON; the picture is beside it")
    options = parser.parse_args()
    jobs = [(arm, seed, options) for seed in range(1, options.seeds + 1) for arm in options.arms]
    context = multiprocessing.get_context("spawn")
    runs: list[dict[str, Any]] = []
    with context.Pool(options.at_once, maxtasksperchild=1) as pool:
        for run in pool.imap_unordered(_work, jobs):
            runs.append(run)
            own = {name: value for name, value in vars(options).items() if name != "out"}
            found = {"options": own, "cores": os.cpu_count(), "summary": summary(runs)}
            options.out.write_text(json.dumps({**found, "runs": runs}, indent=1) + "\n", "utf-8")
            draw(runs, options.out.with_suffix(".png"))  # what there is, if time runs out
    print(json.dumps(summary(runs), indent=2))  # noqa: T201


if __name__ == "__main__":
    main()
