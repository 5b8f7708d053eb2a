// What was translated, kept by this browser alone.

import { cut, h, keep, kept, quiet, unhurried } from "./dom.js";

const MOST = 50, REST = 2000, LONGEST = 5000; // entries; milliseconds without a change; characters

export class History {
  // restore(entry): the user takes it up again.
  constructor(restore) {
    Object.assign(this, { restore, stopped: false, list: h("ul.past") });
    const wanted = h("input", { type: "checkbox", checked: kept("remember") !== false, onchange: () => keep("remember", wanted.checked) });
    const clear = () => {
      keep("history", null);
      this.draw();
    };
    this.element = h(
      "details.more", h("summary", "History"),
      h("p.fine", "The history stays in this browser. The server keeps none."),
      h("div.row", h("label", wanted, " Keep a history"), quiet("Clear the history", clear)),
      this.list,
    );
    this.draw();
  }

  // Keeps an entry once the text has rested.
  later = unhurried(REST, (entry) => {
    if (this.stopped || kept("remember") === false) return;
    const text = entry.text.slice(0, LONGEST), translation = entry.translation.slice(0, LONGEST);
    const others = this.entries().filter((item) => !text.startsWith(item.text) || item.model !== entry.model);
    keep("history", [{ text, translation, model: entry.model, target: entry.target }, ...others].slice(0, MOST));
    this.draw();
  });

  stop() {
    this.stopped = true;
  }

  entries() {
    const found = kept("history");
    return Array.isArray(found) ? found.filter((item) => typeof item?.text === "string" && typeof item.translation === "string") : [];
  }

  draw() {
    const entries = this.entries();
    const rows = entries.map((entry) => h("li", h(
      "button.offer", { type: "button", onclick: () => this.restore(entry) },
      h("bdi", cut(entry.text, 120)), h("span.fine", { dir: "auto" }, cut(entry.translation, 120)),
    )));
    this.list.replaceChildren(...(rows.length ? rows : [h("li.fine", "Nothing yet.")]));
  }
}
