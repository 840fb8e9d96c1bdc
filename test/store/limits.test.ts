/** Limits of the store, each at its bound and one past it: queues, pages of large transcripts, what is kept how. */
import { Database } from "bun:sqlite";
import { afterAll, beforeAll, describe, expect, spyOn, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { appendEntries } from "../../src/core/append.ts";
import { listStatuses } from "../../src/core/construct.ts";
import { pageEntries, streamEntries, streamTranscript } from "../../src/core/entry.ts";
import { Problem } from "../../src/errors.ts";
import { createDoor, type Door } from "../../src/http/door.ts";
import { createBytesCache } from "../../src/lib/bytes-cache.ts";
import { system_clock } from "../../src/lib/clock.ts";
import { system_ids } from "../../src/lib/ids.ts";
import { headedText, lineStarts, wireLine } from "../../src/lib/wire-line.ts";
import { limit } from "../../src/limits.ts";
import type { SentEntry } from "../../src/schema/entry.ts";
import type { Session } from "../../src/schema/session.ts";
import { acquireDirectoryLock } from "../../src/store/sqlite/directory-lock.ts";
import { compress, cutFrames, decompress } from "../../src/store/sqlite/frame.ts";
import { openDatabase } from "../../src/store/sqlite/open.ts";
import { createReaderPool } from "../../src/store/sqlite/reader-pool.ts";
import { createSealer } from "../../src/store/sqlite/sealer.ts";
import { allBuilt, finalizeStatements } from "../../src/store/sqlite/statement.ts";
import { createWriter } from "../../src/store/sqlite/writer.ts";
import { requestOf, silent_log, TOKEN } from "../http/open-door.ts";
import { newSession, openTestStore, type TestStore } from "../support/store.ts";

let store: TestStore;
let door: Door;
beforeAll(async () => {
  store = await openTestStore();
  const { context } = store;
  door = createDoor({
    context,
    token: TOKEN,
    hosts: [],
    version: "1",
    commit: "c",
    log: silent_log,
    started_at_ms: 0,
  });
});
afterAll(() => store.remove());

const codeOf = (error: unknown): unknown => (error instanceof Problem ? error.code : error);

/** The code with which it is refused, at once or later. */
async function refusal(attempt: () => unknown): Promise<unknown> {
  try {
    await attempt();
  } catch (error) {
    return codeOf(error);
  }
  return "accepted";
}

/** An entry whose line, newline and all, is so long as entry `seq`. */
function entryOf(line_bytes: number, seq: number, kind: SentEntry["kind"] = "message"): SentEntry {
  const headed = headedText({ seq, kind, actor: "agent", at_ms: 1, body: '""' });
  const empty = wireLine(system_clock.now_ms(), headed).length + 1;
  return { kind, at_ms: 1, body: `"${"x".repeat(line_bytes - empty)}"` };
}

async function sessionWith(entries: readonly SentEntry[]): Promise<Session> {
  const session = await newSession(store.context);
  if (entries.length > 0) await appendEntries(store.context, session.id, entries);
  return session;
}

interface Page {
  items: { seq: number }[];
  next_cursor: string | null;
}

async function pageOf(session: Session, query: string): Promise<{ status: number; page: Page }> {
  const answer = await door.fetch(requestOf("GET", `/v1/sessions/${session.id}/entries?${query}`));
  return { status: answer.status, page: (await answer.json()) as Page };
}

async function bytesOf(pieces: AsyncGenerator<Uint8Array>): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(pieces));
}

describe("the queue of the writer", () => {
  const open = (): { db: Database; writer: ReturnType<typeof createWriter> } => {
    const db = new Database(":memory:", { strict: true });
    return { db, writer: createWriter(db) };
  };
  const nothing = (): number => 1;

  test("holds writer_queue_count members; one more is busy", async () => {
    const { writer } = open();
    const taken = Array.from({ length: limit("writer_queue_count") }, () => writer.run(nothing));
    expect(await refusal(() => writer.run(nothing))).toBe("busy");
    await Promise.all(taken);
    expect(await writer.run(nothing)).toBe(1);
  });

  test("admits writer_queue_bytes of payload; one more is busy until some is released", async () => {
    const { writer } = open();
    const release = writer.admit(limit("writer_queue_bytes"));
    expect(await refusal(() => writer.admit(1))).toBe("busy");
    release();
    writer.admit(1)();
  });

  test("shares a transaction among writer_group_bytes of payload, and no more", async () => {
    for (const [more, commits] of [
      [0, 1],
      [1, 2],
    ] as const) {
      const { writer } = open();
      const half = limit("writer_group_bytes") / 2;
      await Promise.all([writer.run(nothing, { bytes: half }), writer.run(nothing, { bytes: half + more })]);
      expect(writer.stats.commit_count).toBe(commits);
    }
  });

  test("is committed writer_group_count members at a time", async () => {
    for (const [members, commits] of [
      [0, 1],
      [1, 2],
    ] as const) {
      const { writer } = open();
      const count = limit("writer_group_count") + members;
      await Promise.all(Array.from({ length: count }, () => writer.run(nothing)));
      expect(writer.stats).toMatchObject({ member_count: count, commit_count: commits });
    }
  });

  test("lets what is lazy wait for lazy_write_ms", async () => {
    const { writer } = open();
    const began = performance.now();
    await writer.run(nothing, { lazy: true });
    expect(performance.now() - began).toBeGreaterThan(limit("lazy_write_ms") * 0.9);
  });
});

