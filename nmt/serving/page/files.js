// A file that is translated as a whole by the server. The form outlives its tab, and with it the link to what was translated.

import { h, statusLine } from "./dom.js";
import { ask, attempt, say } from "./server.js";

const message = statusLine(), about = h("p.fine"), send = h("button", "Translate the file");
const input = h("input", { type: "file", accept: ".txt,.html,text/plain,text/html", required: true, "aria-label": "File to translate" });
let to; // the model and its languages

async function submit(event) {
  event.preventDefault();
  const [file] = input.files, body = new FormData();
  for (const [name, value] of Object.entries({ ...to, file })) body.append(name, value);
  send.disabled = true;
  say(message, `Translating ${file.name}…`);
  await attempt(message, async () => {
    const { translatedFileUrl } = await ask("/translate_file", { body });
    // Only the path counts: behind a proxy the server may not know its own name.
    const href = new URL(translatedFileUrl, location.href).pathname;
    message.replaceChildren(h("a", { href, download: "" }, `Download the translation of ${file.name}`));
  });
  send.disabled = false;
}

export const fileForm = h(
  "details.more", h("summary", "Translate a file"), about, h("form.row", { onsubmit: submit }, input, send), message,
);

export function translateFilesBy({ name: model, source }, target) {
  to = { model, source, target };
  about.textContent = `Plain text or HTML, in UTF-8. ${model} translates it.`;
}
