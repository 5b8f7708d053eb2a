// The tab of the trainings: the runs, their curves one over another, and what they say of a few sentences.

import { heatMap } from "./attention.js";
import { chart, key } from "./chart.js";
import { h, plural, scroller, slider, statusLine, terms, whole } from "./dom.js";
import { savers, take } from "./links.js";
import { Runs } from "./runs.js";
import { Turn, ask, attempt, say } from "./server.js";

const OFTEN = 3000, SELDOM = 15000, FIRST = 3; // milliseconds while one trains, and otherwise; runs and curves at first
// Kind and key of an entry, what it is, and whether its axis begins at 0.
const CURVES = [
  ["train", "loss", "Training loss"], ["validation", "loss", "Validation loss"], ["validation", "bleu", "Validation BLEU", true],
  ["validation", "accuracy", "Validation accuracy"], ["train", "learning_rate", "Learning rate", true],
  ["train", "gradient_norm", "Gradient norm", true], ["train", "tokens_per_second", "Tokens per second", true],
  ["train", "memory_mb", "Memory, MB"],
];
const RUNS = "Choose the runs to show. A stopped one goes on with the same nmt train command.";
const LOSSES = "A loss should fall and then settle; where that of the validation rises again, the model begins to learn by heart.";
const SAID = `Move the slider to see how the same sentences fare after each validation. The darker a cell, the more the piece of
  the translation in its row looks at the piece of the source above it.`;
const state = { runs: "", more: "", step: "" };

