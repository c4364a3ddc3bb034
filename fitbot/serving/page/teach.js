// "Teach me": pairs of answers that the server has chosen, one after another.
import { button, element, make } from "/elements.js";
import { ask, count, store } from "/learner.js";
import { pair } from "/pair.js";

let leave = null; // back to the chat
let chosen = 0;
let turn = 0; // which question is awaited; what comes for an earlier one is thrown away

export function open(goBack) {
  leave = goBack;
  chosen = 0;
  next();
}

export function close() { turn += 1; }

async function next() {
  turn += 1;
  const mine = turn;
  show(make("p", { className: "note", role: "status" }, "fitbot looks for a question that it is unsure of…"));
  try {
    const question = await ask("/question", "POST");
    if (mine === turn) show(...offer(question));
  } catch (error) {
    if (mine === turn) fail("No question now", error, next);
  }
}

function offer({ messages, answers }) {
  const mine = turn;
  const done = async (better, worse) => {
    try {
      await store({ kind: "teach", chosen: better.id, rejected: worse.id });
      chosen += 1;
      if (mine === turn) next(); // the view may be left by now
    } catch (error) {
      fail("Not stored", error, () => show(...offer({ messages, answers })));
    }
  };
  const asked = messages.filter(({ role }) => role !== "system").map(({ role, content }) => (
    make("div", { className: `turn ${role}` }, make("div", { className: "text" }, content))
  ));
  return [...asked, pair(answers, { done, skip: next, skipName: "Skip (s)", skipKey: "s" })];
}

function fail(what, error, again) {
  const told = make("p", { className: "note trouble", role: "alert" }, `${what}: ${error.message}.`);
  show(told, button("Try again", again));
}

function show(...nodes) {
  const told = chosen ? `${count(chosen, "choice")} so far. Stop when you like.`
    : "Pairs between which fitbot is least certain.";
  const head = make(
    "div", { className: "head" }, make("h2", { id: "teach-title", tabIndex: -1 }, "Teach me"),
    button("Back to the chat", leave),
  );
  element("teach").replaceChildren(head, make("p", { className: "note" }, told), ...nodes);
  (element("teach").querySelector(".pair") ?? element("teach-title")).focus();
}
