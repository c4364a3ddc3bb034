"""The bodies that clients send: every field is checked, and one that is not known is refused."""

from dataclasses import replace
from itertools import takewhile
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from fitbot.generation.messages import Sampling
from fitbot.pairs.formats import Message
from fitbot.serving.bodies import Body, only, plainly
from fitbot.serving.http_errors import HttpError
from fitbot.serving.neutral_fields import NeutralFields
from fitbot.serving.settings import RequestLimits

_SAYS_SOMETHING = r"^[^\x00]*[^\s\x00][^\x00]*$"  # not blank, no NUL
_SAYS = "it must hold more than blanks, and no NUL"

# Fields of a request that `Sampling` has by the same name.
_DRAWN = {
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "seed",
}

_Text = Annotated[str, Field(pattern=_SAYS_SOMETHING), plainly(_SAYS)]
_Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
_Folder = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
_Stop = Annotated[str, Field(min_length=1)]
_SYSTEM = ("system", "developer")


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
    text: str
    cache_control: Any = None  # for servers that charge for a cache


class ChatMessage(Body):
    """One turn of a conversation: a client's, or an answer as a server gave it.

    What an answer has besides its text is read, so that it can be sent back as it is, and not
    looked at: thoughts of earlier turns are no part of a prompt.
    """

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[
        str | list[TextPart] | None, plainly("it must be text, or a list of parts of type text")
    ] = None
    refusal: str | None = None  # the answer's text if it has no content

    annotations: Any = None
    name: Any = None
    parsed: Any = None
    provider_specific_fields: Any = None
    reasoning: Any = None
    reasoning_content: Any = None
    reasoning_details: Any = None
    thinking_blocks: Any = None

    audio: Annotated[None, only("null")] = None
    function_call: Annotated[None, only("null, as there are no tools")] = None
    tool_calls: Annotated[
        list[Any] | None, Field(max_length=0), only("[], as there are no tools")
    ] = None

    @model_validator(mode="after")
    def _says_something(self) -> "ChatMessage":
        # A model's answer may be blank; so may a system message, which then says nothing.
        if self.role == "user" and not self.text.strip():
            raise ValueError(f"content: {_SAYS}")
        if self.role != "assistant" and "\0" in self.text:
            raise ValueError(f"content: {_SAYS}")
        return self

    @property
    def text(self) -> str:
        """The content as one text."""
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content)
        return self.content or self.refusal or ""


class StreamOptions(Body):
    """What a stream holds besides the answer; without a stream it means nothing."""

    include_usage: bool | None = None
    include_obfuscation: Any = None
    continuous_usage_stats: Any = None  # the usage comes once, at the end


class AnswerRequest(NeutralFields):
    """How an answer is drawn, and how it comes back."""

    model: str | None = Field(None, max_length=128)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    min_tokens: int | None = Field(None, ge=0)
    ignore_eos: bool | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=-1, le=2**31 - 1)
    min_p: float | None = Field(None, ge=0, lt=1)
    repetition_penalty: float | None = Field(None, ge=0.1, le=10)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    seed: int | None = Field(None, ge=0, le=2**63 - 1)
    stop: Annotated[
        _Stop | list[_Stop] | None, plainly("it must be a string or strings, none of them empty")
    ] = None

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    def drawn(self, default: Sampling, most: int) -> Sampling:
        """Return how the answer is drawn, `most` new tokens: the default, but for what was sent."""
        sent = self.model_dump(include=_DRAWN, exclude_none=True)
        return replace(
            default,
            max_new_tokens=most,
            min_tokens=most if self.ignore_eos else min(self.min_tokens or 0, most),
            stop=self.stops,
            **sent | ({"top_k": 0} if self.top_k == -1 else {}),
        )

    def check_stops(self, limits: RequestLimits) -> None:
        """Refuse too many stop strings, or too long ones.

        Raises:
            HttpError: 422.
        """
        _at_most(len(self.stops), limits.max_stops, "strings", "stop")
        longest = max(map(len, self.stops), default=0)
        _at_most(longest, limits.max_stop_length, "characters a string", "stop")


