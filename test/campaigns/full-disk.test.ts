/** A full disk, in the short size; the full one is `npm run campaign`. */
import { expect, test } from "bun:test";
import { control, run } from "../campaign/full-disk.ts";

const log = (line: string): void => void (line.includes("NOT RUN") && process.stderr.write(`${line}\n`));

test("a full disk refuses whole requests, loses nothing that was acknowledged, and writing goes on once there is room", async () => {
  const { failures, notes } = await run({ seed: 3, size: "short", log });
  expect(failures).toEqual([]);
  expect(Number(notes["limit_rounds_full"])).toBeGreaterThan(0);
  expect(Number(notes["limit_acknowledged"])).toBeGreaterThan(0);
}, 60_000);

test("an acknowledgement of what could not be stored is noticed", async () => {
  const { failures } = await control({ seed: 3, size: "short", log });
  expect(failures.length).toBeGreaterThan(0);
}, 60_000);
