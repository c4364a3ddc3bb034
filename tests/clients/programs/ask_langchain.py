"""LangChain's ChatOpenAI."""

import json
import sys

from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI, OpenAI

model = ChatOpenAI(model="toy", base_url=sys.argv[1], api_key="none")
turn = HumanMessage("say one two three", name="me")

first = model.invoke([turn])
found = {
    "whole": first.content,
    "streamed": "".join(chunk.content for chunk in model.stream([turn])),
    "second": model.invoke([turn, first, HumanMessage("say four")]).content,
}
text = OpenAI(model="toy", base_url=sys.argv[1], api_key="none").invoke("say one")
assert text == "one ", text
print(json.dumps(found))
