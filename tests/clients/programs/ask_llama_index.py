"""LlamaIndex's OpenAILike."""

import json
import sys

from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

model = OpenAILike(model="toy", api_base=sys.argv[1], api_key="none", is_chat_model=True)
turn = ChatMessage(role="user", content="say one two three")

first = model.chat([turn]).message
more = [turn, first, ChatMessage(role="user", content="say four")]
found = {
    "whole": first.content,
    "streamed": "".join(chunk.delta or "" for chunk in model.stream_chat([turn])),
    "second": model.chat(more).message.content,
}
plain = OpenAILike(model="toy", api_base=sys.argv[1], api_key="none", is_chat_model=False)
text = plain.complete("say one").text
assert text == "one ", text
print(json.dumps(found))
