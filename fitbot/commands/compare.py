"""The command `fitbot compare`: a person says which of two models answers better, blindly."""

import json
import logging
import re
from pathlib import Path
from typing import Any

from fitbot.commands.command_line import (
    SuggestingParser,
    announce,
    check_at_least,
    say,
    write_file,
)

_OUT = "comparison"  # folder
_CHOICES, _RESULT = "choices.jsonl", "comparison.json"  # files in it
_INTERRUPTED = "fitbot: interrupted; every choice is kept, and the same command goes on"

logger = logging.getLogger(__name__)


def main(args: list[str]) -> int:
    """Let a person compare two models."""
    parser = SuggestingParser(
        prog="fitbot compare",
        usage="fitbot compare A B [options]",
        description="Show answers of two models side by side without saying whose they are, and "
        "take a person's choices. It ends by itself once a 95 %% interval that may be looked at "
        "after every choice says who is preferred.".replace("%%", "%"),
    )
    add = parser.add_argument
    what = "folder that fit or export wrote, or a run's; or 'base', for the other one's base"
    add("a", metavar="A", help=what)
    add("b", metavar="B", help="the same; both are of one base")
    add(
        "--questions",
        default="data/fitness_test.json",
        help="file whose questions are asked: pairs, records with a prompt alone, or .txt with one "
        "a line",
    )
    add("--max", type=int, default=200, help="comparisons at most; skipped ones do not count")
    add("--page", action="store_true", help="on a web page for this machine only, not here")
    add("--port", type=int, default=0, help="of the page; default: a free one")
    add("--out", type=Path, help=f"folder for {_CHOICES} and {_RESULT}; default: {_OUT}/A-B")
    add("--seed", type=int, default=42, help="of the questions' order, and of the sampling")
    add("--max_new_tokens", type=int, help="tokens of an answer at most; default: each run's")
    add("--system_prompt", help="first turn of all conversations; default: the runs'")
    add("--max_prompt_length", type=int, help="tokens of a prompt; default: the runs'")
    return _run(parser.parse_args(args[1:]))


def _run(options: Any) -> int:
    """Find everything that can be wrong first, then load models."""
    check_at_least(options, max=1, port=0, seed=0, max_new_tokens=1, max_prompt_length=1)
    announce("fitbot compare: loading PyTorch")
    from fitbot.dpo.run import start_logging
    from fitbot.evaluation.blind.log import ChoiceLog
    from fitbot.evaluation.blind.questions import read_questions
    from fitbot.evaluation.blind.session import is_over
    from fitbot.evaluation.blind.sides import (
        describe_comparison,
        questions_that_fit,
        resolve_sides,
    )
    from fitbot.evaluation.models import Overrides
    from fitbot.evaluation.scoring import hush_libraries

    start_logging("INFO")
    hush_libraries()
    overrides = Overrides(
        system_prompt=options.system_prompt, max_prompt_length=options.max_prompt_length
    )
    sides = resolve_sides(options.a, options.b, overrides, max_new_tokens=options.max_new_tokens)
    questions = questions_that_fit(sides, read_questions(options.questions))
    out = options.out or Path(_OUT, _folder_name(sides.names.values()))
    comparison = describe_comparison(sides, questions, options.seed)
    log = ChoiceLog(out / _CHOICES, comparison)
    if log.choices:
        announce(f"going on with {len(log.choices)} choices of {log.path}")
    try:
        if not is_over(log.choices, options.max):
            _ask(sides, questions, log, options)
    except KeyboardInterrupt:
        announce(f"\n{_INTERRUPTED}")
        raise KeyboardInterrupt(_INTERRUPTED) from None
    finally:
        log.close()
    _tell(log, sides, comparison, out / _RESULT)
    if not is_over(log.choices, options.max):
        say("The same command goes on with the questions that are left.")
    return 0


def _folder_name(names: Any) -> str:
    return "-".join(re.sub(r"[^\w.]+", "_", name).strip("_.") for name in names)


def _ask(sides: Any, questions: Any, log: Any, options: Any) -> None:
    """Load the models, and ask until it is decided or the person quits."""
    from fitbot.evaluation.answering import LineupEngine
    from fitbot.evaluation.blind.session import ComparisonSession
    from fitbot.evaluation.blind.sides import AnswersAhead
    from fitbot.platforms import choose_device

    logger.info("loading base %s", sides.lineup.base_model)
    longest = max(sampling.max_new_tokens for sampling in sides.samplings.values())
    with LineupEngine(
        sides.lineup, sides.chat, device=choose_device(), max_new_tokens=longest
    ) as engine:
        source = AnswersAhead(sides, engine, questions, seed=options.seed)
        session = ComparisonSession(questions, source, log, most=options.max, seed=options.seed)
        if options.page:
            from fitbot.evaluation.blind.server import compare_on_page

            compare_on_page(session, sides.names, port=options.port, announce=announce)
        else:
            from fitbot.evaluation.blind.terminal import compare_at_terminal

            compare_at_terminal(session)


def _tell(log: Any, sides: Any, comparison: Any, result: Path) -> None:
    from fitbot.evaluation.blind.outcome import outcome_of
    from fitbot.report.terminal import wrap
    from fitbot.version import __version__

    outcome = outcome_of(log.choices, sides.names)
    say("\n" + "\n".join("\n".join(wrap(line, "", "  ")) for line in outcome.lines()))
    text = json.dumps(outcome.to_json(comparison, __version__), ensure_ascii=False, indent=2)
    write_file(result, f"{text}\n")
    say(f"choices: {log.path}")
