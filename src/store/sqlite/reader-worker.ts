/**
 * A thread for reads that may take longer than a few milliseconds. It has a read-only connection of its own and
 * answers one question at a time. It is told to close and ends by itself (facts 12).
 */
import { classifySqliteError, openReader } from "./connection.ts";
import { allBuilt, finalizeStatements, type Parameters } from "./statement.ts";

declare const self: Worker;

export type ReaderQuestion =
  { id: number; sql: string; parameters: Parameters } | { open: string } | { close: true };
export type ReaderAnswer =
  { id: number; rows: unknown[] } | { id: number; error: string; is_corrupt: boolean };

let db: ReturnType<typeof openReader> | null = null;

self.addEventListener("message", ({ data }: MessageEvent<ReaderQuestion>): void => {
  if ("open" in data) {
    db = openReader(data.open);
    return;
  }
  if ("close" in data) {
    if (db !== null) finalizeStatements(db);
    db?.close();
    self.terminate();
    return;
  }
  try {
    if (db === null) throw new Error("the reader is not open");
    self.postMessage({ id: data.id, rows: allBuilt(db, data.sql, data.parameters) } satisfies ReaderAnswer);
  } catch (error) {
    self.postMessage({
      id: data.id,
      error: error instanceof Error ? error.message : String(error),
      is_corrupt: classifySqliteError(error) === "corrupt",
    } satisfies ReaderAnswer);
  }
});
