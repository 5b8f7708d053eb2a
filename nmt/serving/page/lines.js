// The translation of a text by one model. Each line is asked for once; only changed lines are drawn anew.

import { alternativesPanel } from "./alternatives.js";
import { h, language, quiet } from "./dom.js";
import { ask, memory } from "./server.js";
import { pieces, wordRow } from "./words.js";

const LINES = 16, CHARACTERS = 4000; // of a request
const LINKED = 50; // longest text whose words can be pointed at, in lines
const LONGEST_VIEW = 2000, KEPT = 5000; // characters; translations
const translations = memory(); // by model, target language and line

export class Column {
  // inside(line) looks inside the model.
  constructor(model, target, inside) {
    Object.assign(this, { model, target, inside, rows: [], copied: h("span.fine", { role: "status" }) });
    this.body = h("div.body", { lang: target });
    const copy = async () => {
      const done = await navigator.clipboard?.writeText(this.text()).then(() => true, () => false);
      this.copied.textContent = done ? "Copied." : "The browser does not let this page copy.";
    };
    this.element = h(
      "article.sheet", { "aria-label": `${language(target)}, by ${model.name}` },
      h(
        "div.head", h("h2", `${language(target)} `, h("small", model.name)),
        h("span", { "data-unsaved": true }, this.copied, quiet("Copy", copy)),
      ),
      this.body,
    );
  }

  // Draws what is known of these lines; what is not is shown as waiting.
  fresh(lines) {
    this.lines = lines;
    this.copied.textContent = "";
    lines.forEach((line, index) => {
      const linked = lines.length <= LINKED, row = this.rows[index], same = row?.line === line;
      const found = this.known(line) ?? (same ? row.found : undefined);
      if (same && row.found === found && row.linked === linked) return;
      const element = this.drawn(line, found, linked, index);
      if (row) row.element.replaceWith(element);
      else this.body.append(element);
      this.rows[index] = { line, found, linked, element };
    });
    for (const { element } of this.rows.splice(lines.length)) element.remove();
  }

  // Asks for the lines that are not known yet, some at a time.
  async translate(lines, signal, tell) {
    const missing = [...new Set(lines)].filter((line) => line.trim() && !this.known(line)), all = missing.length;
    while (missing.length) {
      if (all > LINES) tell(all - missing.length, all);
      const part = [missing.shift()];
      let size = part[0].length;
      while (missing.length && part.length < LINES && size + missing[0].length <= CHARACTERS) {
        size += missing[0].length;
        part.push(missing.shift());
      }
      const found = await this.ask({ text: part }, lines.length <= LINKED, signal);
      part.forEach((line, index) => this.learn(line, found[index]));
      this.fresh(lines);
    }
    if (all > LINES) tell(all, all);
  }

  async ask(question, links, signal) {
    const alignments = links && this.model.attention;
    const body = { model: this.model.name, target: this.target, alignments, ...question };
    const { translations: found } = await ask("/v1/translate", { body, signal });
    return found.map(([best]) => best);
  }

  key = (line) => JSON.stringify([this.model.name, this.target, line]);
  known = (line) => translations.get(this.key(line));
  text = () => this.rows.map(({ found }) => found?.text ?? "").join("\n").trim();

  learn(line, found) {
    translations.set(this.key(line), found);
    if (translations.size > KEPT) translations.delete(translations.keys().next().value);
  }

  drawn(line, found, linked, index) {
    if (!line.trim()) return h("div.line", "\u00a0");
    if (!found) return h("div.line.waiting", "…");
    const said = linked && pieces(found.text, found.target_words ?? found.text.match(/\S+/gu));
    if (!said) return h("div.line", { dir: "auto" }, found.text);
    const read = found.alignment?.length ? pieces(line, found.source_words) : null;
    return this.pointed(line, found, said, read, index);
  }

  // A line whose words show what they are linked to, and what else could stand in their place.
  pointed(line, found, said, read, index) {
    const source = read?.found.map(({ word }) => h("span", word));
    const original = read ? [read.found.map(({ before }, place) => [before, source[place]]), read.after] : line;
    const point = (chosen) => {
      const links = (found.alignment ?? []).filter(([, target]) => target === chosen).map(([from]) => from);
      source?.forEach((word, place) => word.classList.toggle("linked", links.includes(place)));
    };
    const choose = (place, button) => this.choose(element, button, line, found, said.found[place]);
    const { row, buttons } = wordRow(said, { label: `Line ${index + 1}: choose a word to see others in its place`, choose, point });
    source?.forEach((word, place) => {
      const mark = (on) => () => buttons.forEach((button, target) =>
        button.classList.toggle("linked", on && found.alignment.some(([from, to]) => from === place && to === target)));
      word.addEventListener("pointerenter", mark(true));
      word.addEventListener("pointerleave", mark(false));
    });
    const own = () => {
      this.learn(line, found.own);
      this.fresh(this.lines);
    };
    const element = h(
      "div.line", row,
      h("div.source.fine", { dir: "auto", lang: this.model.source }, original),
      h("div.tools", { "data-unsaved": true }, found.own && quiet("Back to the model's own", own), quiet("Look inside", () => this.inside(line))),
    );
    return element;
  }

  // Opens the words that may stand in the place of one.
  choose(element, button, line, found, { word, start }) {
    element.querySelector(".alternatives")?.remove();
    element.querySelector("[aria-pressed]")?.removeAttribute("aria-pressed");
    if (line.length > LONGEST_VIEW) {
      const text = `Other words are offered for lines of up to ${LONGEST_VIEW} characters.`;
      return element.append(h("p.alternatives.fine", { role: "status" }, text));
    }
    const close = () => {
      panel.remove();
      button.ariaPressed = null;
      button.focus();
    };
    const question = { model: this.model.name, text: line, prefix: found.text.slice(0, start), word, lang: this.target };
    const panel = alternativesPanel(question, { close, take: (item) => this.take(line, found, item) });
    button.ariaPressed = "true";
    element.append(panel);
  }

  // Puts a completion in the place of the translation, with its links if the model writes it alike.
  async take(line, found, { completion }) {
    const own = found.own ?? found, put = (chosen) => {
      const row = () => this.rows[this.lines.indexOf(line)]?.element, here = row()?.contains(document.activeElement);
      this.learn(line, { ...chosen, own });
      this.fresh(this.lines);
      if (here) row().querySelector(".word")?.focus();
    };
    put({ text: completion });
    const [again] = await this.ask({ text: [line], prefix: [completion] }, true).catch(() => []);
    if (again?.text === completion && this.known(line)?.text === completion) put(again);
  }
}
