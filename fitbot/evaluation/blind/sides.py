"""The two sides of a comparison: which models they are, and their answers, made ahead of time."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

from fitbot.base_model.adapter_files import adapter_hash
from fitbot.base_model.provenance import answer_settings
from fitbot.errors import ConfigError, EngineError
from fitbot.evaluation.answering import LineupEngine
from fitbot.evaluation.blind.log import Side
from fitbot.evaluation.blind.questions import Question
from fitbot.evaluation.models import Lineup, Model, Overrides, resolve_models
from fitbot.generation.engine import Stream
from fitbot.generation.loading import ends_of
from fitbot.generation.messages import BASE, Sampling
from fitbot.pairs.chat import Chat, load_tokenizer

logger = logging.getLogger(__name__)

AHEAD = 3  # questions that are answered before they are asked


@dataclass(frozen=True)
class Sides:
    """Two models of one base, and how each of them answers."""

    lineup: Lineup
    models: Mapping[Side, Model]
    samplings: Mapping[Side, Sampling]
    chat: Chat

    @property
    def names(self) -> dict[Side, str]:
        """What the models are called."""
        return {side: model.name for side, model in self.models.items()}


def resolve_sides(
    a: str, b: str, overrides: Overrides, *, max_new_tokens: int | None = None
) -> Sides:
    """Read which two models are compared.

    Args:
        a: Folder of an adapter or of a run, or "base" for the base of the other one.
        b: The same.
        overrides: What the user sets.
        max_new_tokens: Tokens of an answer at most; None: as each adapter's run says.

    Raises:
        AdapterError: A folder holds no adapter, or one of another base.
        ConfigError: Both are the same, or cannot be asked in the same way.
    """
    if a == b:
        raise ConfigError(f"{a} is named twice; name two adapters, or one and {BASE!r}")
    lineup = resolve_models([name for name in (a, b) if name != BASE], overrides)
    adapters = iter(lineup.adapters)
    models = [lineup.models[0] if name == BASE else next(adapters) for name in (a, b)]
    hashes = [_hash_of(model) for model in models]
    if hashes[0] == hashes[1]:
        raise ConfigError(f"{a} and {b} hold the same weights; name two adapters that differ")
    samplings = [_sampling(model, lineup, max_new_tokens) for model in models]
    tokenizer, ends = load_tokenizer(lineup.base_model), ends_of(lineup.base_model)
    chat = Chat(tokenizer, system_prompt=lineup.system_prompt, date=lineup.date, ends=ends)
    keys: tuple[Side, Side] = get_args(Side)
    by_side = dict(zip(keys, models, strict=True))
    return Sides(lineup, by_side, dict(zip(keys, samplings, strict=True)), chat)


def describe_comparison(sides: Sides, questions: Sequence[Question], seed: int) -> dict[str, Any]:
    """Return all that the answers and their order follow from, as plain JSON."""
    asked = json.dumps(questions, ensure_ascii=False).encode("utf-8", "replace")
    return {
        **{
            side: {
                "name": model.name,
                "sha256": _hash_of(model),
                "answers": json.loads(json.dumps(asdict(sides.samplings[side]))),
            }
            for side, model in sides.models.items()
        },
        "base_model": sides.lineup.base_model,
        "load_in_4bit": sides.lineup.load_in_4bit,
        "system_prompt": sides.lineup.system_prompt,
        "date": sides.lineup.date,
        "max_prompt_length": sides.lineup.max_prompt_length,
        "questions_sha256": hashlib.sha256(asked).hexdigest(),
        "questions": len(questions),
        "seed": seed,
    }


def _hash_of(model: Model) -> str | None:
    return None if model.adapter is None else adapter_hash(model.adapter)


def _sampling(model: Model, lineup: Lineup, max_new_tokens: int | None) -> Sampling:
    """Return how a model is used: as its run says; the base is asked as its adapter is."""
    adapter = model if model.adapter else lineup.adapters[0]
    own = Sampling.from_settings(answer_settings(adapter.folder))
    return replace(own, max_new_tokens=max_new_tokens or own.max_new_tokens)


def questions_that_fit(sides: Sides, questions: Sequence[Question]) -> list[Question]:
    """Leave out questions that are longer than the line-up's limit, and say how many.

    Raises:
        ConfigError: None is left.
    """
    limit = sides.lineup.max_prompt_length
    kept = [question for question in questions if not sides.chat.encode_prompt(question, limit)[1]]
    if not kept:
        raise ConfigError(
            f"all {len(questions)} questions exceed {limit} tokens; set --max_prompt_length"
        )
    if len(kept) < len(questions):
        number = len(questions) - len(kept)
        logger.warning("%d questions exceed %d tokens and are left out", number, limit)
    return kept


class AnswersAhead:
    """Both sides' answers to every question, from one engine; the next ones are made meanwhile."""

    def __init__(
        self, sides: Sides, engine: LineupEngine, questions: Sequence[Question], *, seed: int
    ):
        """Take an engine that holds both.

        Args:
            sides: The models.
            engine: Of their line-up.
            questions: That may be asked; they fit.
            seed: Of the first question's answers. Both sides have the same.
        """
        self._sides, self._engine, self._questions = sides, engine, questions
        self._seed = seed
        self._streams: dict[int, dict[Side, Stream]] = {}
        self._done: dict[int, dict[Side, str]] = {}

    def prepare(self, questions: Sequence[int]) -> None:
        """Begin with the first few of these."""
        for question in questions[: AHEAD + 1]:
            self._begin(question)

    def answers(self, question: int) -> dict[Side, str]:
        """Return both answers to a question, without the space around them.

        Raises:
            EngineError: An answer failed.
        """
        if question not in self._done:
            self._begin(question)
            streams = self._streams[question]
            self._done[question] = {side: _text_of(stream) for side, stream in streams.items()}
            del self._streams[question]
        return self._done[question]

    def _begin(self, question: int) -> None:
        if question in self._done or question in self._streams:
            return
        limit = self._sides.lineup.max_prompt_length
        prompt, _ = self._sides.chat.encode_prompt(self._questions[question], limit)
        self._streams[question] = {
            side: self._engine.submit(name, prompt, replace(sampling, seed=self._seed + question))
            for (side, name), sampling in zip(
                self._sides.names.items(), self._sides.samplings.values(), strict=True
            )
        }


def _text_of(stream: Stream) -> str:
    text = ""
    for chunk in stream:
        text += chunk.text
    if chunk.error is not None or chunk.usage is None:
        raise EngineError(f"an answer failed: {chunk.error}; the choices so far are kept")
    return text.strip()
