"""The bodies that clients send: every field is checked, and one that is not known is refused."""

import json
from dataclasses import replace
from typing import Annotated, Any, Literal, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fitbot.generation.messages import Sampling
from fitbot.pairs.formats import Message
from fitbot.serving.http_errors import HttpError
from fitbot.serving.settings import RequestLimits

_SAYS_SOMETHING = r"^[^\x00]*[^\s\x00][^\x00]*$"  # not blank, no NUL

# Fields of a chat request that `Sampling` has by the same name.
_DRAWN = {"temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed"}

_Text = Annotated[str, Field(pattern=_SAYS_SOMETHING)]
_Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
_Folder = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
_Stop = Annotated[str, Field(min_length=1)]


class Body(BaseModel):
    """What all bodies have in common. Errors never quote what was sent: it may be health data."""

    model_config = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )


class PredictRequest(Body):
    """A question."""

    user_query: _Text
    max_new_tokens: int | None = Field(None, ge=1)

    def check(self, limits: RequestLimits) -> None:
        """Refuse a question, or an answer, that is too long.

        Raises:
            HttpError: 422.
        """
        _at_most(len(self.user_query), limits.max_request_length, "characters", "user_query")
        _at_most(self.max_new_tokens, limits.max_new_tokens, "tokens", "max_new_tokens")


class LoadRequest(Body):
    """An adapter to answer with; vLLM's fields, but that `lora_path` is a folder's name.

    It lies below the directory that the server was started with, and is called like the adapter if
    no name is given.
    """

    lora_name: _Name
    lora_path: _Folder | None = None


class UnloadRequest(Body):
    """An adapter to answer with no more."""

    lora_name: _Name


class TextPart(Body):
    """Text in a message of several parts."""

    type: Literal["text"]
    text: _Text


class ChatMessage(Body):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: _Text | Annotated[list[TextPart], Field(min_length=1)]

    @property
    def text(self) -> str:
        """The content as one text."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content)


class StreamOptions(Body):
    """What a stream holds besides the answer."""

    include_usage: bool | None = None


class ChatRequest(Body):
    """A conversation to go on with, as OpenAI's clients send it."""

    messages: list[ChatMessage] = Field(min_length=1)
    model: str | None = Field(None, max_length=128)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0, le=2**31 - 1)
    min_p: float | None = Field(None, ge=0, lt=1)
    repetition_penalty: float | None = Field(None, ge=0.1, le=10)
    seed: int | None = Field(None, ge=0, le=2**63 - 1)
    stop: _Stop | list[_Stop] | None = None
    n: Literal[1] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    include_reasoning: bool | None = None

    @model_validator(mode="after")
    def _fields_fit_together(self) -> "ChatRequest":
        if any(message.role == "system" for message in self.messages[1:]):
            raise ValueError("messages: a system message must come first")
        if self.messages[-1].role != "user":
            raise ValueError("messages: the last one must be the user's")
        if self.stream_options and not self.stream:
            raise ValueError("stream_options: only with stream")
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs: only with logprobs")
        if None not in (self.max_tokens, self.max_completion_tokens):
            raise ValueError("max_tokens: not together with max_completion_tokens")
        return self

    @property
    def conversation(self) -> tuple[Message, ...]:
        """The turns as the engine takes them."""
        return tuple(Message(message.role, message.text) for message in self.messages)

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    def sampling(self, default: Sampling) -> Sampling:
        """Return how the answer is drawn: the default, but for what was sent."""
        return replace(
            default,
            max_new_tokens=self.max_completion_tokens or self.max_tokens or default.max_new_tokens,
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            reasoning=bool(self.include_reasoning),
            stop=self.stops,
            **self.model_dump(include=_DRAWN, exclude_none=True),
        )

    def check(self, limits: RequestLimits) -> None:
        """Refuse a conversation that is larger than the limits, or asks for more.

        Raises:
            HttpError: 422.
        """
        _at_most(len(self.messages), limits.max_messages, "messages", "messages")
        lengths = [len(message.text) for message in self.messages]
        _at_most(max(lengths), limits.max_message_length, "characters a message", "messages")
        _at_most(sum(lengths), limits.max_conversation_length, "characters in all", "messages")
        for field in ("max_tokens", "max_completion_tokens"):
            _at_most(getattr(self, field), limits.max_new_tokens, "tokens", field)
        _at_most(len(self.stops), limits.max_stops, "strings", "stop")
        longest = max(map(len, self.stops), default=0)
        _at_most(longest, limits.max_stop_length, "characters a string", "stop")


def describe_limits(schemas: dict[str, Any], limits: RequestLimits) -> None:
    """Write into the bodies' JSON schemas what their `check` refuses."""
    predict = schemas["PredictRequest"]["properties"]
    predict["user_query"]["maxLength"] = limits.max_request_length
    chat = schemas["ChatRequest"]["properties"]
    chat["messages"]["maxItems"] = limits.max_messages
    for tokens in (predict["max_new_tokens"], chat["max_tokens"], chat["max_completion_tokens"]):
        tokens["anyOf"][0]["maximum"] = limits.max_new_tokens
    one_stop, stops, _ = chat["stop"]["anyOf"]
    stops["maxItems"] = limits.max_stops
    one_stop["maxLength"] = stops["items"]["maxLength"] = limits.max_stop_length
    content = schemas["ChatMessage"]["properties"]["content"]
    content["anyOf"][0]["maxLength"] = limits.max_message_length


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
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))[:100]
        message = first["msg"].removeprefix("Value error, ")
        if first.get("ctx", {}).get("pattern") == _SAYS_SOMETHING:
            message = "it must hold more than blanks, and no NUL"
        raise HttpError(
            422, "invalid_field", f"{where}: {message}" if where else message, param=where or None
        ) from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _at_most(number: int | None, limit: int, unit: str, field: str) -> None:
    if number is not None and number > limit:
        raise HttpError(422, "too_large", f"{field}: {number} {unit}, at most {limit}", param=field)
