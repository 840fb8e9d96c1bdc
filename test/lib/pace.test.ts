/** The pace of long streams: none while nobody else works, a bound on all of them together while somebody does. */
import { expect, test } from "bun:test";
import { createPace, paced } from "../../src/lib/pace.ts";
import { limit } from "../../src/limits.ts";

const MIB = 1_048_576;

/** A pace on a clock that only sleeping moves, for others that did `done` things so far. */
function stage() {
  const state = { now_ms: 1_000, done: 0, slept_ms: 0 };
  const pace = createPace({
    clock: { elapsed_ms: () => state.now_ms },
    progress: () => state.done,
    bytes_per_s: limit("upload_busy_bytes_per_s"),
    busy_ms: limit("upload_busy_ms"),
    async sleep(ms) {
      state.now_ms += ms;
      state.slept_ms += ms;
    },
  });
  return { state, pace };
}

test("nobody waits while no other makes progress", async () => {
  const { state, pace } = stage();
  for (let piece = 0; piece < 1_000; piece += 1) await pace(MIB);
  expect(state.slept_ms).toBe(0);
});

test("while others make progress all streams together take upload_busy_bytes_per_s", async () => {
  const { state, pace } = stage();
  const began_ms = state.now_ms;
  let bytes = 0;
  for (let piece = 0; piece < 400; piece += 1) {
    state.done += 1;
    await pace(65_536);
    await pace(MIB);
    bytes += 65_536 + MIB;
  }
  const rate = bytes / ((state.now_ms - began_ms) / 1_000);
  expect(rate / limit("upload_busy_bytes_per_s")).toBeGreaterThan(0.95);
  expect(rate / limit("upload_busy_bytes_per_s")).toBeLessThan(1.05);
});

test("upload_busy_ms after the last progress of others nobody waits any more", async () => {
  const { state, pace } = stage();
  state.done += 1;
  await pace(10 * MIB);
  await pace(MIB);
  expect(state.slept_ms).toBeGreaterThan(0);
  state.now_ms += limit("upload_busy_ms") + 1_000;
  const slept_ms = state.slept_ms;
  await pace(100 * MIB);
  await pace(100 * MIB);
  expect(state.slept_ms).toBe(slept_ms);
});

test("paced gives the same chunks and ends its source when it is left", async () => {
  let is_closed = false;
  async function* source(): AsyncGenerator<Uint8Array> {
    try {
      for (let value = 0; value < 5; value += 1) yield Uint8Array.of(value);
    } finally {
      is_closed = true;
    }
  }
  const { pace } = stage();
  const seen: number[] = [];
  for await (const [value = -1] of paced(pace, source())) {
    seen.push(value);
    if (value === 2) break;
  }
  expect(seen).toEqual([0, 1, 2]);
  expect(is_closed).toBe(true);
});
