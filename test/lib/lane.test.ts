/** The lane: how many pass in a turn, and in which order. */
import { expect, test } from "bun:test";
import { createLane } from "../../src/lib/lane.ts";
import { limit } from "../../src/limits.ts";
import { nextTurn } from "../../src/lib/turn.ts";

test("appends_per_turn_count pass at once, one more in the next turn", async () => {
  const most = limit("appends_per_turn_count");
  const enter = createLane(most);
  const passed: number[] = [];
  const all = Array.from({ length: 2 * most + 1 }, async (_, index) => {
    await enter();
    passed.push(index);
  });
  await Promise.resolve();
  await Promise.resolve();
  expect(passed).toHaveLength(most);
  await nextTurn();
  expect(passed).toHaveLength(2 * most);
  await Promise.all(all);
  expect(passed).toEqual(Array.from(passed, (_, index) => index));
});

test("a lane that was idle lets the next one through at once", async () => {
  const enter = createLane(1);
  await enter();
  await nextTurn();
  await nextTurn();
  let passed = false;
  void enter().then(() => {
    passed = true;
  });
  await Promise.resolve();
  await Promise.resolve();
  expect(passed).toBe(true);
});
