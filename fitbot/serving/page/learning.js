// The page's learning side; it is loaded where the server learns.
import { element } from "/elements.js";
import * as judge from "/judge.js";
import { advice, ask, begin, note, state } from "/learner.js";
import * as teach from "/teach.js";
import * as versions from "/versions.js";

const VIEWS = { teach, versions };
let view = null; // null: the chat

// Begins, given the server's first state; returns what the chat can do with answers.
export function start(first, chat) {
  begin(first, chat.key);
  judge.begin(chat);
  versions.begin(chat.key);
  element("told").open = !localStorage.getItem("fitbot.told");
  element("told-text").textContent = "To learn from them, your questions, the answers and your choices are stored in "
    + `${first.store} on the server, under the name “${first.author}”, until you have them forgotten.`;
  element("forget").onclick = forget;
  for (const name of Object.keys(VIEWS)) {
    element(`show-${name}`).onclick = () => show(view === name ? null : name);
    element(name).onkeydown = (event) => { if (event.key === "Escape") show(null); };
  }
  return { ...judge, close: () => { show(null); judge.close(); } };
}

function show(name) {
  if (name === view) return;
  const left = view;
  if (left) VIEWS[left].close();
  view = name;
  for (const other of Object.keys(VIEWS)) {
    element(other).hidden = other !== name;
    element(`show-${other}`).ariaPressed = String(other === name);
  }
  element("log").hidden = element("ask").hidden = Boolean(name);
  if (name) VIEWS[name].open(() => show(null));
  else element(`show-${left}`).focus();
}

async function forget() {
  const { author } = state;
  if (!confirm(`Forget all that is kept under the name “${author}”? This cannot be undone.`)) return;
  try {
    const { versions: learned } = await ask("/authors/me", "DELETE");
    note(`Forgotten.${advice(learned)} This browser's own chats are under Chats.`);
  } catch (error) {
    note(`Not forgotten: ${error.message}.`);
  }
}
