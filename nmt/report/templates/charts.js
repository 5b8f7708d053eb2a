"use strict";
// Line charts without a library. chart(place, {title, x, zero, series: {name: [[x, y], ...]}}) draws into an element, and draws
// anew when it is called again or the element changes its width. Pointer, tap and arrow keys show the values of one place.
const COLOURS = 6, FEW = 24, MARGIN = { left: 52, right: 12, top: 8, bottom: 36 };
const drawn = new WeakMap();

function element(parent, name, attributes = {}, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return parent.appendChild(made);
}

// Round numbers that cover low to high, about count of them.
function ticks(low, high, count) {
  const rough = (high - low || Math.abs(high) || 1) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const first = Math.floor(low / step + 1e-9), last = Math.max(Math.ceil(high / step - 1e-9), first + 1);
  return Array.from({ length: last - first + 1 }, (_, index) => Number(((first + index) * step).toPrecision(12)));
}

const short = (value) => value !== 0 && Math.abs(value) < 1e-3 ? value.toExponential(1) : value.toLocaleString("en", { maximumSignificantDigits: 5 });

function draw(place) {
  const { data } = drawn.get(place), width = place.clientWidth || 480, height = Math.min(300, Math.max(210, width * 0.56));
  const lines = Object.entries(data.series).filter(([, points]) => points.length), all = lines.flatMap(([, points]) => points);
  place.replaceChildren();
  if (!all.length) return place.append("nothing is logged yet");
  const values = all.map((point) => point[1]), low = Math.min(...values), high = Math.max(...values);
  const end = Math.max(...all.map((point) => point[0])) || 1;
  const across = ticks(0, end, Math.max(2, Math.floor(width / 90))).filter((value) => value <= end);
  const up = ticks(data.zero || (low > 0 && low < 0.2 * high) ? Math.min(0, low) : low, high, 5);
  const right = width - MARGIN.right, bottom = height - MARGIN.bottom;
  const x = (value) => MARGIN.left + (value / end) * (right - MARGIN.left);
  const y = (value) => bottom - ((value - up[0]) / (up.at(-1) - up[0])) * (bottom - MARGIN.top);
  const label = `${data.title}: ${lines.map(([name, points]) => `${name} ends at ${short(points.at(-1)[1])}`).join(", ")}`;
  const svg = element(place, "svg", { width, height, role: "img", tabindex: 0, "aria-label": label });
  for (const value of up) {
    element(svg, "line", { x1: MARGIN.left, x2: right, y1: y(value), y2: y(value), class: "grid" });
    element(svg, "text", { x: MARGIN.left - 6, y: y(value) + 4, "text-anchor": "end" }, short(value));
  }
  across.forEach((value, index) => {
    const anchor = index === 0 ? "start" : x(value) > right - 20 ? "end" : "middle";
    element(svg, "text", { x: x(value), y: bottom + 16, "text-anchor": anchor }, short(value));
  });
  element(svg, "text", { x: right, y: height - 4, "text-anchor": "end" }, data.x);
  lines.forEach(([, points], index) => {
    const colour = `var(--c${index % COLOURS})`, dash = index < COLOURS ? "none" : "5 3";
    element(svg, "polyline", { points: points.map(([a, b]) => `${x(a)},${y(b)}`).join(" "), stroke: colour, "stroke-dasharray": dash });
    if (points.length <= FEW) for (const [a, b] of points) element(svg, "circle", { cx: x(a), cy: y(b), r: 3.5, fill: colour });
  });
  if (lines.length > 1) place.append(legend(lines.map(([name]) => name)));
  reading(place, svg, lines, x, MARGIN.top, bottom);
}

function legend(names) {
  const list = document.createElement("div");
  list.className = "legend";
  names.forEach((name, index) => {
    const item = document.createElement("span");
    item.style.setProperty("--colour", `var(--c${index % COLOURS})`);
    item.textContent = name;
    list.append(item);
  });
  return list;
}

// Shows the values nearest to the pointer, or step by step with the arrow keys.
function reading(place, svg, lines, x, top, bottom) {
  const steps = [...new Set(lines.flatMap(([, points]) => points.map((point) => point[0])))].sort((a, b) => a - b);
  const rule = element(svg, "line", { y1: top, y2: bottom, class: "rule", visibility: "hidden" });
  const note = document.createElement("output");
  place.append(note);
  let chosen = steps.length - 1;
  const show = (index) => {
    chosen = Math.max(0, Math.min(steps.length - 1, index));
    const at = x(steps[chosen]), middle = place.clientWidth / 2;
    rule.setAttribute("x1", at);
    rule.setAttribute("x2", at);
    rule.setAttribute("visibility", "visible");
    const found = lines.map(([name, points]) => [name, points.find((point) => point[0] === steps[chosen])]).filter(([, point]) => point);
    note.textContent = [short(steps[chosen]), ...found.map(([name, point]) => (lines.length > 1 ? `${name}  ` : "") + short(point[1]))].join("\n");
    note.style.left = at < middle ? `${at + 8}px` : "auto";
    note.style.right = at < middle ? "auto" : `${place.clientWidth - at + 8}px`;
    note.classList.add("shown");
  };
  const hide = () => {
    rule.setAttribute("visibility", "hidden");
    note.classList.remove("shown");
  };
  const point = (event) => {
    const at = event.clientX - svg.getBoundingClientRect().left;
    const far = (index) => Math.abs(x(steps[index]) - at);
    show(steps.reduce((best, _, index) => (far(index) < far(best) ? index : best), 0));
  };
  for (const event of ["pointermove", "pointerdown"]) svg.addEventListener(event, point);
  for (const event of ["pointerleave", "blur"]) svg.addEventListener(event, hide);
  svg.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (event.key === "Escape") hide();
    if (move === undefined) return;
    event.preventDefault();
    show(rule.getAttribute("visibility") === "visible" ? chosen + move : chosen);
  });
}

export function chart(place, data) {
  const known = drawn.get(place);
  drawn.set(place, { data, width: place.clientWidth });
  if (!known) {
    new ResizeObserver(() => {
      const state = drawn.get(place);
      if (state.width === place.clientWidth) return;
      state.width = place.clientWidth;
      requestAnimationFrame(() => draw(place));
    }).observe(place);
  }
  draw(place);
}

for (const place of document.querySelectorAll("[data-chart]")) chart(place, JSON.parse(place.dataset.chart));
