// Growth: the source grows word by word, and two models translate each beginning.

import { chart } from "./chart.js";
import { h, number, slider, terms, whole } from "./dom.js";
import { look } from "./server.js";

export const growth = {
  name: "growth",
  title: "Growth",
  how: `The source grows word by word, and each model translates every beginning of it. The curve is how much a model doubts its own
    translation, in bits for each token. A model that squeezes the source into one fixed vector doubts more and loses words
    as the line grows; a model with attention looks back at the source and usually stays sure.`,
  second: "wanted",
  reads: ["second", "step"],
  ask: ({ model, second, asked }, signal) => look("growth", { models: [model, second].filter(Boolean), ...asked }, signal),
  draw,
};

function draw({ words, steps }, state) {
  const names = Object.keys(steps[0].models), place = h("div"), shown = h("div", { "aria-live": "polite" }), label = h("span");
  const chosen = whole(state.step, 1, words.length, words.length);
  const series = names.map((name) => ({ name, points: steps.map((step) => [step.length, step.models[name].bits_per_token]) }));
  const lengths = slider(label, [1, words.length], chosen, move);
  const told = (name, { text, bits_per_token: bits }) => [name, `${number(bits)} bits per token`, text];
  function grow(length) {
    const step = steps[length - 1];
    state.step = lengths.input.value = String(length);
    label.textContent = `${length} of ${words.length} words`;
    const source = step.source ?? words.slice(0, length).join(" ");
    shown.replaceChildren(terms([["Source", "", source], ...names.map((name) => told(name, step.models[name]))]));
  }
  function move(length) {
    grow(length);
    const axes = { x: "words of the source", y: "bits per token", whole: true };
    chart(place, { title: "Doubt as the source grows", ...axes, series, chosen: length, choose: grow });
  }
  return { controls: [lengths.element], figure: [place, shown], ready: () => move(chosen) };
}