class ChatRequest(AnswerRequest):
    """A conversation to go on with, as OpenAI's clients send it."""

    messages: list[ChatMessage] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    include_reasoning: bool | None = None
    truncation: Literal["auto", "disabled"] | None = None

    @model_validator(mode="after")
    def _fields_fit_together(self) -> "ChatRequest":
        if any(message.role in _SYSTEM for message in self.messages[len(self._system) :]):
            raise ValueError("messages: a system message must come first")
        if self.messages[-1].role != "user":
            raise ValueError("messages: the last one must be the user's")
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs: only with logprobs")
        if len({self.max_tokens, self.max_completion_tokens} - {None}) > 1:
            raise ValueError("max_tokens: another number than max_completion_tokens; send one")
        if self.tokens is not None and (self.min_tokens or 0) > self.tokens:
            raise ValueError("min_tokens: more than max_tokens")
        return self

    @property
    def _system(self) -> list[ChatMessage]:
        return list(takewhile(lambda message: message.role in _SYSTEM, self.messages))

    @property
    def conversation(self) -> tuple[Message, ...]:
        """The turns as the engine takes them, leading system messages joined."""
        system = "\n\n".join(message.text for message in self._system if message.text.strip())
        turns = self.messages[len(self._system) :]
        told = [Message("system", system)] if system else []
        return (*told, *(Message(turn.role, turn.text) for turn in turns))

    @property
    def tokens(self) -> int | None:
        """How many new tokens are asked for."""
        return self.max_completion_tokens or self.max_tokens

    def sampling(self, default: Sampling, limits: RequestLimits) -> Sampling:
        """Return how the answer is drawn: the default, but for what was sent, within the limits."""
        most = min(self.tokens or default.max_new_tokens, limits.max_new_tokens)
        return replace(
            self.drawn(default, most),
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            reasoning=bool(self.include_reasoning),
        )

    def check(self, limits: RequestLimits) -> None:
        """Refuse a conversation that is larger than the limits.

        Raises:
            HttpError: 400, too many or too long messages; 422, stop strings.
        """
        lengths = [len(message.text) for message in self.messages]
        for number, limit, unit in (
            (len(self.messages), limits.max_messages, "messages"),
            (max(lengths), limits.max_message_length, "characters in one message"),
            (sum(lengths), limits.max_conversation_length, "characters in all messages"),
        ):
            if number > limit:
                found = f"messages: {number} {unit}, at most {limit}; leave out old turns"
                raise HttpError(400, "context_length_exceeded", found, param="messages")
        self.check_stops(limits)


def describe_limits(schemas: dict[str, Any], limits: RequestLimits) -> None:
    """Write into the bodies' JSON schemas what their `check` refuses."""
    predict = schemas["PredictRequest"]["properties"]
    predict["user_query"]["maxLength"] = limits.max_request_length
    chat = schemas["ChatRequest"]["properties"]
    chat["messages"]["maxItems"] = limits.max_messages
    predict["max_new_tokens"]["anyOf"][0]["maximum"] = limits.max_new_tokens
    describe_stops(chat, limits)
    content = schemas["ChatMessage"]["properties"]["content"]
    content["anyOf"][0]["maxLength"] = limits.max_message_length


def describe_stops(fields: dict[str, Any], limits: RequestLimits) -> None:
    """Write into a body's JSON schema how many stop strings it takes, and how long."""
    one_stop, stops, _ = fields["stop"]["anyOf"]
    stops["maxItems"] = limits.max_stops
    one_stop["maxLength"] = stops["items"]["maxLength"] = limits.max_stop_length


def _at_most(number: int | None, limit: int, unit: str, field: str) -> None:
    if number is not None and number > limit:
        raise HttpError(422, "too_large", f"{field}: {number} {unit}, at most {limit}", param=field)
