"""Names of files and settings → an Evaluation: what is measured, estimated, compared and concluded.

Everything is read before a model is loaded.
"""

import logging
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from fitbot.audit.records import prompt_text
from fitbot.audit.rules import READS_THE_QUESTION, RulePreferences
from fitbot.audit.shortcuts import question_preferences, rule_preferences
from fitbot.base_model.provenance import answer_settings
from fitbot.errors import ConfigError
from fitbot.evaluation.answer_rates import ANSWER_ERRORS, PASSES, AnswerReport, judge, rate_answers
from fitbot.evaluation.answered import AnsweredGroup, answered_groups
from fitbot.evaluation.answering import GREEDY
from fitbot.evaluation.cases import (
    Case,
    dependent_groups,
    first_of_each_question,
    groups_of,
    load_cases,
    questions_file,
)
from fitbot.evaluation.intervals import Comparison, compare
from fitbot.evaluation.measure import Measurements, QuestionSettings, drift_of, lengths_of, measure
from fitbot.evaluation.models import Lineup, Overrides, resolve_models
from fitbot.evaluation.preference import (
    ACCURACY,
    LIKELIER,
    MARGIN,
    PairFigures,
    displacement_of,
    measure_groups,
)
from fitbot.evaluation.report import (
    RATED,
    Evaluation,
    ModelReport,
    PairsReport,
    QuestionReport,
    draw_conclusions,
)
from fitbot.evaluation.scoring import hush_libraries
from fitbot.evaluation.training_file import TrainingFile, find_training_file
from fitbot.generation.messages import Sampling
from fitbot.pairs.chat import Chat, EncodedPair, LengthLimits, load_tokenizer, report_cuts
from fitbot.pairs.formats import PreferencePair
from fitbot.pairs.preferences import Check, load_pairs
from fitbot.pairs.rendered import rendered_check
from fitbot.version import __version__

logger = logging.getLogger(__name__)

Judged = Mapping[str, Mapping[str, Sequence[AnswerReport]]]  # model → kind → one a question


@dataclass(frozen=True)
class EvaluationInputs:
    """Which models are evaluated, and on what."""

    lineup: Lineup
    chat: Chat  # of the line-up's base
    path: str  # of the pairs
    cases: list[Case]  # N pairs
    pairs: list[EncodedPair]  # the same, encoded
    training_file: TrainingFile  # that rules learn from; without a path they learn from `cases`
    train: list[PreferencePair] | None
    questions: QuestionSettings
    asked: list[Case]  # those whose questions are asked
    prompts: list[list[int]]  # theirs, encoded
    started: float  # when reading began, in seconds of time.perf_counter


def read_inputs(
    adapters: Sequence[str],
    path: str | None,
    overrides: Overrides,
    *,
    train_path: str | None,
    limit: int | None,
    questions: int | str,
    max_new_tokens: int,
    temperature: float | None,
    top_p: float | None,
    seed: int,
) -> EvaluationInputs:
    """Read everything, so that whatever is wrong with it is found before a model is loaded.

    Args:
        adapters: Folders that fit or export wrote; none: the base alone is evaluated.
        path: Pairs to measure on: a file, or a hub data set; None: the file of questions.
        overrides: What the user sets instead of the adapters.
        train_path: Pairs that the rules learn from; None: those that all adapters were trained on,
            by their `data.train_limit`, if they are here, or else `path`, by cross-validation.
        limit, max_new_tokens: Records of `path` that are read, and tokens of an answer, at most.
        questions: How many are answered at most; or a file, or `independent`: all of its own.
        temperature, top_p: Of sampled answers; None: those of the first adapter's run.
        seed: Of the choice of questions, and of the sampling.

    Raises:
        AdapterError: A folder holds no adapter, a damaged one, or one of another base.
        ConfigError, DataError: A setting, or a file, is not there or cannot be used.
    """
    started = time.perf_counter()
    path, own_path = _paths(path, questions)
    lineup = resolve_models(adapters, overrides)
    hush_libraries()
    chat = Chat(
        load_tokenizer(lineup.base_model), system_prompt=lineup.system_prompt, date=lineup.date
    )
    logger.info("reading pairs of %s", path)
    check = rendered_check(chat.tokenizer)  # what a fit refuses is not measured either
    cases = load_cases(path, limit=limit, check=check)
    training_file, train = _read_training_file(lineup, train_path, check)
    limits = LengthLimits(lineup.max_prompt_length, lineup.max_length)
    sampling = _sampling(lineup, temperature, top_p)
    pairs = chat.encode_pairs([case.pair for case in cases], limits)
    asked = load_cases(own_path, check=check) if own_path else cases
    encoded = chat.encode_pairs([case.pair for case in asked], limits) if own_path else pairs
    where = _choose_questions(asked, questions if isinstance(questions, int) else None, seed)
    return EvaluationInputs(
        lineup=lineup,
        chat=chat,
        path=path,
        cases=cases,
        pairs=pairs,
        training_file=training_file,
        train=train,
        questions=QuestionSettings(own_path or path, where, sampling, seed, max_new_tokens),
        asked=[asked[i] for i in where],
        prompts=[encoded[i].prompt for i in where],
        started=started,
    )


