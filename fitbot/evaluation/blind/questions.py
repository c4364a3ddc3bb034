"""A file of pairs or of questions → the questions that are asked, each once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fitbot.errors import DataError
from fitbot.pairs.formats import Message, parse_pair, parse_question
from fitbot.pairs.keys import CHOSEN_KEYS, PROMPT_KEYS, REJECTED_KEYS, is_blank
from fitbot.pairs.sources import read_records

Question = tuple[Message, ...]  # ends with a user turn

_ANSWER_KEYS = (*CHOSEN_KEYS, *REJECTED_KEYS)


def read_questions(source: str) -> list[Question]:
    """Read the questions of a file, in its order.

    Args:
        source: A .txt file of one question a line, or whatever `load_pairs` takes. A record is a
            pair, whose answers are not read; or an object that has a prompt alone; or a text.

    Raises:
        DataError: The file cannot be read, a record has no question, or there is none.
    """
    questions = list(dict.fromkeys(_read(source)))
    if not questions:
        raise DataError(f"{source}: there are no questions in it; give a file that has some")
    return questions


def _read(source: str) -> Iterator[Question]:
    if Path(source).suffix.lower() == ".txt":
        for text in filter(None, map(str.strip, _lines(source))):
            yield (Message("user", text),)
        return
    for index, (_, record) in enumerate(read_records(source)):
        try:
            yield _question_of(record, index)
        except DataError as error:
            raise DataError(f"{source}: record {index}: {error}") from error


def _lines(source: str) -> list[str]:
    try:
        return Path(source).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(
            f"{source}: cannot be read: {error.strerror}; give a file of questions"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{source}: is not UTF-8; write it anew in that encoding") from error


def _question_of(record: Any, index: int) -> Question:
    if not isinstance(record, dict):
        return parse_question(record)
    if any(not is_blank(record.get(key)) for key in _ANSWER_KEYS):
        return parse_pair(record, index).prompt
    for key in PROMPT_KEYS:
        if not is_blank(record.get(key)):
            return parse_question(record[key])
    raise DataError(f"no question under any of {', '.join(PROMPT_KEYS)}; give each record one.")
