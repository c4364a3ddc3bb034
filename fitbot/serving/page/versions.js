// The versions: what each is worth, which one answers, and two of them side by side.
import { button, element, make } from "/elements.js";
import { ask, change, count, ended, listeners, nameOf } from "/learner.js";
import { render } from "/markdown.js";
import { answer } from "/server.js";

const WORDS = { better: "shown better", undone: "taken back" };

const list = make("div");
const trial = makeTrial();

let key = null;
let isOpen = false;
let asking = null; // the AbortController of the two answers that are coming

export function begin(getKey) {
  key = getKey;
  listeners.push(() => { if (isOpen) draw(); });
}

export async function open(leave) {
  isOpen = true;
  const title = make("h2", { id: "versions-title", tabIndex: -1 }, "Versions");
  const head = make("div", { className: "head" }, title, button("Back to the chat", leave));
  element("versions").replaceChildren(head, trial.form, trial.sides, list);
  title.focus();
  await draw();
}

export function close() {
  isOpen = false;
  asking?.abort();
}

async function draw() {
  try {
    const versions = (await ask("/versions", "GET")).data;
    trial.offer(versions);
    list.replaceChildren(...versions.map(describe));
  } catch (error) {
    const told = `The versions are not known now: ${error.message}.`;
    const node = make("p", { className: "note trouble", role: "alert" }, told);
    list.replaceChildren(node, button("Try again", draw));
  }
}

function describe(version) {
  const { number, parent, time, state, reason, choices, current, outdated, drift } = version;
  const title = make("h3", {}, nameOf(number));
  if (current) title.append(make("span", { className: "badge" }, "answers now"));
  else if (number) title.append(make("span", { className: "badge quiet" }, WORDS[state] ?? state));
  const node = make("article", { className: "version" }, title);
  const from = `From version ${parent} and ${count(choices, "choice")}, ${when(time)}. ${why(state, reason)}`;
  node.append(make("p", {}, number ? from : "Where learning began."));
  if (outdated) {
    const told = "It learned from choices that were forgotten since. Take it back.";
    node.append(make("p", { className: "trouble" }, told));
  }
  if (Object.keys(version.figures).length) node.append(table(version.figures, parent));
  const drifted = `Drift: ${drift.toFixed(3)} nats a token from the base`;
  if (number) node.append(make("p", { className: "note" }, drifted));
  node.append(make("div", { className: "actions" }, ...changes(version)));
  return node;
}

const when = (time) => new Date(1000 * time).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
const why = (state, reason) => (
  state === "refused" ? `Refused: ${ended(reason)}` : `It was ${WORDS[state] ?? state}.`
);

function changes({ number, current, state }) {
  const found = [];
  const act = (name, path, method) => found.push(button(name, async () => {
    await change(path, method);
    await draw();
    element("versions-title").focus(); // the button is gone
  }, { ariaLabel: `${name}: ${nameOf(number)}` }));
  if (!current) act("Make current", `/versions/${number}/current`, "POST");
  if (number && !["undone", "refused"].includes(state)) act("Take back", `/versions/${number}`, "DELETE");
  return found;
}

function table(figures, parent) {
  const heads = ["Measure", "Right", `Beside version ${parent}`].map((name) => make("th", { scope: "col" }, name));
  const rows = Object.entries(figures).map(([measure, { items, share, low, high, gained, lost }]) => {
    const change = make("td", {}, `${points((gained - lost) / items)} (${points(low)} to ${points(high)})`);
    change.append(make("small", {}, `${gained} gained, ${lost} lost of ${items}`));
    const right = make("td", {}, `${(100 * share).toFixed(1)} %`);
    return make("tr", {}, make("th", { scope: "row" }, measure), right, change);
  });
  const caption = make("caption", {}, "Points, with the 95 % interval");
  return make(
    "div", { className: "table", tabIndex: 0 },
    make("table", {}, caption, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows)),
  );
}

const points = (share) => `${share < 0 ? "−" : "+"}${Math.abs(100 * share).toFixed(1)}`;

// The form that asks two versions, made once: what is typed stays while versions come.
function makeTrial() {
  const box = make("input", {
    placeholder: "Ask two versions", ariaLabel: "Question to two versions", required: true,
  });
  const selects = ["First version", "Second version"].map((ariaLabel) => make("select", { ariaLabel }));
  const submit = make("button", { type: "submit" }, "Ask both");
  const beside = make("span", {}, "beside");
  const form = make("form", { className: "trial" }, box, selects[0], beside, selects[1], submit);
  const sides = make("div", { className: "sides" });
  form.onsubmit = (event) => {
    event.preventDefault();
    const chosen = selects.map((select) => select.selectedOptions[0]);
    if (box.value.trim()) askBoth(box.value.trim(), chosen, sides);
  };
  const offer = (versions) => {
    const first = [versions.find(({ current }) => current).name, versions.at(-1).name];
    for (const [place, select] of selects.entries()) {
      const kept = select.value || first[place];
      select.replaceChildren(...versions.map(({ name, number }) => (
        new Option(nameOf(number), name, false, name === kept)
      )));
    }
  };
  return { form, sides, offer };
}

// The likeliest answers, so that what differs is the version's doing and no draw's.
async function askBoth(question, options, sides) {
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking;
  const texts = options.map(() => make("div", { className: "text" }, "…"));
  sides.replaceChildren(...options.map((option, place) => (
    make("div", { className: "side" }, make("h3", {}, option.text), texts[place])
  )));
  sides.ariaBusy = "true";
  await Promise.all(texts.map(async (node, place) => {
    try {
      node.replaceChildren(...render(await whole(question, options[place].value, signal)));
    } catch (error) {
      if (error.name === "AbortError") return;
      node.replaceChildren(make("p", { className: "trouble" }, error.message));
    }
  }));
  if (!signal.aborted) sides.ariaBusy = "false";
}

async function whole(question, model, signal) {
  let text = "";
  const asked = { sent: [{ role: "user", content: question }], left: 0 };
  const options = { model, key: key(), signal, temperature: 0 };
  for await (const part of answer(asked, options)) text += part.text ?? "";
  return text;
}
