import { describe, expect, test } from "bun:test";
import { bytes, count, duration, parseInstant, relativeTime, shortId } from "../../src/cli/format.ts";

const NOW = Date.UTC(2026, 10, 24, 12);

describe("relative times", () => {
  test.each([
    [0, "now"],
    [1_999, "now"],
    [2_000, "2s ago"],
    [59_999, "59s ago"],
    [60_000, "1m ago"],
    [3_600_000, "1h ago"],
    [86_400_000, "1d ago"],
    [30 * 86_400_000, "2026-10-25"],
    [-7_200_000, "in 2h"],
  ])("%d ms before is %p", (ms, text) => expect(relativeTime(NOW - ms, NOW)).toBe(text));
});

describe("sizes", () => {
  test.each([
    [0, "0 B"],
    [1_023, "1023 B"],
    [1_024, "1.0 KiB"],
    [10_189, "10 KiB"],
    [1_048_575, "1.0 MiB"],
    [5 * 1024 ** 4, "5.0 TiB"],
    [5_000 * 1024 ** 4, "5000 TiB"],
  ])("%d is %p", (size, text) => expect(bytes(size)).toBe(text));
});

describe("durations", () => {
  test.each([
    [850, "850ms"],
    [12_340, "12.3s"],
    [245_000, "4m 5s"],
    [10_920_000, "3h 2m"],
    [435_600_000, "5d 1h"],
  ])("%d is %p", (ms, text) => expect(duration(ms)).toBe(text));
});

test("numbers are grouped by three", () => {
  expect([0, 999, 1_000, 1_234_567].map(count)).toEqual(["0", "999", "1,000", "1,234,567"]);
});

test("a short id is the end of an id, which neighbours do not share", () => {
  expect(shortId("01940000-0000-7000-8000-0000a1b2c3d4")).toBe("a1b2c3d4");
});

describe("instants as people give them", () => {
  test.each([
    ["90s", NOW - 90_000],
    ["2h", NOW - 7_200_000],
    ["7d", NOW - 604_800_000],
    ["2026-01-31", Date.UTC(2026, 0, 31)],
    ["2026-01-31T10:00:00Z", Date.UTC(2026, 0, 31, 10)],
    ["1700000000000", 1_700_000_000_000],
    ["999999w", 0],
    ["yesterday", null],
    ["2026-13-01", null],
    ["5", null],
    ["", null],
  ])("%p", (text, at_ms) => expect(parseInstant(text, NOW)).toBe(at_ms));
});
