// Words of a text to point at and choose. Tab reaches one of them, the arrow keys move among them.

import { h } from "./dom.js";

// Cuts a text into [word, what stands before it]; null: the words are not those of the text.
export function pieces(text, words) {
  let place = 0;
  const found = [];
  for (const word of words ?? []) {
    const at = text.indexOf(word, place);
    if (at < 0 || !word) return null;
    found.push({ word, before: text.slice(place, at), start: at });
    place = at + word.length;
  }
  return found.length ? { found, after: text.slice(place) } : null;
}

// A row of buttons. choose(index, button) is called for a click or Enter, point(index or null) for hover and focus.
export function wordRow({ found, after }, { label, choose, point = () => {}, dress = () => ({}) }) {
  const buttons = found.map(({ word, shown = word }, index) => {
    const act = { onclick: (event) => choose(index, event.currentTarget), onfocus: () => point(index), onpointerenter: () => point(index) };
    return h("button.word", { type: "button", tabindex: index ? -1 : 0, ...act, ...dress(index) }, shown);
  });
  const move = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    const from = buttons.indexOf(event.target);
    if (step === undefined || from < 0) return;
    event.preventDefault();
    const turn = getComputedStyle(row).direction === "rtl" && Number.isFinite(step) ? -step : step;
    focus(Math.max(0, Math.min(buttons.length - 1, from + turn)));
  };
  const focus = (index) => {
    buttons.forEach((button, place) => button.setAttribute("tabindex", place === index ? 0 : -1));
    buttons[index].focus();
  };
  const leave = { onpointerleave: () => point(null), onfocusout: () => point(null) };
  const row = h("div.words", { role: "group", dir: "auto", "aria-label": label, onkeydown: move, ...leave });
  found.forEach(({ before }, index) => row.append(before, buttons[index]));
  row.append(after);
  return { row, buttons };
}
