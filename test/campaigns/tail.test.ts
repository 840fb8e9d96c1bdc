/** Tails under disconnects and stalls, in the short size; the full one is `npm run campaign`. */
import { expect, test } from "bun:test";
import { control, run } from "../campaign/tail.ts";

const log = (): void => undefined;

test("200 readers that are cut off and stall see every entry once and in order, and the server's memory stays bounded", async () => {
  const { failures, notes } = await run({ seed: 11, size: "short", log });
  expect(failures).toEqual([]);
  expect(Number(notes["resumes"])).toBeGreaterThan(100);
  expect(Number(notes["stalled"])).toBe(20);
  expect(Number(notes["previews"])).toBeGreaterThan(0);
}, 60_000);

test("readers that resume one entry too early are noticed", async () => {
  const { failures } = await control({ seed: 11, size: "short", log });
  expect(failures.join("\n")).toContain("behind");
}, 60_000);
