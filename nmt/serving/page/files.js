// A file that is translated as a whole by the server.

import { h, statusLine } from "./dom.js";
import { ask, attempt, say } from "./server.js";

export function fileForm({ name: model, source }, target) {
  const message = statusLine();
  const input = h("input", { type: "file", accept: ".txt,.html,text/plain,text/html", required: true, "aria-label": "File to translate" });
  const button = h("button", "Translate the file");
  const send = async (event) => {
    event.preventDefault();
    const [file] = input.files, body = new FormData();
    for (const [name, value] of Object.entries({ model, source, target, file })) body.append(name, value);
    button.disabled = true;
    say(message, `Translating ${file.name}…`);
    await attempt(message, async () => {
      const { translatedFileUrl } = await ask("/translate_file", { body });
      // Only the path counts: behind a proxy the server may not know its own name.
      const href = new URL(translatedFileUrl, location.href).pathname;
      message.replaceChildren(h("a", { href, download: "" }, `Download the translation of ${file.name}`));
    });
    button.disabled = false;
  };
  return h(
    "details.more", h("summary", "Translate a file"),
    h("p.fine", `Plain text or HTML, in UTF-8. ${model} translates it.`),
    h("form.row", { onsubmit: send }, input, button), message,
  );
}
