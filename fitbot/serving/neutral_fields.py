"""Fields of OpenAI's and vLLM's requests that change nothing here, as clients send them unasked.

A field that cannot change a text is read and not looked at. One that could is accepted with the
values that leave the text as it is. Any other value is refused by name: it would be ignored.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from fitbot.serving.bodies import Body, only


def _no_number(value: object) -> object:
    """Refuse 0 and 1, which Python holds to be equal to false and true."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError("a number")
    return value


_ONE = Field(ge=1, le=1)
_False = Annotated[Literal[False] | None, BeforeValidator(_no_number)]
_Nothing = Annotated[list[Any] | None, Field(max_length=0), only("[], as there are no tools")]
_Choice = Annotated[Literal["none", "auto"] | None, only("none or auto, as there are no tools")]
_OnlyFalse = Annotated[_False, only("false")]
_OnlyTrue = Annotated[Literal[True] | None, BeforeValidator(_no_number), only("true")]
_Null = Annotated[None, only("null")]
_Empty = Annotated[list[Any] | None, Field(max_length=0), only("[]")]


class TextFormat(Body):
    """The format of an answer."""

    type: Literal["text"]


class ThinkingOff(Body):
    """What a chat template is given: prompts are rendered as in training, thinking off."""

    enable_thinking: _False = None


class NeutralFields(Body):
    """Fields that change nothing."""

    # They cannot change a text.
    cache_prompt: Any = None
    cache_salt: Any = None
    metadata: Any = None
    parallel_tool_calls: Any = None
    prediction: Any = None
    prompt_cache_key: Any = None
    prompt_cache_retention: Any = None
    request_id: Any = None
    safety_identifier: Any = None
    service_tier: Any = None
    store: Any = None
    user: Any = None

    # They could, with other values.
    add_generation_prompt: _OnlyTrue = None
    add_special_tokens: _OnlyFalse = None
    audio: _Null = None
    bad_words: _Empty = None
    best_of: Annotated[Annotated[int, _ONE] | None, only("1")] = None
    chat_template: _Null = None
    chat_template_kwargs: Annotated[ThinkingOff | None, only("{} or {enable_thinking: false}")] = (
        None
    )
    continue_final_message: _OnlyFalse = None
    documents: _Empty = None
    echo: _OnlyFalse = None
    enable_thinking: _OnlyFalse = None
    function_call: _Choice = None
    functions: _Nothing = None
    guided_choice: _Null = None
    guided_grammar: _Null = None
    guided_json: _Null = None
    guided_regex: _Null = None
    include_stop_str_in_output: _OnlyFalse = None
    length_penalty: Annotated[Annotated[float, _ONE] | None, only("1")] = None
    logit_bias: Annotated[dict[str, Any] | None, Field(max_length=0), only("{}")] = None
    modalities: Annotated[list[Literal["text"]] | None, only('["text"]')] = None
    n: Annotated[Annotated[int, _ONE] | None, only("1")] = None
    prompt_logprobs: _Null = None
    reasoning_effort: Annotated[Literal["none"] | None, only("none")] = None
    response_format: Annotated[TextFormat | None, only("{type: text}")] = None
    skip_special_tokens: _OnlyTrue = None
    spaces_between_special_tokens: _OnlyTrue = None
    stop_token_ids: _Empty = None
    structured_outputs: _Null = None
    suffix: _Null = None
    tool_choice: _Choice = None
    tools: _Nothing = None
    truncate_prompt_tokens: _Null = None
    typical_p: Annotated[Annotated[float, _ONE] | None, only("1")] = None
    use_beam_search: _OnlyFalse = None
    verbosity: Annotated[Literal["medium"] | None, only("medium")] = None
    web_search_options: _Null = None

    @classmethod
    def fields_done(cls) -> list[str]:
        """List the fields that are not neutral."""
        return [name for name in cls.model_fields if name not in NeutralFields.model_fields]
