"""The body of a request to /v1/completions: a text, or token ids, to go on with or to score."""

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from fitbot.generation.messages import Sampling
from fitbot.serving.bodies import Body
from fitbot.serving.http_errors import HttpError
from fitbot.serving.request_schemas import StreamOptions
from fitbot.serving.settings import RequestLimits

MOST_PROMPTS = 64  # of one request, which are answered one after the other

# Fields that `Sampling` has by the same name.
_DRAWN = {"temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed", "logprobs"}

_Text = Annotated[str, Field(min_length=1)]
_Ids = Annotated[list[Annotated[int, Field(ge=0, le=2**31 - 1)]], Field(min_length=1)]
_Texts = Annotated[list[_Text], Field(min_length=1, max_length=MOST_PROMPTS)]
_ManyIds = Annotated[list[_Ids], Field(min_length=1, max_length=MOST_PROMPTS)]
_Zero = Annotated[float, Field(ge=0, le=0)] | None


class CompletionRequest(Body):
    """Prompts to go on with, as OpenAI's completions take them; no template is put around them.

    With `echo` and at most one new token they are scored. Only then may they be token ids: text
    that is to be continued is read by the health layer first.
    """

    prompt: _Text | _Ids | _Texts | _ManyIds
    model: str | None = Field(None, max_length=128)
    echo: bool | None = None
    logprobs: int | None = Field(None, ge=0, le=20)
    max_tokens: int | None = Field(None, ge=0)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0, le=2**31 - 1)
    min_p: float | None = Field(None, ge=0, lt=1)
    repetition_penalty: float | None = Field(None, ge=0.1, le=10)
    seed: int | None = Field(None, ge=0, le=2**63 - 1)
    stop: _Text | list[_Text] | None = None
    # What changes nothing, and is therefore taken.
    n: Literal[1] | None = None
    best_of: Literal[1] | None = None
    suffix: Literal[""] | None = None
    frequency_penalty: _Zero = None
    presence_penalty: _Zero = None
    user: str | None = None

    @model_validator(mode="after")
    def _fields_fit_together(self) -> "CompletionRequest":
        if self.max_tokens == 0 and not self.echo:
            raise ValueError("max_tokens: 0 only with echo")
        if not (self.only_scores or all(isinstance(prompt, str) for prompt in self.prompts)):
            raise ValueError(
                "prompt: token ids are scored only, with echo and max_tokens of 0 or 1; "
                "send text to have it continued"
            )
        return self

    @property
    def prompts(self) -> list[str | tuple[int, ...]]:
        """The prompts as the engine takes them."""
        several = [self.prompt] if isinstance(self.prompt, str) else self.prompt
        if isinstance(several[0], int):
            several = [several]  # the ids of one prompt
        return [one if isinstance(one, str) else tuple(one) for one in several]

    @property
    def only_scores(self) -> bool:
        """Whether the prompts' log-probabilities are what is asked for, and no answer."""
        return bool(self.echo) and self.max_tokens in (0, 1)

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    def sampling(self, default: Sampling) -> Sampling:
        """Return how an answer is drawn: the default, but for what was sent."""
        most = default.max_new_tokens if self.max_tokens is None else max(1, self.max_tokens)
        return replace(
            default,
            max_new_tokens=most,
            echo=bool(self.echo),
            stop=self.stops,
            **self.model_dump(include=_DRAWN, exclude_none=True),
        )

    def check(self, limits: RequestLimits) -> None:
        """Refuse what is larger than the limits, or asks for more.

        Raises:
            HttpError: 422.
        """
        length = sum(len(prompt) for prompt in self.prompts if isinstance(prompt, str))
        for field, number, limit, unit in (
            ("prompt", length, limits.max_conversation_length, "characters in all"),
            ("max_tokens", self.max_tokens or 0, limits.max_new_tokens, "tokens"),
            ("stop", len(self.stops), limits.max_stops, "strings"),
            ("stop", max(map(len, self.stops), default=0), limits.max_stop_length, "characters"),
        ):
            if number > limit:
                message = f"{field}: {number} {unit}, at most {limit}"
                raise HttpError(422, "too_large", message, param=field)


def describe_completion_limits(schemas: dict[str, Any], limits: RequestLimits) -> None:
    """Write into the body's JSON schema what `check` refuses."""
    fields = schemas["CompletionRequest"]["properties"]
    fields["prompt"]["anyOf"][0]["maxLength"] = limits.max_conversation_length
    fields["max_tokens"]["anyOf"][0]["maximum"] = limits.max_new_tokens
    one_stop, stops, _ = fields["stop"]["anyOf"]
    stops["maxItems"] = limits.max_stops
    one_stop["maxLength"] = stops["items"]["maxLength"] = limits.max_stop_length
