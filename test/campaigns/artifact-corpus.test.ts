/** Real files as artifacts, in the short size; the full one is `npm run campaign`. */
import { expect, test } from "bun:test";
import { control, run } from "../campaign/artifact-corpus.ts";

const log = (): void => undefined;

test("real files come back byte for byte as identity, zstd, ranges and lines, before and after compression", async () => {
  const { failures, notes, cases } = await run({ seed: 3, size: "short", log });
  expect(failures).toEqual([]);
  expect(cases).toBeGreaterThan(10);
  expect(Number(notes["compressed_files"])).toBeGreaterThan(0);
}, 60_000);

test("a single other byte on the disk is noticed", async () => {
  const { failures } = await control({ seed: 3, size: "short", log });
  expect(failures.join("\n")).toContain("other bytes as identity");
}, 60_000);