describe("the reader threads", () => {
  test("are reader_workers_count, and reader_queue_count reads wait for them; one more is busy", async () => {
    const pool = createReaderPool(store.path);
    const threads = Math.min(limit("reader_workers_count"), availableParallelism());
    const taken = Array.from({ length: threads + limit("reader_queue_count") }, (_, index) =>
      pool.all<{ value: number }>("SELECT $index AS value", { index }),
    );
    expect(await refusal(() => pool.all("SELECT 1", {}))).toBe("busy");
    expect((await Promise.all(taken)).map(([row]) => row?.value)).toEqual(taken.map((_, index) => index));
    expect(await pool.all<{ value: number }>("SELECT 1 AS value", {})).toEqual([{ value: 1 }]);
    await pool.close();
  });

  test("answer every read also when none of them can be started", async () => {
    const pool = createReaderPool(join(store.data_dir, "not-there.db"));
    const reads = Array.from({ length: 5 }, () => pool.all("SELECT 1", {}));
    expect((await Promise.allSettled(reads)).map(({ status }) => status)).toEqual(
      reads.map(() => "rejected"),
    );
    await pool.close();
  });
});

describe("a page of entries", () => {
  let large: Session;
  const line_bytes = 64 * 1_024;
  const most = limit("page_bytes") / line_bytes;
  beforeAll(async () => {
    large = await sessionWith(Array.from({ length: most + 1 }, (_, index) => entryOf(line_bytes, index + 1)));
  });

  test("ends with the line that reaches page_default_bytes", async () => {
    const count = limit("page_default_bytes") / line_bytes;
    expect((await pageOf(large, "limit=500")).page.items.length).toBe(count);
    const shorter = await sessionWith(
      Array.from({ length: count + 2 }, (_, index) => entryOf(line_bytes - 1, index + 1)),
    );
    expect((await pageOf(shorter, "limit=500")).page.items.length).toBe(count + 1);
  });

  test("may be asked for page_bytes, and not for more", async () => {
    const { status, page } = await pageOf(large, `limit=500&max_bytes=${limit("page_bytes")}`);
    expect({ status, count: page.items.length }).toEqual({ status: 200, count: most });
    expect(page.next_cursor).not.toBeNull();
    expect((await pageOf(large, `max_bytes=${limit("page_bytes") + 1}`)).status).toBe(422);
  });
});

describe("a filtered page", () => {
  /** Frames of one large entry and a small one. */
  const framesOf = (count: number): SentEntry[] =>
    Array.from({ length: count }, (_, index) => [
      entryOf(limit("frame_raw_bytes") - 1_000, 2 * index + 1),
      entryOf(1_000, 2 * index + 2, "error"),
    ]).flat();

  test("looks through filtered_scan_frames_count frames, and leads on when there are more", async () => {
    const most = limit("filtered_scan_frames_count");
    const session = await sessionWith(framesOf(most));
    const whole = await pageOf(session, "kind=error&limit=500");
    expect([whole.page.items.length, whole.page.next_cursor]).toEqual([most, null]);
    await appendEntries(store.context, session.id, framesOf(1));
    const part = await pageOf(session, "kind=error&limit=500");
    expect(part.page.items.length).toBe(most);
    const rest = await pageOf(session, `kind=error&limit=500&cursor=${part.page.next_cursor}`);
    expect(rest.page).toMatchObject({ items: [{ seq: 2 * most + 2 }], next_cursor: null });
  });

  test("reads as a transcript of frames, sent_frames_count at a time", async () => {
    const { context } = store;
    for (const count of [limit("sent_frames_count"), limit("sent_frames_count") + 1]) {
      const session = await sessionWith(framesOf(count));
      const frames = await Array.fromAsync(await streamTranscript(context, session.id, "zstd"));
      expect(frames.length).toBe(count === limit("sent_frames_count") ? 1 : 2);
      const plain = await bytesOf(await streamTranscript(context, session.id, "identity"));
      expect(Buffer.from(Bun.zstdDecompressSync(Buffer.concat(frames))).equals(plain)).toBe(true);
    }
  });
});

