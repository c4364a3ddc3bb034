// Short words for the DOM.

export const element = (id) => document.getElementById(id);

export function make(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

export const button = (name, onclick, more) => make("button", { type: "button", onclick, ...more }, name);
export const say = (text) => { element("status").textContent = text; };
