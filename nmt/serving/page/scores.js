// Step scores: how an attention RNN compares a decoder state with each source word, and what other scores would say.

import { cut, h, named, number, percent, s, scroller, whole } from "./dom.js";
import { look } from "./server.js";
import { wordRow } from "./words.js";

const ROW = 26, BAR = 116, LETTER = 7.6, LONGEST = 16; // px, px, px, letters

export const scores = {
  name: "scores",
  title: "Step scores",
  how: `Before it writes a word, the decoder compares its state s with the vector h of each source word. The score function gives
    each an energy e, and the softmax turns energies into weights, the bars, which add up to 100 %. Choose a word of the translation
    to see its step. “Untrained” forms are other formulas on the same vectors. The model never learned to use them, so they may
    point elsewhere.`,
  usable: (model) => model.attention && model.family === "rnn",
  lacks: "no score function of an RNN",
  said: "Translation (empty: the model's own)",
  second: "possible",
  reads: ["second", "said", "step"],
  ask,
  draw,
};

async function ask({ model, second, asked, step }, signal) {
  const { target } = await look("attention", { model, ...asked }, signal);
  const chosen = whole(step, 0, target.length - 1, 0);
  const found = await look("scores", { models: [model, second].filter(Boolean), step: chosen, ...asked }, signal);
  return { ...found, target, chosen };
}

function draw(data, state, _, again) {
  const found = data.target.map((word, index) => ({ word, shown: named(word), before: index ? " " : "" }));
  const choose = (index) => {
    state.step = String(index);
    again();
  };
  const dress = (index) => ({ name: `step-${index}`, "aria-pressed": String(index === data.chosen) });
  const { row, buttons } = wordRow({ found, after: "" }, { label: "Words of the translation; choose the step", choose, dress });
  buttons.forEach((button, index) => button.setAttribute("tabindex", index === data.chosen ? 0 : -1));
  const forms = data.forms.map((form) => h(
    "section.form",
    h("h3", `${form.name} `, h("small", form.trained ? `of ${form.model}` : "untrained")),
    h("p.formula", set(form.formula)), scroller(`Weights by ${form.name}`, bars(data.source, form)),
  ));
  const text = `Weights of the source words when “${named(data.step_word)}” is written`;
  return { controls: [row], figure: [h("p.fine", text), h("div.forms", forms)] };
}

// e_ij becomes e<sub>ij</sub>.
const set = (formula) => formula.split(/_([\w-]+)/).map((part, index) => (index % 2 ? h("sub", part) : part));

function bars(source, { name, energies, weights }) {
  const words = source.map((word) => cut(named(word), LONGEST)), left = Math.max(...words.map((word) => [...word].length)) * LETTER + 8;
  const best = weights.indexOf(Math.max(...weights)), width = left + BAR + 104;
  const label = `${name}: most weight, ${percent(weights[best])}, on ${named(source[best])}`;
  const svg = s("svg.bars", { width, height: source.length * ROW + 20, role: "img", "aria-label": label });
  svg.append(s("text.small", { x: width - 2, y: 11, "text-anchor": "end" }, "energy"), s("text.small", { x: left, y: 11 }, "weight"));
  words.forEach((word, i) => {
    const y = 18 + i * ROW, middle = y + 16;
    svg.append(
      s("text", { x: left - 8, y: middle, "text-anchor": "end" }, word),
      s("rect.bar", { x: left, y: y + 5, width: Math.max(1, BAR * weights[i]), height: 14 }),
      s("text.small", { x: left + Math.max(1, BAR * weights[i]) + 5, y: middle }, percent(weights[i])),
      s("text.small", { x: width - 2, y: middle, "text-anchor": "end" }, number(energies[i])),
    );
  });
  return svg;
}
