// OpenAI's client for Node.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "none" });
const turn = { role: "user", content: "say one two three" };
const ask = (messages) => client.chat.completions.create({ model: "toy", messages });

const first = (await ask([turn])).choices[0].message;
let streamed = "";
const stream = await client.chat.completions.create({
  model: "toy",
  messages: [turn],
  stream: true,
});
for await (const chunk of stream) streamed += chunk.choices[0]?.delta?.content ?? "";
const second = await ask([turn, first, { role: "user", content: "say four" }]);
const model = await client.models.retrieve("toy");
if (model.id !== "toy") throw new Error(JSON.stringify(model));
console.log(
  JSON.stringify({
    whole: first.content,
    streamed,
    second: second.choices[0].message.content,
  }),
);
