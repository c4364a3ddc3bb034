"""The functions of `import fitbot`: the commands' work, with values in and out instead of files."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fitbot.audit.report import Audit
    from fitbot.evaluation.report import Evaluation
    from fitbot.generation.scheduler import LocalEngine


@dataclass(frozen=True)
class Run:
    """What a fit left behind.

    Args:
        folder: Of the run: settings, log, curves, checkpoints.
        adapter: Of the trained adapter, for `load` and `evaluate`.
        summary: What summary.json says: steps, losses, accuracies; empty after
            trainer.fast_dev_run, and in all processes of a fit but the first.
    """

    folder: Path
    adapter: Path
    summary: dict[str, Any]


def audit_pairs(
    train: str | Path,
    val: Sequence[str | Path] = (),
    *,
    base_model: str = "embedded",
    system_prompt: str | None = None,
    max_prompt_length: int = 256,
    max_length: int = 1024,
    pairs_per_step: int = 8,
    max_epochs: int = 5,
) -> "Audit":
    """Say what is wrong with preference pairs before a run learns it, as `fitbot audit` does.

    Args:
        train: Pairs to learn from: a file, or a hub data set.
        val: Files or hub data sets to measure on; leaks are looked for there.
        base_model: Whose tokenizer counts.
        system_prompt: First turn of conversations that bring none.
        max_prompt_length: Tokens of a prompt.
        max_length: Tokens of a prompt and one completion.
        pairs_per_step: Pairs that are padded together.
        max_epochs: Epochs whose cost is counted.

    Returns:
        Everything that was measured; what is wrong is in its `findings`.

    Raises:
        DataError: A file is not there, or holds no pairs.
        ConfigError: The base model's tokenizer cannot be loaded.
    """
    from fitbot.audit.report import RunSettings, audit_sources

    settings = RunSettings(
        base_model, system_prompt, max_prompt_length, max_length, pairs_per_step, max_epochs
    )
    return audit_sources(str(train), [str(path) for path in val], settings)


def fit(
    config: str | Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    devices: int | None = None,
) -> Run:
    """Train an adapter, as `fitbot fit --config CONFIG` does.

    With several devices the fit is one process each, apart from the caller's: it may be a notebook.

    Args:
        config: A YAML file of settings.
        overrides: Settings that win over the file's, by their names on the command line, such as
            {"data.train_path": "pairs.json", "trainer.max_epochs": 2}.
        devices: GPUs, or processes on a CPU; None for trainer.devices of the settings.

    Raises:
        ConfigError: A setting is unknown or wrong, or two contradict each other.
        DataError: A file of pairs is not there, or holds none.
        AdapterError: The adapter or checkpoint to go on from is not there, or does not fit.
        LostError: Another process of the fit is gone.
    """
    from fitbot.commands.apart import fit_from_python

    words = ["fit", "--config", str(config)]
    here = {} if devices is None else {"trainer.devices": devices}
    for name, value in {**(overrides or {}), **here}.items():
        text = str(value) if isinstance(value, str | Path) else json.dumps(value)
        words.append(f"--{name}={text}")
    folder = fit_from_python(words)
    file = folder / "summary.json"
    summary = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return Run(folder, folder / "adapter", summary)


def load(adapter: str | Path | None = None) -> "LocalEngine":
    """Load a base and an adapter, ready to answer.

        with contextlib.closing(fitbot.load(run.adapter)) as engine:
            stream = engine.submit([Message("user", "Is rice ok?")], Sampling())
            print("".join(chunk.text for chunk in stream))

    `Message` is fitbot.pairs.formats', `Sampling` fitbot.generation.messages'.

    Args:
        adapter: Folder that `fit` or `fitbot export` wrote; None for the embedded model alone.

    Returns:
        An engine that runs in a thread of its own until it is closed.

    Raises:
        AdapterError: The folder holds no adapter of fitbot's, or one that does not fit its base.
        ConfigError: The base is of a kind that the engine does not know.
    """
    from fitbot.generation.loading import open_engine

    return open_engine(None if adapter is None else Path(adapter))


def evaluate(
    adapters: Sequence[str | Path],
    *,
    pairs: str | Path,
    train: str | Path | None = None,
    limit: int | None = None,
    questions: int = 300,
    max_new_tokens: int = 256,
    temperature: float | None = None,
    top_p: float | None = None,
    seed: int = 42,
) -> "Evaluation":
    """Say what adapters are worth, as `fitbot evaluate` does, beside their base.

    Args:
        adapters: Folders that `fit` or `fitbot export` wrote, all of one base; none for the
            embedded model alone.
        pairs: What to measure on: a file, or a hub data set.
        train: Pairs that rules without a model learn from; None for `pairs` itself.
        limit: Read the first so many records of `pairs`.
        questions: Questions that are answered at most; 0 for none.
        max_new_tokens: Tokens of an answer.
        temperature: Of sampled answers; None for the run's.
        top_p: Likewise.
        seed: Of the choice of questions, and of the sampling.

    Raises:
        AdapterError: A folder holds no adapter, a damaged one, or one of another base.
        ConfigError: The adapters were trained to be asked in different ways.
        DataError: A file of pairs is not there, or holds none.
    """
    from fitbot.evaluation.models import Overrides
    from fitbot.evaluation.run import evaluate as evaluate_inputs
    from fitbot.evaluation.run import read_inputs

    inputs = read_inputs(
        [str(folder) for folder in adapters],
        str(pairs),
        Overrides(),
        train_path=None if train is None else str(train),
        limit=limit,
        num_questions=questions,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
    )
    return evaluate_inputs(inputs)
