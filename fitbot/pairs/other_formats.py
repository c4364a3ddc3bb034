"""Records that rate answers and pair none: refused by their format, with lines that pair them."""

from typing import Any

from fitbot.errors import DataError
from fitbot.pairs.keys import MESSAGES_KEYS, PROMPT_KEYS, SYSTEM_KEYS, is_blank

_ANSWERS = ("completion", "response", "output", "answer", "generation", "text", *MESSAGES_KEYS)
_LISTS = ("completions", "responses", "generations", "answers", "outputs", "candidates", "output")
_LABELS = ("label", "kto_tag", "thumbs_up", "is_chosen")
_SCORES = (
    *("score", "rating", "reward", "overall_score", "scores", "ratings", "rewards", "rank"),
    *("ranks", "ranking", "rankings", "quality"),
)
# name, its keys, and an expression: a row → its answers as (score, answer), the better higher
_TWO_ANSWERS = (
    (
        "PKU-SafeRLHF's format",
        ("response_0", "response_1", "better_response_id"),
        '[(int(row["better_response_id"]) == i, row[f"response_{i}"]) for i in (0, 1)]',
    ),
    (
        "SHP's format",
        ("human_ref_A", "human_ref_B", "labels"),
        '[(int(row["labels"]), row["human_ref_A"]), (1 - int(row["labels"]), row["human_ref_B"])]',
    ),
    (
        "Chatbot Arena's format",
        ("conversation_a", "conversation_b", "winner"),
        '[(row["winner"] == f"model_{x}", row[f"conversation_{x}"][-1:]) for x in "ab"]',
    ),
    (
        "the format of stack-exchange-paired",
        ("response_j", "response_k"),
        '[(1, row["response_j"]), (0, row["response_k"])]',
    ),
    (
        "HelpSteer2's format",
        ("response_1", "response_2", "preference_strength"),
        '[(-row["preference_strength"], row["response_1"]), '
        '(row["preference_strength"], row["response_2"])]',
    ),
    (
        "HelpSteer3's format",
        ("response1", "response2", "overall_preference"),
        '[(-row["overall_preference"], row["response1"]), '
        '(row["overall_preference"], row["response2"])]',
    ),
)
_HEADS = {  # where the prompt is not under one of fitbot's keys
    "human_ref_A": '{"prompt": row["history"]}',
    "conversation_a": '{"prompt": row["conversation_a"][:-1]}',
    "overall_preference": '{"prompt": row["context"]}',
}
_LINES = """
    import json
    from fitbot.pairs.sources import read_records

    rated = {{}}
    for _, row in read_records("FILE"):
        head = json.dumps({head})
        rated.setdefault(head, []).extend({answers})
    pairs = []
    for head, answers in rated.items():
        (low, worst), *_, (high, best) = sorted(answers * 2, key=lambda one: one[0])
        if low < high:
            pairs.append({{**json.loads(head), "chosen": best, "rejected": worst}})
    with open("pairs.json", "w") as file:
        json.dump(pairs, file)
    print(len(pairs), "pairs")
"""


def ends_in_answer(value: object) -> bool:
    """Say whether a value is a conversation whose last turn is the assistant's."""
    last = value[-1] if isinstance(value, list) and value else None
    return isinstance(last, dict) and (
        last.get("role") == "assistant" or last.get("from") in ("assistant", "gpt")
    )


def has_scores(record: dict[str, Any]) -> bool:
    """Say whether a record has a list of scores, for a list of answers."""
    return any(isinstance(record.get(key), list) for key in _SCORES)


def refuse_other_format(record: dict[str, Any]) -> None:
    """Refuse a record without pair by the name of its format, if it has one.

    Raises:
        DataError: It has. The message brings Python lines that make pairs of such a file, if
            anything in it says which answer is the better one.
    """
    for name, keys, answers in _TWO_ANSWERS:
        if record.keys() >= set(keys):
            heads = [head for key, head in _HEADS.items() if key in keys]
            raise _refusal(name, heads[0] if heads else _head(record), answers)
    for key in _LISTS:
        if isinstance(record.get(key), list) and len(record[key]) > 1:
            _refuse_list(record, key)
    answer = next((key for key in _ANSWERS if not is_blank(record.get(key))), None)
    if answer is None or (answer in MESSAGES_KEYS and not ends_in_answer(record[answer])):
        return
    label = next((key for key in (*_LABELS, *_SCORES) if not is_blank(record.get(key))), None)
    if label is None:
        raise DataError(
            f"{answer!r} is one answer, as for supervised fine-tuning, and there is no worse one. "
            "Add a worse answer as 'rejected', and name the better one 'chosen'."
        )
    head, value = _head(record), f'row["{answer}"]'
    if answer in MESSAGES_KEYS:
        head, value = _head(record, f'"prompt": {value}[:-1]'), f"{value}[-1:]"
    score = f'str(row["{label}"]).lower() in ("true", "1", "1.0")'
    if label in _SCORES:
        score = _score(label, f'row["{label}"]')
    name = "KTO's format" if label in _LABELS else f"a format of single answers with {label!r}"
    raise _refusal(f"{name}, one answer and {label!r} a record", head, f"[({score}, {value})]")


def _refuse_list(record: dict[str, Any], key: str) -> None:
    """Refuse several answers with scores, beside them or in them."""
    first = record[key][0]
    if isinstance(first, dict):
        text = next((name for name in _ANSWERS if name in first), None)
        score = next((name for name in (*_SCORES, *_LABELS) if not is_blank(first.get(name))), None)
        name = "UltraFeedback's format" if key == "completions" else f"a list of {key!r}"
        answers = f'[({_score(score, f"one[{score!r}]")}, one["{text}"]) for one in row["{key}"]]'
    else:
        text = key
        score = next((name for name in _SCORES if isinstance(record.get(name), list)), None)
        name = f"a list of {key!r} beside {score!r}"
        both = f'zip(row["{score}"], row["{key}"])'
        answers = f"[({_score(score, 'score')}, one) for score, one in {both}]"
    if text is None or score is None:
        raise DataError(
            f"{key!r} is a list of answers, and nothing says which is better. Write the better "
            "one as 'chosen' and the worse one as 'rejected'."
        )
    raise _refusal(f"{name}, several answers a record", _head(record), answers)


def _score(name: str | None, value: str) -> str:
    return f"-float({value})" if name and name.startswith("rank") else f"float({value})"


def _head(record: dict[str, Any], *more: str) -> str:
    """Write an expression: a row → the keys of its prompt, and more of them."""
    items = [
        f'"{key}": row.get("{key}")'
        for key in (*PROMPT_KEYS, *SYSTEM_KEYS, "history")
        if not is_blank(record.get(key)) and key not in MESSAGES_KEYS
    ]
    items += more or ([] if items else ['"prompt": row["NAME OF THE PROMPT KEY"]'])
    return "{" + ", ".join(items) + "}"


def _refusal(name: str, head: str, answers: str) -> DataError:
    lines = _LINES.format(head=head, answers=answers)
    return DataError(
        f"{name}: fitbot learns from a better and a worse answer to one prompt. These lines pair "
        f"the best and the worst answer of every prompt in FILE:\n{lines}"
    )
