// What may stand in place of a word of a translation, and how the translation then goes on.

import { END, cut, h, quiet, share, statusLine } from "./dom.js";
import { attempt, look } from "./server.js";

// A panel of the words that may follow `prefix`. take(item) is called with the chosen one, close() if none is.
export function alternativesPanel({ model, text, prefix, word, lang }, { take, close }) {
  const message = statusLine("Looking for other words…");
  const shut = quiet("✕", close, { "aria-label": "Close the other words" });
  const list = h("ul");
  const leave = (event) => event.key === "Escape" && close(), before = document.activeElement;
  const panel = h(
    "section.alternatives", { "aria-label": `In place of ${word}`, onkeydown: leave, "data-unsaved": true },
    h("div.head", h("p", "In place of ", h("b", { dir: "auto", lang }, word)), shut), message, list,
  );
  attempt(message, async () => {
    const { next } = await look("alternatives", { model, text, prefix, count: 8, target_language: lang });
    message.textContent = next.length ? "" : "The model knows no other word here.";
    list.append(...next.map((item) => h("li", offer(item, lang, () => take(item)))));
    const now = document.activeElement;
    if (now === before || panel.contains(now)) list.querySelector("button")?.focus();
  });
  return panel;
}

function offer({ word, probability, completion, continues }, lang, onclick) {
  const shown = word === END ? "(the end)" : `${continues ? "…" : ""}${word}`;
  return h(
    "button.offer", { type: "button", onclick },
    share(cut(shown, 40), probability, lang),
    h("span.fine", { dir: "auto", lang }, completion),
  );
}
