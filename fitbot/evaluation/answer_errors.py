"""What is wrong with an answer whatever was asked: empty, thinking aloud, looping, never ending."""

import re

# fault → what it means
FAULTS = {
    "empty": "no letter and no digit",
    "thinking": "a thought, though thinking is off, or its mark",
    "looping": "words said over and over",
    "unfinished": "all tokens used up before its end",
}

_LONGEST = 20  # words of what is repeated
_TIMES = 4  # that it is said in succession
_WORDS = 8  # that all of it has at least
_RUN = re.compile(r"(\w{1,10}?)\1{11,}")  # inside a word, as in hahahahahahahahahahahaha
_MARK = re.compile(r"</?think>")


def faults_of(text: str, thought: str, *, finished: bool) -> tuple[str, ...]:
    """List the faults of an answer.

    Args:
        text: What the user is shown.
        thought: What the model wrote between <think> and </think>.
        finished: Whether it ended by itself.

    Returns:
        Keys of FAULTS.
    """
    found = {
        "empty": not any(map(str.isalnum, text)),
        "thinking": bool(thought) or _MARK.search(text) is not None,
        "looping": loops(text),
        "unfinished": not finished,
    }
    return tuple(fault for fault in FAULTS if found[fault])


def loops(text: str) -> bool:
    """Say whether a text repeats itself in succession: up to 20 words, four times or more.

    >>> loops("Eat beans. " * 4)
    True
    >>> loops("Rest, squat, rest, squat, rest, then stretch both legs.")
    False
    """
    said = text.split()
    for size in range(1, _LONGEST + 1):
        same = 0  # words in a row that equal the one `size` before
        for one, other in zip(said, said[size:], strict=False):
            same = same + 1 if one == other else 0
            if same >= (_TIMES - 1) * size and same + size >= _WORDS:
                return True
    return _RUN.search(text) is not None
