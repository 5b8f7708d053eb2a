// What the server has told of the runs so far. Only what is new is asked for.

import { ask } from "./server.js";

const PARTS = 200; // answers in a row about one run
const nothing = () => ({ offset: 0, log: null, events: [], samples: [], health: [] });

export class Runs {
  told = new Map();

  // Reads what is new of some runs; returns whether anything is.
  async read(names, signal) {
    let changed = false;
    for (const name of names) if (await this.readRun(name, signal)) changed = true;
    return changed;
  }

  async readRun(name, signal) {
    let own = this.told.get(name) ?? nothing(), changed = !this.told.has(name);
    for (let part = 0; part < PARTS; part += 1) {
      const found = await ask(`/v1/runs/${encodeURIComponent(name)}?after=${own.offset}`, { signal });
      if (own.log !== null && found.log !== own.log) {
        own = nothing(); // the file was replaced
        changed = true;
        continue;
      }
      changed ||= found.events.length > 0;
      Object.assign(own, { offset: found.offset, log: found.log, health: found.health });
      for (const event of found.events) {
        // A resumed training goes back to its checkpoint: what it had logged after that is gone.
        if (event.kind === "start") own.events = own.events.filter(({ step }) => step <= event.step);
        own.events.push(event);
      }
      const validated = new Set(own.events.filter(({ kind }) => kind === "validation").map(({ step }) => step));
      own.samples = [...own.samples, ...found.validation].filter(({ step }) => validated.has(step));
      if (!found.more) break;
    }
    this.told.set(name, own);
    return changed;
  }

  health = (name) => this.told.get(name)?.health ?? [];
  samples = (name) => this.told.get(name)?.samples ?? [];

  curve(name, kind, key) {
    const found = (this.told.get(name)?.events ?? []).filter((event) => event.kind === kind && Number.isFinite(event[key]));
    return found.map((event) => [event.step, event[key]]);
  }

  // The updates after which some of these runs have samples.
  steps = (names) => [...new Set(names.flatMap((name) => this.samples(name).map(({ step }) => step)))].sort((a, b) => a - b);

  // The sentences of validations, each with what the runs said of it by an update.
  sentences(names, update) {
    const found = new Map();
    for (const run of names) {
      const { step, sentences = [] } = this.samples(run).findLast((sample) => sample.step <= update) ?? {};
      for (const { source, reference, translation, attention } of sentences) {
        if (!found.has(source)) found.set(source, { source, reference, said: [] });
        found.get(source).said.push({ run, step, text: translation, attention });
      }
    }
    return [...found.values()];
  }
}
