"""Pydantic AI's agent, with instructions and a system prompt of its own."""

import asyncio
import json
import sys

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

provider = OpenAIProvider(base_url=sys.argv[1], api_key="none")
agent = Agent(
    OpenAIChatModel("toy", provider=provider), system_prompt="Be kind.", instructions="Be brief."
)


async def main() -> None:
    first = await agent.run("say one two three")
    async with agent.run_stream("say one two three") as stream:
        streamed = await stream.get_output()
    second = await agent.run("say four", message_history=first.all_messages())
    found = {"whole": first.output, "streamed": streamed, "second": second.output}
    print(json.dumps(found))


asyncio.run(main())
