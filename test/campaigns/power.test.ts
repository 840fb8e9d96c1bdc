/** Power loss, in the short size; the full one is `npm run campaign`. */
import { expect } from "bun:test";
import { run } from "../campaign/power.ts";
import { skipWithout } from "../support/tools.ts";

const log = (): void => undefined;
const { test } = skipWithout(["root", "loop mount", "python3"], "power loss");

test("a power failure takes nothing that was acknowledged, and the control shows that it could", async () => {
  const { failures, notes } = await run({ seed: 2, size: "short", log });
  expect(failures).toEqual([]);
  expect(Number(notes["acknowledged_requests"])).toBeGreaterThan(0);
  expect(Number(notes["writer_acknowledged"])).toBeGreaterThan(0);
  expect(Number(notes["control_lost"])).toBeGreaterThan(0);
}, 60_000);
