"""Reads a request's body: JSON → a checked model, or one plain sentence that says what is wrong."""

import difflib
import json
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, WrapValidator
from pydantic_core import ErrorDetails, PydanticCustomError

from fitbot.serving.http_errors import HttpError

# pydantic's kinds of errors in words of ours: its own name classes, which no client knows.
_SENTENCES = {
    "missing": "it is missing",
    "bool_type": "it must be true or false",
    "dict_type": "it must be an object",
    "float_type": "it must be a number",
    "greater_than": "it must be above {gt}",
    "greater_than_equal": "it must be {ge} or more",
    "int_from_float": "it must be a whole number",
    "int_type": "it must be a whole number",
    "less_than": "it must be below {lt}",
    "less_than_equal": "it must be {le} or less",
    "list_type": "it must be a list",
    "literal_error": "it must be {expected}",
    "model_type": "it must be an object",
    "string_pattern_mismatch": "it must match {pattern}",
    "string_too_long": "it must have at most {max_length} characters",
    "string_type": "it must be a string",
    "too_short": "it must not be empty",
    "value_error": "{error}",
}
_UNSUPPORTED = "unsupported"


class Body(BaseModel):
    """What all bodies have in common. Errors never quote what was sent: it may be health data."""

    model_config = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )

    @classmethod
    def fields_done(cls) -> list[str]:
        """List the fields that change what comes back."""
        return list(cls.model_fields)


def plainly(sentence: str, kind: str = "plain") -> WrapValidator:
    """Have a field say one sentence, whatever is wrong with its value."""

    def check(value: Any, validate: Callable[[Any], Any]) -> Any:
        try:
            return validate(value)
        except ValidationError as error:
            raise PydanticCustomError(kind, "{sentence}", {"sentence": sentence}) from error

    return WrapValidator(check)


def only(values: str) -> WrapValidator:
    """Have a field refuse by name what would change the answer and cannot be done."""
    return plainly(f"only {values}", _UNSUPPORTED)


AnyBody = TypeVar("AnyBody", bound=Body)


def parse_body(body: bytes, kind: type[AnyBody]) -> AnyBody:
    """Read a body.

    Raises:
        HttpError: 400, it is not JSON; 422, a field is wrong.
    """
    try:
        values = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:  # a 5,000-digit number; nested too deeply
        raise HttpError(400, "invalid_json", "the body is not JSON in UTF-8") from error
    if b"\\u" in body:  # the only way for half a character to come in
        _check_characters(values)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))[:100]
        sentence = _sentence_of(first, kind)
        message = f"{where}: {sentence}" if where else sentence
        raise HttpError(422, "invalid_field", message, param=where or None) from error


def _check_characters(values: Any) -> None:
    try:
        json.dumps(values, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise HttpError(422, "invalid_field", "the body holds half a character") from error


def _sentence_of(error: ErrorDetails, kind: type[Body]) -> str:
    """Say what is wrong with a field, and where that helps, which fields there are."""
    done = kind.fields_done()
    supported = f"; supported are {', '.join(done)}" if len(error["loc"]) == 1 else ""
    if error["type"] == _UNSUPPORTED:
        return error["msg"] + supported
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(error["loc"][-1]), done, n=1) if supported else []
        guess = f", perhaps {near[0]}" if near else ""
        return f"there is no such field{guess}{supported}"
    sentence = _SENTENCES.get(error["type"], "it is not valid")
    if error["type"] == "plain":
        return error["msg"]
    return sentence.format(**error.get("ctx", {}))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
