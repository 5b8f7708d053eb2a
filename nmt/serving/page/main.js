// The frame of the page: which tab is shown, what the address holds, and whether the server answers.

import { h } from "./dom.js";
import { readAddress } from "./links.js";
import * as look from "./look.js";
import { ask, forget, setKey } from "./server.js";
import * as trainings from "./trainings.js";
import * as translate from "./translate.js";

const TABS = { translate, look, trainings };
const place = document.getElementById("view"), banner = document.getElementById("banner");
let leave = () => {}, models = null, waking;

// fresh: the inputs of the address count, not those that the user has changed since.
async function show(fresh = true) {
  let problem;
  try {
    models ??= (await ask("/v1/models")).models;
  } catch (error) {
    problem = error.message;
  }
  leave();
  leave = () => {};
  if (problem) return place.replaceChildren(h("p.wrong", problem));
  const { tab, view, inputs } = readAddress(), alone = !models.length; // with its trainings
  const chosen = alone ? "trainings" : TABS[tab] ? tab : "translate";
  for (const link of document.querySelectorAll("#tabs a")) {
    const current = link.hash.slice(1).startsWith(chosen);
    link.ariaCurrent = current ? "page" : null;
    link.hidden = alone && !current;
    if (current) document.title = `${link.textContent} · nmt`;
  }
  place.replaceChildren();
  leave = TABS[chosen].show(place, { models, inputs: fresh ? inputs : {}, view }) ?? leave;
}

function tell(state, text) {
  clearInterval(waking);
  if (state === "well" && !banner.querySelector("form")) banner.replaceChildren();
  if (state === "busy") banner.replaceChildren(h("p", text));
  if (state === "key" && !banner.querySelector("form")) askForKey(text);
  if (state === "stopped") {
    banner.replaceChildren(h("p", `${text} This page goes on by itself once it is back.`));
    waking = setInterval(wake, 3000);
  }
}

async function wake() {
  const found = await fetch("/v1/models").catch(() => null);
  if (!found?.ok) return;
  tell("well");
  models = null;
  forget();
  show(false);
}

function askForKey(text) {
  const input = h("input", { type: "password", autocomplete: "off", required: true, pattern: "[ -~]+", title: "letters, digits and signs" });
  const enter = (event) => {
    event.preventDefault();
    setKey(input.value);
    banner.replaceChildren();
    show(false);
  };
  banner.replaceChildren(
    h("form", { onsubmit: enter }, h("p", text), h("label", "Key ", input), h("button", "Use this key")),
  );
}

document.addEventListener("server", (event) => tell(event.detail.state, event.detail.text));
addEventListener("hashchange", show);
document.querySelector(".skip").onclick = (event) => {
  event.preventDefault(); // the address stays that of the view
  place.focus();
};
show();
