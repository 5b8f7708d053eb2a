// A line chart. Its legend says the values at the place that pointer, tap or arrow keys choose.

import { h, s } from "./elements.js";

const COLOURS = 6, DASHES = [null, "7 3", "2 3", "11 3 2 3", "5 2 2 2 2 2"]; // of the kinds of lines
const MARGIN = { right: 14, top: 10, bottom: 34 }, FEW = 30, DIGIT = 7; // px; points that get a dot; px
const drawn = new WeakMap();

// Draws into an element whenever its width changes. data: title, x, y (names of the axes), whole (x counts things), zero (y begins
// at 0), series [{name, kind (a number), points: [[x, y], ...]}], chosen (an x) and choose(x), told of another one.
export function chart(place, data) {
  const before = drawn.get(place), state = { ...data, at: data.chosen ?? before?.at ?? null, width: place.clientWidth };
  drawn.set(place, state);
  if (!before) {
    place.classList.add("chart");
    new ResizeObserver(() => {
      const now = drawn.get(place);
      if (now.width === place.clientWidth) return;
      now.width = place.clientWidth;
      draw(place, now);
    }).observe(place);
  }
  draw(place, state);
}

const DIGITS = { maximumSignificantDigits: 4 };
const short = (value) => (value !== 0 && Math.abs(value) < 1e-3 ? value.toExponential(1) : value.toLocaleString("en", DIGITS));
const exact = (value) => (Number.isInteger(value) ? value.toLocaleString("en") : short(value)); // as of updates

// Round numbers that cover low to high, about `count` of them.
function ticks(low, high, count, whole) {
  const rough = Math.max((high - low || Math.abs(high) || 1) / count, whole ? 1 : 0), power = 10 ** Math.floor(Math.log10(rough) + 1e-9);
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999), first = Math.floor(low / step + 1e-9);
  const last = Math.max(Math.ceil(high / step - 1e-9), first + 1);
  return Array.from({ length: last - first + 1 }, (_, index) => Number(((first + index) * step).toPrecision(12)));
}

function draw(place, data) {
  const series = data.series.map((item, index) => ({ kind: index, ...item })).filter((item) => item.points.length);
  const focused = place.contains(document.activeElement);
  const width = place.clientWidth || 480, height = Math.min(280, Math.max(200, width * 0.5));
  const heading = h("p.charted", data.title, h("small", data.y ? ` ${data.y}` : ""));
  if (!series.length) return place.replaceChildren(heading, h("p.fine", "Nothing is logged yet."));
  const points = series.flatMap((item) => item.points), [xs, ys] = [0, 1].map((part) => points.map((point) => point[part]));
  const low = least(ys), across = ticks(Math.min(1, least(xs)), most(xs), Math.max(2, Math.floor(width / 90)), data.whole);
  const up = ticks(data.zero || (low > 0 && low < 0.4 * most(ys)) ? Math.min(0, low) : low, most(ys), 4);
  const left = Math.max(48, 14 + DIGIT * Math.max(...up.map((value) => short(value).length)));
  const right = width - MARGIN.right, bottom = height - MARGIN.bottom;
  const x = (value) => left + ((value - across[0]) / (across.at(-1) - across[0])) * (right - left);
  const y = (value) => bottom - ((value - up[0]) / (up.at(-1) - up[0])) * (bottom - MARGIN.top);
  const ends = series.map(({ name, points: own }) => `${name} ends at ${short(own.at(-1)[1])}`).join(", ");
  const svg = s("svg", { width, height, role: "img", tabindex: 0, "aria-label": `${data.title}: ${ends}` });
  const write = (atX, atY, anchor, text) => svg.append(s("text", { x: atX, y: atY, "text-anchor": anchor }, text));
  for (const value of up) {
    svg.append(s("line.grid", { x1: left, x2: right, y1: y(value), y2: y(value) }));
    write(left - 7, y(value) + 4, "end", short(value));
  }
  across.forEach((value, index) => write(x(value), bottom + 16, index === across.length - 1 ? "end" : "middle", exact(value)));
  write(right, height - 4, "end", data.x);
  for (const { kind, points: own } of series) {
    svg.append(s("polyline", { points: own.map(([a, b]) => `${x(a).toFixed(1)},${y(b).toFixed(1)}`).join(" "), ...curve(kind) }));
    if (own.length <= FEW) svg.append(...own.map(([a, b]) => dot(x(a), y(b), 3, kind)));
  }
  const legend = h("output.legend"); // read aloud when it changes, not when it is drawn
  reading(place, svg, legend, series, { x, y, bottom });
  place.replaceChildren(heading, svg, legend);
  if (focused) svg.focus();
}

const curve = (kind) => ({ class: `curve c${kind % COLOURS}`, "stroke-dasharray": DASHES[kind % DASHES.length] });
const dot = (cx, cy, r, kind) => s("circle", { cx, cy, r, class: `dot c${kind % COLOURS}` });

// A piece of a line, for legends.
export const key = (kind) => s("svg.key", { width: 26, height: 10, "aria-hidden": "true" }, s("line", { x2: 26, y1: 5, y2: 5, ...curve(kind) }));

const least = (values) => values.reduce((a, b) => Math.min(a, b));
const most = (values) => values.reduce((a, b) => Math.max(a, b));

// Shows the values at a place, in the legend and on the curves.
function reading(place, svg, legend, series, { x, y, bottom }) {
  const state = drawn.get(place), steps = [...new Set(series.flatMap((item) => item.points.map(([a]) => a)))].sort((a, b) => a - b);
  const rule = s("line.rule", { y1: MARGIN.top, y2: bottom }), marks = s("g");
  svg.append(rule, marks);
  const show = (at) => {
    const near = series.map((item) => ({ ...item, point: item.points.findLast(([a]) => a <= at) ?? item.points[0] }));
    rule.setAttribute("x1", x(at));
    rule.setAttribute("x2", x(at));
    marks.replaceChildren(...near.map(({ kind, point: [a, b] }) => dot(x(a), y(b), 5, kind)));
    legend.replaceChildren(
      h("span.fine", `${exact(at)} ${state.x}`),
      ...near.map(({ name, kind, point }) => h("span", key(kind), ` ${name} `, h("b", short(point[1])))),
    );
  };
  const choose = (at) => {
    if (at === state.at) return;
    state.at = at;
    show(at);
    state.choose?.(at);
  };
  const point = (event) => {
    const at = event.clientX - svg.getBoundingClientRect().left;
    choose(steps.reduce((best, step) => (Math.abs(x(step) - at) < Math.abs(x(best) - at) ? step : best)));
  };
  for (const event of ["pointermove", "pointerdown"]) svg.addEventListener(event, point);
  svg.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (!move) return;
    event.preventDefault();
    choose(steps[Math.max(0, Math.min(steps.length - 1, steps.indexOf(state.at ?? steps.at(-1)) + move))]);
  });
  show(steps.includes(state.at) ? state.at : steps.at(-1));
}
