"""The command `fitbot evaluate`: adapters and pairs → table, evaluation.json, report.html."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fitbot.errors import ConfigError

if TYPE_CHECKING:
    from fitbot.evaluation.cases import Case
    from fitbot.evaluation.measure import Asked
    from fitbot.evaluation.models import Lineup
    from fitbot.generation.messages import Sampling

_OUT = "evaluation"  # folder


def main(args: list[str]) -> int:
    """Run `fitbot evaluate`: say what adapters are worth.

    Args:
        args: The command and its options, as typed.

    Returns:
        0.
    """
    from fitbot.commands.command_line import SuggestingParser

    parser = SuggestingParser(
        prog="fitbot evaluate",
        usage="fitbot evaluate [ADAPTER ...] --pairs FILE [options]",
        allow_abbrev=False,
        description="Say what adapters are worth: what they prefer, what they changed, what they "
        "say; beside their base, and beside rules that never read the question.",
    )
    parser.add_argument(
        "adapters",
        nargs="*",
        default=[],
        help="folders that fit or export wrote, all of one base; none: the base alone",
    )
    parser.add_argument("--pairs", required=True, help="what to measure on: a file, or a hub set")
    parser.add_argument(
        "--out", type=Path, help=f"folder for evaluation.json and report.html; default: {_OUT}/"
    )
    parser.add_argument("--train", help="pairs that the rules learn from; default: --pairs itself")
    parser.add_argument("--limit", type=int, help="read the first so many records of --pairs")
    parser.add_argument(
        "--questions", type=int, default=300, help="questions that are answered at most; 0: none"
    )
    parser.add_argument("--max_new_tokens", type=int, default=256, help="tokens of an answer")
    parser.add_argument("--temperature", type=float, help="of sampled answers; default: the run's")
    parser.add_argument("--top_p", type=float, help="likewise")
    parser.add_argument(
        "--seed", type=int, default=42, help="of the choice of questions, and of the sampling"
    )
    parser.add_argument("--base_model", help="of the base alone; default: embedded")
    parser.add_argument(
        "--load_in_4bit", type=bool, help="of the base alone: hold it as NF4; default: true"
    )
    parser.add_argument(
        "--system_prompt", help="first turn of all conversations; default: the run's"
    )
    parser.add_argument(
        "--max_prompt_length", type=int, help="tokens of a prompt; default: the run's"
    )
    parser.add_argument(
        "--max_length", type=int, help="tokens of prompt and one answer; default: the run's"
    )
    _run(parser.parse_args(args[1:]))
    return 0


def _run(options: Any) -> None:
    """Find everything that can be wrong first, then load models."""
    _check(options)
    from fitbot.audit.shortcuts import preferences_after, preferences_alone
    from fitbot.commands.command_line import say, write_file
    from fitbot.evaluation.cases import load_cases
    from fitbot.evaluation.html import html_page
    from fitbot.evaluation.measure import measure
    from fitbot.evaluation.models import Wanted, line_up
    from fitbot.evaluation.report_data import report_on
    from fitbot.evaluation.scoring import hush_libraries
    from fitbot.evaluation.terminal import show_evaluation
    from fitbot.pairs.chat import Chat, LengthLimits, load_tokenizer
    from fitbot.pairs.preferences import load_pairs

    started = time.perf_counter()
    wanted = {name: getattr(options, name) for name in Wanted.__dataclass_fields__}
    lineup = line_up(options.adapters, Wanted(**wanted))
    cases = load_cases(options.pairs, limit=options.limit)
    train = load_pairs(options.train).pairs if options.train else None
    hush_libraries()
    chat = Chat(load_tokenizer(lineup.base_model), system_prompt=lineup.system_prompt)
    pairs = chat.encode_pairs(
        [case.pair for case in cases], LengthLimits(lineup.max_prompt_length, lineup.max_length)
    )
    out = options.out or Path(_OUT)
    _make_folder(out)

    texts = [case.pair for case in cases]
    preferences = preferences_after(train, texts) if train else preferences_alone(texts)
    read = time.perf_counter()
    asked = _asked(options, lineup, cases)
    found, machine = measure(lineup, chat, pairs, asked)
    measured = time.perf_counter()
    evaluation = report_on(
        found,
        lineup,
        asked=asked,
        machine=machine,
        cases=cases,
        pairs=pairs,
        preferences=preferences,
        path=options.pairs,
        train=options.train,
        seconds={"reading": round(read - started, 1), "measuring": round(measured - read, 1)},
    )
    say(show_evaluation(evaluation))
    write_file(out / "evaluation.json", evaluation.to_json())
    write_file(out / "report.html", html_page(evaluation))


def _check(options: Any) -> None:
    for name, least in (("limit", 1), ("questions", 0), ("max_new_tokens", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise ConfigError(f"--{name} must be at least {least}, got {value}")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.html").touch()
    except OSError as error:
        raise ConfigError(
            f"--out {folder}: cannot be written: {error.strerror}; name another folder"
        ) from error


def _asked(options: Any, lineup: Lineup, cases: Sequence[Case]) -> Asked:
    from fitbot.evaluation.measure import Asked

    return Asked(
        where=_choose(cases, options.questions, options.seed),
        sampling=_sampling(options, lineup),
        seed=options.seed,
        max_new_tokens=options.max_new_tokens,
    )


def _choose(cases: Sequence[Case], most: int, seed: int) -> list[int]:
    """Choose questions at random; → the first pair of each, in the file's order."""
    import random

    first: dict[object, int] = {}
    for index, case in enumerate(cases):
        first.setdefault(case.pair.prompt, index)
    return sorted(random.Random(seed).sample(list(first.values()), min(most, len(first))))


def _sampling(options: Any, lineup: Lineup) -> Sampling:
    """Draw as the first adapter's run says, or else as the recipe does."""
    from dataclasses import replace

    from fitbot.base_model.provenance import answer_settings
    from fitbot.generation.messages import Sampling

    settings = answer_settings(lineup.adapters[0].folder if lineup.adapters else None)
    own = Sampling(temperature=settings.temperature, top_p=settings.top_p)
    asked = {name: getattr(options, name) for name in ("temperature", "top_p")}
    return replace(own, **{name: value for name, value in asked.items() if value is not None})
