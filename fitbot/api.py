"""The functions of `import fitbot`: the commands' work, with values in and out instead of files."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from fitbot.errors import ConfigError, DataError, EngineError

if TYPE_CHECKING:
    from fitbot.audit.report import Audit
    from fitbot.evaluation.report import Evaluation
    from fitbot.generation.engine import Stream
    from fitbot.generation.messages import Sampling
    from fitbot.generation.scheduler import LocalEngine
    from fitbot.health.answer import AnswerFilter
    from fitbot.health.layer import HealthLayer

Source = str | Path
Question = str | Sequence[Mapping[str, str]]


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
    files: Source | Sequence[Source],
    *,
    base_model: str = "embedded",
    system_prompt: str | None = None,
    max_prompt_length: int = 256,
    max_length: int = 1024,
    pairs_per_step: int = 8,
    max_epochs: int = 5,
    train_limit: int | None = None,
    val_limit: int | None = None,
) -> "Audit":
    """Say what is wrong with preference pairs before a run learns it, as `fitbot audit` does.

    Args:
        files: Pairs to learn from, then any number of files to measure on, in which leaks are
            looked for: files, or hub data sets.
        base_model: Whose tokenizer counts.
        system_prompt: First turn of conversations that bring none.
        max_prompt_length: Tokens of a prompt.
        max_length: Tokens of a prompt and one completion.
        pairs_per_step: Pairs that are padded together.
        max_epochs: Epochs whose cost is counted.
        train_limit: Read the first so many records of the first file.
        val_limit: Read the first so many records of each of the others.

    Returns:
        Everything that was measured; what is wrong is in its `findings`.
        `fitbot.audit.terminal.show_audit` writes it as a text.

    Raises:
        DataError: A file is not there, or holds no pairs; or no file is named.
        ConfigError: The base model's tokenizer cannot be loaded.
    """
    from fitbot.audit.report import RunSettings, audit_sources
    from fitbot.evaluation.cases import label_fault

    sources = _list_of(files)
    if not sources:
        raise DataError("audit_pairs: there is no file to audit; name one with preference pairs")
    settings = RunSettings(
        base_model, system_prompt, max_prompt_length, max_length, pairs_per_step, max_epochs
    )
    return audit_sources(
        sources[0],
        sources[1:],
        settings,
        train_limit=train_limit,
        val_limit=val_limit,
        label_fault=label_fault,
    )


def fit(
    config: Source | Sequence[Source],
    overrides: Mapping[str, Any] | None = None,
    *,
    devices: int | None = None,
) -> Run:
    """Train an adapter, as `fitbot fit --config CONFIG` does.

    With several devices the fit is one process each, apart from the caller's: it may be a notebook.

    Args:
        config: A preset's name, such as "dpo_v2", or a YAML file of settings; of several the last
            wins. `fitbot presets` lists the presets.
        overrides: Settings that win over the config's, by their names on the command line, such as
            {"data.train_path": "pairs.json", "trainer.max_epochs": 2}.
        devices: GPUs, or processes on a CPU; None for trainer.devices of the settings.

    Raises:
        ConfigError: A setting is unknown or wrong, or two contradict each other.
        DataError: A file of pairs is not there, or holds none.
        AdapterError: The adapter or checkpoint to go on from is not there, or does not fit.
        LostError: Another process of the fit is gone.
    """
    from fitbot.commands.apart import fit_from_python

    words = ["fit", *(word for one in _list_of(config) for word in ("--config", one))]
    here = {} if devices is None else {"trainer.devices": devices}
    for name, value in {**(overrides or {}), **here}.items():
        words.append(f"--{name}={_typed(name, value)}")
    folder = fit_from_python(words)
    file = folder / "summary.json"
    summary = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return Run(folder, folder / "adapter", summary)


def load(adapter: Source | None = None, *, health_layer: bool = True) -> "Bot":
    """Load a base and an adapter, ready to answer.

    Args:
        adapter: Folder that `fit` or `fitbot export` wrote; None for the embedded model alone.
        health_layer: Check questions and filter answers, as `fitbot chat` does; docs/health.md
            says what it finds and what it misses.

    Raises:
        AdapterError: The folder holds no adapter of fitbot's, or one that does not fit its base.
        ConfigError: The base is of a kind that the engine does not know.
    """
    from fitbot.base_model.provenance import answer_settings
    from fitbot.generation.loading import open_fastest
    from fitbot.generation.messages import Sampling
    from fitbot.health.layer import open_layer

    folder = None if adapter is None else Path(adapter)
    sampling = Sampling.from_settings(answer_settings(folder))
    return Bot(open_fastest(folder), sampling, open_layer() if health_layer else None)


class Bot:
    """A loaded model that answers; threads may ask at once, and are answered together.

    It runs in a thread of its own until it is closed, by `close` or the end of a `with`, or the
    program ends.

    Args:
        engine: What computes. Its `submit` takes all that `answer` has no argument for.
        sampling: How answers are drawn where the caller does not say.
        health: Checks questions and filters answers; None for neither.
    """

    def __init__(self, engine: "LocalEngine", sampling: "Sampling", health: "HealthLayer | None"):
        """Take what `load` has opened."""
        self.engine, self.sampling, self.health = engine, sampling, health

    def answer(
        self,
        question: Question,
        *,
        base: bool = False,
        max_new_tokens: int | None = None,
        temperature: float | None = None,
        seed: int | None = 42,
    ) -> str:
        """Answer a question, or the last turn of a conversation.

        Args:
            question: A text; or turns such as {"role": "user", "content": "Is rice ok?"}, the last
                one the user's. A turn of the role "system" that comes first takes the place of the
                run's system prompt.
            base: Ask the base, with the adapter off.
            max_new_tokens: Tokens of the answer at most; None for the run's setting.
            temperature: 0 takes the likeliest token each time; None for the run's setting.
            seed: The same question with the same seed has the same answer; None draws one.

        Raises:
            DataError: The question is empty, or its turns are not a conversation.
            RequestError: It is too long, or a number is out of range.
            BusyError: Too many others are waiting.
            EngineError: The engine has failed or is closed.
        """
        return "".join(
            self.stream(
                question,
                base=base,
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                seed=seed,
            )
        )

    def stream(
        self,
        question: Question,
        *,
        base: bool = False,
        max_new_tokens: int | None = None,
        temperature: float | None = None,
        seed: int | None = 42,
    ) -> Iterator[str]:
        """Answer as `answer` does, piece by piece; leaving the loop early ends the answer."""
        from fitbot.generation.messages import BASE
        from fitbot.health.answer import AnswerFilter
        from fitbot.pairs.formats import parse_question

        messages = parse_question(question if isinstance(question, str) else list(question))
        verdict = self.health.check(messages) if self.health else None
        if verdict is not None and not verdict.model_answers:
            return iter([verdict.message])
        wanted = {"max_new_tokens": max_new_tokens, "temperature": temperature}
        given: dict[str, Any] = {name: x for name, x in wanted.items() if x is not None}
        sampling = replace(self.sampling, seed=seed, **given)
        stream = self.engine.submit(messages, sampling, model=BASE if base else None)
        health = AnswerFilter(self.health, verdict) if self.health and verdict else None
        return _pieces(stream, health)

    def close(self) -> None:
        """Stop; answers that are under way end."""
        self.engine.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


def evaluate(
    adapters: Source | Sequence[Source],
    *,
    pairs: Source | None = None,
    train: Source | None = None,
    limit: int | None = None,
    questions: int | Source = 300,
    max_new_tokens: int = 256,
    temperature: float | None = None,
    top_p: float | None = None,
    seed: int = 42,
) -> "Evaluation":
    """Say what adapters are worth, as `fitbot evaluate` does, beside their base.

    Args:
        adapters: Folders that `fit` or `fitbot export` wrote, all of one base; none for the
            embedded model alone.
        pairs: What to measure on: a file, or a hub data set; None for the file of questions.
        train: Pairs that rules without a model learn from; None for those that the adapters were
            trained on, or else for `pairs` itself.
        limit: Read the first so many records of `pairs`.
        questions: How many questions of `pairs` are answered at most, 0 for none; or a file of
            pairs with checks, or "independent": all of its questions are.
        max_new_tokens: Tokens of an answer.
        temperature: Of sampled answers; None for the run's.
        top_p: Likewise.
        seed: Of the choice of questions, and of the sampling.

    Returns:
        Everything that was found; `fitbot.evaluation.terminal.show_evaluation` writes it as a text.

    Raises:
        AdapterError: A folder holds no adapter, a damaged one, or one of another base.
        ConfigError: The adapters were trained to be asked in different ways.
        DataError: A file of pairs is not there, or holds none.
    """
    from fitbot.evaluation.models import Overrides
    from fitbot.evaluation.run import evaluate as evaluate_inputs
    from fitbot.evaluation.run import read_inputs

    inputs = read_inputs(
        _list_of(adapters),
        None if pairs is None else str(pairs),
        Overrides(),
        train_path=None if train is None else str(train),
        limit=limit,
        questions=questions if isinstance(questions, int) else str(questions),
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
    )
    return evaluate_inputs(inputs)


def _list_of(sources: Source | Sequence[Source]) -> list[str]:
    """Return one as a list of one."""
    return [str(one) for one in ([sources] if isinstance(sources, str | Path) else sources)]


def _typed(name: str, value: Any) -> str:
    """Write a setting's value as it would be typed.

    Raises:
        ConfigError: It cannot be typed.
    """
    if isinstance(value, str | Path):
        return str(value)
    try:
        return json.dumps(value)
    except TypeError as error:
        raise ConfigError(
            f"{name}: {value!r} is no setting that could be typed; give numbers, texts, lists and "
            "dicts, a class as {'class_path': 'package.Class', 'init_args': {...}}"
        ) from error


def _pieces(stream: "Stream", health: "AnswerFilter | None") -> Iterator[str]:
    """Pass on an answer's text, as far as the health layer lets it."""
    try:
        for chunk in stream:
            text = chunk.text
            if health:
                text = health.feed(text) + (health.finish() if chunk.finish_reason else "")
            if text:
                yield text
            if health and health.intervened:
                return
            if chunk.finish_reason in ("error", "cancelled"):
                raise EngineError(f"the answer broke off: {chunk.error or 'the model was closed'}")
    finally:
        stream.cancel()
