// The tab that translates: as you type, by one model or two, line by line.

import { choice, h, language, plural, quiet, statusLine, unhurried } from "./dom.js";
import { fileForm, translateFilesBy } from "./files.js";
import { History } from "./history.js";
import { Column } from "./lines.js";
import { addressOf, savers, take } from "./links.js";
import { Turn, attempt, say } from "./server.js";

const WAIT = 350, SPOKEN = 600; // milliseconds after the last key; characters that are read aloud
const state = { text: "", model: "", beside: "", target: "" };

export function show(place, { models, inputs }) {
  take(state, inputs);
  const turn = new Turn(), message = statusLine();
  const spoken = h("p.unseen", { "aria-live": "polite" }), columns = h("div.columns");
  const progress = h("progress", { hidden: true, "aria-label": "Lines translated" });
  const empty = { placeholder: "Type or paste a text", "aria-describedby": "counts" };
  const text = h("textarea", { id: "text", dir: "auto", rows: 5, spellcheck: "false", ...empty });
  const counts = h("p.fine", { id: "counts" }), options = h("div.options");
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
    const targets = model.targets.map((code) => [code, language(code)]), beside = others.map(({ name }) => [name, name]);
    options.replaceChildren(
      choice("Model", "model", models.map((item) => [item.name, directions(item)]), state.model, set("model")),
      model.targets.length > 1 ? choice("Into", "target", targets, state.target, set("target")) : "",
      others.length ? choice("Beside it", "beside", [["", "no other model"], ...beside], state.beside, set("beside")) : "",
    );
    text.lang = model.source;
    label.textContent = language(model.source);
    shown = chosen().map((item) => new Column(item, state.target, (line) => inside(item, line)));
    columns.replaceChildren(...shown.map((column) => column.element));
    translateFilesBy(model, state.target);
    translate();
  }

  async function translate() {
    const signal = turn.begin(), lines = state.text.replace(/\n+$/, "").split("\n"), characters = [...state.text].length;
    counts.textContent = characters ? `${plural(characters, "character")}, ${plural(lines.length, "line")}` : "";
    say(message, state.text.trim() ? "Translating…" : "");
    for (const column of shown) column.fresh(lines);
    const tell = (done, all) => {
      Object.assign(progress, { hidden: done === all, max: all, value: done });
      if (done < all) say(message, `${done.toLocaleString("en")} of ${all.toLocaleString("en")} lines are translated.`);
    };
    await attempt(message, async () => {
      for (const column of shown) await column.translate(lines, signal, tell);
      say(message, "");
      const named = (column) => (shown.length > 1 ? `${column.model.name}: ` : "");
      spoken.textContent = shown.map((column) => named(column) + column.text().slice(0, SPOKEN)).join(". ");
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
  const figure = h("div.figure", columns);
  place.append(
    h("h1.unseen", "Translate"),
    options,
    h(
      "div.desk",
      h("section.sheet", { "aria-label": "Text" }, h("div.head", label, quiet("Clear", clear)), text, counts),
      h("section", { "aria-label": "Translation" }, figure, progress, message, spoken, savers(figure, () => "translate", () => state)),
    ),
    fileForm, past.element,
  );
  chooseAgain();
  return () => {
    turn.end();
    past.stop();
  };
}

const directions = ({ name, source, targets }) => `${name} (${source} → ${targets.join(", ")})`;

// Makes the choices fit the models that are served.
function settle(models) {
  const model = models.find((item) => item.name === state.model) ?? models[0];
  state.model = model.name;
  if (!model.targets.includes(state.target)) state.target = model.target;
  const other = models.find((item) => item.name === state.beside);
  if (!other || other === model || other.source !== model.source || !other.targets.includes(state.target)) state.beside = "";
}

function inside({ name: model, attention }, text) {
  location.hash = addressOf(`look/${attention ? "attention" : "beam"}`, { text, model, target: state.target });
}
