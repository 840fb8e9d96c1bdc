import { expect, test } from "bun:test";
import { run } from "../campaign/corpus.ts";

test("real transcripts come back byte for byte, before and after sealing and after a kill", async () => {
  const { failures, cases } = await run({ seed: 3, size: "short", log: () => {} });
  expect(failures).toEqual([]);
  expect(cases).toBeGreaterThan(200);
}, 60_000);
