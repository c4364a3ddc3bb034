// What the page asks the server. Errors are thrown with a message for people.

// Which of a chat's messages are sent: the latest that the server's limits allow. `left` counts the
// older ones, but 0 where the page has said how many a model is shown; `finding` is what the health
// layer had found in them, which the server must not forget.
export function sendable(messages, limits) {
  const answered = messages.filter((message, place) => {
    const next = messages[place + 1];
    return message.role === "user" ? !next || next.content.trim() : message.content.trim();
  });
  let start = answered.length - 1;
  let characters = answered[start].content.length;
  for (let place = start - 1; place >= 0; place -= 1) {
    characters += answered[place].content.length;
    if (answered.length - place > limits.messages || characters > limits.characters) break;
    if (answered[place].role === "user") start = place;
  }
  const finding = answered.slice(0, start).findLast((message) => message.role === "user")?.finding;
  const sent = answered.slice(start).map(({ role, content }) => ({ role, content }));
  return { sent, left: limits.areTold ? 0 : start, finding };
}

// Asks and yields {finding}, then {text}s, then {end, id, left}; `end` is OpenAI's finish_reason.
export async function* answer({ sent, left, finding }, { model, key, signal, ...sampling }) {
  const response = await reach("/v1/chat/completions", key, {
    method: "POST",
    signal,
    headers: { "Content-Type": "application/json", ...(finding && { "X-Health-Finding": finding }) },
    body: JSON.stringify({
      messages: sent, stream: true, stream_options: { include_usage: true }, truncation: "auto",
      ...(model && { model }), ...sampling,
    }),
  });
  yield { finding: response.headers.get("X-Health-Finding") ?? "" };
  let end = null;
  let id = null;
  for await (const event of events(response.body)) {
    if (event.error) throw new Error(event.error.message);
    const choice = event.choices[0];
    if (choice?.delta.content) yield { text: choice.delta.content };
    end = choice?.finish_reason ?? end;
    id = event.id;
    left += event.usage?.messages_left_out ?? 0;
  }
  if (!end) throw new Error("the connection broke off");
  yield { end, id, left };
}

// Returns the models, the default one first: {id, about}.
export async function models(key) {
  return (await (await reach("/v1/models", key)).json()).data;
}

// Asks for something of what is learned, a path below /v1/learning.
export async function learning(path, key, method = "GET", body = {}) {
  const headers = { "Content-Type": "application/json" };
  const sent = method === "POST" ? { method, headers, body: JSON.stringify(body) } : { method };
  return (await reach(`/v1/learning${path}`, key, sent)).json();
}

// Yields the state of learning, now and whenever it changes.
export async function* watch(key, signal) {
  yield* events((await reach("/v1/learning/events", key, { signal })).body);
}

async function reach(path, key, { headers, ...options } = {}) {
  const sent = { ...headers, ...(key && { Authorization: `Bearer ${key}` }) };
  const response = await fetch(path, { ...options, headers: sent }).catch((error) => {
    throw error.name === "AbortError" ? error : new Error("the server cannot be reached");
  });
  if (response.ok) return response;
  const body = await response.json().catch(() => null);
  const wait = response.headers.get("Retry-After");
  const message = body?.error?.message ?? `status ${response.status}`;
  const error = new Error(wait ? `${message}; try again in ${wait} s` : message);
  throw Object.assign(error, { status: response.status });
}

// Yields the JSON objects of a stream of server-sent events.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read().catch((error) => {
      throw error.name === "AbortError" ? error : new Error("the connection broke off");
    });
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
