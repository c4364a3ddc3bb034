"""Names of files and settings → everything that an evaluation needs, before a model is loaded."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from fitbot.base_model.provenance import answer_settings
from fitbot.evaluation.cases import Case, first_of_each_question, load_cases
from fitbot.evaluation.measure import QuestionSettings
from fitbot.evaluation.models import Lineup, Overrides, resolve_models
from fitbot.evaluation.scoring import hush_libraries
from fitbot.generation.messages import Sampling
from fitbot.pairs.chat import Chat, EncodedPair, LengthLimits, load_tokenizer
from fitbot.pairs.formats import PreferencePair
from fitbot.pairs.preferences import load_pairs


@dataclass(frozen=True)
class EvaluationInputs:
    """Which models are evaluated, and on what."""

    lineup: Lineup
    chat: Chat  # of the line-up's base
    path: str  # of the pairs
    cases: list[Case]  # N pairs
    pairs: list[EncodedPair]  # the same, encoded
    train_path: str | None  # of the pairs that rules learn from; None: they learn from `cases`
    train: list[PreferencePair] | None
    questions: QuestionSettings
    started: float  # when reading began, in seconds of time.perf_counter


def read_inputs(
    adapters: Sequence[str],
    path: str,
    overrides: Overrides,
    *,
    train_path: str | None,
    limit: int | None,
    num_questions: int,
    max_new_tokens: int,
    temperature: float | None,
    top_p: float | None,
    seed: int,
) -> EvaluationInputs:
    """Read everything, so that whatever is wrong with it is found before a model is loaded.

    Args:
        adapters: Folders that fit or export wrote; none: the base alone is evaluated.
        path: Pairs to measure on: a file, or a hub data set.
        overrides: What the user sets instead of the adapters.
        train_path: Pairs that the rules learn from; None: `path`, by cross-validation.
        limit: Read only the first so many records of `path`.
        num_questions: Questions that are answered at most.
        max_new_tokens: Tokens of an answer at most.
        temperature: Of sampled answers; None: that of the first adapter's run.
        top_p: Likewise.
        seed: Of the choice of questions, and of the sampling.

    Raises:
        AdapterError: A folder holds no adapter, a damaged one, or one of another base.
        ConfigError: A setting cannot be used.
        DataError: A file is not there or cannot be used.
    """
    started = time.perf_counter()
    lineup = resolve_models(adapters, overrides)
    cases = load_cases(path, limit=limit)
    train = load_pairs(train_path).pairs if train_path else None
    hush_libraries()
    chat = Chat(load_tokenizer(lineup.base_model), system_prompt=lineup.system_prompt)
    limits = LengthLimits(lineup.max_prompt_length, lineup.max_length)
    pairs = chat.encode_pairs([case.pair for case in cases], limits)
    first = first_of_each_question(cases)
    where = sorted(random.Random(seed).sample(first, min(num_questions, len(first))))
    # What is not given is the first adapter's run's, or else the recipe's.
    own = answer_settings(lineup.adapters[0].folder if lineup.adapters else None)
    sampling = Sampling(
        temperature=own.temperature if temperature is None else temperature,
        top_p=own.top_p if top_p is None else top_p,
    )
    return EvaluationInputs(
        lineup=lineup,
        chat=chat,
        path=path,
        cases=cases,
        pairs=pairs,
        train_path=train_path,
        train=train,
        questions=QuestionSettings(where, sampling, seed, max_new_tokens),
        started=started,
    )
