import { expect } from "bun:test";
import { run } from "../campaign/power.ts";
import { skipWithout } from "../support/tools.ts";

const { test } = skipWithout(["root", "loop mount", "python3"], "power loss");

test("a power failure takes nothing that was acknowledged, and the control shows that it could", async () => {
  const { failures, notes } = await run({ seed: 2, size: "short", log: () => {} });
  expect(failures).toEqual([]);
  expect(Number(notes["control_lost"])).toBeGreaterThan(0);
}, 60_000);
