/**
 * The sealer turns rows into frames and gives free pages back. A session is sealed when its tail reaches a frame, when
 * it is quiet, or when it owns the oldest rows while there are too many (hot-rows.ts). Nothing here is needed for
 * truth: a crash at any point leaves rows or frames, and frames win.
 */
import type { Database } from "bun:sqlite";
import { Problem } from "../../errors.ts";
import type { BytesCache } from "../../lib/bytes-cache.ts";
import type { Clock } from "../../lib/clock.ts";
import { errorText, type Log } from "../../lib/log.ts";
import { limit } from "../../limits.ts";
import { type LineBlock, rowTails } from "./entry-row.ts";
import { cutFrames, type FrameRow, type NewFrame } from "./frame.ts";
import { findHeadByPk, HEAD_SQL, type HeadRow } from "./head.ts";
import { createHotRows } from "./hot-rows.ts";
import { freelist, reclaimPages } from "./space.ts";
import { run } from "./statement.ts";
import { buildFrames, replaceFrames, requireHead, unframedLines } from "./unframed.ts";
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
  readonly stats: { readonly hot_rows_bytes: number; readonly sealed_frame_count: number };
  stop(): Promise<void>;
}

interface Tail {
  bytes: number;
  last_append_ms: number;
}

export function createSealer(options: SealerOptions): Sealer {
  const { db, writer, cache, clock, log } = options;
  const tails = new Map<number, Tail>();
  /** Sessions to be sealed, and whether also what is short of a frame. */
  const waiting = new Map<number, boolean>();
  const busy = new Map<number, Promise<void>>();
  const held = new Set<number>();
  /** Sessions whose sealing failed: until when they are left alone, and for how long the next time. */
  const set_aside = new Map<number, { until_ms: number; pause_ms: number }>();
  let sealed_frame_count = 0;
  let counted = false;
  let stopped = false;
  /** Set while somebody waits for everything to be sealed. */
  let hurried = false;
  let last_append_ms = clock.elapsed_ms();

  const mayWait = (): boolean => !hurried && !hot.is_pressed;
  const hot = createHotRows({
    db,
    writer,
    log,
    mayWait,
    sealOwners(sessions) {
      for (const session of sessions) wait(session, true);
      kick();
    },
    isSetAside: (session) => set_aside.has(session),
  });

  /** After a start: what is there already. Costs a scan of the hot rows, so it is done once and not at the start. */
  function count(): void {
    if (counted) return;
    const now = clock.elapsed_ms();
    for (const [session, bytes] of rowTails(db)) {
      tails.set(session, { bytes, last_append_ms: tails.get(session)?.last_append_ms ?? now });
      if (bytes >= limit("frame_raw_bytes")) wait(session, false);
    }
    hot.count();
    counted = true;
  }

  function wait(session: number, all: boolean): void {
    waiting.set(session, all || waiting.get(session) === true);
  }

  function isLeftAlone(session: number): boolean {
    return (
      busy.has(session) || held.has(session) || (set_aside.get(session)?.until_ms ?? 0) > clock.elapsed_ms()
    );
  }

  function kick(): void {
    for (const [session, all] of waiting) {
      if (busy.size >= limit("seals_at_once_count") || stopped) return;
      if (isLeftAlone(session)) continue;
      waiting.delete(session);
      void begin(session, all);
    }
  }

  /** Seals a session that nobody else has; `all` seals also what is short of a frame. */
  function begin(session: number, all: boolean): Promise<void> {
    const sealing = seal(session, all)
      .then(
        () => void set_aside.delete(session),
        (error: unknown) => setAside(session, all, error),
      )
      .finally(() => {
        busy.delete(session);
        // In a turn of their own, so that no early end can become a loop that lets nobody else in.
        setImmediate(kick);
        if (hot.is_pressed) hot.trimSoon();
      });
    busy.set(session, sealing);
    return sealing;
  }

  /** One damaged session must not stop the others: it is tried again later and later, and said once each time. */
  function setAside(session: number, all: boolean, error: unknown): void {
    if (error instanceof Problem && error.code !== "integrity_failed") {
      wait(session, all);
      return;
    }
    const pause_ms = Math.min((set_aside.get(session)?.pause_ms ?? 500) * 2, limit("seal_retry_ms"));
    set_aside.set(session, { until_ms: clock.elapsed_ms() + pause_ms, pause_ms });
    log.error("seal_failed", { session, pause_ms, error: errorText(error) });
  }

  async function seal(session: number, all: boolean): Promise<void> {
    const head = findHeadByPk(db, session);
    if (head === null || head.last_seq === head.sealed_through_seq) {
      tails.delete(session);
      return;
    }
    const unframed = await unframedLines(db, head, cache, limit("seal_rows_count"));
    const { block, merged, row_count } = unframed;
    const whole = head.sealed_through_seq + row_count === head.last_seq;
    const cuts = cutFrames(block.starts).filter((cut) => all || cut.complete);
    const frames = await buildFrames(block, cuts, unframed.head_before);
    const last = frames.at(-1);
    if (last === undefined || last.last_seq <= head.sealed_through_seq) {
      // What was counted was an estimate; now it is known.
      const tail = tails.get(session);
      if (tail !== undefined) tail.bytes = Math.min(tail.bytes, block.bytes.byteLength);
      return;
    }
    // The chain goes on from the frames, so that each line is hashed once.
    if (whole) requireHead(head, block, last.head, last.last_seq);
    const sealed = await writer.run(() => store(head, frames, merged), { lazy: mayWait() });
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
    hot.died(row_count);
    sealed_frame_count += frame_count;
    const now = findHeadByPk(db, session);
    const tail = tails.get(session);
    if (now === null || tail === undefined) return;
    if (now.last_seq === now.sealed_through_seq) tails.delete(session);
    else tail.bytes = Math.max(1, tail.bytes - bytes);
    if (tail.bytes >= limit("frame_raw_bytes")) wait(session, false);
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
    for (let slice = 0; slice < limit("reclaim_steps_count"); slice += 1) {
      const { free_pages, pages } = freelist(db);
      const quiet = clock.elapsed_ms() - last_append_ms > limit("sealer_tick_ms");
      const worth = quiet || (slice === 0 && free_pages > Math.max(pages / 4, 16 * step));
      if (free_pages <= step || !worth || !(await reclaimStep())) return;
    }
  }

  async function tick(): Promise<void> {
    count();
    const now = clock.elapsed_ms();
    for (const [session, tail] of tails) {
      if (now - tail.last_append_ms >= options.seal_idle_ms) wait(session, true);
    }
    kick();
    await hot.trimAll();
    await reclaim();
  }

  let ticking: Promise<void> = Promise.resolve();
  const timer = setInterval(() => {
    ticking = ticking
      .then(tick)
      .catch((error: unknown) => log.warn("sealer_tick_failed", { error: errorText(error) }));
  }, limit("sealer_tick_ms"));
  timer.unref();

  /** Waits until the sealer is done with a session. */
  async function settled(session: number): Promise<void> {
    for (let current = busy.get(session); current !== undefined; current = busy.get(session)) await current;
  }

  return {
    stats: {
      get hot_rows_bytes() {
        return hot.bytes;
      },
      get sealed_frame_count() {
        return sealed_frame_count;
      },
    },
    noteAppend(session, bytes) {
      const tail = tails.get(session) ?? { bytes: 0, last_append_ms: 0 };
      last_append_ms = clock.elapsed_ms();
      tail.bytes += bytes;
      tail.last_append_ms = last_append_ms;
      tails.set(session, tail);
      hot.added(bytes);
      if (tail.bytes >= limit("frame_raw_bytes")) {
        wait(session, false);
        kick();
      }
    },
    noteSealed(session, row_count, frame_count) {
      tails.delete(session);
      waiting.delete(session);
      sealed_frame_count += frame_count;
      hot.died(row_count);
    },
    async hold(session) {
      // Held first: from here on nobody begins, and whoever began is waited for.
      held.add(session);
      await settled(session);
      return () => {
        held.delete(session);
        setImmediate(kick);
      };
    },
    room: () => hot.room(),
    async sealAll() {
      hurried = true;
      try {
        count();
        for (const session of Array.from(tails.keys())) {
          await settled(session);
          if (!held.has(session)) await begin(session, true);
        }
        await hot.trimAll();
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
      await hot.stop();
    },
  };
}
