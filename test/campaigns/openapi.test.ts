/** A fuzz of every operation, in the short size; the full one is `npm run campaign`. */
import { expect, test } from "bun:test";
import { control, run } from "../campaign/openapi.ts";

const log = (): void => undefined;

test("no request, however hostile, is answered with a 5xx or with what the document does not say", async () => {
  const { cases, failures } = await run({ seed: 1, size: "short", log });
  expect(failures).toEqual([]);
  expect(cases).toBeGreaterThanOrEqual(600);
}, 60_000);

test("a document that does not describe the answers is noticed", async () => {
  const { failures } = await control({ seed: 1, size: "short", log });
  expect(failures.join("\n")).toContain("a status that is not documented");
  expect(failures.join("\n")).toContain("a body outside its schema");
}, 60_000);
