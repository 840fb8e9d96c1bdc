/**
 * The bound on entries that are rows: what they take, who has to wait for room, and the trim. Sealed rows lie dead
 * until the oldest range of ids is all dead; then it is deleted whole (transcripts.md rules 1, 2 and 4). It says which
 * sessions own the oldest rows when there are too many, and leaves the sealing of them to the sealer.
 */
import type { Database } from "bun:sqlite";
import { Problem } from "../../errors.ts";
import { errorText, type Log } from "../../lib/log.ts";
import { limit } from "../../limits.ts";
import { oldestRows, type OldRow, rowTotal, trimRows } from "./entry-row.ts";
import type { Writer } from "./writer.ts";

export interface HotRows {
  /** Bytes of all rows, dead ones too. */
  readonly bytes: number;
  /** More than there should be: background writes no longer wait for company. */
  readonly is_pressed: boolean;
  /** After a start: what is there already. A scan of the rows without their overflow pages. */
  count(): void;
  added(bytes: number): void;
  /** Rows of a session were sealed. */
  died(row_count: number): void;
  /** Null while there is room; else a promise that waits its turn for it. Errors: `busy` when it takes too long. */
  room(): Promise<void> | null;
  /** Looks soon whether something can be trimmed; never in the same turn. */
  trimSoon(): void;
  /** Trims until nothing more can be. */
  trimAll(): Promise<void>;
  stop(): Promise<void>;
}

export interface HotRowsOptions {
  db: Database;
  writer: Writer;
  log: Log;
  /** Whether a write of the sealer may wait for company. */
  mayWait(): boolean;
  /** Sessions that own the oldest rows while there are too many, oldest first. */
  sealOwners(sessions: Iterable<number>): void;
  /** A session that cannot be sealed: its rows stay, and nobody waits for them. */
  isSetAside(session: number): boolean;
}

export function createHotRows(options: HotRowsOptions): HotRows {
  const { db, writer, log } = options;
  const bound = limit("hot_rows_bytes");
  const ceiling = bound * 1.5;
  const step = limit("trim_step_rows_count");
  let bytes = 0;
  let dead_rows = 0;
  let next_trim = step;
  /** Rows up to here are gone, or belong to sessions that are set aside. */
  let floor_id = 0;
  let trimming: Promise<boolean> | null = null;
  let soon = false;
  let stopped = false;
  let waiters: (() => void)[] = [];

  function admit(): void {
    while (bytes <= ceiling) {
      const next = waiters.shift();
      if (next === undefined) return;
      next();
    }
  }

  function forget(gone: number): void {
    bytes = Math.max(0, bytes - gone);
    admit();
  }

  /** Deletes the oldest rows once all of a step is dead, or all that is there is. True when it got further. */
  async function trim(): Promise<boolean> {
    const rows = oldestRows(db, floor_id, step);
    if (rows.length === 0) {
      if (floor_id === 0) forget(bytes);
      dead_rows = 0;
      return false;
    }
    const stands = (row: OldRow): boolean => row.dead === 0 && !options.isSetAside(row.session);
    const alive = rows.findIndex(stands);
    const passed = alive === -1 ? rows : rows.slice(0, alive);
    const is_pressed = bytes > bound;
    if (is_pressed) options.sealOwners(new Set(rows.filter(stands).map(({ session }) => session)));
    const last = passed.at(-1);
    if (last === undefined || (passed.length < step && alive !== -1 && !is_pressed)) {
      // A row that lives stands in the way: no use to look again before much more is sealed.
      next_trim = dead_rows + step;
      return false;
    }
    await writer.run(() => trimRows(db, last.id), { lazy: options.mayWait() });
    dead_rows = Math.max(0, dead_rows - passed.length);
    next_trim = step;
    // Rows that were set aside are passed over and not counted again.
    if (passed.some((row) => row.dead === 0)) floor_id = last.id;
    forget(passed.reduce((sum, row) => sum + row.bytes, 0));
    return true;
  }

  function trimOnce(): Promise<boolean> {
    trimming ??= trim().finally(() => {
      trimming = null;
    });
    return trimming;
  }

  function trimSoon(): void {
    if (soon || stopped) return;
    soon = true;
    setImmediate(() => {
      soon = false;
      if (!stopped)
        trimOnce().catch((error: unknown) => log.warn("trim_failed", { error: errorText(error) }));
    });
  }

  return {
    get bytes() {
      return bytes;
    },
    get is_pressed() {
      return bytes > bound;
    },
    count() {
      const total = rowTotal(db);
      bytes = total.bytes;
      dead_rows = total.count;
    },
    added(more) {
      bytes += more;
      if (dead_rows >= next_trim) trimSoon();
    },
    died(row_count) {
      dead_rows += row_count;
    },
    room() {
      if (bytes <= ceiling && waiters.length === 0) return null;
      trimSoon();
      return new Promise((resolve, reject) => {
        const enter = (): void => {
          clearTimeout(timer);
          resolve();
        };
        const timer = setTimeout(() => {
          waiters = waiters.filter((waiter) => waiter !== enter);
          reject(new Problem("busy", "Entries come faster than they can be sealed.", { retry_after_s: 1 }));
        }, limit("back_pressure_ms"));
        waiters.push(enter);
      });
    },
    trimSoon,
    async trimAll() {
      if (dead_rows > 0 || bytes > bound) while (await trimOnce());
    },
    async stop() {
      stopped = true;
      await trimming?.catch(() => false);
    },
  };
}
