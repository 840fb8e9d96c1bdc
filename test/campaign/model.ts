/**
 * The whole stack below the doors against a model of plain Maps: commands chosen by fast-check create, change, delete
 * and list constructs and sessions, append, read in every way, follow, seal and restart, in any order. The model
 * predicts every answer, every refusal and every byte of a transcript.
 */
import fc from "fast-check";
import type { CampaignOptions, CampaignResult } from "../support/campaign.ts";
import { COMMANDS } from "../support/model-choices.ts";
import { CreateConstruct, ListConstructs } from "../support/model-construct.ts";
import { Reopen, SealAll } from "../support/model-entry.ts";
import { CreateSession } from "../support/model-session.ts";
import { type Model, type Real, SESSION_IDS, Step, expectSession } from "../support/model.ts";
import { openTestStore } from "../support/store.ts";

const START_MS = 1_800_000_000_000;

/** A construct with two sessions, so that a run does not spend its commands on empty hands. */
const BEGINNING: readonly Step[] = [
  new CreateConstruct(0, { title: "alpha" }),
  new CreateSession(0, 0, null, {}),
  new CreateSession(1, 0, 0, {}),
];

async function runCommands(
  commands: Iterable<fc.AsyncCommand<Model, Real>>,
  forgetful: boolean,
  total: { commands: number; entries: number },
): Promise<void> {
  const store = await openTestStore();
  const model: Model = { now_ms: START_MS, constructs: new Map(), sessions: new Map(), tails: new Map() };
  const { context } = store;
  context.clock = { now_ms: () => model.now_ms, elapsed_ms: () => performance.now() };
  const real: Real = { store, context, tails: new Map(), forgetful, commands: 0 };
  try {
    for (const step of BEGINNING) await step.run(model, real);
    await fc.asyncModelRun(() => ({ model, real }), commands);
    // Whatever was done: all of it is there, and again after a restart, and after sealing.
    for (const last of [new Reopen(), new SealAll(), new Reopen()]) {
      for (const id of SESSION_IDS) await expectSession(model, real, id);
      await last.run(model, real);
    }
    for (const id of SESSION_IDS) await expectSession(model, real, id);
    for (const deleted of [false, true])
      await new ListConstructs({ deleted }, "created", "asc", 2).run(model, real);
  } finally {
    total.commands += real.commands;
    for (const { entries: stored } of model.sessions.values()) total.entries += stored.length;
    for (const tail of real.tails.values()) tail.close();
    await store.remove();
  }
}

async function check(
  { seed, log }: CampaignOptions,
  runs: number,
  forgetful: boolean,
  time_limit_ms: number,
): Promise<CampaignResult> {
  const began = performance.now();
  const total = { commands: 0, entries: 0 };
  const property = fc.asyncProperty(fc.commands(COMMANDS, { maxCommands: 60, size: "max" }), (commands) =>
    runCommands(commands, forgetful, total),
  );
  const details = await fc.check(property, { seed, numRuns: runs, interruptAfterTimeLimit: time_limit_ms });
  const failures: string[] = [];
  if (details.failed && details.counterexample !== null) {
    const cause =
      details.errorInstance instanceof Error ? details.errorInstance.message : String(details.errorInstance);
    failures.push(
      `seed ${seed}, path ${details.counterexamplePath}, after ${details.numShrinks} shrinks: ${cause}\n  ${String(details.counterexample[0]).replaceAll(/\),/g, "),\n  ")}`,
    );
  } else if (details.numRuns < runs)
    failures.push(`only ${details.numRuns} of ${runs} runs were done in ${time_limit_ms} ms`);
  log(`model: ${details.numRuns} runs, ${total.commands} commands, ${total.entries} entries`);
  return {
    cases: details.numRuns,
    failures,
    notes: {
      seed,
      commands: total.commands,
      entries: total.entries,
      shrinks: details.numShrinks,
      seconds: Number(((performance.now() - began) / 1_000).toFixed(1)),
    },
  };
}

/** 500 runs of up to 60 commands in full size, 25 in short. */
export function run(options: CampaignOptions): Promise<CampaignResult> {
  return options.size === "full" ? check(options, 500, false, 1_800_000) : check(options, 25, false, 60_000);
}

/** A store that forgets a line once it has sealed: a model that does not notice is blind. */
export function control(options: CampaignOptions): Promise<CampaignResult> {
  return check(options, 10, true, 5_000);
}
