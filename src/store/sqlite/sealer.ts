/**
 * The sealer turns rows into frames, trims sealed rows, and gives free pages back. It keeps the hot rows below their
 * bound: a session is sealed when its tail reaches a frame, when it is quiet, or when it owns the oldest row while
 * there are too many. Nothing here is needed for truth: a crash at any point leaves rows or frames, and frames win.
 */
import type { Database } from "bun:sqlite";
import { Problem } from "../../errors.ts";
import type { BytesCache } from "../../lib/bytes-cache.ts";
import type { Clock } from "../../lib/clock.ts";
import { headAfterLines } from "../../lib/head.ts";
import { errorText, type Log } from "../../lib/log.ts";
import { limit } from "../../limits.ts";
import { type LineBlock, oldestRows, rowTails, rowTotal, trimRows } from "./entry-row.ts";
import { cutFrames, type FrameRow, type NewFrame } from "./frame.ts";
import { findHeadByPk, HEAD_SQL, type HeadRow } from "./head.ts";
import { freelist, reclaimPages } from "./space.ts";
import { run } from "./statement.ts";
import { buildFrames, replaceFrames, unframedLines } from "./unframed.ts";
import type { Writer } from "./writer.ts";

export interface SealerOptions {
  /** The writing connection: between transactions it reads what was just written from its own page cache. */
  db: Database;
  writer: Writer;
  cache: BytesCache<LineBlock>;
  clock: Clock;
  log: Log;
  seal_idle_ms: number;
}

export interface Sealer {
  /** Entries of a session became rows. */
  noteAppend(session: number, bytes: number): void;
  /** Entries of a session went to frames without the sealer. */
  noteSealed(session: number, row_count: number, frame_count: number): void;
  /** Keeps the sealer away from a session until the returned function is called. */
  hold(session: number): Promise<() => void>;
  /** Null while there is room for rows; else a promise that waits for it. Errors: `busy` when it takes too long. */
  room(): Promise<void> | null;
  /** Seals all rows, trims them, and gives back all free pages. */
  sealAll(): Promise<void>;
  readonly stats: { hot_rows_bytes: number; sealed_frame_count: number };
  stop(): Promise<void>;
}

interface Tail {
  bytes: number;
  last_append_ms: number;
}

const CONCURRENCY = 4;
const TICK_MS = 1_000;
/** Of about 6 ms each, in one tick. */
const RECLAIM_SLICES = 8;
/** Lines read at once for sealing; a row is smaller than a frame. */
const SEAL_ROWS = 1_000;

