// Two answers, of which a person chooses one by click or key. Nothing shows which one came first.
import { button, make } from "/elements.js";
import { render } from "/markdown.js";

// Returns the node; its `done` is called with (chosen, rejected), `skip` by a button or its key.
export function pair(answers, { done, skip, skipName, skipKey }) {
  const shown = shuffled(answers);
  let isOver = false;
  const choose = (place) => {
    if (isOver) return;
    isOver = true;
    cards[place].classList.add("chosen");
    done(shown[place], shown[1 - place]);
  };
  const cards = shown.map((answer, place) => card(answer, place, () => choose(place)));
  const text = "Which answer is better? Click it, or press 1 or 2.";
  const node = make(
    "div", { className: "pair", tabIndex: -1, role: "group", ariaLabel: text },
    make("p", { className: "note" }, text),
    make("div", { className: "sides" }, ...cards),
    make("div", { className: "actions" }, button(skipName, skip)),
  );
  node.onkeydown = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "1" || event.key === "2") choose(Number(event.key) - 1);
    else if (event.key.toLowerCase() === skipKey) skip();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return node;
}

function card(answer, place, choose) {
  const text = make("div", { className: "text" });
  text.append(...render(answer.text));
  const name = `Answer ${place + 1} is better`;
  const node = make("div", { className: "side" }, text, button(name, null, { className: "this" }));
  node.onclick = (event) => { // not by a click that follows a link or ends a selection
    const isButton = event.target.closest("button");
    if (isButton || (!event.target.closest("a") && getSelection().isCollapsed)) choose();
  };
  return node;
}

function shuffled([one, other]) {
  const [drawn] = crypto.getRandomValues(new Uint8Array(1));
  return drawn % 2 ? [one, other] : [other, one];
}
