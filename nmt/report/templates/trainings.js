// Asks the server for what runs have logged, and shows it. Each answer holds only what is new.
import { chart } from "./charts.js";

const PAUSE = 2000, MOST = 4000; // milliseconds between two questions; points of a curve
const find = (name) => document.getElementById(name);
const curves = JSON.parse(find("curves").dataset.curves).map(([kind, key, title, zero]) => ({ kind, key, title, zero, points: [] }));
let chosen = decodeURIComponent(location.hash.slice(1)), asking = 0, log = "", offset = 0, samples = [], shown = "";

function make(parent, name, text = "", kind = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (kind) made.className = kind;
  return parent.appendChild(made);
}

function clock(seconds) {
  if (seconds === null) return "";
  const whole = Math.round(seconds), two = (value) => String(value).padStart(2, "0");
  return whole < 3600 ? `${Math.floor(whole / 60)}:${two(whole % 60)}` : `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
}

async function ask(path) {
  const key = sessionStorage.getItem("key");
  const answer = await fetch(path, { headers: key ? { Authorization: `Bearer ${key}` } : {} });
  if (answer.status === 403) {
    sessionStorage.setItem("key", prompt("This server wants a key:") ?? "");
    throw new Error("the server wants a key");
  }
  if (!answer.ok) throw new Error((await answer.json()).error);
  return answer.json();
}

function list(runs) {
  const body = find("runs").tBodies[0], focused = document.activeElement?.dataset.run;
  body.replaceChildren();
  for (const run of runs) {
    const row = make(body, "tr", "", run.state), button = make(make(row, "td", "", "text"), "button", run.name);
    button.dataset.run = run.name;
    button.setAttribute("aria-pressed", String(run.name === chosen));
    button.addEventListener("click", () => choose(run.name));
    if (run.name === focused) button.focus();
    make(row, "td", run.state, "text");
    const of = run.updates === null ? "" : ` of ${run.updates.toLocaleString("en")}`;
    for (const text of [run.step.toLocaleString("en") + of, clock(run.seconds), clock(run.seconds_left)]) make(row, "td", text);
  }
  if (!runs.length) make(make(body, "tr"), "td", "There are no runs yet.", "text");
}

function choose(name) {
  chosen = name;
  history.replaceState(null, "", `#${encodeURIComponent(name)}`);
  forget();
  clearTimeout(asking);
  look();
}

function forget() {
  [log, offset, samples, shown] = ["", 0, [], ""];
  for (const curve of curves) curve.points = [];
}

// A training that resumes goes back to its checkpoint: what was logged after it is gone.
function add(event) {
  if (event.kind === "start") for (const curve of curves) curve.points = curve.points.filter(([step]) => step <= event.step);
  for (const curve of curves) {
    if (curve.kind !== event.kind || typeof event[curve.key] !== "number") continue;
    curve.points.push([event.step, event[curve.key]]);
    if (curve.points.length > MOST) curve.points = curve.points.filter((_, index) => index % 2 || index === MOST);
  }
}

function draw() {
  const places = find("curves");
  for (const [index, curve] of curves.entries()) {
    if (!places.children[index]) {
      const figure = make(places, "figure");
      make(figure, "figcaption", curve.title);
      make(figure, "div", "", "chart");
    }
    chart(places.children[index].lastChild, { title: curve.title, x: "updates", zero: curve.zero, series: { [chosen]: curve.points } });
  }
}

function heat(parent, seen) {
  const table = make(make(parent, "div", "", "scroll"), "table", "", "heat"), head = make(make(table, "thead"), "tr");
  make(head, "td");
  for (const piece of seen.source) make(make(head, "th"), "span", piece);
  const body = make(table, "tbody");
  seen.target.forEach((piece, row) => {
    const line = make(body, "tr");
    make(line, "th", piece);
    seen.weights[row].forEach((weight, column) => {
      const cell = make(line, "td");
      cell.style.setProperty("--weight", weight);
      cell.title = `${piece} ← ${seen.source[column]}: ${weight}`;
    });
  });
}

function sample() {
  const range = find("slider").querySelector("input"), entry = samples[Number(range.value)];
  find("none").hidden = samples.length > 0;
  find("slider").hidden = samples.length < 2;
  if (!entry) return find("samples").replaceChildren();
  find("slider").querySelector("output").textContent = entry.step.toLocaleString("en");
  find("samples").replaceChildren();
  for (const { source, reference, translation, attention } of entry.sentences) {
    const terms = make(find("samples"), "dl");
    for (const [name, text] of [["source", source], ["reference", reference], ["translation", translation]]) {
      make(terms, "dt", name);
      make(terms, "dd", text);
    }
    if (attention) heat(find("samples"), attention);
  }
}

function show(answer) {
  const range = find("slider").querySelector("input"), last = Number(range.value) >= samples.length - 1;
  answer.events.forEach(add);
  const steps = new Set(answer.validation.map((entry) => entry.step));
  samples = [...samples.filter((entry) => !steps.has(entry.step)), ...answer.validation];
  range.max = Math.max(0, samples.length - 1);
  if (last) range.value = range.max;
  if (answer.events.length || !shown) {
    draw();
    sample();
  }
  find("health").replaceChildren();
  for (const finding of answer.health) make(find("health"), "p", finding.text, finding.level === "warning" ? "alarm" : "fine");
  find("run").hidden = false;
  shown = chosen;
}

async function look() {
  const name = chosen;
  let more = false;
  try {
    const { runs } = await ask("/v1/runs");
    if (!chosen && runs.length) chosen = (runs.find((run) => run.state === "training") ?? runs[0]).name;
    list(runs);
    if (name && name === chosen) {
      const answer = await ask(`/v1/runs/${encodeURIComponent(name)}?after=${offset}`);
      if (name !== chosen) return;
      if (log && log !== answer.log) forget();
      else {
        offset = answer.offset;
        show(answer);
      }
      more = answer.more || !log || log !== answer.log;
      log = answer.log;
    } else more = Boolean(chosen);
    find("problem").hidden = true;
  } catch (error) {
    find("problem").textContent = `No answer: ${error.message}. The training goes on without this page.`;
    find("problem").hidden = false;
  }
  clearTimeout(asking);
  asking = setTimeout(look, more ? 0 : PAUSE);
}

find("slider").addEventListener("input", sample);
look();
