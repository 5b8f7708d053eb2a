// The tab of the trainings: which runs there are, their curves one over another, and what they say of a few sentences.

import { chart } from "./chart.js";
import { h, plural, scroller, statusLine } from "./dom.js";
import { savers, take } from "./links.js";
import { Runs } from "./runs.js";
import { Turn, attempt, say } from "./server.js";

const OFTEN = 3000, SELDOM = 15000, FIRST = 3; // milliseconds while one trains, and otherwise; runs shown at first
const CURVES = [
  ["train", "loss", "Training loss"], ["validation", "loss", "Validation loss"], ["validation", "bleu", "Validation BLEU"],
  ["validation", "perplexity", "Validation perplexity"], ["validation", "accuracy", "Validation accuracy"],
  ["train", "learning_rate", "Learning rate"], ["train", "gradient_norm", "Gradient norm"],
  ["train", "tokens_per_second", "Speed, tokens per second"], ["train", "memory_mb", "Memory, MB"],
];
const state = { runs: "", more: "" };

export function show(place, { inputs }) {
  take(state, inputs);
  const turn = new Turn(), runs = new Runs(), message = statusLine("Reading the runs…");
  const list = h("tbody"), charts = h("div.charts"), below = h("div"), figure = h("div.figure", charts, below);
  const places = new Map();
  let timer, listed = "", chosen = null;

  async function refresh() {
    clearTimeout(timer);
    const signal = turn.begin();
    let wait = SELDOM;
    await attempt(message, async () => {
      const found = await runs.list(signal);
      chosen ??= first(found);
      const changed = await runs.read([...chosen].filter((name) => runs.names.includes(name)), signal);
      say(message, found.length ? "" : "There are no runs yet. nmt serve --runs FOLDER shows the trainings of another folder.");
      if (JSON.stringify(found) !== listed) drawList(found);
      listed = JSON.stringify(found);
      if (changed) drawCurves();
      if (found.some((run) => run.state === "training")) wait = OFTEN;
    });
    if (!signal.aborted) timer = setTimeout(() => (document.hidden ? wake() : refresh()), wait);
  }

  // A page that nobody sees asks nothing.
  const wake = () => document.addEventListener("visibilitychange", refresh, { once: true });

  const first = (found) => {
    const names = found.map((run) => run.name), linked = state.runs.split("\n").filter((name) => names.includes(name));
    const going = found.filter((run) => run.state === "training").map((run) => run.name);
    return new Set(linked.length ? linked : going.length ? going : names.slice(0, FIRST));
  };

  function drawList(found) {
    const focused = list.contains(document.activeElement) ? document.activeElement.value : null;
    list.replaceChildren(...found.map((run, index) => row(run, index)));
    if (focused !== null) [...list.querySelectorAll("input")].find((input) => input.value === focused)?.focus();
  }

  function row(run, index) {
    const toggle = (event) => {
      if (event.target.checked) chosen.add(run.name);
      else chosen.delete(run.name);
      state.runs = [...chosen].join("\n");
      drawCurves();
      refresh();
    };
    const box = h("input", { type: "checkbox", value: run.name, checked: chosen.has(run.name), onchange: toggle });
    const share = run.updates ? h("progress", { max: run.updates, value: run.step, "aria-label": `Progress of ${run.name}` }) : "";
    return h(
      "tr", {},
      h("th", { scope: "row" }, h("label", box, " ", h("i", { class: `key c${index % 6}` }), run.name)),
      h("td", h("span", { class: `badge ${run.state}` }, run.state)),
      h("td", share, " ", h("span.fine", run.updates ? `${run.step.toLocaleString("en")} of ` : "", plural(run.updates ?? run.step, "update"))),
      h("td", span(run.seconds)),
      h("td", run.seconds_left === null ? "" : span(run.seconds_left)),
    );
  }

  function drawCurves() {
    const wanted = state.more ? CURVES : CURVES.slice(0, 3);
    const kept = wanted.map(([kind, name, title]) => {
      const series = [...chosen].map((run) => ({ name: run, colour: runs.place(run), points: runs.curve(run, kind, name) }));
      if (!series.some((item) => item.points.length)) return null;
      if (!places.has(title)) places.set(title, h("div.chart"));
      return [places.get(title), { title, x: "updates", series }];
    }).filter(Boolean);
    charts.replaceChildren(...kept.map(([element]) => element));
    for (const [element, data] of kept) chart(element, data);
    below.replaceChildren(...(chosen.size ? [notes(), sentences()] : [h("p", "Choose a run to see its curves.")]));
  }

  const notes = () => {
    const told = (run) => runs.health(run).map((item) => h(`li.${item.level}`, h("b", `${run}: `), item.text));
    const found = [...chosen].flatMap(told);
    return found.length ? h("section", h("h2", "Worth knowing"), h("ul.notes", found)) : "";
  };

  // What the runs say of the sentences of their validations, at the last validation that has them.
  const sentences = () => {
    const found = runs.sentences([...chosen]);
    const pair = (name, more, text) => [h("dt", `${name} `, h("small", more)), h("dd", { dir: "auto" }, text || "(nothing)")];
    return found.length ? h("section", h("h2", "Validation sentences"), found.map(({ source, reference, said }) => h(
      "dl.grown", pair("Source", "", source), pair("Reference", "", reference),
      ...said.map(({ run, step, text }) => pair(run, `update ${step.toLocaleString("en")}`, text)),
    ))) : "";
  };

  const more = h("input", {
    type: "checkbox", checked: Boolean(state.more), onchange: () => {
      state.more = more.checked ? "all" : "";
      drawCurves();
    },
  });
  const heads = ["Run", "State", "Progress", "Time", "Time left"].map((text) => h("th", { scope: "col" }, text));
  place.append(
    h("h1.unseen", "Trainings"), message,
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

// Seconds as a person says them.
function span(seconds) {
  const [minutes, hours] = [Math.round(seconds / 60), Math.floor(seconds / 3600)];
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return hours < 2 ? `${minutes} min` : `${hours} h ${Math.round((seconds - 3600 * hours) / 60)} min`;
}
