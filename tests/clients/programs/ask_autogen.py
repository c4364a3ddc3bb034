"""AutoGen's OpenAI client, which names who speaks."""

import asyncio
import json
import sys

from autogen_core.models import AssistantMessage, UserMessage
from autogen_ext.models.openai import OpenAIChatCompletionClient

TURN = UserMessage(content="say one two three", source="me")


async def main() -> None:
    client = OpenAIChatCompletionClient(
        model="toy",
        base_url=sys.argv[1],
        api_key="none",
        model_info={
            "vision": False,
            "function_calling": False,
            "json_output": False,
            "structured_output": False,
            "family": "unknown",
        },
    )
    first = (await client.create([TURN])).content
    streamed = [part async for part in client.create_stream([TURN]) if isinstance(part, str)]
    more = [TURN, AssistantMessage(content=first, source="coach")]
    second = await client.create([*more, UserMessage(content="say four", source="me")])
    await client.close()
    print(json.dumps({"whole": first, "streamed": "".join(streamed), "second": second.content}))


asyncio.run(main())
