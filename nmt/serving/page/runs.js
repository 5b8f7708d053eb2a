// What the server has told of the runs so far. Only what is new is asked for.

import { ask } from "./server.js";

const PARTS = 200; // answers in a row about one run

export class Runs {
  constructor() {
    Object.assign(this, { names: [], told: new Map() });
  }

  async list(signal) {
    const { runs } = await ask("/v1/runs", { signal });
    this.names = runs.map((run) => run.name);
    return runs;
  }

  // Reads what is new of some runs; returns whether anything is.
  async read(names, signal) {
    let changed = false;
    for (const name of names) {
      const read = await this.readRun(name, signal);
      changed ||= read;
    }
    return changed;
  }

  async readRun(name, signal) {
    const known = this.told.get(name);
    let own = known ?? { offset: 0, log: null, events: [], samples: new Map(), health: [] }, changed = !known;
    for (let part = 0; part < PARTS; part += 1) {
      const found = await ask(`/v1/runs/${encodeURIComponent(name)}?after=${own.offset}`, { signal });
      if (own.log !== null && found.log !== own.log) {
        own = { offset: 0, log: null, events: [], samples: new Map(), health: [] }; // the training began again
        changed = true;
        continue;
      }
      changed ||= found.events.length > 0;
      Object.assign(own, { offset: found.offset, log: found.log ?? null, health: found.health ?? [] });
      for (const event of found.events) own.events.push(event);
      for (const sample of found.validation ?? []) own.samples.set(sample.step, sample.sentences ?? []);
      if (!found.more) break;
    }
    this.told.set(name, own);
    return changed;
  }

  // The colour of a run: its place in the list.
  place = (name) => Math.max(0, this.names.indexOf(name));
  health = (name) => this.told.get(name)?.health ?? [];

  // Points [update, value]; where a resumed training repeats an update, the last counts.
  curve(name, kind, key) {
    const found = new Map();
    for (const event of this.told.get(name)?.events ?? []) {
      if (event.kind === kind && Number.isFinite(event[key])) found.set(event.step, event[key]);
    }
    return [...found].sort(([a], [b]) => a - b);
  }

  // The sentences of validations, each with what the runs last said.
  sentences(names) {
    const found = new Map();
    for (const run of names) {
      const samples = this.told.get(run)?.samples ?? new Map(), step = Math.max(...samples.keys());
      for (const { source, reference, translation } of samples.get(step) ?? []) {
        if (!found.has(source)) found.set(source, { source, reference, said: [] });
        found.get(source).said.push({ run, step, text: translation });
      }
    }
    return [...found.values()];
  }
}
