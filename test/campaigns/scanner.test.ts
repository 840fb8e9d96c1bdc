import { expect, test } from "bun:test";
import { elementSpans, memberSpans } from "../../src/lib/json-scan.ts";
import { run } from "../campaign/scanner.ts";

const options = { seed: 1, size: "short", log: () => {} } as const;

test("the scanner cuts every text into the values that JSON.parse sees", async () => {
  expect((await run(options)).failures).toEqual([]);
});

test("a scanner that ignores escaped quotes is found", async () => {
  const blind = (text: string, from?: number) => memberSpans(text.replaceAll('\\"', 'x"'), from);
  expect((await run(options, { memberSpans: blind, elementSpans })).failures).not.toEqual([]);
});