def _read_training_file(
    lineup: Lineup, given: str | None, check: Check
) -> tuple[TrainingFile, list[PreferencePair] | None]:
    """Find the pairs that rules learn from, and read them if there are any."""
    found = find_training_file(lineup.adapters, given)
    if found.missing:
        logger.warning("%s", found.missing)
    if not found.path:
        return found, None
    # A run may have left bad records out; so do the rules, unless the user names the file.
    skip = given is None
    return found, load_pairs(
        found.path, limit=found.limit, skip_bad_records=skip, check=check
    ).pairs


def _paths(pairs: str | None, questions: int | str) -> tuple[str, str | None]:
    """Return the files of pairs and of questions; None where those are the pairs' own."""
    file = None if isinstance(questions, int) else questions_file(questions)
    path = pairs or file
    if path is None:
        raise ConfigError(
            "there is nothing to measure on: name pairs by --pairs, or questions by --questions "
            "independent"
        )
    return path, None if file == path else file


def _choose_questions(asked: Sequence[Case], most: int | None, seed: int) -> list[int]:
    """Return indices of different questions, so many at most; None: all of them."""
    first = first_of_each_question(asked)
    number = len(first) if most is None else min(most, len(first))
    return sorted(random.Random(seed).sample(first, number))


def _sampling(lineup: Lineup, temperature: float | None, top_p: float | None) -> Sampling:
    """Return what was given; the rest is the first adapter's run's, or else the recipe's."""
    own = answer_settings(lineup.adapters[0].folder if lineup.adapters else None)
    return Sampling(
        temperature=own.temperature if temperature is None else temperature,
        top_p=own.top_p if top_p is None else top_p,
    )


def evaluate(inputs: EvaluationInputs) -> Evaluation:
    """Let the rules choose, load and measure every model, and draw up the report.

    Raises:
        AdapterError: An adapter does not fit its base, or gives no finite log-probs.
        ConfigError: The base is of a kind that cannot answer, or too short for the questions.
        EngineError: An answer failed.
    """
    cases, questions = inputs.cases, inputs.asked
    pairs = [case.pair for case in cases]
    preferences, reading, unmeasured = _rules(inputs.train, pairs)
    read = time.perf_counter()
    found, machine = measure(
        inputs.lineup, inputs.chat, inputs.pairs, inputs.prompts, inputs.questions
    )
    measured = time.perf_counter()
    logger.info("intervals and tests")
    seconds = {"reading": round(read - inputs.started, 1), "measuring": round(measured - read, 1)}
    group_ids, lengths = dependent_groups(pairs), lengths_of(inputs.pairs)
    figures = [PairFigures(x.model, x.logps, x.reference_logps, lengths) for x in found]
    groups = measure_groups(cases, group_ids, figures, preferences, reading)
    question_ids = dependent_groups([case.pair for case in questions])
    judged = _judge(found, questions)
    models = [
        ModelReport(
            model=x.model,
            displacement=displacement_of(own, group_ids),
            drift=drift_of(x, question_ids),
            answers={
                kind: rate_answers(answers, x.answers[kind], questions, question_ids)
                for kind, answers in judged[x.model.name].items()
            },
            logps=x.logps.tolist(),
            reference_logps=x.reference_logps.tolist(),
        )
        for x, own in zip(found, figures, strict=True)
    ]
    comparisons = _compare_pairs(figures, group_ids)
    comparisons += _compare_answers(judged, questions, question_ids)
    return Evaluation(
        version=__version__,
        lineup=inputs.lineup,
        asked=inputs.questions,
        machine=machine,
        pairs=_pairs_report(inputs, group_ids),
        models=models,
        groups=groups,
        rules_unmeasured=unmeasured,
        comparisons=comparisons,
        answered=_answered(judged, questions, question_ids),
        verdicts={
            report.model.name: list(draw_conclusions(report, models[0], groups[0], comparisons))
            for report in models
        },
        exchanges=_exchanges(judged, questions),
        seconds=seconds,
    )


