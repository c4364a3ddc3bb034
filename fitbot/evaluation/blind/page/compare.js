// A blind comparison. The server says what is shown and takes the keys; it alone knows whose
// answer is whose, and does not tell this page.
import { render } from "/markdown.js";

const element = (id) => document.getElementById(id);
const buttons = [...document.querySelectorAll("button[data-key]")];
const texts = [...document.querySelectorAll(".answer > .text")];
let shown = { state: "waiting" };

function make(name, className, text) {
  return Object.assign(document.createElement(name), { className, textContent: text });
}

function drawItem({ turns, answers, compared, most }) {
  element("count").textContent = `${compared + 1} of at most ${most}`;
  element("turns").replaceChildren(...turns.flatMap(({ speaker, text }) => [
    make("h2", "turn-name", speaker), make("p", "turn-text", text),
  ]));
  texts.forEach((box, place) => box.replaceChildren(...render(answers[place])));
  scrollTo(0, 0);
  element("item").focus({ preventScroll: true });
}

function draw(next) {
  if (shown.state === "closed") return; // what was asked for before comes too late
  shown = next;
  const isItem = next.state === "item";
  if (isItem) drawItem(next);
  element("item").hidden = !isItem;
  element("count").hidden = !isItem;
  const said = {
    item: [],
    over: ["The comparison is over. Quit to see who is preferred, or undo the last choice."],
    closed: [...(next.lines ?? []), "The command has ended; this page can be closed."],
  }[next.state];
  element("status").replaceChildren(...said.map((line) => make("p", "said", line)));
  setBusy(false);
}

function setBusy(isBusy) {
  element("item").ariaBusy = String(isBusy);
  for (const button of buttons) {
    const { key } = button.dataset;
    const fits = { u: shown.can_undo, q: shown.state !== "closed" }[key] ?? shown.state === "item";
    button.disabled = !fits || (isBusy && key !== "q");
  }
}

// Nothing is shown before both answers are there, so that waiting says nothing about either.
async function ask(path, body) {
  setBusy(true);
  const late = setTimeout(() => {
    element("status").textContent = "The next answers are being written …";
  }, 500);
  try {
    const options = body && { method: "POST", body: JSON.stringify(body) };
    draw(await (await fetch(path, options)).json());
  } catch {
    draw({ state: "closed", lines: ["Every choice is kept."] });
  } finally {
    clearTimeout(late);
  }
}

function press(key) {
  const button = buttons.find((one) => one.dataset.key === key);
  if (button && !button.disabled) ask("choice", { number: shown.number ?? 0, key });
}

for (const button of buttons) button.onclick = () => press(button.dataset.key);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  press(event.key.toLowerCase());
});
setBusy(true);
ask("item");
