// The chat page. server.js asks, markdown.js draws answers, history.js keeps chats; learning.js is
// loaded where the server learns from what a person chooses.
import { button, element, make, say } from "/elements.js";
import * as kept from "/history.js";
import { render } from "/markdown.js";
import { answer, learning, models, sendable } from "/server.js";

const log = element("log");
const box = element("question");
const { messages, characters } = element("ask").dataset;
const limits = { messages: Number(messages), characters: Number(characters) };
const NOTES = {
  length: "Cut here: the answer has reached its greatest length.",
  content_filter: "Cut here for safety.",
  stopped: "Stopped here.",
};
const VERSION = /^fitbot@\d+$/; // asked where the versions are shown

// Its messages are {role, content}; a question has the health layer's `finding` so far, an answer
// its `end` (none while it is coming) and the `id` that the server gave it, the `problem` if it failed,
// and how many messages it `left` unread because they were too old.
let chat = { messages: [] };
let running = null; // the AbortController of the answer that is coming
let editing = null; // the place of the question that is being changed
let saving = Promise.resolve();
let known = []; // what the server says of its models
let judge = null; // what a person can say of answers, if the server learns from it

const key = () => element("key").value.trim();

function draw(message, place) {
  const isUser = message.role === "user";
  const text = make("div", { className: "text" });
  if (isUser) text.textContent = message.content;
  else text.append(...render(message.content));
  const actions = make("div", { className: "actions" });
  if (isUser) actions.append(button("Edit", () => edit(place)));
  else if (message.content) actions.append(button("Copy", () => copy(message.content)));
  const isLast = place === chat.messages.length - 1;
  const judging = isUser ? null : judge?.actions(message, isLast);
  if (judging) actions.append(...judging);
  else if (!isUser && isLast) actions.append(button("Retry", () => retry(place)));
  const turn = make("article", { className: `turn ${message.role}` });
  turn.append(make("h2", {}, isUser ? "You" : "fitbot"), ...notesAbove(message));
  const instead = judge?.instead(message);
  turn.append(instead ?? text);
  if (instead) return turn;
  const below = notesBelow(message);
  if (below) turn.append(make("p", { className: "note trouble" }, below));
  turn.append(actions);
  return turn;
}

function notesAbove({ left }) {
  if (!left) return [];
  const what = left === 1 ? "The oldest message was" : `The ${left} oldest messages were`;
  return [make("p", { className: "note" }, `${what} left out: they no longer fit.`)];
}

function notesBelow(message) {
  if (message.role === "user" || message.end === "stop") return "";
  if (message.end in NOTES) return NOTES[message.end];
  if (!message.end) return running ? "" : "No answer: the page was closed.";
  return `${message.content.trim() ? "Cut here" : "No answer"}: ${message.problem}`;
}

function redraw() {
  element("hint").hidden = chat.messages.length > 0;
  log.replaceChildren(element("hint"), ...chat.messages.map(draw));
  log.scrollTop = log.scrollHeight;
}

function setRunning(controller) {
  running = controller;
  log.ariaBusy = String(Boolean(controller)); // read out once it is complete
  element("stop").hidden = !controller;
  element("send").hidden = Boolean(controller);
}

function setEditing(place) {
  editing = place;
  element("editing").hidden = place === null;
}

// The box has the focus, unless somebody has moved on; a phone's keyboard would cover the answer.
function focusBox() {
  const focused = document.activeElement;
  const isFree = focused === document.body || focused.hidden || !focused.isConnected;
  if (isFree && matchMedia("(pointer: fine)").matches) box.focus();
}

function save(own) {
  saving = saving.then(() => kept.save(own)).then(() => {
    if (own === chat) history.replaceState(null, "", `#${own.id}`);
  }).catch(() => say("This chat is not kept: the browser has no room for it."));
}

// Asks, in the place of all that follows it.
async function ask(question, place) {
  const own = chat;
  const asked = { role: "user", content: question };
  const given = { role: "assistant", content: "" };
  judge?.close();
  own.messages.splice(place, Infinity, asked, given);
  setEditing(null);
  say("");
  const controller = new AbortController();
  setRunning(controller);
  redraw();
  save(own);
  try {
    await receive(own, asked, given, controller.signal);
  } catch (error) {
    given.end = error.name === "AbortError" ? "stopped" : "failed";
    given.problem = error.message;
    if (error.status === 401) showKey();
  }
  if (running === controller) setRunning(null);
  changed(own);
}