describe("rows", () => {
  test("read_rows_count and unframed_rows_count at a time give every entry, from either end and sealed", async () => {
    const { context } = store;
    for (const count of [limit("read_rows_count"), limit("unframed_rows_count")].flatMap((most) => [
      most,
      most + 1,
    ])) {
      const entries = Array.from({ length: count }, (_, index): SentEntry => ({
        kind: "note",
        at_ms: 1,
        body: String(index),
      }));
      const session = await sessionWith(entries);
      const before = await bytesOf(await streamEntries(context, session.id, {}));
      expect(lineStarts(before).length - 1).toBe(count);
      const page = await pageEntries(context, session.id, {
        before: count + 1,
        limit: count,
        max_bytes: limit("page_bytes"),
      });
      expect(Buffer.concat(page.pieces).equals(before)).toBe(true);
      await context.store.entries.sealAll();
      expect((await bytesOf(await streamEntries(context, session.id, {}))).equals(before)).toBe(true);
    }
  });

  test("are what a request below bulk_append_bytes becomes; another goes to frames", async () => {
    const { context } = store;
    // A row costs its body and 96 bytes.
    const bodies = (bytes: number): SentEntry[] =>
      [0, 1, 2, 3].map((index) => ({
        kind: "note",
        body: `"${"x".repeat(bytes / 4 - 98 - (index === 0 ? 1 : 0))}"`,
      }));
    await context.store.entries.sealAll();
    const rows_bytes = (): number => context.store.stats().hot_rows_bytes;
    const before = rows_bytes();
    await sessionWith(bodies(limit("bulk_append_bytes")));
    expect(rows_bytes() - before).toBe(limit("bulk_append_bytes") - 1);
    const [first, ...others] = bodies(limit("bulk_append_bytes"));
    await sessionWith([{ ...first!, body: first!.body.replace('"', '"x') }, ...others]);
    expect(rows_bytes() - before).toBe(limit("bulk_append_bytes") - 1);
  });
});

describe("frames", () => {
  test("end with the line that reaches frame_raw_bytes", () => {
    const half = limit("frame_raw_bytes") / 2;
    expect(cutFrames(Uint32Array.of(0, half, 2 * half, 2 * half + 1))).toEqual([
      { end: 2, complete: true },
      { end: 3, complete: false },
    ]);
    expect(cutFrames(Uint32Array.of(0, half, 2 * half - 1))).toEqual([{ end: 2, complete: false }]);
  });

  test("are read the same up to inline_decompress_bytes and beyond, and with another length not at all", async () => {
    for (const raw_bytes of [limit("inline_decompress_bytes"), limit("inline_decompress_bytes") + 1]) {
      const raw = Buffer.alloc(raw_bytes, "synthetic ");
      const data = await compress(raw);
      expect(raw.equals(await decompress(data, raw_bytes))).toBe(true);
      for (const wrong of [raw_bytes - 1, raw_bytes + 1])
        expect(await refusal(() => decompress(data, wrong))).toBe("integrity_failed");
    }
  });

  test("stay decompressed up to cached_frame_bytes", async () => {
    const { context } = store;
    const hitsOf = async (line_bytes: number): Promise<number> => {
      const session = await sessionWith([entryOf(line_bytes, 1)]);
      const { hits } = context.store.stats().frame_cache;
      for (let time = 0; time < 2; time += 1) {
        const lines = await bytesOf(await streamEntries(context, session.id, {}));
        expect(lines.byteLength).toBe(line_bytes);
      }
      return context.store.stats().frame_cache.hits - hits;
    };
    expect(await hitsOf(limit("cached_frame_bytes"))).toBe(1);
    expect(await hitsOf(limit("cached_frame_bytes") + 1)).toBe(0);
  });

  test("and rows and events that are kept are bounded by bytes, the oldest go", () => {
    for (const most of [limit("frame_cache_bytes"), limit("row_cache_bytes"), limit("tail_cache_bytes")]) {
      const cache = createBytesCache<number>(most);
      cache.set("a", 1, most / 2);
      cache.set("b", 2, most / 2);
      expect(cache.stats).toMatchObject({ bytes: most, count: 2 });
      cache.set("c", 3, 1);
      expect([cache.get("a"), cache.get("b"), cache.get("c")]).toEqual([undefined, 2, 3]);
      cache.set("d", 4, most + 1);
      expect(cache.get("d")).toBeUndefined();
    }
  });
});

