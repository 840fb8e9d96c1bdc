/**
 * Rows that were read, for as long as nothing was committed since. Only this process writes, one transaction at a time
 * and never in the middle of a read, so that what is kept is what the database would give.
 */
import { limit } from "../../limits.ts";

/** The kept row of that key, or what `read` gives; null is not kept. */
export type CommittedRows<Row> = (key: string, read: () => Row | null) => Row | null;

/** `transactionCount` changes with each transaction that was or may have been committed. */
export function createCommittedRows<Row>(transactionCount: () => number): CommittedRows<Row> {
  const rows = new Map<string, Row>();
  let kept_at = transactionCount();

  return (key, read) => {
    const now = transactionCount();
    if (now !== kept_at || rows.size >= limit("committed_rows_count")) rows.clear();
    kept_at = now;
    const kept = rows.get(key);
    if (kept !== undefined) return kept;
    const row = read();
    if (row !== null) rows.set(key, row);
    return row;
  };
}
