// Speaks with the server. Whatever goes wrong becomes one plain line: a Failure, or an event "server" for the banner.

import { keep, kept } from "./dom.js";

const TRIES = 6, LONGEST_WAIT = 30, KEPT = 40; // seconds; answers
const memories = [];

// What the server has said; a server that comes back may serve other models, so all is forgotten.
export const memory = () => memories[memories.push(new Map()) - 1];
export const forget = () => memories.forEach((one) => one.clear());

const answers = memory();

export class Failure extends Error {}

// state: well, busy, stopped, or key (one is wanted).
const tell = (state, text = "") => document.dispatchEvent(new CustomEvent("server", { detail: { state, text } }));

export const setKey = (key) => keep("key", key, "sessionStorage");

// Asks a path: by GET, or by POST with a body, an object or a form. Asks again where the server says when.
export async function ask(path, { body, signal } = {}) {
  for (let attempt = 1; ; attempt += 1) {
    const answer = await sent(path, body, signal);
    const found = await answer.json().catch(() => null);
    signal?.throwIfAborted();
    if (answer.ok && found) {
      tell("well");
      return found;
    }
    const text = found?.error ?? `The server gave an answer that cannot be read (status ${answer.status}).`;
    if (answer.status === 403) tell("key", text);
    const wait = Number(answer.headers.get("Retry-After")); // none where the request itself did harm
    if (![429, 503].includes(answer.status) || !wait || attempt === TRIES) throw new Failure(text);
    const seconds = Math.min(LONGEST_WAIT, wait);
    tell("busy", `The server says: ${text}. Asking again in ${seconds} s.`);
    await new Promise((done) => setTimeout(done, 1000 * seconds));
    signal?.throwIfAborted();
  }
}

// The same for a view, whose answer to the same question is kept.
export async function look(view, question, signal) {
  const key = JSON.stringify([view, question]);
  if (!answers.has(key)) {
    const found = await ask(`/v1/${view}`, { body: question, signal });
    answers.set(key, found);
    if (answers.size > KEPT) answers.delete(answers.keys().next().value);
  }
  return answers.get(key);
}

async function sent(path, body, signal) {
  const key = kept("key", "sessionStorage"), form = body instanceof FormData;
  const headers = { ...(key && { Authorization: `Bearer ${key}` }), ...(body && !form && { "Content-Type": "application/json" }) };
  const options = { method: body ? "POST" : "GET", headers, signal, body: form ? body : body && JSON.stringify(body) };
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    const text = "The server does not answer. It may have been stopped.";
    tell("stopped", text);
    throw new Failure(text);
  }
}

// One thing at a time: begin() stops what began before and returns a signal for what begins now.
export class Turn {
  begin() {
    this.end();
    this.controller = new AbortController();
    return this.controller.signal;
  }

  end() {
    this.controller?.abort();
  }
}

// Runs act; shows its failure in the line `message`. What was stopped says nothing.
export async function attempt(message, act) {
  try {
    await act();
  } catch (error) {
    if (error.name === "AbortError") return;
    message.textContent = error.message;
    message.classList.add("wrong");
    if (!(error instanceof Failure)) throw error; // a fault of the page, for the console
  }
}

export function say(message, text) {
  message.classList.remove("wrong");
  message.textContent = text;
}
