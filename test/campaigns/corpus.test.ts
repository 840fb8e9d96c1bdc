/** Real transcripts, in the short size with the samples; the full one is `npm run campaign`. */
import { expect, test } from "bun:test";
import { control, run } from "../campaign/corpus.ts";

const log = (): void => undefined;

test("real transcripts come back byte for byte, before and after sealing and after a kill", async () => {
  const { cases, failures } = await run({ seed: 3, size: "short", log });
  expect(failures).toEqual([]);
  expect(cases).toBeGreaterThan(200);
}, 60_000);

test("a single other byte is noticed in pages, single entries and both streams", async () => {
  const { failures } = await control({ seed: 3, size: "short", log });
  for (const when of ["after writing", "after sealing", "after SIGKILL and a new start"])
    for (const road of ["page", "single entry", "stream", "zstd stream"])
      expect(failures.join("\n")).toMatch(new RegExp(`^${when}: .*jsonl: ${road}: `, "m"));
}, 60_000);
