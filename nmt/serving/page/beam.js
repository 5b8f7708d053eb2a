// The beam: which hypotheses the search looked at, step by step.

import { END, cut, field, h, named, number, s, scroller, slider, whole } from "./dom.js";
import { roam } from "./roam.js";
import { look } from "./server.js";

const COLUMN = 112, ROW = 44, BOX = 88, HEIGHT = 34, TOP = 22; // px
const WORDS = { kept: "kept", pruned: "dropped", finished: "finished" };
const SIGNS = { kept: "", pruned: "", finished: " ✓" };

export const beam = {
  name: "beam",
  title: "Beam",
  how: `Each column is a step of the search, and each box a piece that may come next, the best at the top. Filled boxes were
    kept and extended in the next step, faint ones were dropped, and those with a ✓ ended a translation. The number is the score:
    the log-probability of the beginning, divided by the length penalty. The thick line leads to the best translation. ▁ begins a word.`,
  reads: ["beam", "step"],
  ask: ({ model, asked, beam: width }, signal) => look("beam", { model, ...asked, ...(width && { beam: whole(width, 1, 20, 1) }) }, signal),
  draw,
};

function draw(data, state, redraw, again) {
  const last = Math.max(...data.nodes.map((node) => node.step));
  const columns = Array.from({ length: last + 1 }, (_, step) => data.nodes.filter((node) => node.step === step));
  const chosen = whole(state.step, 0, last, last);
  const readout = h("output.readout", { "data-unsaved": true }, "Point at a box, or use the arrow keys.");
  const svg = tree(data, columns, readout), table = h("div"), said = h("span");
  const place = scroller("Search tree", svg);
  const upTo = (step) => {
    state.step = String(step);
    for (const part of svg.querySelectorAll("[data-step]")) part.classList.toggle("later", Number(part.dataset.step) > step);
    said.textContent = `Step ${step} of ${last}`;
    table.replaceChildren(step ? stepTable(columns[step], step, data) : "");
  };
  const steps = slider(said, [0, last], chosen, (step) => {
    upTo(step);
    place.scrollLeft = Math.max(0, (step + 1) * COLUMN - place.clientWidth);
  });
  const wrong = h("p.wrong", { role: "alert" }, "The beam must be a whole number from 1 to 20.");
  const set = ({ target }) => {
    if (!target.checkValidity()) return target.parentNode.after(wrong);
    Object.assign(state, { beam: target.value, step: "" });
    again();
  };
  const width = h("input", { type: "number", name: "beam", min: 1, max: 20, required: true, value: data.beam, onchange: set });
  const best = h("ol", data.translations.map(({ text, score }) => h("li", h("bdi", text), " ", h("small", number(score)))));
  return {
    controls: [field("Beam", width), steps.element],
    figure: [place, readout, table, h("h3", "Translations"), best],
    ready: () => upTo(chosen),
  };
}

function tree({ nodes, best }, columns, readout) {
  const byId = new Map(nodes.map((node) => [node.id, node])), onBest = new Set(best), rank = new Map();
  for (const column of columns) column.forEach((node, index) => rank.set(node.id, index));
  const most = Math.max(...columns.map((column) => column.length));
  const x = (node) => node.step * COLUMN + 2, y = (node) => TOP + rank.get(node.id) * ROW;
  const svg = s("svg", {
    width: columns.length * COLUMN, height: TOP + most * ROW, role: "img", tabindex: 0,
    "aria-label": `Search tree of ${columns.length - 1} steps; the table below lists the boxes of a step`,
  });
  columns.forEach((_, step) => {
    const place = { x: step * COLUMN + 2 + BOX / 2, y: 12, "text-anchor": "middle", "data-step": step };
    svg.append(s("text.small", place, step ? `step ${step}` : "start"));
  });
  // The best path is drawn last, above the others.
  const inner = nodes.filter((node) => byId.has(node.parent)).sort((a, b) => onBest.has(a.id) - onBest.has(b.id));
  for (const node of inner) {
    const parent = byId.get(node.parent), from = x(parent) + BOX, [a, b] = [y(parent) + HEIGHT / 2, y(node) + HEIGHT / 2];
    const middle = (from + x(node)) / 2, kind = onBest.has(node.id) ? "best" : node.state;
    const d = `M${from} ${a}C${middle} ${a} ${middle} ${b} ${x(node)} ${b}`;
    svg.append(s(`path.edge.${kind}`, { d, "data-step": node.step }));
  }
  for (const node of nodes) {
    const kind = `${node.state}${onBest.has(node.id) ? " best" : ""}`, cell = { "data-row": rank.get(node.id), "data-column": node.step };
    svg.append(s(
      "g", { class: `node ${kind}`, transform: `translate(${x(node)} ${y(node)})`, "data-step": node.step, ...cell },
      s("rect", { width: BOX, height: HEIGHT, rx: node.state === "finished" ? HEIGHT / 2 : 4 }),
      s("text", { x: BOX / 2, y: 15, "text-anchor": "middle" }, cut(node.step ? named(node.piece) : "⟨start⟩", 10) + SIGNS[node.state]),
      s("text.small", { x: BOX / 2, y: 28, "text-anchor": "middle" }, node.step ? number(node.score) : ""),
    ));
  }
  roam(svg, (column) => columns[column].length, columns.length, (row, column) => {
    const node = columns[column][row];
    readout.textContent = `${beginning(node, byId)}: ${told(node)}`;
  });
  return svg;
}

const told = (node) => `${WORDS[node.state]}, score ${number(node.score)}, log-probability ${number(node.log_probability)}`;

// The pieces from the root to a node, as text.
function beginning(node, byId) {
  const said = [];
  for (let item = node; item && item.step > 0; item = byId.get(item.parent)) if (item.piece !== END) said.unshift(item.piece);
  return said.join("").replaceAll("▁", " ").trim() || "the beginning";
}

function stepTable(column, step, { nodes, beam: width }) {
  const byId = new Map(nodes.map((node) => [node.id, node])), head = ["Translation so far", "State", "Score", "Log-probability"];
  const rows = column.map((node) => h(
    "tr", { class: node.state },
    h("td.text", { dir: "auto" }, beginning(node, byId)),
    [WORDS[node.state] + SIGNS[node.state], number(node.score), number(node.log_probability)].map((text) => h("td", text)),
  ));
  return scroller(
    "Boxes of this step",
    h(
      "table", h("caption", `Step ${step}: what a beam of ${width} looks at`),
      h("thead", h("tr", head.map((text) => h("th", { scope: "col" }, text)))), h("tbody", rows),
    ),
  );
}
