"""LiteLLM, as its users call any OpenAI-compatible server."""

import json
import sys

import litellm

TURN = {"role": "user", "content": "say one two three"}
asked = {"model": "openai/toy", "api_base": sys.argv[1], "api_key": "none"}

first = litellm.completion(messages=[TURN], **asked).choices[0].message
stream = litellm.completion(messages=[TURN], stream=True, **asked)
more = [TURN, first, {"role": "user", "content": "say four"}]
found = {
    "whole": first.content,
    "streamed": "".join(chunk.choices[0].delta.content or "" for chunk in stream),
    "second": litellm.completion(messages=more, **asked).choices[0].message.content,
}
text = litellm.text_completion(
    model="text-completion-openai/toy",
    prompt="say one",
    api_base=sys.argv[1],
    api_key="none",
)
assert text.choices[0].text == "one ", text
print(json.dumps(found))
