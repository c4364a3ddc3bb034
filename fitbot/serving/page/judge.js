// What a person can say of an answer in the chat: another one to choose from, an edit, a thumb.
import { button, make, say } from "/elements.js";
import { forgetChoice, note, store } from "/learner.js";
import { pair } from "/pair.js";
import { render } from "/markdown.js";

const THUMB = "M2 10h4v11H2zM8 10l4-8c2 0 3 1 3 3l-1 4h6c1 0 2 1 2 2l-2 8c0 1-1 2-2 2H8z";

// What the chat page can do: `own` names the chat, `changed` keeps and draws one, `redraw` draws
// the one that is shown, `again` asks once more.
let chat = null;
let open = null; // {message, node, cancel}: what stands in the place of an answer now

export function begin(given) { chat = given; }
export const instead = (message) => (open?.message === message ? open.node : null);

export function actions(message, isLast) {
  if (message.mine) return [make("span", { className: "note" }, "Your words")];
  if (!message.id) return null;
  const thumbs = ["thumb_up", "thumb_down"].map((kind) => thumb(message, kind));
  const more = isLast ? [button("Another answer", () => another(message))] : [];
  return [button("Edit", () => edit(message), { ariaLabel: "Edit this answer" }), ...thumbs, ...more];
}

function put(message, node, cancel) {
  open = { message, node, cancel };
  note(""); // of the choice before
  say("");
  node.addEventListener("keydown", (event) => { if (event.key === "Escape") close(); });
  chat.redraw();
  node.scrollIntoView({ block: "nearest" });
  const isTyping = document.activeElement.value; // a 1 in the next question must not choose
  if (!isTyping) (node.querySelector("textarea") ?? node).focus();
}

// Puts the answer back as it was.
export function close() {
  if (!open) return;
  open.cancel?.();
  open = null;
  chat.redraw();
}

async function another(message) {
  const controller = new AbortController();
  put(message, waiting(message), () => controller.abort());
  try {
    const other = await chat.again(message, controller.signal);
    if (controller.signal.aborted) return;
    compare(message, other);
  } catch (error) {
    if (error.name === "AbortError") return;
    close();
    say(`No other answer: ${error.message}`);
  }
}

function waiting({ content }) {
  const text = make("div", { className: "text" });
  text.append(...render(content));
  const told = make("p", { className: "note", role: "status" }, "fitbot writes another answer…");
  const stop = make("div", { className: "actions" }, button("Stop", close));
  return make("div", { tabIndex: -1 }, text, told, stop);
}

function compare(message, other) {
  const { content, id, end } = message;
  open.cancel = null;
  if (other.content.trim() === content.trim()) {
    close();
    say("The other answer is the same, word for word.");
    return;
  }
  const answers = [{ text: content, id, end }, { text: other.content, id: other.id, end: other.end }];
  const done = (chosen, rejected) => judge(
    message, { kind: "pair", chosen: chosen.id, rejected: rejected.id },
    { content: chosen.text, id: chosen.id, end: chosen.end, thumb: null },
  );
  put(message, pair(answers, { done, skip: close, skipName: "Neither (Esc)", skipKey: "escape" }));
}

function edit(message) {
  const box = make("textarea", { value: message.content, rows: 5, ariaLabel: "The answer in your words" });
  const save = () => {
    const text = box.value.trim();
    if (!text || text === message.content.trim()) close();
    else judge(message, { kind: "edit", answer: message.id, text }, { content: text, mine: true });
  };
  const told = "Write the answer as it should be. Yours counts as the better one.";
  const buttons = [button("Mine is better", save, { className: "this" }), button("Cancel", close)];
  box.onkeydown = (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) save(); };
  put(message, make(
    "div", { className: "edit" }, make("p", { className: "note" }, told), box,
    make("div", { className: "actions" }, ...buttons),
  ));
}

// Stores a choice, then changes the answer in the chat by it.
async function judge(message, choice, changes) {
  const before = { mine: false, ...message };
  const own = chat.own();
  try {
    await store(choice, () => { Object.assign(message, before); chat.changed(own); });
    Object.assign(message, changes);
    open = null;
    chat.changed(own);
  } catch (error) {
    close();
    note(`Not stored: ${error.message}.`);
  }
}

function thumb(message, kind) {
  const isUp = kind === "thumb_up";
  const ariaLabel = isUp ? "Good answer" : "Bad answer";
  const node = button("", press, { className: `thumb ${kind}`, ariaLabel });
  node.append(icon());
  node.ariaPressed = String(message.thumb?.kind === kind);
  async function press() {
    const focused = () => document.querySelectorAll(`.${kind}`);
    const place = [...focused()].indexOf(node);
    await rate(message, kind);
    focused()[place]?.focus(); // it was drawn anew
  }
  return node;
}

async function rate(message, kind) {
  const own = chat.own();
  const draw = (given) => { message.thumb = given; chat.changed(own); };
  const before = message.thumb ?? null;
  if (before?.kind === kind) {
    await forgetChoice(before.id, () => draw(null));
    return;
  }
  try {
    const { id } = await store({ kind, answer: message.id }, () => draw(before));
    draw({ kind, id });
  } catch (error) {
    note(`Not stored: ${error.message}.`);
  }
}

function icon() {
  const [svg, path] = ["svg", "path"].map((name) => document.createElementNS("http://www.w3.org/2000/svg", name));
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", THUMB);
  svg.append(path);
  return svg;
}
