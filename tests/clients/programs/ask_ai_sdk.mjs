// Vercel's AI SDK, with its provider for servers of OpenAI's kind.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";

const fitbot = createOpenAICompatible({ name: "fitbot", baseURL: process.argv[2], apiKey: "none" });
const model = fitbot("toy");
const turn = { role: "user", content: "say one two three" };

const first = await generateText({ model, messages: [turn], frequencyPenalty: 0 });
let streamed = "";
for await (const text of streamText({ model, messages: [turn] }).textStream) streamed += text;
const messages = [turn, ...first.response.messages, { role: "user", content: "say four" }];
const second = await generateText({ model, messages });
console.log(JSON.stringify({ whole: first.text, streamed, second: second.text }));