describe("rows that wait to be sealed", () => {
  test("may be half more than hot_rows_bytes; then an append waits for back_pressure_ms and is busy", async () => {
    const data_dir = mkdtempSync(join(tmpdir(), "synthetic-limits-"));
    const { writer: db, lock } = await openDatabase({
      data_dir,
      migrate: false,
      clock: system_clock,
      ids: system_ids,
    });
    const writer = createWriter(db);
    const sealer = createSealer({
      db,
      writer,
      cache: createBytesCache(limit("frame_cache_bytes")),
      clock: system_clock,
      log: silent_log,
      seal_idle_ms: 3_600_000,
    });
    const asked_ms: unknown[] = [];
    const waiting = spyOn(globalThis, "setTimeout").mockImplementation(((act: () => void, ms?: number) => {
      asked_ms.push(ms);
      queueMicrotask(act);
      return 0;
    }) as unknown as typeof setTimeout);
    try {
      const tail_bytes = limit("frame_raw_bytes") - 1;
      let left = limit("hot_rows_bytes") * 1.5;
      for (let session = 1; left > 0; session += 1, left -= tail_bytes)
        sealer.noteAppend(session, Math.min(left, tail_bytes));
      expect(sealer.room()).toBeNull();
      sealer.noteAppend(1_000_000, 1);
      expect(await refusal(() => sealer.room())).toBe("busy");
      expect(asked_ms).toEqual([limit("back_pressure_ms")]);
    } finally {
      waiting.mockRestore();
      await sealer.stop();
      await writer.close();
      db.close();
      lock.release();
      rmSync(data_dir, { recursive: true });
    }
  });
});

test("a second holder of a directory waits for directory_lock_ms and is refused then", async () => {
  const data_dir = mkdtempSync(join(tmpdir(), "synthetic-limits-"));
  const lock = acquireDirectoryLock(data_dir);
  const began = performance.now();
  expect(await refusal(() => acquireDirectoryLock(data_dir))).toBe("locked");
  expect(performance.now() - began).toBeGreaterThan(limit("directory_lock_ms") * 0.9);
  lock.release();
  acquireDirectoryLock(data_dir).release();
  rmSync(data_dir, { recursive: true });
});

test("the statuses of a construct are all there up to children_list_count; of more the oldest is left out", async () => {
  const { context } = store;
  const { construct_id } = await newSession(context);
  const most = limit("children_list_count");
  const db = new Database(store.path, { strict: true });
  const add = (from: number, through: number): void => {
    db.query(
      `INSERT INTO construct_status (construct, number, status, from_at_ms, until_at_ms, actor, reason)
       WITH RECURSIVE n (i) AS (SELECT $from UNION ALL SELECT i + 1 FROM n WHERE i < $through)
       SELECT (SELECT pk FROM construct WHERE id = $id), i, 'parked', i, NULL, 'user', NULL FROM n`,
    ).run({ id: construct_id, from, through });
  };
  add(2, most);
  const { items } = await listStatuses(context, construct_id);
  expect([items.length, items.at(-1)?.from_at_ms, items[1]?.from_at_ms]).toEqual([most, most, 2]);
  add(most + 1, most + 1);
  const { items: newest } = await listStatuses(context, construct_id);
  expect([newest.length, newest.at(-1)?.from_at_ms, newest[0]?.from_at_ms]).toEqual([most, most + 1, 2]);
  db.close();
});

describe("what is put together", () => {
  test("keeps statements_count prepared statements, and forgotten shapes still answer", () => {
    const db = new Database(":memory:", { strict: true });
    const shapes = limit("statements_count") + 10;
    for (let shape = 0; shape < shapes; shape += 1) {
      expect(allBuilt<{ n: number }>(db, `SELECT ${shape} AS n`, {})).toEqual([{ n: shape }]);
    }
    expect(allBuilt<{ n: number }>(db, "SELECT 0 AS n", {})).toEqual([{ n: 0 }]);
    finalizeStatements(db);
    db.close(true);
  });

  test("takes keyed_entries_per_append_count keys in a request; one more is too large", async () => {
    const store = await openTestStore();
    try {
      const session = await newSession(store.context);
      const keyed = (count: number): SentEntry[] =>
        Array.from({ length: count }, (_, index) => ({ kind: "note", key: `k${index}`, body: "1" }));
      const bound = limit("keyed_entries_per_append_count");
      expect(await refusal(() => appendEntries(store.context, session.id, keyed(bound + 1)))).toBe(
        "too_large",
      );
      expect((await appendEntries(store.context, session.id, keyed(bound))).last_seq).toBe(bound);
      expect((await appendEntries(store.context, session.id, keyed(bound))).replayed).toBe(true);
    } finally {
      await store.remove();
    }
  });
});
