// Parts of several views, and what they say of numbers, words and languages.

import { h } from "./elements.js";

export * from "./elements.js";

export const field = (label, control, more = {}) => h("label.field", { ...more }, h("span", label), control);

export const button = (text, onclick, more = {}) => h("button", { type: "button", onclick, ...more }, text);
export const quiet = (text, onclick, more = {}) => button(text, onclick, { class: "quiet", ...more });

// A line that says what goes on, also to those who do not see it.
export const statusLine = (text = "") => h("p.fine", { role: "status" }, text);

// A part that scrolls sideways, which the keyboard can do too.
export const scroller = (label, ...children) => h("div.scroll", { tabindex: 0, role: "region", "aria-label": label }, children);

// A list to choose from: options are [value, text, whether it cannot be chosen].
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

// A list of terms: [name, small text behind it, text].
export const terms = (items) => h("dl", items.map(([name, small, text]) =>
  [h("dt", `${name} `, h("small", small)), h("dd", { dir: "auto" }, text || "(nothing)")]));

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
// The number that an input or a link holds, within bounds; otherwise another one.
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
