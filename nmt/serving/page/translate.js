// The tab that translates: as you type, by one model or two, line by line.

import { choice, field, h, language, quiet, statusLine, unhurried } from "./dom.js";
import { fileForm } from "./files.js";
import { History } from "./history.js";
import { Column } from "./lines.js";
import { savers, take } from "./links.js";
import { Turn, attempt, say } from "./server.js";

const WAIT = 350; // milliseconds after the last key
const state = { text: "", model: "", beside: "", target: "" };

export function show(place, { models, inputs }) {
  take(state, inputs);
  const turn = new Turn(), message = statusLine();
  const spoken = h("p", { class: "unseen", "aria-live": "polite" }), columns = h("div", { class: "columns" });
  const progress = h("progress", { hidden: true, "aria-label": "Lines translated" });
  const text = h("textarea", { id: "text", dir: "auto", rows: 5, spellcheck: "false", placeholder: "Type or paste a text", "aria-describedby": "counts" });
  const counts = h("p", { id: "counts", class: "fine" }), options = h("div", { class: "options" }), file = h("div", {});
  const past = new History((entry) => {
    Object.assign(state, { text: entry.text, model: entry.model, target: entry.target, beside: "" });
    text.value = state.text;
    chooseAgain();
  });
  text.value = state.text;

  const chosen = () => [state.model, state.beside].filter(Boolean).map((name) => models.find((model) => model.name === name));
  let shown = [];

  function chooseAgain() {
    settle(models);
    const model = models.find((item) => item.name === state.model);
    const others = models.filter((item) => item !== model && item.source === model.source && item.targets.includes(state.target));
    const set = (name) => (value) => {
      state[name] = value;
      chooseAgain();
      options.querySelector(`[name=${name}]`)?.focus();
    };
    options.replaceChildren(
      field("Model", choice(models.map((item) => [item.name, `${item.name} (${item.source} → ${item.targets.join(", ")})`]), state.model, set("model"), { name: "model" })),
      model.targets.length > 1 ? field("Into", choice(model.targets.map((code) => [code, language(code)]), state.target, set("target"), { name: "target" })) : "",
      others.length ? field("Beside it", choice([["", "no other model"], ...others.map((item) => [item.name, item.name])], state.beside, set("beside"), { name: "beside" })) : "",
    );
    text.lang = model.source;
    label.textContent = language(model.source);
    shown = chosen().map((item) => new Column(item, state.target, (line) => inside(item, line)));
    columns.replaceChildren(...shown.map((column) => column.element));
    file.replaceChildren(fileForm(model.source, state.target));
    translate();
  }

  async function translate() {
    const signal = turn.begin(), lines = state.text.replace(/\n+$/, "").split("\n"), characters = [...state.text].length;
    counts.textContent = characters ? `${characters.toLocaleString("en")} characters, ${lines.length.toLocaleString("en")} ${lines.length === 1 ? "line" : "lines"}` : "";
    say(message, state.text.trim() ? "Translating…" : "");
    for (const column of shown) column.fresh(lines);
    const tell = (done, all) => {
      Object.assign(progress, { hidden: done === all, max: all, value: done });
      if (done < all) say(message, `${done.toLocaleString("en")} of ${all.toLocaleString("en")} lines are translated.`);
    };
    await attempt(message, async () => {
      for (const column of shown) await column.translate(lines, signal, tell);
      say(message, "");
      spoken.textContent = shown.map((column) => (shown.length > 1 ? `${column.model.name}: ` : "") + column.text().slice(0, 600)).join(". ");
      if (shown.length && state.text.trim()) past.later({ ...state, translation: shown[0].text() });
    });
    if (!signal.aborted) progress.hidden = true;
  }

  const typed = unhurried(WAIT, translate);
  text.addEventListener("input", () => {
    state.text = text.value;
    turn.end();
    typed();
  });
  const clear = () => {
    state.text = text.value = "";
    translate();
    text.focus();
  };
  const label = h("label", { for: "text" });
  const figure = h("div", { class: "figure" }, columns);
  place.append(
    h("h1", { class: "unseen" }, "Translate"),
    options,
    h(
      "div", { class: "desk" },
      h("section", { class: "sheet", "aria-label": "Text" }, h("div", { class: "head" }, label, quiet("Clear", clear)), text, counts),
      h("section", { "aria-label": "Translation" }, figure, progress, message, spoken, savers(figure, () => "translate", () => state)),
    ),
    file,
    past.element,
  );
  chooseAgain();
  return () => {
    turn.end();
    past.stop();
  };
}

// Makes the choices fit the models that are served.
function settle(models) {
  const model = models.find((item) => item.name === state.model) ?? models[0];
  state.model = model.name;
  if (!model.targets.includes(state.target)) state.target = model.target;
  const other = models.find((item) => item.name === state.beside);
  if (!other || other === model || other.source !== model.source || !other.targets.includes(state.target)) state.beside = "";
}

function inside(model, line) {
  location.hash = `#look/${model.attention ? "attention" : "beam"}?${new URLSearchParams({ text: line, model: model.name, said: "" })}`;
}
