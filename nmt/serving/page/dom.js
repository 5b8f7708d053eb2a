// Makes elements. Text only ever becomes text nodes, so nothing that a server or a user writes can become markup.

const SVG = "http://www.w3.org/2000/svg";

// h("a", {href: "#", onclick: act}, "text", child): an element of HTML. Attributes that are null or false are left out.
export const h = (name, attributes, ...children) => filled(document.createElement(name), attributes, children);

// The same for SVG.
export const s = (name, attributes, ...children) => filled(document.createElementNS(SVG, name), attributes, children);

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// A label above its control.
export const field = (label, control, more = {}) => h("label", { class: "field", ...more }, h("span", {}, label), control);

export const button = (text, onclick, more = {}) => h("button", { type: "button", onclick, ...more }, text);
export const quiet = (text, onclick, more = {}) => button(text, onclick, { class: "quiet", ...more });

// A line that says what goes on, also to those who do not see it.
export const statusLine = (text = "") => h("p", { role: "status", class: "fine" }, text);

// A part that scrolls sideways, which the keyboard can do too.
export const scroller = (label, ...children) => h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label }, children);

// A list to choose from: options are [value, text], or [value, text, true] for those that cannot be chosen.
export function choice(options, chosen, onchange, more = {}) {
  const made = options.map(([value, text, disabled]) =>
    h("option", { value, disabled, selected: String(value) === String(chosen) }, text));
  return h("select", { ...more, onchange: (event) => onchange(event.target.value) }, made);
}

// A function that waits until it has not been called for some time.
export function unhurried(milliseconds, act) {
  let timer;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => act(...values), milliseconds);
  };
}

// What the browser keeps; one that keeps nothing is no error.
export function kept(name, place = "localStorage") {
  try {
    return JSON.parse(window[place].getItem(`nmt.${name}`));
  } catch {
    return null;
  }
}

export function keep(name, value, place = "localStorage") {
  try {
    if (value === null) window[place].removeItem(`nmt.${name}`);
    else window[place].setItem(`nmt.${name}`, JSON.stringify(value));
  } catch {
    // full or forbidden
  }
}

export const END = "</s>";
// The number that an input of the page or of a link holds, within bounds; otherwise another one.
export const whole = (text, least, most, otherwise) => (/^\d+$/.test(text) ? Math.min(most, Math.max(least, Number(text))) : otherwise);
export const named = (word) => (word === END ? "⟨end⟩" : word);
export const cut = (text, most) => ([...text].length > most ? `${[...text].slice(0, most - 1).join("")}…` : text);
export const number = (value, digits = 2) => (Number.isFinite(value) ? value.toFixed(digits).replace("-", "−") : "–");
export const percent = (value) => (value < 0.001 ? "< 0.1 %" : `${(100 * value).toFixed(1)} %`);

const languages = new Intl.DisplayNames(["en"], { type: "language", fallback: "code" });

export function language(code) {
  try {
    return languages.of(code);
  } catch {
    return code; // not in the form of a code
  }
}
