// Draws a part of the page as one SVG: boxes, text and drawings in their colours.

import { SVG, s } from "./dom.js";

const PARTS = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-opacity", "stroke-linejoin", "opacity",
  "font-family", "font-size", "font-weight", "font-style", "text-anchor", "direction"];
const MARGIN = 16;
const UNWRITABLE = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g; // in XML

export function pictureOf(root) {
  const frame = root.getBoundingClientRect(), picture = s("svg", { xmlns: SVG });
  const size = { right: frame.right, bottom: frame.bottom };
  const at = (x, y) => ({ x: round(x - frame.left + MARGIN), y: round(y - frame.top + MARGIN) });
  walk(root, (node, style) => {
    if (node.nodeType === Node.TEXT_NODE) picture.append(...lines(node, style, at, size));
    else if (node instanceof SVGSVGElement) picture.append(drawing(node, at, size));
    else picture.append(...box(node, style, at));
  });
  const width = Math.ceil(size.right - frame.left + 2 * MARGIN), height = Math.ceil(size.bottom - frame.top + 2 * MARGIN);
  give(picture, { width, height, viewBox: `0 0 ${width} ${height}` });
  const paper = plain(getComputedStyle(document.documentElement).getPropertyValue("background-color"))[0];
  picture.prepend(s("rect", { width, height, fill: paper }));
  return new XMLSerializer().serializeToString(picture).toWellFormed().replace(UNWRITABLE, "\ufffd");
}

function widen(size, { right, bottom }) {
  Object.assign(size, { right: Math.max(size.right, right), bottom: Math.max(size.bottom, bottom) });
}

// Visits what is seen: HTML elements, their text, and SVG drawings as a whole.
function walk(element, visit) {
  const style = getComputedStyle(element);
  if (style.display === "none" || style.visibility === "hidden" || element.matches(".unseen, [data-unsaved]")) return;
  visit(element, style);
  if (element instanceof SVGElement) return;
  for (const child of element.childNodes) {
    if (child.nodeType === Node.TEXT_NODE) visit(child, style);
    else if (child.nodeType === Node.ELEMENT_NODE) walk(child, visit);
  }
}

function box(element, style, at) {
  const area = element.getBoundingClientRect(), [fill, opacity] = plain(style.backgroundColor);
  const border = parseFloat(style.borderLeftWidth) ? plain(style.borderLeftColor) : ["none", 0];
  if (!area.width || (!opacity && !border[1])) return [];
  const rx = Math.min(parseFloat(style.borderRadius) || 0, area.height / 2);
  const shape = { width: round(area.width), height: round(area.height), rx };
  const colours = { fill, "fill-opacity": opacity, stroke: border[0], "stroke-opacity": border[1] };
  return [s("rect", { ...at(area.left, area.top), ...shape, ...colours })];
}

// The words of a text node, together where they stand on one line.
function lines(node, style, at, size) {
  const found = [], range = document.createRange();
  for (const word of node.data.matchAll(/\S+/gu)) {
    const start = word.index, end = start + word[0].length;
    range.setStart(node, start);
    range.setEnd(node, end);
    const { top, bottom, left, right } = range.getBoundingClientRect(), last = found.at(-1);
    if (left === right) continue;
    if (!last || Math.abs(last.top - top) >= 2) found.push({ start, end, top, bottom, left, right });
    else Object.assign(last, { end, left: Math.min(last.left, left), right: Math.max(last.right, right) });
  }
  const [fill, opacity] = plain(style.color), rtl = style.direction === "rtl";
  return found.map((line) => {
    widen(size, line);
    const fontSize = parseFloat(style.fontSize), base = (line.top + line.bottom) / 2 + 0.36 * fontSize;
    const { x, y } = at(rtl ? line.right : line.left, base);
    const font = { "font-family": style.fontFamily, "font-size": fontSize, "font-weight": style.fontWeight, "font-style": style.fontStyle };
    const text = node.data.slice(line.start, line.end).replace(/\s+/gu, " ");
    return s("text", { x, y, fill, "fill-opacity": opacity, direction: rtl ? "rtl" : null, ...font }, text);
  });
}

// A copy of a drawing whose style is written into its elements.
function drawing(svg, at, size) {
  const area = svg.getBoundingClientRect(), copy = svg.cloneNode(true);
  const from = [svg, ...svg.querySelectorAll("*")], to = [copy, ...copy.querySelectorAll("*")];
  from.forEach((element, index) => {
    const style = getComputedStyle(element);
    for (const name of PARTS) write(to[index], name, style.getPropertyValue(name));
    for (const name of ["class", "style", "tabindex", "role"]) to[index].removeAttribute(name);
    for (const name of Object.keys(to[index].dataset)) delete to[index].dataset[name];
    if (style.display === "none" || style.visibility === "hidden") to[index].setAttribute("display", "none");
  });
  copy.querySelectorAll("[display=none]").forEach((element) => element.remove());
  give(copy, { ...at(area.left, area.top), width: round(area.width), height: round(area.height) });
  widen(size, area);
  return copy;
}

const give = (element, values) => Object.entries(values).forEach(([name, value]) => element.setAttribute(name, value));

const USUAL = { "fill-opacity": "1", "stroke-opacity": "1", opacity: "1", stroke: "none", "stroke-width": "1px", "stroke-dasharray": "none",
  "stroke-linejoin": "miter", "text-anchor": "start", "font-style": "normal", direction: "ltr" };

function write(element, name, value) {
  const ofText = /^(font|text|direction)/.test(name);
  if (ofText && !element.matches("text, tspan")) return;
  if (value === USUAL[name]) return element.removeAttribute(name);
  const [colour, opacity] = (name === "fill" || name === "stroke") && value !== "none" ? plain(value) : [value, 1];
  element.setAttribute(name, opacity ? colour : "none");
}

const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
const known = new Map();

// A colour of CSS, which may be a mixture, as [#rrggbb, opacity].
function plain(colour) {
  if (!known.has(colour)) {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [red, green, blue, opacity] = canvas.getImageData(0, 0, 1, 1).data;
    const hex = [red, green, blue].map((part) => part.toString(16).padStart(2, "0")).join("");
    known.set(colour, [`#${hex}`, round(opacity / 255)]);
  }
  return known.get(colour);
}

const round = (value) => Math.round(100 * value) / 100;
