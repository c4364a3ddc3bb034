// Markdown to DOM nodes. marked only takes a text apart; no text ever becomes markup, so nothing
// that a model writes can run, load or style anything. HTML and pictures are shown as text.
import { lexer } from "/marked.js";

const SAFE_LINK = /^(https?:\/\/|mailto:)/i;
const PLAIN = {
  paragraph: "p", blockquote: "blockquote", strong: "strong", em: "em", del: "del",
  list_item: "li",
};

// Returns the nodes of a text.
export function render(text) {
  try {
    return nodes(lexer(text, { gfm: true, breaks: true }));
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return [make("p", [text])]; // nested more deeply than a stack can hold
  }
}

function make(name, children = [], properties = {}) {
  const made = document.createElement(name);
  made.append(...children);
  return Object.assign(made, properties);
}

function nodes(tokens) {
  return tokens.flatMap((token) => {
    if (token.type === "space" || token.type === "def") return [];
    if (token.type in PLAIN) return [make(PLAIN[token.type], nodes(token.tokens))];
    return [(special[token.type] ?? plainText)(token)];
  });
}

function plainText(token) {
  if (!token.tokens) return document.createTextNode(token.text ?? token.raw);
  const inside = document.createDocumentFragment();
  inside.append(...nodes(token.tokens));
  return inside;
}

const special = {
  br: () => make("br"),
  hr: () => make("hr"),
  heading: (token) => make("h3", nodes(token.tokens)), // below the turn's own, whatever its depth
  codespan: (token) => make("code", [token.text]),
  // What may scroll sideways can be reached by keyboard.
  code: (token) => make("pre", [make("code", [token.text])], { tabIndex: 0 }),
  checkbox: (token) => document.createTextNode(token.checked ? "☑ " : "☐ "),
  image: (token) => document.createTextNode(token.raw),
  list: (token) => {
    const list = make(token.ordered ? "ol" : "ul", nodes(token.items));
    if (token.ordered) list.start = token.start;
    return list;
  },
  link: (token) => {
    if (!SAFE_LINK.test(token.href)) return document.createTextNode(token.raw);
    const safe = { href: token.href, target: "_blank", rel: "noopener noreferrer" };
    return make("a", nodes(token.tokens), safe);
  },
  table: (token) => {
    const row = (cells, name) => make("tr", cells.map((cell) => make(name, nodes(cell.tokens))));
    const head = make("thead", [row(token.header, "th")]);
    const body = make("tbody", token.rows.map((cells) => row(cells, "td")));
    return make("div", [make("table", [head, body])], { className: "table", tabIndex: 0 });
  },
};
