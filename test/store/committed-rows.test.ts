/** Rows are kept until something is committed, and never more of them than the bound. */
import { expect, test } from "bun:test";
import { limit } from "../../src/limits.ts";
import { createCommittedRows } from "../../src/store/sqlite/committed-rows.ts";

test("a row is read once between two transactions, and again after each", () => {
  let transactions = 0;
  let reads = 0;
  const rows = createCommittedRows<number>(() => transactions);
  const read = (): number => {
    reads += 1;
    return reads;
  };
  expect([rows("a", read), rows("a", read), rows("b", read)]).toEqual([1, 1, 2]);
  transactions += 1;
  expect([rows("a", read), rows("a", read)]).toEqual([3, 3]);
});

test("what is not there is looked for again", () => {
  const rows = createCommittedRows<number>(() => 0);
  expect(rows("a", () => null)).toBeNull();
  expect(rows("a", () => 1)).toBe(1);
});

test("committed_rows_count are kept", () => {
  const rows = createCommittedRows<number>(() => 0);
  for (let key = 0; key < limit("committed_rows_count"); key += 1) rows(String(key), () => key);
  expect(rows("next", () => -1)).toBe(-1);
  let is_read = false;
  rows("0", () => {
    is_read = true;
    return 0;
  });
  expect(is_read).toBe(true);
});
