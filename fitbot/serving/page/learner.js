// What the learner is doing, told under the conversation; choices go to the server through here.
import { element } from "/elements.js";
import { learning, watch } from "/server.js";

const AGAIN = 1000; // milliseconds until a connection that broke off is tried again
let key = null; // gives the API key
let connection = null; // the AbortController of what is followed
let takeBack = null; // undoes the latest choice
let shown = ""; // what a screen reader was last told of

export let state = null; // as GET /v1/learning has it
export const listeners = []; // are called with the state when another version answers
export const ask = (path, method, body) => learning(path, key(), method, body);
export const nameOf = (number) => `Version ${number}`;

export function begin(first, getKey) {
  key = getKey;
  element("learning").hidden = false;
  element("undo").onclick = () => change(`/versions/${state.current.number}`, "DELETE");
  element("take-back").onclick = () => takeBack();
  document.addEventListener("visibilitychange", () => { if (document.hidden) connection.abort(); });
  tell(first);
  follow();
}

// A hidden tab does not follow: of one server a browser holds six connections, in all tabs together.
async function follow() {
  for (;;) {
    connection = new AbortController();
    try {
      if (!document.hidden) for await (const next of watch(key(), connection.signal)) tell(next);
    } catch (error) {
      if (error.name !== "AbortError") {
        element("learner").textContent = `What fitbot learns is not known now: ${error.message}.`;
      }
    }
    await new Promise((resolve) => { setTimeout(resolve, AGAIN); });
  }
}

// Has another version answer.
export async function change(path, method) {
  try {
    await ask(path, method);
    note("");
    tell(await ask("", "GET"));
  } catch (error) {
    note(`Not done: ${error.message}.`);
  }
}

export function tell(next) {
  const which = (one) => `${one?.current.number} ${one?.last?.number}`;
  const isOther = which(state) !== which(next);
  state = next;
  const { learner, last, current } = state;
  const [line, news] = describe(state);
  element("learner").textContent = line;
  element("learner").className = ["failed", "stopped"].includes(learner.state) ? "trouble" : "";
  if (news !== shown) element("news").textContent = news; // not every step is read out
  shown = news;
  element("undo").hidden = current.number === 0 || last?.number !== current.number;
  showProgress(learner);
  if (isOther) for (const listener of listeners) listener(state);
}

function showProgress({ state: now, step, steps, checked, items }) {
  const [done, all] = { learning: [step, steps], checking: [checked, items] }[now] ?? [];
  element("progress").hidden = !all;
  if (all) Object.assign(element("progress"), { max: all, value: done ?? 0 });
}

// Returns what to show, and the part of it that is worth reading out.
function describe({ learner, last, current, counts }) {
  const seconds = learner.seconds === null ? "" : `, ${Math.round(learner.seconds)} s`;
  const so = (done, all, what) => (all === null ? "" : `: ${what} ${done ?? 0} of ${all}`);
  const told = `${sentence(learner.message ?? "")} ${nameOf(current.number)} answers on.`;
  const text = {
    starting: `The learner is starting. ${result(last, current, counts)}`,
    failed: `Learning has failed: ${told}`,
    stopped: `Learning has stopped: ${told}`,
    learning: `Learning from ${count(learner.choices, "choice")}`,
    checking: `Checking version ${learner.number}`,
  }[learner.state] ?? result(last, current, counts);
  const progress = {
    learning: so(learner.step, learner.steps, "step") + seconds,
    checking: so(learner.checked, learner.items, "question") + seconds,
  }[learner.state] ?? "";
  return [text + progress, text];
}

function result(last, current, counts) {
  const now = nameOf(current.number);
  if (last?.state === "refused") {
    return `${nameOf(last.number)} was refused: ${ended(last.reason)} ${now} answers on.`;
  }
  if (last?.state === "undone") return `${nameOf(last.number)} was taken back. ${now} answers now.`;
  if (last?.number !== current.number) return `${now} answers. ${count(counts.choices, "choice")} stored.`;
  return `${now} answers now (${last.state}). ${sentence(last.line)}`;
}

export const ended = (text) => text.replace(/[^.!?]$/, "$&.");
const sentence = (text) => ended(text).replace(/^./, (first) => first.toUpperCase());
export const count = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;

// Stores a choice; `restore` puts back what it has changed if the person thinks better of it.
export async function store(choice, restore) {
  const stored = await ask("/choices", "POST", choice);
  if (!localStorage.getItem("fitbot.told")) element("told").open = false;
  localStorage.setItem("fitbot.told", "yes");
  const why = stored.reason ? ` ${sentence(stored.reason)}` : "";
  const heldOut = stored.held_out ? " Versions are checked with it; none learns from it." : "";
  note(`Stored.${why || heldOut}`);
  element("take-back").hidden = false;
  takeBack = () => forgetChoice(stored.id, restore);
  return stored;
}

export async function forgetChoice(id, restore) {
  try {
    const { versions } = await ask(`/choices/${id}`, "DELETE");
    restore?.();
    note(`Taken back.${advice(versions)}`);
  } catch (error) {
    note(`Not taken back: ${error.message}.`);
  }
}

export const advice = (names) => (
  names.length ? ` ${names.join(", ")} learned from it: take that back under Versions.` : ""
);

export function note(text) {
  element("choice").hidden = !text;
  element("choice-text").textContent = text;
  element("take-back").hidden = true;
}