async function receive(own, asked, given, signal) {
  const what = sendable(own.messages.slice(0, -1), limits);
  for await (const part of answer(what, { model: element("model").value, key: key(), signal })) {
    if (part.text) given.content += part.text;
    else Object.assign("end" in part ? given : asked, part);
    if (own === chat && part.text) grow(given.content);
  }
}

function changed(own) {
  save(own);
  if (own !== chat) return;
  redraw();
  focusBox();
}

// Another answer to the question that a message answers.
async function again(message, signal) {
  const before = chat.messages.slice(0, chat.messages.indexOf(message));
  const other = { content: "" };
  const options = { model: element("model").value, key: key(), signal };
  for await (const part of answer(sendable(before, limits), options)) {
    if (part.text) other.content += part.text;
    else Object.assign(other, part);
  }
  return other;
}

function grow(content) {
  const follows = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
  log.lastElementChild.querySelector(".text").replaceChildren(...render(content));
  if (follows) log.scrollTop = log.scrollHeight;
}

function retry(place) {
  if (!running) ask(chat.messages[place - 1].content, place - 1);
}

function edit(place) {
  setEditing(place);
  box.value = chat.messages[place].content;
  box.focus();
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    say("Copied.");
  } catch { // over plain HTTP from another machine there is no clipboard
    say("The browser does not let this page copy: mark the answer, then copy it.");
  }
}

function open(other) {
  running?.abort();
  judge?.close();
  setRunning(null);
  setEditing(null);
  say("");
  chat = other;
  history.replaceState(null, "", chat.id ? `#${chat.id}` : location.pathname);
  redraw();
  box.focus();
}

async function listChats() {
  await saving;
  const chats = await kept.all().catch(() => []);
  element("list").replaceChildren(...chats.map((one) => {
    const title = one.messages[0].content.slice(0, 60);
    const go = button(title, () => { element("kept").close(); open(one); });
    const remove = button("Delete", async () => {
      await kept.remove(one.id);
      if (one.id === chat.id) open({ messages: [] });
      listChats();
    });
    remove.ariaLabel = `Delete: ${title}`;
    return make("li", {}, go, remove);
  }));
  element("clear").hidden = chats.length === 0;
}

async function clear() {
  running?.abort();
  await saving;
  await kept.clear();
  tabs.postMessage("clear");
  element("kept").close();
  open({ messages: [] });
}

function showKey() {
  element("key-field").hidden = false;
  element("key").focus();
}

async function listModels() {
  try {
    await learn();
    known = await models(key());
    const offered = known.map(({ id }) => id).filter((id) => !judge || !VERSION.test(id));
    element("model").replaceChildren(...offered.map((id) => new Option(id, id)));
    element("model-choice").hidden = offered.length < 2;
    introduce();
  } catch (error) {
    if (error.status === 401) showKey();
  }
}

// Loads the learning side, once; a server that does not learn has no such path.
async function learn() {
  if (judge) return;
  const first = await learning("", key()).catch((error) => { if (error.status !== 404) throw error; });
  if (!first) return;
  const { start } = await import("/learning.js");
  judge = start(first, { key, again, redraw, changed, own: () => chat });
  redraw();
}

// Says what kind of model is chosen, and offers questions that it can answer.
function introduce() {
  const { about } = known.find(({ id }) => id === element("model").value);
  for (const part of ["kind", "details"]) {
    element(part).textContent = about[part];
    element(part).hidden = !about[part];
  }
  limits.messages = about.is_demonstration ? 1 : Number(messages);
  limits.areTold = about.is_demonstration; // by its details
  element("questions").replaceChildren(...about.questions.map((question) => (
    make("li", {}, button(question, () => { if (!running) ask(question, 0); }))
  )));
}

const tabs = new BroadcastChannel("fitbot");
tabs.onmessage = () => open({ messages: [] }); // another tab has deleted all chats

element("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = box.value.trim();
  if (!question || running) return;
  box.value = "";
  ask(question, editing ?? chat.messages.length);
});
box.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    element("ask").requestSubmit();
  } else if (event.key === "Escape") {
    running?.abort();
    setEditing(null);
  }
});
element("stop").onclick = () => running?.abort();
element("keep").onclick = () => { setEditing(null); box.value = ""; box.focus(); };
element("new").onclick = () => open({ messages: [] });
element("chats").onclick = () => { listChats(); element("kept").showModal(); };
element("close").onclick = () => element("kept").close();
element("clear").onclick = clear;
element("key").onchange = listModels;
element("model").onchange = introduce;

const id = Number(location.hash.slice(1));
const last = id ? await kept.read(id).catch(() => null) : null;
if (last) open(last);
box.focus();
listModels();
