// Addresses of a tab, a view and its inputs (#look/attention?text=...), and the buttons that save what is shown.

import { h, quiet } from "./dom.js";
import { pictureOf } from "./picture.js";

export function readAddress() {
  const [, path, query] = /^#?([^?]*)\??(.*)/.exec(location.hash);
  const [tab, view = ""] = path.split("/");
  return { tab, view, inputs: Object.fromEntries(new URLSearchParams(query)) };
}

let last = null; // the state of the tab with a text that was shown last

// Takes over the inputs of an address. One without inputs takes model and text of the other tab: its first line, unless one of its
// lines is there already. One line never replaces several. Returns whether that changed anything.
export function take(state, inputs) {
  const other = last ?? state;
  if ("text" in state) last = state;
  if (Object.keys(inputs).length) for (const name of Object.keys(state)) state[name] = inputs[name] ?? "";
  else if (last === state && other !== state) {
    const { text, model, target } = state, lines = other.text.split("\n").map((line) => line.trim()).filter(Boolean);
    Object.assign(state, { model: other.model, target: other.target });
    if (!text.includes("\n") && !lines.includes(text)) state.text = lines[0] ?? "";
    return text !== state.text || model !== state.model || target !== state.target;
  }
  return false;
}

export function addressOf(path, inputs) {
  const filled = Object.entries(inputs).filter(([, value]) => value !== "" && value !== null);
  return `#${path}?${new URLSearchParams(filled)}`;
}

// Two buttons: `figure` as SVG, and a link to it, which holds the inputs and is made only when asked for.
export function savers(figure, path, inputs) {
  const message = h("span.fine", { role: "status" });
  const save = () => {
    const url = URL.createObjectURL(new Blob([pictureOf(figure)], { type: "image/svg+xml" }));
    h("a", { href: url, download: `${path().replace("/", "-")}.svg` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
    message.textContent = "Saved.";
  };
  const link = async () => {
    history.replaceState(null, "", addressOf(path(), inputs()));
    const copied = await navigator.clipboard?.writeText(location.href).then(() => true, () => false);
    message.textContent = copied ? "The link is copied." : "The link is in the address bar.";
  };
  return h("div.savers", quiet("Save as SVG", save), quiet("Link to this", link), message);
}
