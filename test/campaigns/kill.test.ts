/** kill -9, in the short size; the full one is `npm run campaign`. */
import { expect } from "bun:test";
import { control, run } from "../campaign/kill.ts";
import { skipWithout } from "../support/tools.ts";

const log = (): void => undefined;
const { test } = skipWithout(["strace"], "kills at chosen system calls");

test("a killed server loses, doubles and reorders nothing that it acknowledged", async () => {
  const { cases, failures, notes } = await run({ seed: 11, size: "short", log });
  expect(failures).toEqual([]);
  expect(cases).toBe(6);
  expect(Number(notes["acknowledged_requests"])).toBeGreaterThan(0);
}, 90_000);

test("an acknowledged entry that is changed, lost, doubled or moved is noticed", async () => {
  const { failures } = await control({ seed: 5, size: "short", log });
  for (const damage of ["changed", "lost", "doubled", "reordered"])
    expect(failures.join("\n")).toMatch(new RegExp(`^${damage}: session `, "m"));
}, 60_000);
