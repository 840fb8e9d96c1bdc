/** Retries through a proxy that loses answers, in the short size; the full one is `npm run campaign`. */
import { expect, test } from "bun:test";
import { control, run } from "../campaign/retry.ts";

const log = (): void => undefined;

test("with `after` and `key` everything is there exactly once, whatever is lost on the way", async () => {
  const { cases, failures, notes } = await run({ seed: 7, size: "short", log });
  expect(failures).toEqual([]);
  expect(cases).toBe(400);
  expect(Number(notes["conflicts"])).toBeGreaterThan(0);
  expect(Number(notes["replays_seen"])).toBeGreaterThan(0);
}, 60_000);

test("without them the same faults double entries, and the campaign sees it", async () => {
  const { failures } = await control({ seed: 7, size: "short", log });
  expect(failures.join("\n")).toMatch(/alone0 .* entries instead of/);
  expect(failures.join("\n")).toMatch(/pair0 .* entries instead of/);
}, 60_000);
