// Growth: the source grows word by word, and two models translate each beginning.

import { chart } from "./chart.js";
import { field, h, number, whole } from "./dom.js";
import { look } from "./server.js";

export const growth = {
  name: "growth",
  title: "Growth",
  how: `The source grows word by word, and each model translates every beginning of it. The curve is how much a model doubts its own
    translation, in bits for each token. A model that squeezes the source into one fixed vector doubts more and loses words
    as the line grows; a model with attention looks back at the source and usually stays sure.`,
  usable: () => true,
  lacks: "",
  second: "wanted",
  reads: ["second", "step"],
  ask: ({ model, second, text }, signal) => look("growth", { models: [model, second].filter(Boolean), text }, signal),
  draw,
};

function draw({ words, steps }, state) {
  const names = Object.keys(steps[0].models), place = h("div", {}), shown = h("dl", { class: "grown", "aria-live": "polite" }), label = h("span", {});
  const chosen = whole(state.step, 1, words.length, words.length);
  const series = names.map((name) => ({ name, points: steps.map((step) => [step.length, step.models[name].bits_per_token]) }));
  const slider = h("input", { type: "range", name: "step", min: 1, max: words.length, value: chosen, oninput: () => move(Number(slider.value)) });
  const told = (name, { text, bits_per_token: bits }) => [h("dt", {}, `${name} `, h("small", {}, `${number(bits)} bits per token`)), h("dd", { dir: "auto" }, text || "(nothing)")];
  function grow(length) {
    const step = steps[length - 1];
    state.step = slider.value = String(length);
    label.textContent = `${length} of ${words.length} words`;
    shown.replaceChildren(h("dt", {}, "Source"), h("dd", { dir: "auto" }, step.source ?? words.slice(0, length).join(" ")), ...names.flatMap((name) => told(name, step.models[name])));
  }
  function move(length) {
    grow(length);
    chart(place, { title: "Doubt as the source grows", x: "words of the source", y: "bits per token", whole: true, series, chosen: length, choose: grow });
  }
  return { controls: [field(label, slider, { class: "field wide" })], figure: [place, shown], ready: () => move(chosen) };
}
