"""Errors of an answer that need no question to be seen: empty, thinking, looping, unfinished."""

import re

# error → what it means; reports call them faults
ANSWER_ERRORS = {
    "empty": "no letter and no digit",
    "thinking": "a thought, though thinking is off, or its mark",
    "looping": "words repeated over and over",
    "unfinished": "all tokens used up before its end",
}

_LONGEST = 20  # words that are repeated
_TIMES = 4  # how often they come in succession, at least
_WORDS = 8  # how many that is in all, at least
_RUN = re.compile(r"(\w{1,10}?)\1{11,}")  # inside a word, as in hahahahahahahahahahahaha
_MARK = re.compile(r"</?think>")


def find_errors(text: str, thought: str, *, finished: bool) -> tuple[str, ...]:
    """List the errors of an answer.

    Args:
        text: What the user is shown.
        thought: What the model wrote between <think> and </think>.
        finished: Whether it ended by itself.

    Returns:
        Keys of ANSWER_ERRORS.
    """
    found = {
        "empty": not any(map(str.isalnum, text)),
        "thinking": bool(thought) or _MARK.search(text) is not None,
        "looping": loops(text),
        "unfinished": not finished,
    }
    return tuple(error for error in ANSWER_ERRORS if found[error])


def loops(text: str) -> bool:
    """Say whether a text repeats itself in succession: up to 20 words, four times or more.

    >>> loops("Eat beans. " * 4)
    True
    >>> loops("Rest, squat, rest, squat, rest, then stretch both legs.")
    False
    """
    words = text.split()
    for size in range(1, _LONGEST + 1):
        same = 0  # words in a row that equal the one `size` before
        for one, other in zip(words, words[size:], strict=False):
            same = same + 1 if one == other else 0
            if same >= (_TIMES - 1) * size and same + size >= _WORDS:
                return True
    return _RUN.search(text) is not None
