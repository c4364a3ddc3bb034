// Chat with /v1/chat/completions. What anybody wrote, person or model, is only ever set as text.
"use strict";

const element = (id) => document.getElementById(id);
const log = element("log");
const MESSAGES = 31; // the latest that are sent; odd, so that the first one is the user's
let conversation = [];
let running = null; // the AbortController of the answer that is coming

function headers() {
  const key = element("key").value.trim();
  return { "Content-Type": "application/json", ...(key && { Authorization: `Bearer ${key}` }) };
}

function show(role, text = "") {
  element("hint").hidden = true;
  const turn = document.createElement("p");
  turn.className = `turn ${role}`;
  turn.textContent = text;
  log.append(turn);
  turn.scrollIntoView({ block: "end" });
  return turn;
}

function setRunning(controller) {
  running = controller;
  element("send").hidden = Boolean(controller);
  element("stop").hidden = !controller;
}

async function explain(response) {
  if (response.status === 401) element("key-field").hidden = false;
  const wait = response.headers.get("Retry-After");
  const body = await response.json().catch(() => null);
  const message = body?.error?.message ?? `status ${response.status}`;
  return wait ? `${message}; try again in ${wait} s` : message;
}

// Yields the JSON objects of a stream of server-sent events.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value;
    const parts = held.split("\n\n");
    held = parts.pop();
    for (const part of parts) {
      if (part === "data: [DONE]") return;
      if (part.startsWith("data: ")) yield JSON.parse(part.slice(6));
    }
  }
}

async function answer(turn, signal) {
  const model = element("model").value;
  const messages = conversation.slice(-MESSAGES);
  const response = await fetch("/v1/chat/completions", {
    method: "POST",
    headers: headers(),
    body: JSON.stringify({ messages, stream: true, ...(model && { model }) }),
    signal,
  });
  if (!response.ok) throw new Error(await explain(response));
  for await (const event of events(response.body)) {
    if (event.error) throw new Error(event.error.message);
    const follows = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
    turn.textContent += event.choices[0]?.delta.content ?? "";
    if (follows) log.scrollTop = log.scrollHeight;
  }
}

async function ask(question) {
  conversation.push({ role: "user", content: question });
  const asked = conversation;
  show("user", question);
  const turn = show("assistant");
  const controller = new AbortController();
  setRunning(controller);
  try {
    await answer(turn, controller.signal);
  } catch (error) {
    if (error.name !== "AbortError") show("trouble", `No answer: ${error.message}`);
  }
  setRunning(null);
  // A question without an answer is not part of the conversation.
  if (turn.textContent.trim()) asked.push({ role: "assistant", content: turn.textContent });
  else { asked.pop(); turn.remove(); element("question").value ||= question; }
  element("question").focus();
}

async function listModels() {
  const response = await fetch("/v1/models", { headers: headers() });
  if (response.status === 401) element("key-field").hidden = false;
  if (!response.ok) return;
  const names = (await response.json()).data.map((model) => model.id);
  element("model").replaceChildren(...names.map((name) => new Option(name, name)));
  element("model-choice").hidden = names.length < 2;
}

element("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = element("question").value.trim();
  if (!question || running) return;
  element("question").value = "";
  ask(question);
});
element("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    element("ask").requestSubmit();
  }
});
element("stop").addEventListener("click", () => running?.abort());
element("new").addEventListener("click", () => {
  running?.abort();
  conversation = [];
  log.replaceChildren(element("hint"));
  element("hint").hidden = false;
});
element("key").addEventListener("change", listModels);
element("model").addEventListener("change", () => element("question").focus());
listModels();
