// The tab that looks inside models: one input for all of its views.

import { attention } from "./attention.js";
import { beam } from "./beam.js";
import { button, choice, field, h, language, statusLine } from "./dom.js";
import { growth } from "./growth.js";
import { savers, take } from "./links.js";
import { scores } from "./scores.js";
import { Turn, attempt, say } from "./server.js";
import { surprise } from "./surprise.js";

// A view has name, title, how (sentences), usable(model) and lacks (why not) if some are not, second (whether it compares two models),
// said ("" or the label of a translation to type), ask(state and what all views ask, signal), draw(data, state, redraw, again).
const VIEWS = { attention, beam, scores, surprise, growth };
const state = { text: "", model: "", target: "", second: "", said: "", layer: "", head: "", step: "", beam: "" };

export function show(place, { models, inputs, view: name }) {
  if (take(state, inputs)) Object.assign(state, { said: "", step: "", layer: "", head: "" });
  const view = VIEWS[name] ?? attention, turn = new Turn(), usable = models.filter(view.usable ?? (() => true));
  const message = statusLine(), figure = h("div.figure"), controls = h("div.options");
  document.title = `${view.title} · nmt`;
  place.append(
    h("h1.unseen", `Look inside: ${view.title}`),
    h("nav.views", { "aria-label": "Views" }, Object.values(VIEWS).map((item) =>
      h("a", { href: `#look/${item.name}`, "aria-current": item === view && "page" }, item.title))),
  );
  if (!usable.length) {
    place.append(h("p", `None of the served models can be shown here: ${view.lacks}.`));
    return;
  }

  async function run() {
    const signal = turn.begin();
    figure.ariaBusy = null;
    if (!state.text.trim()) {
      figure.replaceChildren();
      controls.replaceChildren();
      return say(message, "Type a line to look at.");
    }
    if (view.needed && !state.said.trim()) {
      figure.replaceChildren();
      return say(message, "Type a translation, or take the model's own.");
    }
    say(message, "Looking…");
    figure.ariaBusy = "true";
    await attempt(message, async () => {
      const { text, said, target: target_language } = state;
      const asked = { text, target_language, ...(view.said && said.trim() && { target: said }) };
      const data = await view.ask({ ...state, asked }, signal);
      signal.throwIfAborted();
      say(message, "");
      redraw(data);
    });
    if (!signal.aborted) figure.ariaBusy = null;
    if (message.classList.contains("wrong")) figure.replaceChildren();
  }

  function redraw(data) {
    const drawn = view.draw(data, state, () => redraw(data), run);
    const parts = [controls, figure], focused = parts.some((part) => part.contains(document.activeElement)) && document.activeElement.name;
    controls.replaceChildren(...(drawn.controls ?? []));
    figure.replaceChildren(caption(view), ...drawn.figure);
    if (focused) for (const part of parts) part.querySelector(`[name="${focused}"]`)?.focus();
    drawn.ready?.();
  }

  const saved = savers(figure, () => `look/${view.name}`, () => used(view));
  place.append(form(view, models, usable, run, message), h("p.how", view.how), message, controls, figure, saved);
  run();
  return () => turn.end();
}

function caption(view) {
  const names = view.second && state.second ? `${state.model}, ${state.second}` : state.model;
  return h("h2", `${view.title} `, h("small", names));
}

const used = (view) => Object.fromEntries(["text", "model", "target", ...view.reads].map((name) => [name, state[name]]));

// Makes the choices fit the models of the view. Returns the model, and the names of those that may stand beside it.
function settle(view, usable) {
  const model = usable.find(({ name }) => name === state.model) ?? usable[0];
  state.model = model.name;
  if (!model.targets.includes(state.target)) state.target = model.target;
  const others = usable.filter((item) => item !== model && item.targets.includes(state.target)).map(({ name }) => name);
  if (!others.includes(state.second)) state.second = (view.second === "wanted" && others[0]) || "";
  return { model, others };
}

// The text, the models and, where the view reads one, a translation.
function form(view, models, usable, run, message) {
  const line = { dir: "auto", maxlength: 2000, autocomplete: "off" };
  const input = (name, placeholder) => h("input", { name, value: state[name], placeholder, ...line });
  const text = input("text", "A line to translate"), said = input("said", view.needed ? "Your translation" : "The model's own");
  const options = h("div.pair");
  const set = (name) => (value) => {
    state[name] = value;
    Object.assign(state, { layer: "", head: "" });
    list();
    options.querySelector(`[name=${name}]`).focus();
    run();
  };
  function list() {
    const { model, others } = settle(view, usable);
    const names = models.map((item) => (usable.includes(item) ? [item.name, item.name] : [item.name, `${item.name} (${view.lacks})`, true]));
    const beside = others.map((name) => [name, name]), targets = model.targets.map((code) => [code, language(code)]);
    if (view.second !== "wanted") beside.unshift(["", "no other model"]);
    options.replaceChildren(
      choice("Model", "model", names, state.model, set("model")),
      targets.length > 1 ? choice("Into", "target", targets, state.target, set("target")) : "",
      view.second && others.length ? choice("Beside it", "second", beside, state.second, set("second")) : "",
    );
    text.lang = model.source;
    said.lang = state.target;
  }
  const own = () => attempt(message, async () => {
    read();
    const before = JSON.stringify(state), found = await view.own(state);
    read();
    if (JSON.stringify(state) !== before) return; // it is no answer to what is there now
    state.said = said.value = found;
    run();
  });
  const read = () => {
    if (text.value === state.text && said.value === state.said) return false;
    Object.assign(state, { text: text.value, said: said.value, step: "" });
    return true;
  };
  const submit = (event) => {
    event.preventDefault();
    read();
    run();
  };
  const change = (event) => {
    if (event.target.tagName === "INPUT" && read()) run();
  };
  list();
  return h(
    "form.asking", { onsubmit: submit, onchange: change },
    field("Text", text, { class: "field wide" }),
    view.said ? h("div.wide.joined", field(view.said, said), view.own && button("Take the model's own", own)) : "",
    options,
    h("button.main", "Look"),
  );
}
