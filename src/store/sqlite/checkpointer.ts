/**
 * When the log goes into the database. A checkpoint on the writing connection stops the event loop for about 14 ms
 * for each 1,000 pages, so a thread does it, and only the writer waits. It has to: SQLite starts its log anew only
 * when all of it is in the database, and two who sync one disk at once wait for each other (commits took 7 ms).
 *
 * Two connections that write and checkpoint at one instant need a library without the WAL-reset bug (facts 7); with
 * another one SQLite checkpoints by itself, on the writing connection.
 */
import type { Database } from "bun:sqlite";
import { statfsSync } from "node:fs";
import { limit } from "../../limits.ts";
import type { CheckpointAnswer, CheckpointRequest } from "./checkpoint-worker.ts";
import { canCountCheckpoint, classifySqliteError, isWalResetSafe, sqliteVersion } from "./connection.ts";
import type { Writer } from "./writer.ts";

export interface Checkpointer {
  /** To be called after each attempt to commit, outside of transactions. */
  noteCommit(): void;
  /** Ends the thread; the connection that closes last moves what is left. */
  close(): Promise<void>;
}

/** The worker's file, beside this one in the sources and beside the main module in the compiled binary. */
function startWorker(): Worker {
  return new Worker(new URL("./checkpoint-worker.ts", import.meta.url).href);
}

/** Pages of the log that are not in the database yet. Costs 2 µs. */
function pendingPages(db: Database): number {
  const [row] = db.query("PRAGMA wal_checkpoint(NOOP)").values();
  return Math.max(0, Number(row?.[1]) - Number(row?.[2]));
}

function isRoomLow(path: string): boolean {
  try {
    const { bavail, bsize } = statfsSync(path);
    return bavail * bsize < limit("low_room_bytes");
  } catch {
    // Where that cannot be asked the ordinary bound holds.
    return false;
  }
}

/** The writer is held meanwhile, and told when the engine fails for good: the log may not be what it was. */
export function createCheckpointer(
  db: Database,
  path: string,
  { hold, fail }: Pick<Writer, "hold" | "fail">,
): Checkpointer {
  const version = sqliteVersion(db);
  if (!isWalResetSafe(version) || !canCountCheckpoint(version))
    return { noteCommit: () => undefined, close: async () => undefined };
  db.run("PRAGMA wal_autocheckpoint = 0");
  // A writer that does not sync (the control of the power-loss campaign) must not be made safe here.
  const synchronous = Number(db.query("PRAGMA synchronous").values()[0]?.[0]) === 0 ? "OFF" : "FULL";
  let worker: Worker | null = null;
  let ended: Promise<void> = Promise.resolve();
  let closed = false;
  /** After a failure that may pass, such as a full disk. */
  let resting = false;
  /** Set while the thread is at work. */
  let release: (() => void) | null = null;

  /** A checkpoint is over, however it went. */
  const settle = (): void => {
    release?.();
    release = null;
  };

  const rest = (): void => {
    resting = true;
    setTimeout(() => {
      resting = false;
    }, limit("checkpoint_retry_ms")).unref();
  };

  const failed = (kind: string, reason: string): void => {
    if (kind === "full" || kind === "busy") rest();
    else fail(reason);
  };

  /** A full disk is left only when the whole log fits into the database once more: near it the log is kept short. */
  const isDue = (): boolean => {
    try {
      const pending = pendingPages(db);
      if (pending >= limit("checkpoint_pages_count")) return true;
      return pending >= limit("low_room_checkpoint_pages_count") && isRoomLow(path);
    } catch (error) {
      failed(classifySqliteError(error), error instanceof Error ? error.message : String(error));
      return false;
    }
  };

  const start = (): Worker => {
    const started = startWorker();
    const { promise, resolve } = Promise.withResolvers<void>();
    ended = promise;
    started.addEventListener("message", ({ data }: MessageEvent<CheckpointAnswer>) => {
      settle();
      if (closed) return;
      if ("error" in data) failed(data.kind, data.error);
      // A reader that began before still needs the log: to try again at once would move nothing.
      else if (isDue()) rest();
    });
    started.addEventListener("error", (event) => {
      worker = null;
      settle();
      resolve();
      rest();
      event.preventDefault();
    });
    started.addEventListener("close", () => resolve());
    started.unref();
    return started;
  };

  return {
    noteCommit() {
      if (release !== null || resting || closed) return;
      if (!isDue()) return;
      worker ??= start();
      release = hold();
      worker.postMessage({ path, synchronous } satisfies CheckpointRequest);
    },
    async close() {
      closed = true;
      worker?.postMessage({ close: true } satisfies CheckpointRequest);
      await ended;
    },
  };
}
