"""Pairs of one file → what is wrong with its records: repeats, contradictions, odd characters."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

from fitbot.audit.answers import find_contact, repeats_itself
from fitbot.audit.endings import cut_off
from fitbot.audit.languages import in_another_language
from fitbot.audit.near import near_groups
from fitbot.audit.text import excerpt, normalise
from fitbot.pairs.formats import PreferencePair
from fitbot.pairs.preferences import LoadedPairs

_Find = Callable[[str], re.Match[str] | None]

MAX_EXAMPLES = 3
_END = slice(-120, None)  # of an answer that was cut off

# Zero-width joiners are left out where they belong: in emoji and in Arabic and Indic scripts.
_ODD = {
    "control character": re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"),
    "replacement character": re.compile("\ufffd"),
    "zero-width character": re.compile(
        "[\u200b\u2060\ufeff\u00ad]|(?<=[A-Za-z])[\u200c\u200d](?=[A-Za-z])"
    ),
    "direction override": re.compile("[\u202a-\u202e\u2066-\u2069]"),
    "private-use character": re.compile("[\ue000-\uf8ff\U000f0000-\U0010ffff]"),
    "wrongly decoded text": re.compile("\u00e2\u20ac|\u00c3[\u0080-\u00bf]|\u00c2[\u0080-\u00bf]"),
}
# Never a minus, a less-than, or the point of a decimal: 3.6 g and 36 g are two answers.
_PUNCTUATION = re.compile(r"[\s;!?'\"*_`\u2018-\u201f]+|(?<!\d)[.,:]|[.,:](?!\d)")
_CONTROL = re.compile(
    r"<[|\uff5c][^|\uff5c<>\s]{1,40}[|\uff5c]>|</?(?:think|tool_call|tool_response)>|<(?:start|end)_of_turn>"
    r"|\[/?INST\]|<</?SYS>>|</?s>|^#{2,} ?(?:Instruction|Response|Human|Assistant):",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Example:
    """One record that shows a finding."""

    record: int  # index in the file, from 0
    text: str  # an excerpt of what was found there


@dataclass(frozen=True)
class Occurrence:
    """How often something was found, with examples."""

    pairs: int  # in how many pairs
    examples: list[Example]  # the first few


@dataclass(frozen=True)
class RecordReport:
    """Counts of one file; a pair is counted once in each."""

    pairs: int
    prompts: int  # distinct, up to case and spacing
    refused: list[str]  # one message for each record that the reader refuses
    duplicates: Occurrence  # the same prompt, chosen and rejected as an earlier pair
    near_duplicates: Occurrence  # near in all three parts, and not the same
    identical: Occurrence  # chosen and rejected differ in case, spacing or punctuation only
    conflicts: Occurrence  # the same prompt with the same two answers the other way round
    mirrors: Occurrence  # the same two answers the other way round, for another prompt
    wordless: Occurrence  # a prompt or answer without a letter or digit
    characters: dict[str, Occurrence]  # by kind of odd character
    control_strings: dict[str, Occurrence]  # by the string
    scripts: dict[str, float]  # share of letters by Unicode script; prompts and answers
    mixed_scripts: Occurrence  # an answer mostly in another script than its prompt
    languages: dict[str, Occurrence]  # answers in another language than the file, by its name
    truncated: Occurrence  # an answer that was cut off
    loops: Occurrence  # an answer that repeats itself
    contacts: Occurrence  # an e-mail address or a phone number
    labels: dict[str, Occurrence]  # by what the records' own checks say against them


def audit_records(
    loaded: LoadedPairs, labels: Mapping[str, set[int]] | None = None
) -> RecordReport:
    """Count what is wrong with a file's records.

    Args:
        loaded: The file as the reader gave it; its skipped records count as refused.
        labels: The numbers of the records whose own checks speak against their labels, by fault.
    """
    pairs = loaded.pairs
    prompts_of = [prompt_text(pair) for pair in pairs]
    answers_of = [answer for pair in pairs for answer in (pair.chosen, pair.rejected)]
    keys = [tuple(map(normalise, texts_of(pair))) for pair in pairs]
    prompts = near_groups([prompt for prompt, _, _ in keys])
    answers = near_groups([answer for _, *both in keys for answer in both])
    near = _repeats(list(zip(prompts, answers[::2], answers[1::2], strict=True)))
    repeats, held = _repeats(keys), set(keys)
    ways = {(one, other) for _, one, other in keys}
    # An answer that is the other one but for case is preferred no way.
    identical = _where(pairs, is_identical)
    swapped = {i for i, (_, one, other) in enumerate(keys) if (other, one) in ways} - identical
    conflicts = {i for i in swapped if (keys[i][0], keys[i][2], keys[i][1]) in held}
    return RecordReport(
        pairs=len(pairs),
        prompts=len({prompt for prompt, _, _ in keys}),
        refused=loaded.skipped,
        duplicates=_occurrence(pairs, repeats),
        near_duplicates=_occurrence(pairs, near - repeats),
        identical=_occurrence(pairs, identical, _both_answers),
        conflicts=_occurrence(pairs, conflicts, _both_answers),
        mirrors=_occurrence(pairs, swapped - conflicts, _both_answers),
        wordless=_occurrence(pairs, _where(pairs, _is_wordless), _both_answers),
        characters={
            name: found
            for name, pattern in _ODD.items()
            if (found := _holding(pairs, pattern.search)).pairs
        },
        control_strings=control_strings(pairs),
        scripts=_scripts(pairs),
        mixed_scripts=_occurrence(pairs, _where(pairs, _mixes_scripts), _both_answers),
        languages=_languages(pairs, prompts_of, answers_of),
        truncated=_of_answers(pairs, cut_off(answers_of, [*prompts_of, *answers_of]), _END),
        loops=_of_answers(pairs, {i for i, text in enumerate(answers_of) if repeats_itself(text)}),
        contacts=_holding(pairs, find_contact),
        labels={
            fault: _occurrence(pairs, _where(pairs, partial(_is_at, records)), _both_answers)
            for fault, records in (labels or {}).items()
        },
    )


def prompt_text(pair: PreferencePair) -> str:
    """Join a prompt's turns, the system's left out: a file has one, or few."""
    return "\n".join(message.content for message in pair.prompt if message.role != "system")


def texts_of(pair: PreferencePair) -> tuple[str, str, str]:
    """Return prompt, chosen and rejected."""
    return prompt_text(pair), pair.chosen, pair.rejected


def main_script(text: str) -> str | None:
    """Name the script of most of a text's letters; None without letters.

    >>> main_script("Protein: \\u0431\\u0435\\u043b\\u043e\\u043a, \\u0435\\u0434\\u0430")
    'CYRILLIC'
    """
    if text.isascii():
        return "LATIN" if any(map(str.isalpha, text)) else None
    counts = _count_scripts(text)
    return counts.most_common(1)[0][0] if counts else None


def _repeats(keys: Sequence[object]) -> set[int]:
    """Indices of keys that an earlier one equals."""
    first: dict[object, int] = {}
    return {i for i, key in enumerate(keys) if first.setdefault(key, i) != i}


def _where(pairs: Sequence[PreferencePair], holds: Callable[[PreferencePair], bool]) -> set[int]:
    return {i for i, pair in enumerate(pairs) if holds(pair)}


def is_identical(pair: PreferencePair) -> bool:
    """Say whether both answers are the same but for case, spacing and punctuation."""
    one, other = (_PUNCTUATION.sub("", normalise(text)) for text in (pair.chosen, pair.rejected))
    return bool(one) and one == other


def _is_at(records: set[int], pair: PreferencePair) -> bool:
    return pair.record in records


def _is_wordless(pair: PreferencePair) -> bool:
    return not all(any(map(str.isalnum, text)) for text in texts_of(pair))


def _mixes_scripts(pair: PreferencePair) -> bool:
    prompt, *answers = map(main_script, texts_of(pair))
    return prompt is not None and any(script not in (prompt, None) for script in answers)


def _holding(pairs: Sequence[PreferencePair], find: _Find) -> Occurrence:
    # One search of all three texts; nothing that is looked for goes across the separator.
    where = _where(pairs, lambda pair: find("\n".join(texts_of(pair))) is not None)
    return _occurrence(pairs, where, _around(find))


def _around(find: _Find) -> Callable[[PreferencePair], str]:
    """Show a pair by what is around the first match."""

    def shown(pair: PreferencePair) -> str:
        text, match = next((t, found) for t in texts_of(pair) if (found := find(t)))
        return text[max(0, match.start() - 30) : match.end() + 30]

    return shown


def _languages(
    pairs: Sequence[PreferencePair], prompts: Sequence[str], answers: Sequence[str]
) -> dict[str, Occurrence]:
    spoken = in_another_language([prompt for prompt in prompts for _ in range(2)], answers)
    return {
        name: _of_answers(pairs, {i for i, language in spoken.items() if language == name})
        for name in sorted(set(spoken.values()))
    }


def _of_answers(
    pairs: Sequence[PreferencePair], where: set[int], cut: slice = slice(None)
) -> Occurrence:
    """Count the pairs of answers; `where` numbers them as they come, two a pair."""
    first: dict[int, int] = {}  # pair → its first answer
    for i in sorted(where):
        first.setdefault(i // 2, i)
    shown = {
        pairs[number].record: texts_of(pairs[number])[1 + i % 2][cut] for number, i in first.items()
    }
    return _occurrence(pairs, set(first), lambda pair: shown[pair.record])


def control_strings(pairs: Sequence[PreferencePair]) -> dict[str, Occurrence]:
    """Find strings that steer a chat template in texts, the most frequent first."""
    holders: dict[str, set[int]] = {}
    for i, pair in enumerate(pairs):
        for found in _CONTROL.findall("\n".join(texts_of(pair))):
            holders.setdefault(found, set()).add(i)
    return {
        string: _occurrence(pairs, where, _around(re.compile(re.escape(string)).search))
        for string, where in sorted(holders.items(), key=lambda item: -len(item[1]))
    }


def _scripts(pairs: Sequence[PreferencePair]) -> dict[str, float]:
    counts = _count_scripts("".join(text for pair in pairs for text in texts_of(pair)))
    return {script: count / counts.total() for script, count in counts.most_common()}


def _count_scripts(text: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    for character, count in Counter(text).items():
        if character.isalpha():
            counts[_script(character)] += count
    return counts


@cache
def _script(letter: str) -> str:
    # Python knows no Script property; the first word of a letter's name is its script's.
    return unicodedata.name(letter, "UNNAMED").split()[0].split("-")[0]


def _both_answers(pair: PreferencePair) -> str:
    return f"{excerpt(pair.chosen, 60)} | {excerpt(pair.rejected, 60)}"


def _occurrence(
    pairs: Sequence[PreferencePair],
    where: set[int],
    shown: Callable[[PreferencePair], str] = prompt_text,
) -> Occurrence:
    first = [pairs[i] for i in sorted(where)[:MAX_EXAMPLES]]
    return Occurrence(
        len(where), [Example(pair.record, excerpt(shown(pair), 125)) for pair in first]
    )