def _rules(
    train: Sequence[PreferencePair] | None, pairs: Sequence[PreferencePair]
) -> tuple[dict[str, RulePreferences], dict[str, RulePreferences], dict[str, str]]:
    """Return what rules choose without the question, and with it, and what is not measured."""
    logger.info("rules that know no language learn from %d pairs", len(train or pairs))
    preferences, unmeasured = rule_preferences(train, pairs)
    reading, why = question_preferences(train, pairs)
    unmeasured |= dict.fromkeys(sorted(READS_THE_QUESTION), why) if why else {}
    return preferences, reading, unmeasured


def _judge(found: Sequence[Measurements], questions: Sequence[Case]) -> Judged:
    return {
        x.model.name: {
            kind: [judge(*both) for both in zip(x.answers[kind], questions, strict=True)]
            for kind in (RATED if questions else ())
        }
        for x in found
    }


def _answered(
    judged: Judged, questions: Sequence[Case], question_ids: Sequence[int]
) -> list[AnsweredGroup]:
    greedy = {name: kinds.get(GREEDY, ()) for name, kinds in judged.items()}
    return answered_groups(greedy, questions, question_ids)


def _pairs_report(inputs: EvaluationInputs, group_ids: Sequence[int]) -> PairsReport:
    return PairsReport(
        path=inputs.path,
        pairs=len(inputs.cases),
        independent=len(set(group_ids)),
        labels=list(groups_of(inputs.cases)),
        checked=sum(case.check is not None for case in inputs.cases),
        cut=report_cuts(inputs.pairs),
        rules_learned_from=inputs.training_file.path,
        rules_limit=inputs.training_file.limit,
        training_file_missing=inputs.training_file.missing,
        asked=len(inputs.asked),
    )


def _compare_pairs(figures: Sequence[PairFigures], group_ids: Sequence[int]) -> list[Comparison]:
    return [
        compare(
            measure,
            (one.model.name, other.model.name),
            (one.columns[measure], other.columns[measure]),
            group_ids,
        )
        for one, other in combinations(figures, 2)
        for measure in (LIKELIER, ACCURACY, MARGIN)
        if measure in one.columns
        # Margins are in units of the objective.
        if measure != MARGIN or one.model.objective == other.model.objective
    ]


def _compare_answers(
    judged: Judged, questions: Sequence[Case], question_ids: Sequence[int]
) -> list[Comparison]:
    checked = [i for i, case in enumerate(questions) if case.check is not None]
    compared = []
    for kind in RATED if questions else ():
        for names in combinations(judged, 2):
            for what in (PASSES, *ANSWER_ERRORS):
                where = checked if what == PASSES else range(len(questions))
                one, other = ([judged[name][kind][i].has(what) for i in where] for name in names)
                ids = [question_ids[i] for i in where]
                if ids:
                    compared.append(compare(f"{kind}: {what}", names, (one, other), ids))
    return compared


def _exchanges(judged: Judged, questions: Sequence[Case]) -> list[QuestionReport]:
    return [
        QuestionReport(
            record=case.pair.record,
            question=prompt_text(case.pair),
            chosen=case.pair.chosen,
            labels=case.labels,
            answers={
                name: {kind: answers[place] for kind, answers in kinds.items()}
                for name, kinds in judged.items()
            },
        )
        for place, case in enumerate(questions)
    ]
