// Attention: a heat map of the chosen layer and head, all heads as thumbnails, and their entropy.

import { button, choice, cut, h, named, number, percent, s, scroller, whole } from "./dom.js";
import { roam } from "./roam.js";
import { look } from "./server.js";

const LETTER = 7.6, LONGEST = 18, BARS = 60, LEVELS = 5; // px, letters, px, shades of a thumbnail

export const attention = {
  name: "attention",
  title: "Attention",
  how: `Each row is a word of the translation, and its shades show how much the model looked at each word of the source when it
    wrote it. The bar at the end of a row is the entropy in bits: 0 is a look at one word, 1 at two words alike, 2 at four.
    A head is one look of several that a layer takes at once; small entropy means that it points, large that it averages.`,
  usable: (model) => model.attention,
  lacks: "no attention",
  said: "Translation (empty: the model's own)",
  reads: ["said", "layer", "head"],
  ask: ({ model, asked }, signal) => look("attention", { model, ...asked }, signal),
  draw,
};

function draw(data, state, redraw) {
  const layer = whole(state.layer, 0, data.layers - 1, data.best_layer ?? data.layers - 1);
  const head = whole(state.head, 0, data.heads - 1, null);
  const weights = head === null ? mean(data.weights[layer]) : data.weights[layer][head];
  const set = (values) => {
    Object.assign(state, values);
    redraw();
  };
  const one = data.layers * data.heads === 1;
  const controls = one ? [] : [
    choice("Layer", "layer", counted("layer", data.layers), layer, (value) => set({ layer: value })),
    choice("Head", "head", [["", "mean of all heads"], ...counted("head", data.heads)], head ?? "", (value) => set({ head: value })),
  ];
  const title = one ? "" : `Layer ${layer + 1}, ${head === null ? "mean of its heads" : `head ${head + 1}`}`;
  const large = h("section", h("p.fine", title), heatMap(data, weights, title));
  const small = one ? "" : h("section", h("h3", "All heads"), thumbnails(data, layer, head, set));
  const figure = [h("div.sides", large, small)];
  if (data.picture) figure.push(h("h3", "The line as the model sees it"), seenLine(data));
  return { controls, figure };
}

const counted = (name, count) => Array.from({ length: count }, (_, index) => [index, `${name} ${index + 1}`]);
const mean = (heads) => heads[0].map((row, j) => row.map((_, i) => heads.reduce((sum, head) => sum + head[j][i], 0) / heads.length));
const entropy = (row) => -row.reduce((sum, weight) => sum + (weight > 0 ? weight * Math.log2(weight) : 0), 0);

// The weights of target words over source words, with the entropy of each row.
export function heatMap({ source, target }, weights, title) {
  const across = source.map((word) => cut(named(word), LONGEST)), down = target.map((word) => cut(named(word), LONGEST));
  const cell = Math.max(20, Math.min(34, 700 / Math.max(across.length, down.length))); // px
  const longest = (words) => Math.max(...words.map((word) => [...word].length)) * LETTER;
  const left = longest(down) + 18, top = 0.72 * longest(across) + 22, bits = weights.map(entropy);
  const right = left + source.length * cell, bottom = top + target.length * cell;
  const width = right + Math.max(BARS + 50, 0.72 * [...across.at(-1)].length * LETTER), most = Math.log2(source.length);
  const readout = h("output.readout", { "data-unsaved": true }, "Point at a cell, or use the arrow keys.");
  const label = `Attention, ${title ? `${title}, ` : ""}${target.length} words by ${source.length} words`;
  const svg = s("svg.heat", { width, height: bottom + 22, role: "img", tabindex: 0, "aria-label": label });
  const turned = (i) => `translate(${left + (i + 0.6) * cell} ${top - 8}) rotate(-45)`;
  across.forEach((word, i) => svg.append(s("text", { transform: turned(i) }, word)));
  down.forEach((word, j) => {
    const y = top + j * cell, middle = y + 0.5 * cell + 4;
    svg.append(s("text", { x: left - 8, y: middle, "text-anchor": "end" }, word));
    const area = { y: y + 1, width: cell - 2, height: cell - 2, rx: 3 }, long = most ? (BARS * bits[j]) / most : 0;
    weights[j].forEach((weight, i) => {
      const place = { x: left + i * cell + 1, "data-row": j, "data-column": i, style: `--weight: ${Number(weight)}` }; // null: not finite
      svg.append(s("rect.cell", { ...area, ...place }));
    });
    svg.append(
      s("rect.bar", { x: right + 10, y: y + 0.3 * cell, width: Math.max(1, long), height: 0.4 * cell }),
      s("text.small", { x: right + 16 + long, y: middle }, number(bits[j], 1)),
    );
  });
  svg.append(s("text.small", { x: right + 10, y: bottom + 16 }, "entropy, bits"));
  roam(svg, target.length, source.length, (j, i) => {
    readout.textContent = `${named(target[j])} looks at ${named(source[i])} with ${percent(weights[j][i])}`;
  });
  return [scroller(`Heat map ${title}`, svg), readout];
}

function thumbnails(data, layer, head, set) {
  const rows = data.weights.map((heads, l) => h(
    "div.thumbs", { role: "group", "aria-label": `Layer ${l + 1}` }, h("span.fine", `layer ${l + 1}`),
    heads.map((weights, k) => {
      const bits = `${number(data.entropy[l][k], 1)} bits`, choose = () => set({ layer: String(l), head: String(k) });
      const label = { name: `head-${l}-${k}`, "aria-label": `Layer ${l + 1}, head ${k + 1}, entropy ${bits}` };
      return button([thumbnail(weights), h("span.fine", bits)], choose, { class: "thumb", "aria-pressed": String(l === layer && k === head), ...label });
    }),
  ));
  return scroller("All heads", rows);
}

// One path for each shade keeps drawings of many heads small.
function thumbnail(weights) {
  const paths = Array.from({ length: LEVELS }, () => "");
  weights.forEach((row, j) => row.forEach((weight, i) => {
    const level = Math.round(weight * LEVELS) - 1;
    if (level >= 0) paths[level] += `M${i} ${j}h1v1h-1z`;
  }));
  const [wide, high] = [weights[0].length, weights.length], scale = 72 / Math.max(wide, high);
  const shades = paths.map((d, level) => d && s("path.shade", { d, style: `--weight: ${(level + 1) / LEVELS}` }));
  const size = { viewBox: `0 0 ${wide} ${high}`, width: wide * scale, height: high * scale };
  return s("svg", { ...size, "aria-hidden": "true" }, shades.filter(Boolean));
}

// What a model of pictures saw, once for each word, with the columns it looked at.
function seenLine({ target, picture }) {
  const { png, width, height, columns } = picture, row = height + 26;
  const label = "The picture of the line, with the weight of its columns for each word";
  const svg = s("svg.heat", { width, height: row * target.length, role: "img", "aria-label": label });
  target.forEach((word, j) => {
    const most = Math.max(...columns[j]) || 1, y = j * row + 18;
    svg.append(s("text", { x: 0, y: y - 4 }, named(word)), s("image", { href: png, x: 0, y, width, height }));
    columns[j].forEach((weight, x) => {
      const style = `--weight: ${(0.6 * weight) / most}`;
      if (weight > 0.02 * most) svg.append(s("rect.shade", { x, y, width: 1, height, style }));
    });
  });
  return scroller("Picture", svg);
}