export function createSealer(options: SealerOptions): Sealer {
  const { db, writer, cache, clock, log } = options;
  const tails = new Map<number, Tail>();
  /** Sessions to be sealed, and whether also what is short of a frame. */
  const waiting = new Map<number, boolean>();
  const busy = new Map<number, Promise<void>>();
  const held = new Set<number>();
  const stats = { hot_rows_bytes: 0, sealed_frame_count: 0 };
  const bound = limit("hot_rows_bytes");
  let dead_rows = 0;
  let next_trim = limit("trim_step_rows_count");
  let counted = false;
  let stopped = false;
  /** Set while somebody waits for everything to be sealed. */
  let hurried = false;
  let trimming: Promise<boolean> | null = null;
  let last_append_ms = clock.elapsed_ms();
  let room_waiters: (() => void)[] = [];

  /** After a start: what is there already. Costs a scan of the hot rows, so it is done once and not at the start. */
  function count(): void {
    if (counted) return;
    counted = true;
    const now = clock.elapsed_ms();
    for (const [session, bytes] of rowTails(db))
      tails.set(session, { bytes, last_append_ms: tails.get(session)?.last_append_ms ?? now });
    const total = rowTotal(db);
    stats.hot_rows_bytes = total.bytes;
    dead_rows = total.count;
  }

  function isFree(session: number): boolean {
    return !busy.has(session) && !held.has(session);
  }

  async function whenFree(session: number): Promise<void> {
    while (!isFree(session)) await (busy.get(session) ?? new Promise((resolve) => setTimeout(resolve, 1)));
  }

  function wait(session: number, all: boolean): void {
    waiting.set(session, all || waiting.get(session) === true);
  }

  function kick(): void {
    for (const [session, all] of waiting) {
      if (busy.size >= CONCURRENCY || stopped) return;
      if (!isFree(session)) continue;
      waiting.delete(session);
      void begin(session, all);
    }
  }

  /** Starts sealing a session; `all` seals also what is short of a frame. */
  function begin(session: number, all: boolean): Promise<void> {
    const sealing = seal(session, all)
      .catch((error: unknown) => log.error("seal_failed", { session, error: errorText(error) }))
      .finally(() => {
        busy.delete(session);
        kick();
        if (stats.hot_rows_bytes > bound) trimSoon();
      });
    busy.set(session, sealing);
    return sealing;
  }

  async function seal(session: number, all: boolean): Promise<void> {
    const head = findHeadByPk(db, session);
    if (head === null || head.last_seq === head.sealed_through_seq) {
      tails.delete(session);
      return;
    }
    const { block, head_before, merged, row_count } = await unframedLines(db, head, cache, SEAL_ROWS);
    const whole = head.sealed_through_seq + row_count === head.last_seq;
    const cuts = cutFrames(block.starts).filter((cut) => all || cut.complete);
    const frames = await buildFrames(block, cuts, head_before);
    const last = frames.at(-1);
    if (last === undefined || last.last_seq <= head.sealed_through_seq) {
      // What was counted was an estimate; now it is known.
      const tail = tails.get(session);
      if (tail !== undefined) tail.bytes = Math.min(tail.bytes, block.bytes.byteLength);
      return;
    }
    const end = headAfterLines(last.head, block.bytes, block.starts, last.last_seq + 1 - block.first_seq);
    if (whole && !Buffer.from(end).equals(head.head))
      throw new Problem("integrity_failed", "The rows of a session do not give its head.");
    const sealed = await writer.run(() => store(head, frames, merged), { lazy: !hurried });
    if (sealed) {
      const bytes = (block.starts[last.last_seq + 1 - block.first_seq] ?? 0) - (merged?.raw_bytes ?? 0);
      noteFrames(session, last.last_seq - head.sealed_through_seq, bytes, frames.length);
    }
    if (all && !whole) await seal(session, true);
  }

  function store(head: HeadRow, frames: readonly NewFrame[], merged: FrameRow | null): boolean {
    const sealed = frames.at(-1)?.last_seq ?? 0;
    if (run(db, HEAD_SQL.seal, { pk: head.pk, sealed, expected: head.sealed_through_seq }) === 0)
      return false;
    replaceFrames(db, head.pk, merged, frames);
    return true;
  }

  /** `bytes` of rows are sealed. The count of a tail is an estimate: only the store says when nothing is left of it. */
  function noteFrames(session: number, row_count: number, bytes: number, frame_count: number): void {
    dead_rows += row_count;
    stats.sealed_frame_count += frame_count;
    const now = findHeadByPk(db, session);
    const tail = tails.get(session);
    if (now === null || tail === undefined) return;
    if (now.last_seq === now.sealed_through_seq) tails.delete(session);
    else tail.bytes = Math.max(1, tail.bytes - bytes);
    if (tail.bytes >= limit("frame_raw_bytes")) wait(session, false);
  }

  /** Deletes the oldest rows once all of a step is sealed, or once nothing is left but sealed rows. True when it did. */
  async function trim(): Promise<boolean> {
    const step = limit("trim_step_rows_count");
    const rows = oldestRows(db, step);
    const alive = rows.findIndex((row) => row.dead === 0);
    const dead = alive === -1 ? rows : rows.slice(0, alive);
    const last = dead.at(-1);
    const pressed = stats.hot_rows_bytes > bound;
    if (pressed && alive !== -1) sealOldest(rows.slice(alive));
    if (last === undefined || (dead.length < step && !(alive === -1 || pressed))) {
      // A row that lives stands in the way: no use to look again before much more is sealed.
      next_trim = dead_rows + step;
      return false;
    }
    await writer.run(() => trimRows(db, last.id), { lazy: !hurried });
    dead_rows = Math.max(0, dead_rows - dead.length);
    next_trim = step;
    stats.hot_rows_bytes = Math.max(0, stats.hot_rows_bytes - dead.reduce((sum, row) => sum + row.bytes, 0));
    if (stats.hot_rows_bytes <= bound) for (const resume of room_waiters.splice(0)) resume();
    return true;
  }

  /** Sessions that write little hold the oldest rows: their owners are sealed, however short their tails. */
  function sealOldest(rows: readonly { session: number }[]): void {
    for (const { session } of rows) {
      if (busy.size >= CONCURRENCY) return;
      if (isFree(session)) void begin(session, true);
    }
  }

  function trimOnce(): Promise<boolean> {
    trimming ??= trim().finally(() => {
      trimming = null;
    });
    return trimming;
  }

  function trimSoon(): void {
    if (trimming === null && !stopped)
      trimOnce().catch((error: unknown) => log.warn("trim_failed", { error: errorText(error) }));
  }

  async function trimAll(): Promise<void> {
    while (await trimOnce());
  }

  /** One slice of free pages back to the filesystem. True when there is more to give. */
  async function reclaimStep(): Promise<boolean> {
    const before = freelist(db).free_pages;
    if (before === 0) return false;
    await writer.run(() => reclaimPages(db, limit("reclaim_step_pages_count")));
    return freelist(db).free_pages < before;
  }

  /** Some slices while nobody writes; under load one, and only when a quarter of the file is free. */
  async function reclaim(): Promise<void> {
    const step = limit("reclaim_step_pages_count");
    for (let slice = 0; slice < RECLAIM_SLICES; slice += 1) {
      const { free_pages, pages } = freelist(db);
      const quiet = clock.elapsed_ms() - last_append_ms > TICK_MS;
      if (free_pages <= step || !(quiet || (slice === 0 && free_pages > Math.max(pages / 4, 16 * step))))
        return;
      if (!(await reclaimStep())) return;
    }
  }

  async function tick(): Promise<void> {
    count();
    const now = clock.elapsed_ms();
    for (const [session, tail] of tails) {
      if (now - tail.last_append_ms >= options.seal_idle_ms) wait(session, true);
    }
    kick();
    if (dead_rows > 0 || stats.hot_rows_bytes > bound) await trimAll();
    await reclaim();
  }

  let ticking: Promise<void> = Promise.resolve();
  const timer = setInterval(() => {
    ticking = ticking
      .then(tick)
      .catch((error: unknown) => log.warn("sealer_tick_failed", { error: errorText(error) }));
  }, TICK_MS);
  timer.unref();

  return {
    stats,
    noteAppend(session, bytes) {
      const tail = tails.get(session) ?? { bytes: 0, last_append_ms: 0 };
      last_append_ms = clock.elapsed_ms();
      tail.bytes += bytes;
      tail.last_append_ms = last_append_ms;
      tails.set(session, tail);
      stats.hot_rows_bytes += bytes;
      if (tail.bytes >= limit("frame_raw_bytes")) {
        wait(session, false);
        kick();
      }
      if (dead_rows >= next_trim) trimSoon();
    },
    noteSealed(session, row_count, frame_count) {
      tails.delete(session);
      waiting.delete(session);
      stats.sealed_frame_count += frame_count;
      dead_rows += row_count;
    },
    async hold(session) {
      await whenFree(session);
      held.add(session);
      return () => {
        held.delete(session);
        kick();
      };
    },
    room() {
      if (stats.hot_rows_bytes <= bound * 1.5) return null;
      trimSoon();
      return new Promise((resolve, reject) => {
        const timer = setTimeout(
          () =>
            reject(new Problem("busy", "Entries come faster than they can be sealed.", { retry_after_s: 1 })),
          limit("back_pressure_ms"),
        );
        room_waiters.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    },
    async sealAll() {
      hurried = true;
      try {
        count();
        for (const session of Array.from(tails.keys())) {
          await whenFree(session);
          await begin(session, true);
        }
        await trimAll();
        while (await reclaimStep());
      } finally {
        hurried = false;
      }
    },
    async stop() {
      stopped = true;
      clearInterval(timer);
      waiting.clear();
      await ticking;
      await Promise.all(busy.values());
      await trimming?.catch(() => false);
    },
  };
}
