/**
 * A thread that moves the log into the database, so that the writer need not stop for it. It changes no content; it
 * answers one request at a time, is told to close and ends by itself (facts 12).
 */
import type { Database } from "bun:sqlite";
import {
  classifySqliteError,
  closeConnection,
  openWriter,
  type SqliteErrorKind,
  type Synchronous,
} from "./connection.ts";

declare const self: Worker;

interface Checkpoint {
  path: string;
  synchronous: Synchronous;
}

export type CheckpointRequest = Checkpoint | { close: true };
export type CheckpointAnswer = { done: true } | { error: string; kind: SqliteErrorKind };

let db: Database | null = null;

/** Opened with the first checkpoint; one that cannot be opened is tried again with the next. */
function checkpoint({ path, synchronous }: Checkpoint): CheckpointAnswer {
  try {
    db ??= openWriter(path, { synchronous });
    // Waits for nobody: what readers still need is left for the next time.
    db.run("PRAGMA wal_checkpoint(PASSIVE)");
    return { done: true };
  } catch (error) {
    return {
      error: error instanceof Error ? error.message : String(error),
      kind: classifySqliteError(error),
    };
  }
}

self.addEventListener("message", ({ data }: MessageEvent<CheckpointRequest>): void => {
  if ("close" in data) {
    if (db !== null) closeConnection(db);
    self.terminate();
    return;
  }
  self.postMessage(checkpoint(data));
});
