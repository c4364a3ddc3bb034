"""The body of a request to /v1/completions: a text, or token ids, to go on with or to score."""

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from fitbot.generation.messages import Sampling
from fitbot.serving.bodies import only
from fitbot.serving.http_errors import HttpError
from fitbot.serving.request_schemas import AnswerRequest, describe_stops
from fitbot.serving.settings import RequestLimits

MOST_PROMPTS = 64  # of one request, which are answered one after the other

_Text = Annotated[str, Field(min_length=1)]
_Ids = Annotated[list[Annotated[int, Field(ge=0, le=2**31 - 1)]], Field(min_length=1)]
_Texts = Annotated[list[_Text], Field(min_length=1, max_length=MOST_PROMPTS)]
_ManyIds = Annotated[list[_Ids], Field(min_length=1, max_length=MOST_PROMPTS)]


class CompletionRequest(AnswerRequest):
    """Prompts to go on with, as OpenAI's completions take them; no template is put around them.

    With `echo` and at most one new token they are scored. Only then may they be token ids: text
    that is to be continued is read by the health layer first.
    """

    prompt: _Text | _Ids | _Texts | _ManyIds
    echo: bool | None = None  # type: ignore[assignment]
    logprobs: int | None = Field(None, ge=0, le=20)
    max_tokens: int | None = Field(None, ge=0)
    suffix: Annotated[Literal[""] | None, only('""')] = None  # type: ignore[assignment]

    @model_validator(mode="after")
    def _fields_fit_together(self) -> "CompletionRequest":
        if self.max_tokens == 0 and not self.echo:
            raise ValueError("max_tokens: 0 only with echo")
        if self.max_tokens is not None and (self.min_tokens or 0) > self.max_tokens:
            raise ValueError("min_tokens: more than max_tokens")
        if not (self.only_scores or all(isinstance(prompt, str) for prompt in self.prompts)):
            raise ValueError(
                "prompt: token ids are scored only, with echo and max_tokens of 0 or 1; "
                "send text to have it continued"
            )
        return self

    @classmethod
    def fields_done(cls) -> list[str]:
        """List the fields that are not neutral."""
        return [*super().fields_done(), "echo"]

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

    def sampling(self, default: Sampling, limits: RequestLimits) -> Sampling:
        """Return how an answer is drawn: the default, but for what was sent, within the limits."""
        asked = default.max_new_tokens if self.max_tokens is None else max(1, self.max_tokens)
        drawn = self.drawn(default, min(asked, limits.max_new_tokens))
        return replace(drawn, echo=bool(self.echo), logprobs=self.logprobs)

    def check(self, limits: RequestLimits) -> None:
        """Refuse prompts that are longer than the limits.

        Raises:
            HttpError: 400, the prompts; 422, stop strings.
        """
        length = sum(len(prompt) for prompt in self.prompts if isinstance(prompt, str))
        if length > limits.max_conversation_length:
            found = f"prompt: {length} characters in all, at most {limits.max_conversation_length}"
            raise HttpError(400, "context_length_exceeded", found, param="prompt")
        self.check_stops(limits)


def describe_completion_limits(schemas: dict[str, Any], limits: RequestLimits) -> None:
    """Write into the body's JSON schema what `check` refuses."""
    fields = schemas["CompletionRequest"]["properties"]
    fields["prompt"]["anyOf"][0]["maxLength"] = limits.max_conversation_length
    describe_stops(fields, limits)