export function show(place, { inputs }) {
  take(state, inputs);
  const turn = new Turn(), runs = new Runs(), message = statusLine("Reading the runs…");
  const list = h("tbody"), charts = h("div.charts", CURVES.map(() => h("div"))), notes = h("ul.notes"), told = h("span"), said = h("div");
  const steps = slider(told, [0, 0], 0, (index) => {
    state.step = index < Number(steps.input.max) ? String(runs.steps(names())[index]) : "";
    drawSentences();
  });
  const part = (title, how, ...parts) => h("section", h("h2", title), how && h("p.how", how), parts);
  const known = part("Worth knowing", null, notes), sentences = part("Validation sentences", SAID, steps.element, said);
  const figure = h("div.figure", { hidden: true }, part("Curves", LOSSES, charts), known, sentences);
  const chosen = new Map(); // the runs that are shown, each with the kind of its curves
  let timer, found = [], begun = false, listed = "", heard = "";

  async function refresh() {
    clearTimeout(timer);
    if (document.hidden) return document.addEventListener("visibilitychange", refresh, { once: true }); // nobody sees it
    const signal = turn.begin();
    let wait = SELDOM;
    await attempt(message, async () => {
      found = (await ask("/v1/runs", { signal })).runs;
      if (!begun) first().forEach(choose);
      begun ||= found.length > 0;
      figure.hidden = !begun;
      const changed = await runs.read(names(), signal);
      const empty = begun ? "Choose a run to see its curves." : "There are no runs yet. nmt serve --runs FOLDER shows others.";
      say(message, names().length ? "" : empty);
      if (JSON.stringify(found) !== listed) drawList();
      listed = JSON.stringify(found);
      if (changed) draw();
      if (!found.length || found.some((run) => run.state === "training")) wait = OFTEN;
    });
    if (!signal.aborted) timer = setTimeout(refresh, wait);
  }

  const names = () => found.map((run) => run.name).filter((name) => chosen.has(name));

  const first = () => {
    const all = found.map((run) => run.name), linked = all.filter((name) => state.runs.split("\n").includes(name));
    const going = all.filter((_, index) => found[index].state === "training");
    return [linked, going, all.slice(0, FIRST)].find((some) => some.length) ?? [];
  };

  // A run keeps the kind of its curves as long as it is shown.
  function choose(name) {
    let kind = 0;
    while ([...chosen.values()].includes(kind)) kind += 1;
    chosen.set(name, kind);
  }

  function drawList() {
    const focused = document.activeElement.id;
    list.replaceChildren(...found.map(row));
    document.getElementById(focused)?.focus();
  }

  function row(run) {
    const toggle = (event) => {
      if (event.target.checked) choose(run.name);
      else chosen.delete(run.name);
      state.runs = names().join("\n");
      drawList();
      draw();
      refresh();
    };
    const box = h("input", { type: "checkbox", id: `run ${run.name}`, checked: chosen.has(run.name), onchange: toggle });
    const share = run.updates ? h("progress", { max: run.updates, value: run.step, "aria-label": `Progress of ${run.name}` }) : "";
    return h(
      "tr",
      h("th", { scope: "row" }, h("label", box, ` ${run.name} `, chosen.has(run.name) && key(chosen.get(run.name)))),
      h("td", h("span", { class: `badge ${run.state}` }, run.state)),
      h("td", share, " ", h("span.fine", run.updates ? `${run.step.toLocaleString("en")} of ` : "", plural(run.updates ?? run.step, "update"))),
      h("td", span(run.seconds), run.seconds_left !== null && `, ${span(run.seconds_left)} left`),
    );
  }

  function draw() {
    CURVES.forEach(([sort, name, title, zero], index) => {
      const series = names().map((run) => ({ name: run, kind: chosen.get(run), points: runs.curve(run, sort, name) }));
      const element = charts.children[index];
      element.hidden = (index >= FIRST && !state.more) || !series.some((item) => item.points.length);
      if (!element.hidden) chart(element, { title, x: "updates", zero, series });
    });
    const health = (run) => runs.health(run).map((item) => h(`li.${item.level}`, h("b", `${run}: `), item.text));
    notes.replaceChildren(...names().flatMap(health));
    known.hidden = !notes.children.length;
    drawSentences();
  }

  // What the runs say of the sentences of their validations by the chosen update; at first, the last one.
  function drawSentences() {
    const updates = runs.steps(names()), last = updates.length - 1;
    const index = Math.max(0, updates.findLastIndex((step) => step <= whole(state.step, 0, Infinity, Infinity)));
    const shown = runs.sentences(names(), updates[index]), now = JSON.stringify([updates[index], shown]);
    sentences.hidden = last < 0;
    steps.element.hidden = last < 1;
    steps.input.max = last;
    steps.input.value = index;
    if (now === heard) return;
    heard = now;
    told.textContent = last < 0 ? "" : `After update ${updates[index].toLocaleString("en")}`;
    said.replaceChildren(...shown.map(drawn));
  }

  const more = h("input", {
    type: "checkbox", checked: Boolean(state.more), onchange: () => {
      state.more = more.checked ? "all" : "";
      draw();
    },
  });
  const heads = ["Run", "State", "Progress", "Time"].map((text) => h("th", { scope: "col" }, text));
  place.append(
    h("h1.unseen", "Trainings"), h("p.how", RUNS), message,
    scroller("Runs", h("table.runs", h("caption.unseen", "Runs"), h("thead", h("tr", heads)), list)),
    h("div.options", h("label.tick", more, " All curves")),
    figure, savers(figure, () => "trainings", () => state),
  );
  refresh();
  return () => {
    turn.end();
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", refresh);
  };
}

// A sentence, what the runs say of it, and their attention, side by side.
function drawn({ source, reference, said }, index) {
  const each = said.map(({ run, step, text }) => [run, `update ${step.toLocaleString("en")}`, text]);
  const maps = said.filter(({ attention }) => attention).map(({ run, attention }) =>
    h("section", said.length > 1 && h("p.fine", run), heatMap(attention, attention.weights, `of ${run}, sentence ${index + 1}`)));
  return h("section.sentence", terms([["Source", "", source], ["Reference", "", reference], ...each]), h("div.sides", maps));
}

function span(seconds) {
  const minutes = Math.round(seconds / 60);
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
