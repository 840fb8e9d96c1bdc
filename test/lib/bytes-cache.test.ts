/** The cache loads what many want at the same time once. Its bounds are tested with the limits that it is given. */
import { expect, test } from "bun:test";
import { createBytesCache } from "../../src/lib/bytes-cache.ts";

test("what many want at once is loaded once and kept", async () => {
  const cache = createBytesCache<number>(10);
  let loads = 0;
  const want = (): Promise<number | null> =>
    cache.load("a", async () => {
      loads += 1;
      await Bun.sleep(1);
      return { value: 7, bytes: 3 };
    });
  expect(await Promise.all([want(), want(), want()])).toEqual([7, 7, 7]);
  expect(await want()).toBe(7);
  expect(loads).toBe(1);
  expect(cache.stats).toEqual({ hits: 1, misses: 3, bytes: 3, count: 1 });
});

test("a failure is told to all who wait, and asked for again by the next", async () => {
  const cache = createBytesCache<number>(10);
  const fail = (): Promise<number | null> => cache.load("a", () => Promise.reject(new Error("no")));
  const outcomes = await Promise.allSettled([fail(), fail()]);
  expect(outcomes.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  expect(await cache.load("a", async () => ({ value: 1, bytes: 1 }))).toBe(1);
});

test("null and what is too large are given and not kept", async () => {
  const cache = createBytesCache<number>(10);
  expect(await cache.load("a", async () => null)).toBeNull();
  expect(await cache.load("b", async () => ({ value: 2, bytes: 11 }))).toBe(2);
  expect(cache.stats.count).toBe(0);
});
