// Makes elements. Text only ever becomes text nodes, so nothing that a server or a user writes can become markup.

export const SVG = "http://www.w3.org/2000/svg";

// h("a.fine", {href: "#", onclick: act}, "text", child): an element of HTML with its classes. Attributes may be left out; those that
// are null or false are.
export const h = (name, ...rest) => filled((tag) => document.createElement(tag), name, rest);

// The same for SVG.
export const s = (name, ...rest) => filled((tag) => document.createElementNS(SVG, tag), name, rest);

function filled(make, selector, rest) {
  const [tag, ...classes] = selector.split("."), element = make(tag);
  const [attributes, children] = rest[0]?.constructor === Object ? [rest[0], rest.slice(1)] : [{}, rest];
  if (classes.length) element.setAttribute("class", classes.join(" "));
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// A label above its control.
export const field = (label, control, more = {}) => h("label.field", { ...more }, h("span", label), control);

export const button = (text, onclick, more = {}) => h("button", { type: "button", onclick, ...more }, text);
export const quiet = (text, onclick, more = {}) => button(text, onclick, { class: "quiet", ...more });

// A line that says what goes on, also to those who do not see it.
export const statusLine = (text = "") => h("p.fine", { role: "status" }, text);

// A part that scrolls sideways, which the keyboard can do too.
export const scroller = (label, ...children) => h("div.scroll", { tabindex: 0, role: "region", "aria-label": label }, children);

// A list to choose from: options are [value, text], or [value, text, true] for those that cannot be chosen.
export function choice(label, name, options, chosen, act) {
  const made = options.map(([value, text, disabled]) =>
    h("option", { value, disabled, selected: String(value) === String(chosen) }, text));
  return field(label, h("select", { name, onchange: (event) => act(event.target.value) }, made));
}

// A slider over whole numbers. `told` is an element that says what is chosen.
export function slider(told, [min, max], value, act) {
  const input = h("input", { type: "range", name: "step", min, max, value, oninput: () => act(Number(input.value)) });
  return { input, element: field(told, input, { class: "field wide" }) };
}

// A word on a bar as long as its probability.
export const share = (word, probability, lang = null) => h(
  "span.share", { style: `--share: ${probability}` }, h("b", { dir: "auto", lang }, word), h("span.fine", percent(probability)),
);

export const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

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
