import { expect } from "bun:test";
import { run, seesLoss } from "../campaign/kill.ts";
import { skipWithout } from "../support/tools.ts";

const { test } = skipWithout(["strace"], "kills at chosen system calls");

test("a killed server loses, doubles and reorders nothing that it acknowledged", async () => {
  const { failures, cases } = await run({ seed: 11, size: "short", log: () => {} });
  expect(failures).toEqual([]);
  expect(cases).toBe(6);
}, 60_000);

test("a changed entry is seen by the verification", async () => {
  expect(await seesLoss(5)).toBe(true);
}, 30_000);
