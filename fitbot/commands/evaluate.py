"""The command `fitbot evaluate`: adapters and pairs → table, evaluation.json, report.html."""

from pathlib import Path
from typing import Any

from fitbot.commands.command_line import (
    SuggestingParser,
    announce,
    check_at_least,
    say,
    write_file,
)
from fitbot.errors import ConfigError

_OUT = "evaluation"  # folder


def main(args: list[str]) -> int:
    """Say what adapters are worth."""
    parser = SuggestingParser(
        prog="fitbot evaluate",
        usage="fitbot evaluate [ADAPTER ...] [--pairs FILE] [--questions independent] [options]",
        description="Say what adapters are worth: what they prefer, what they changed, what they "
        "say; beside their base, and beside rules that know no language.",
    )
    add = parser.add_argument
    add(
        "adapters",
        nargs="*",
        default=[],
        help="folders that fit or export wrote, all of one base; none: the base alone",
    )
    add("--pairs", help="what to measure on: a file, or a hub set; default: --questions, if a file")
    add("--out", type=Path, help=f"folder for evaluation.json and report.html; default: {_OUT}/")
    add(
        "--train",
        help="pairs that rules learn from; default: those that the adapters were trained on (of "
        "their file the first data.train_limit), if that file is here, or else --pairs itself, by "
        "cross-validation",
    )
    add("--limit", type=int, help="read the first so many records of --pairs")
    add(
        "--questions",
        type=int | str,
        default=300,
        help="how many questions of --pairs are answered at most, 0: none; or a file of pairs with "
        "checks, or independent: all of its questions are",
    )
    add("--max_new_tokens", type=int, default=256, help="tokens of an answer")
    add("--temperature", type=float, help="of sampled answers; default: the run's")
    add("--top_p", type=float, help="likewise")
    add("--seed", type=int, default=42, help="of the choice of questions, and of the sampling")
    add("--base_model", help="of the base alone; default: embedded")
    add("--load_in_4bit", type=bool, help="of the base alone: hold it as NF4; default: true")
    add("--system_prompt", help="first turn of all conversations; default: the run's")
    add("--max_prompt_length", type=int, help="tokens of a prompt; default: the run's")
    add("--max_length", type=int, help="tokens of prompt and one answer; default: the run's")
    _run(parser.parse_args(args[1:]))
    return 0


def _run(options: Any) -> None:
    """Find everything that can be wrong first, then load models."""
    check_at_least(options, limit=1, max_new_tokens=1, max_prompt_length=1, max_length=1)
    if isinstance(options.questions, int):
        check_at_least(options, questions=0)
    announce("fitbot evaluate: loading PyTorch")
    from fitbot.dpo.run import start_logging
    from fitbot.evaluation.models import Overrides
    from fitbot.evaluation.page import html_page
    from fitbot.evaluation.run import evaluate, read_inputs
    from fitbot.evaluation.terminal import show_evaluation

    start_logging("INFO")
    overrides = {name: options[name] for name in Overrides.__dataclass_fields__}
    inputs = read_inputs(
        options.adapters,
        options.pairs,
        Overrides(**overrides),
        train_path=options.train,
        limit=options.limit,
        questions=options.questions,
        max_new_tokens=options.max_new_tokens,
        temperature=options.temperature,
        top_p=options.top_p,
        seed=options.seed,
    )
    out = options.out or Path(_OUT)
    _make_folder(out)
    evaluation = evaluate(inputs)
    say(show_evaluation(evaluation))
    write_file(out / "evaluation.json", evaluation.to_json())
    write_file(out / "report.html", html_page(evaluation))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.html").touch()
    except OSError as error:
        raise ConfigError(
            f"--out {folder}: cannot be written: {error.strerror}; name another folder"
        ) from error
