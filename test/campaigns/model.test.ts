/** The store against a model, in the short size; the full one is `npm run campaign`. */
import { expect, test } from "bun:test";
import { control, run } from "../campaign/model.ts";

const log = (): void => undefined;

test("constructs, sessions and entries behave as the model says, over restarts and sealing", async () => {
  const { cases, failures } = await run({ seed: 5, size: "short", log });
  expect(failures).toEqual([]);
  expect(cases).toBe(25);
}, 90_000);

test("a store that forgets a line after sealing is noticed", async () => {
  const { failures } = await control({ seed: 5, size: "short", log });
  expect(failures.length).toBe(1);
}, 60_000);
